//! What a host's frame holds, as slices: the only place where the kit follows
//! the pointers of a frame.

#![allow(unsafe_code)]

use core::ffi::CStr;
use core::marker::PhantomData;
use core::ptr::NonNull;

use sidetone_plugin_abi as abi;

use crate::Error;

/// A frame that the host lends for `'a`.
///
/// Invariant: the pointer is to an `abi::Frame` whose memory, planes included,
/// stays as it is for `'a`; nobody writes to what the planes show, or, for a frame
/// that is an output, nobody but the one holder of this value touches it. Kept by
/// `Call`, which makes these from what `process` was given, each output once.
pub(crate) struct Lent<'a> {
    frame: NonNull<abi::Frame>,
    lent: PhantomData<&'a abi::Frame>,
}

// SAFETY: what is lent may be read on any thread (the host counts frames
// atomically), and an output has one holder.
unsafe impl Send for Lent<'_> {}
// SAFETY: `&Lent` only reads.
unsafe impl Sync for Lent<'_> {}

/// What a plane may hold: plain numbers, for which any bits are a value.
pub(crate) trait Sample: Copy {}
impl Sample for u8 {}
impl Sample for f32 {}

impl<'a> Lent<'a> {
    /// Takes a pointer from the host; none if it is null or of an older struct than
    /// version 1.0's.
    ///
    /// # Safety
    /// The caller vouches for the invariant of [`Lent`].
    pub(crate) unsafe fn new(frame: *const abi::Frame) -> Option<Self> {
        let frame = NonNull::new(frame.cast_mut())?;
        // SAFETY: a frame of the host's begins with its size.
        let size = unsafe { (*frame.as_ptr()).size };
        (size as usize >= size_of::<abi::Frame>()).then_some(Self { frame, lent: PhantomData })
    }

    /// The same frame for one more reader.
    ///
    /// # Safety
    /// This is an input: it has no writer.
    pub(crate) unsafe fn again(&self) -> Self {
        Self { frame: self.frame, lent: PhantomData }
    }

    pub(crate) fn as_ptr(&self) -> *mut abi::Frame {
        self.frame.as_ptr()
    }

    /// The frame's own fields.
    pub(crate) fn fields(&self) -> abi::Frame {
        // SAFETY: it is a frame of at least this size.
        unsafe { *self.frame.as_ptr() }
    }

    /// Changes the frame's own fields.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut abi::Frame)) {
        let mut fields = self.fields();
        change(&mut fields);
        // SAFETY: as above; `&mut self` is the one holder of an output.
        unsafe { self.frame.as_ptr().write(fields) }
    }

    /// The shape of data.
    pub(crate) fn shape(&self) -> Option<&'a CStr> {
        let shape = self.fields().shape;
        // SAFETY: where it is not null it is text, which lives as long as the frame.
        (!shape.is_null()).then(|| unsafe { CStr::from_ptr(shape) })
    }

    fn plane_at(&self, index: usize) -> Result<*mut abi::Plane, Error> {
        let fields = self.fields();
        let stride = fields.plane_stride as usize;
        if index >= fields.plane_count as usize || stride < size_of::<abi::Plane>() || fields.planes.is_null()
        {
            return Err(Error::format("a frame lacks a plane"));
        }
        // SAFETY: `plane_count` planes lie `plane_stride` bytes apart.
        Ok(unsafe { fields.planes.byte_add(index * stride) })
    }

    /// The fields of plane `index`.
    pub(crate) fn plane(&self, index: usize) -> Result<abi::Plane, Error> {
        // SAFETY: `plane_at` gives planes that are there.
        Ok(unsafe { *self.plane_at(index)? })
    }

    /// Says how much of the one plane of a packet or of data is used.
    pub(crate) fn set_length(&mut self, length: u32) -> Result<(), Error> {
        let plane = self.plane_at(0)?;
        // SAFETY: `plane_at` gives planes that are there; `&mut self` is the one
        // holder of an output.
        unsafe { (*plane).width = length };
        Ok(())
    }

    /// Where the samples of a plane begin and how many there are from its first to
    /// its last, `width` in each of its rows: checked against what the host says is
    /// there.
    fn extent<T: Sample>(plane: &abi::Plane, width: usize) -> Result<(*mut T, usize, usize), Error> {
        let bytes = size_of::<T>();
        let height = plane.height as usize;
        if width == 0 || height == 0 {
            return Ok((NonNull::dangling().as_ptr(), 0, width));
        }
        let stride = if height == 1 { width } else { plane.stride / bytes };
        let length = (height - 1).checked_mul(stride).and_then(|before| before.checked_add(width));
        let fits =
            length.and_then(|length| length.checked_mul(bytes)).is_some_and(|all| all <= plane.capacity);
        let even = height == 1 || plane.stride.is_multiple_of(bytes);
        let data: *mut T = plane.data.cast();
        match length {
            Some(length) if fits && even && stride >= width && !data.is_null() && data.is_aligned() => {
                Ok((data, length, stride))
            }
            _ => Err(Error::format("a plane is larger than its memory")),
        }
    }

    /// The samples of plane `index`, from its first to its last, and how many there
    /// are from row to row.
    pub(crate) fn samples<T: Sample>(&self, index: usize, width: usize) -> Result<(&'a [T], usize), Error> {
        let (data, length, stride) = Self::extent(&self.plane(index)?, width)?;
        // SAFETY: `extent` has checked that so many aligned samples lie within the
        // plane's memory, which the invariant keeps from being written for `'a`.
        Ok((unsafe { core::slice::from_raw_parts(data, length) }, stride))
    }

    /// The same, to be written.
    pub(crate) fn samples_mut<T: Sample>(
        &mut self,
        index: usize,
        width: usize,
    ) -> Result<(&mut [T], usize), Error> {
        let (data, length, stride) = Self::extent(&self.plane(index)?, width)?;
        // SAFETY: as in `samples`; an output has one holder, and the slice borrows it.
        Ok((unsafe { core::slice::from_raw_parts_mut(data, length) }, stride))
    }

    /// The samples of several planes at once, each `widths` wide, to be written.
    pub(crate) fn all_samples_mut<T: Sample, const N: usize>(
        &mut self,
        widths: [usize; N],
    ) -> Result<[(&mut [T], usize); N], Error> {
        let mut extents = [(NonNull::dangling().as_ptr(), 0, 0); N];
        for (index, width) in widths.into_iter().enumerate() {
            let (data, length, stride) = Self::extent::<T>(&self.plane(index)?, width)?;
            let ends = |data: *mut T, length: usize| (data as usize, data as usize + length * size_of::<T>());
            let (from, to) = ends(data, length);
            let apart = |&(data, length, _): &(*mut T, usize, usize)| {
                let (other_from, other_to) = ends(data, length);
                length == 0 || to <= other_from || other_to <= from
            };
            if !extents[..index].iter().all(apart) {
                return Err(Error::format("planes of a frame overlap"));
            }
            extents[index] = (data, length, stride);
        }
        // SAFETY: as in `samples_mut`; that they lie apart was checked above.
        Ok(extents
            .map(|(data, length, stride)| (unsafe { core::slice::from_raw_parts_mut(data, length) }, stride)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(64))]
    struct Memory([u8; 256]);

    fn refused(lie: impl Fn(&mut abi::Frame, &mut abi::Plane)) -> bool {
        let mut memory = Memory([7; 256]);
        let mut plane = abi::Plane {
            size: size_of::<abi::Plane>() as u32,
            width: 60,
            height: 2,
            reserved: 0,
            stride: 64,
            capacity: 256,
            data: memory.0.as_mut_ptr(),
        };
        let mut frame = abi::Frame {
            size: size_of::<abi::Frame>() as u32,
            media: abi::SIDETONE_MEDIA_VIDEO,
            format: abi::SIDETONE_FORMAT_I420,
            flags: 0,
            pts_ns: 0,
            captured_ns: 0,
            duration_ns: 0,
            sequence: 0,
            width: 60,
            height: 2,
            rate: 0,
            plane_count: 1,
            plane_stride: size_of::<abi::Plane>() as u32,
            reserved: 0,
            planes: &mut plane,
            shape: core::ptr::null(),
        };
        let planes = frame.planes;
        lie(&mut frame, &mut plane);
        if frame.planes == planes {
            frame.planes = &mut plane;
        }
        // SAFETY: the frame and its memory outlive what is made of them here.
        let Some(lent) = (unsafe { Lent::new(&raw const frame) }) else { return true };
        lent.samples::<u8>(0, plane.width as usize).map(|(samples, _)| assert!(samples.len() <= 256)).is_err()
    }

    #[test]
    fn what_a_host_says_of_a_frame_is_checked_against_its_memory() {
        assert!(!refused(|_, _| ()));
        assert!(!refused(|_, plane| plane.height = 4), "256 bytes hold four rows");
        assert!(refused(|_, plane| plane.height = 5));
        assert!(refused(|_, plane| plane.width = 65), "a row is longer than the stride");
        assert!(refused(|_, plane| plane.stride = 0));
        assert!(refused(|_, plane| plane.stride = usize::MAX));
        assert!(refused(|_, plane| (plane.height, plane.stride) = (u32::MAX, usize::MAX / 2)));
        assert!(refused(|_, plane| plane.capacity = 123));
        assert!(refused(|_, plane| plane.data = core::ptr::null_mut()));
        assert!(refused(|frame, _| frame.plane_count = 0));
        assert!(refused(|frame, _| frame.plane_stride = 8));
        assert!(refused(|frame, _| frame.planes = core::ptr::null_mut()));
        assert!(refused(|frame, _| frame.size = 8), "a frame of another version");
    }
}
