//! I420 to and from packed pixels of four bytes, for effects that take those.
//!
//! The conversion is BT.601, limited range (16 to 235), which is what the rest of
//! Sidetone takes I420 for; it is done by the `yuv` crate, whose plain twin is in
//! the tests here. There and back costs what subsampled chroma costs: a picture of
//! grey comes back within 1, one of smooth colour within 2; where colours change
//! from pixel to pixel only luma does.
//!
//! I420 has no transparency: it is 255 on the way in and not looked at on the way
//! back.

use sidetone_core::Size;
use yuv::{
    BufferStoreMut, YuvConversionMode, YuvPlanarImage, YuvPlanarImageMut, YuvRange, YuvStandardMatrix,
};

/// In which order the bytes of a pixel stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Red, green, blue, alpha.
    Rgba,
    /// Blue, green, red, alpha.
    Bgra,
}

/// A picture of packed pixels, four bytes each, its sides rounded up to multiples
/// of 8, its rows without gaps, in memory aligned to 16 bytes: as frei0r wants it.
pub struct Packed {
    /// One to four pixels; `u128` for its alignment.
    pixels: Vec<u128>,
    /// Of the picture in it.
    size: Size,
    /// Bytes of a row.
    stride: usize,
}

impl Packed {
    /// A black, transparent picture that holds one of `size`. \[control\]
    #[must_use]
    pub fn new(size: Size) -> Self {
        let padded = padded(size);
        let bytes = padded.width as usize * padded.height as usize * 4;
        Self { pixels: vec![0; bytes / size_of::<u128>()], size, stride: padded.width as usize * 4 }
    }

    /// Its pixels, row after row. \[real-time\]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.pixels)
    }

    /// The same, to write. \[real-time\]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.pixels)
    }

    /// Takes over a picture of `size`, its last column and row repeated to the padded
    /// size: rows of Y, Cb and Cr, and bytes from row to row. \[real-time\]
    ///
    /// # Errors
    /// If it is of another size, or has fewer rows.
    pub fn load(&mut self, size: Size, planes: [(&[u8], usize); 3], order: Order) -> Result<(), WrongSize> {
        self.check(size)?;
        let [(y_plane, y_stride), (u_plane, u_stride), (v_plane, v_stride)] =
            planes.map(|(rows, stride)| (rows, stride as u32));
        let Size { width, height } = size;
        let planes =
            YuvPlanarImage { y_plane, y_stride, u_plane, u_stride, v_plane, v_stride, width, height };
        let convert = match order {
            Order::Rgba => yuv::yuv420_to_rgba,
            Order::Bgra => yuv::yuv420_to_bgra,
        };
        let stride = self.stride as u32;
        convert(&planes, self.bytes_mut(), stride, YuvRange::Limited, YuvStandardMatrix::Bt601)
            .map_err(|_| WrongSize)?;
        self.repeat_edges();
        Ok(())
    }

    /// Writes the picture, of `size`, without what pads it: into rows of Y, Cb and Cr,
    /// with bytes from row to row. \[real-time\]
    ///
    /// # Errors
    /// If it is of another size, or there is room for fewer rows.
    pub fn store(&self, size: Size, planes: [(&mut [u8], usize); 3], order: Order) -> Result<(), WrongSize> {
        self.check(size)?;
        let [y, u, v] = planes.map(|(rows, stride)| (BufferStoreMut::Borrowed(rows), stride as u32));
        let mut planes = YuvPlanarImageMut {
            y_plane: y.0,
            y_stride: y.1,
            u_plane: u.0,
            u_stride: u.1,
            v_plane: v.0,
            v_stride: v.1,
            width: size.width,
            height: size.height,
        };
        let convert = match order {
            Order::Rgba => yuv::rgba_to_yuv420,
            Order::Bgra => yuv::bgra_to_yuv420,
        };
        let (range, matrix) = (YuvRange::Limited, YuvStandardMatrix::Bt601);
        // Without the rows that pad: yuv 0.8 takes an odd picture's last row from
        // behind the last even one, wherever the picture ends.
        let pixels = &self.bytes()[..self.stride * self.size.height as usize];
        convert(&mut planes, pixels, self.stride as u32, range, matrix, YuvConversionMode::Balanced)
            .map_err(|_| WrongSize)
    }

    fn check(&self, size: Size) -> Result<(), WrongSize> {
        if size == self.size { Ok(()) } else { Err(WrongSize) }
    }

    fn repeat_edges(&mut self) {
        let (stride, used) = (self.stride, self.size.width as usize * 4);
        let height = self.size.height as usize;
        let bytes = self.bytes_mut();
        if used < stride {
            for row in bytes.chunks_exact_mut(stride).take(height) {
                let (picture, padding) = row.split_at_mut(used);
                let last = &picture[used - 4..];
                padding.chunks_exact_mut(4).for_each(|pixel| pixel.copy_from_slice(last));
            }
        }
        let last = (height - 1) * stride;
        for start in (height * stride..bytes.len()).step_by(stride) {
            bytes.copy_within(last..last + stride, start);
        }
    }
}

/// `size` with its sides rounded up to multiples of 8. \[any\]
#[must_use]
pub const fn padded(size: Size) -> Size {
    Size::new(size.width.next_multiple_of(8), size.height.next_multiple_of(8))
}

/// The frame is no picture of the size that was agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame came that is no picture of the size agreed upon")]
pub struct WrongSize;

#[cfg(test)]
mod tests {
    use sidetone_core::{Format, Frame, Header, VideoFormat};

    use super::*;

    fn picture(width: u32, height: u32, sample: impl Fn(usize, usize, usize) -> u8) -> Frame {
        let format = Format::Video(VideoFormat::i420(Size::new(width, height)));
        let mut frame = Frame::unpooled(Header::default(), format);
        for (index, mut plane) in frame.planes_mut().into_iter().enumerate() {
            plane.data.fill(0xa5);
            for y in 0..plane.height {
                for (x, value) in plane.row_mut(y).iter_mut().enumerate() {
                    *value = sample(index, x, y);
                }
            }
        }
        frame
    }

    fn load(packed: &mut Packed, frame: &Frame, order: Order) -> Result<(), WrongSize> {
        let planes = [0, 1, 2].map(|plane| (frame.plane(plane).data, frame.plane(plane).stride));
        packed.load(frame.video().unwrap().size, planes, order)
    }

    fn store(packed: &Packed, frame: &mut Frame, order: Order) {
        let size = frame.video().unwrap().size;
        let planes = frame.planes_mut().map(|plane| (plane.data, plane.stride));
        packed.store(size, planes, order).unwrap();
    }

    /// BT.601 as the standard writes it, in floating point, chroma of the nearest sample.
    fn plain_rgb(frame: &Frame, x: usize, y: usize) -> [f64; 3] {
        let at = |plane: usize, x: usize, y: usize| f64::from(frame.plane(plane).row(y)[x]);
        let luma = (at(0, x, y) - 16.0) * 255.0 / 219.0;
        let (cb, cr) = (at(1, x / 2, y / 2) - 128.0, at(2, x / 2, y / 2) - 128.0);
        let (cb, cr) = (cb * 255.0 / 224.0, cr * 255.0 / 224.0);
        [luma + 1.402 * cr, luma - 0.344_136 * cb - 0.714_136 * cr, luma + 1.772 * cb]
            .map(|value| value.clamp(0.0, 255.0))
    }

    /// Luma of a pixel and the two chromas of the mean of `pixels`.
    fn plain_yuv(pixels: &[[f64; 3]]) -> [f64; 3] {
        let count = pixels.len() as f64;
        let [r, g, b] =
            [0, 1, 2].map(|channel| pixels.iter().map(|pixel| pixel[channel]).sum::<f64>() / count);
        let luma = 0.299 * r + 0.587 * g + 0.114 * b;
        [
            16.0 + luma * 219.0 / 255.0,
            128.0 + (b - luma) / 1.772 * 224.0 / 255.0,
            128.0 + (r - luma) / 1.402 * 224.0 / 255.0,
        ]
    }

    const SIZES: [(u32, u32); 7] = [(8, 8), (64, 32), (33, 17), (1, 1), (2, 3), (7, 2), (129, 65)];

    #[test]
    fn packing_agrees_with_the_standard_at_any_size_and_repeats_the_edges() {
        let mut random = fastrand::Rng::with_seed(1);
        let noise: Vec<u8> = (0..4096).map(|_| random.u8(16..=235)).collect();
        for (width, height) in SIZES {
            let frame = picture(width, height, |plane, x, y| noise[(plane * 997 + y * 131 + x) % 4096]);
            for order in [Order::Rgba, Order::Bgra] {
                let mut packed = Packed::new(Size::new(width, height));
                load(&mut packed, &frame, order).unwrap();
                let padded = padded(packed.size);
                assert_eq!(packed.bytes().as_ptr() as usize % 16, 0);
                for y in 0..padded.height as usize {
                    for x in 0..padded.width as usize {
                        let want = plain_rgb(&frame, x.min(width as usize - 1), y.min(height as usize - 1));
                        let mut got: [u8; 4] =
                            packed.bytes()[y * packed.stride + x * 4..][..4].try_into().unwrap();
                        if order == Order::Bgra {
                            got.swap(0, 2);
                        }
                        for channel in 0..3 {
                            let off = (f64::from(got[channel]) - want[channel]).abs();
                            assert!(off <= 2.0, "{width}x{height} at {x},{y}: {got:?}, not {want:?}");
                        }
                        assert_eq!(got[3], 255);
                    }
                }
            }
        }
    }

    #[test]
    fn unpacking_agrees_with_the_standard_and_keeps_to_the_picture() {
        let mut random = fastrand::Rng::with_seed(2);
        for (width, height) in SIZES {
            let mut packed = Packed::new(Size::new(width, height));
            packed.bytes_mut().iter_mut().for_each(|byte| *byte = random.u8(..));
            let mut frame = picture(width, height, |_, _, _| 0);
            store(&packed, &mut frame, Order::Rgba);
            let pixel = |x: usize, y: usize| -> [f64; 3] {
                let (x, y) = (x.min(width as usize - 1), y.min(height as usize - 1));
                let at = &packed.bytes()[y * packed.stride + x * 4..];
                [0, 1, 2].map(|channel| f64::from(at[channel]))
            };
            for y in 0..height as usize {
                for x in 0..width as usize {
                    let want = plain_yuv(&[pixel(x, y)])[0];
                    let off = (f64::from(frame.plane(0).row(y)[x]) - want).abs();
                    assert!(off <= 1.5, "luma of {width}x{height} at {x},{y}: off by {off}");
                }
            }
            for y in 0..frame.plane(1).height {
                for x in 0..frame.plane(1).width {
                    let corners =
                        [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(dx, dy)| pixel(2 * x + dx, 2 * y + dy));
                    let want = plain_yuv(&corners);
                    for plane in [1, 2] {
                        let off = (f64::from(frame.plane(plane).row(y)[x]) - want[plane]).abs();
                        assert!(off <= 2.0, "plane {plane} of {width}x{height} at {x},{y}: off by {off}");
                    }
                }
            }
            for plane in 0..3 {
                let plane = frame.plane(plane);
                let mut gaps = plane.data.chunks(plane.stride).map(|row| &row[plane.width..]);
                assert!(gaps.all(|gap| gap.iter().all(|byte| *byte == 0xa5)), "{width}x{height}");
            }
        }
    }

    #[test]
    fn grey_comes_back_within_one_and_smooth_colour_within_two() {
        type Sample = fn(usize, usize, usize) -> usize;
        let grey: Sample = |plane, x, y| if plane == 0 { 16 + 3 * x + y } else { 128 };
        let colour: Sample = |plane, x, y| if plane == 0 { 90 + x } else { 100 + 2 * x + y };
        for (sample, most) in [(grey, 1), (colour, 2)] {
            let (width, height) = (40, 24);
            let frame = picture(width, height, |plane, x, y| sample(plane, x, y) as u8);
            let mut back = picture(width, height, |_, _, _| 0);
            for order in [Order::Rgba, Order::Bgra] {
                let mut packed = Packed::new(Size::new(width, height));
                load(&mut packed, &frame, order).unwrap();
                store(&packed, &mut back, order);
                for plane in 0..3 {
                    for y in 0..frame.plane(plane).height {
                        let (was, is) = (frame.plane(plane).row(y), back.plane(plane).row(y));
                        let off = was.iter().zip(is).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
                        assert!(off <= most, "plane {plane}, row {y}: off by {off}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_frame_of_another_size_is_refused() {
        let mut packed = Packed::new(Size::new(16, 16));
        assert_eq!(load(&mut packed, &picture(16, 8, |_, _, _| 0), Order::Rgba), Err(WrongSize));
    }
}
