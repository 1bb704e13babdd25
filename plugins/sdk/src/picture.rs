//! Pictures: three planes, Y, Cb and Cr.

use sidetone_plugin_abi as abi;

use crate::Error;
use crate::frame::Lent;
use crate::media::{Edit, Header, Reading, View, Writing};

/// A picture to be read: 8-bit Y, Cb and Cr, BT.601 limited range; Cb and Cr have
/// half the width and half the height, rounded up. \[real-time\]
pub struct Picture<'a> {
    frame: Lent<'a>,
    planes: [Plane<'a>; 3],
}

/// A picture to be written, or, in an effect that works in place, to be changed.
/// \[real-time\]
pub struct PictureMut<'a> {
    frame: Lent<'a>,
    widths: [usize; 3],
}

/// A plane of a picture, to be read.
#[derive(Clone, Copy)]
pub struct Plane<'a> {
    samples: &'a [u8],
    width: usize,
    stride: usize,
}

/// A plane of a picture, to be written.
pub struct PlaneMut<'a> {
    samples: &'a mut [u8],
    width: usize,
    stride: usize,
}

/// The widths of the planes of a frame that is a picture in I420.
fn widths(frame: &Lent<'_>) -> Result<[usize; 3], Error> {
    let fields = frame.fields();
    let is = fields.media == abi::SIDETONE_MEDIA_VIDEO
        && fields.format == abi::SIDETONE_FORMAT_I420
        && fields.width > 0
        && fields.height > 0;
    let halves = [fields.width.div_ceil(2), fields.height.div_ceil(2)];
    let sizes = [[fields.width, fields.height], halves, halves];
    for (index, [width, height]) in sizes.into_iter().enumerate() {
        let plane =
            if is { frame.plane(index)? } else { return Err(Error::format("this is no I420 picture")) };
        if plane.width != width || plane.height != height {
            return Err(Error::format("the planes of a picture do not fit its size"));
        }
    }
    Ok(sizes.map(|[width, _]| width as usize))
}

impl<'a> View<'a> for Picture<'a> {
    fn of(Reading(frame): Reading<'a>) -> Result<Self, Error> {
        let widths = widths(&frame)?;
        let plane = |index: usize| {
            let (samples, stride) = frame.samples(index, widths[index])?;
            Ok::<_, Error>(Plane { samples, width: widths[index], stride })
        };
        let planes = [plane(0)?, plane(1)?, plane(2)?];
        Ok(Self { frame, planes })
    }
}

impl<'a> Picture<'a> {
    /// Pixels in a row, from 1 to 16,384; odd numbers too.
    pub fn width(&self) -> usize {
        self.planes[0].width
    }

    /// Rows, likewise.
    pub fn height(&self) -> usize {
        self.planes[0].height()
    }

    /// When it was captured, and what else is known of it.
    pub fn header(&self) -> Header {
        Header::of(&self.frame)
    }

    /// Y, Cb and Cr.
    pub fn planes(&self) -> [Plane<'a>; 3] {
        self.planes
    }

    /// Brightness: 16 is black, 235 white.
    pub fn y(&self) -> Plane<'a> {
        self.planes[0]
    }

    /// Colour, blue against yellow: 128 is grey.
    pub fn cb(&self) -> Plane<'a> {
        self.planes[1]
    }

    /// Colour, red against green: 128 is grey.
    pub fn cr(&self) -> Plane<'a> {
        self.planes[2]
    }
}

impl<'a> Edit<'a> for PictureMut<'a> {
    fn of(Writing(mut frame): Writing<'a>) -> Result<Self, Error> {
        let widths = widths(&frame)?;
        frame.all_samples_mut::<u8, 3>(widths)?;
        Ok(Self { frame, widths })
    }
}

impl PictureMut<'_> {
    /// Pixels in a row, from 1 to 16,384; odd numbers too.
    pub fn width(&self) -> usize {
        self.frame.fields().width as usize
    }

    /// Rows, likewise.
    pub fn height(&self) -> usize {
        self.frame.fields().height as usize
    }

    /// When it was captured, and what else is known of it.
    pub fn header(&self) -> Header {
        Header::of(&self.frame)
    }

    /// Says when it was captured, and what else is known of it.
    pub fn set_header(&mut self, header: Header) {
        header.write(&mut self.frame);
    }

    /// Y, Cb and Cr, as they are.
    pub fn planes(&self) -> [Plane<'_>; 3] {
        core::array::from_fn(|index| {
            let (samples, stride) = self.frame.samples(index, self.widths[index]).unwrap_or((&[], 1));
            Plane { samples, width: self.widths[index], stride }
        })
    }

    /// Y, Cb and Cr, all at once.
    pub fn planes_mut(&mut self) -> [PlaneMut<'_>; 3] {
        let widths = self.widths;
        // That they are there was checked when this was made, and the host does not
        // change a frame that it has lent.
        let planes =
            self.frame.all_samples_mut(widths).unwrap_or_else(|_| [(); 3].map(|()| (&mut [][..], 1)));
        let mut widths = widths.into_iter();
        planes.map(|(samples, stride)| PlaneMut { samples, width: widths.next().unwrap_or(0), stride })
    }

    /// Brightness: 16 is black, 235 white.
    pub fn y_mut(&mut self) -> PlaneMut<'_> {
        let [y, _, _] = self.planes_mut();
        y
    }

    /// Makes it the same as `picture`, which has its size.
    pub fn copy_from(&mut self, picture: &Picture<'_>) -> Result<(), Error> {
        if (self.width(), self.height()) != (picture.width(), picture.height()) {
            return Err(Error::format("only a picture of the same size can be copied"));
        }
        for (mut to, from) in self.planes_mut().into_iter().zip(picture.planes()) {
            to.rows_mut().zip(from.rows()).for_each(|(to, from)| to.copy_from_slice(from));
        }
        Ok(())
    }
}

impl<'a> Plane<'a> {
    /// Samples in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        if self.samples.is_empty() { 0 } else { (self.samples.len() - self.width) / self.stride + 1 }
    }

    /// Row `y`, from the top. Panics where there is none.
    pub fn row(&self, y: usize) -> &'a [u8] {
        &self.samples[y * self.stride..][..self.width]
    }

    /// The rows, from the top.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let width = self.width;
        self.samples.chunks(self.stride.max(1)).map(move |row| &row[..width])
    }
}

impl PlaneMut<'_> {
    /// Samples in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        Plane { samples: self.samples, width: self.width, stride: self.stride }.height()
    }

    /// Row `y`, from the top, as it is. Panics where there is none.
    pub fn row(&self, y: usize) -> &[u8] {
        &self.samples[y * self.stride..][..self.width]
    }

    /// Row `y`, from the top. Panics where there is none.
    pub fn row_mut(&mut self, y: usize) -> &mut [u8] {
        &mut self.samples[y * self.stride..][..self.width]
    }

    /// The rows, from the top.
    pub fn rows_mut(&mut self) -> impl ExactSizeIterator<Item = &mut [u8]> {
        let width = self.width;
        self.samples.chunks_mut(self.stride.max(1)).map(move |row| &mut row[..width])
    }
}
