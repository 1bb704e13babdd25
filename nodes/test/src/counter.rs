//! The frame counter: a number written into a picture as a strip of black and
//! white blocks that encoders, scalers and smoothing leave readable.
//!
//! The strip stands in the top left corner: two rows of 18 blocks, each a 20th
//! of the picture wide and two 45ths high (32 by 16 pixels at 640x360, which
//! lies on the grid of video coders' transforms). The blocks at its corners are
//! fixed, white and black above, black and white below; they tell the reader
//! the levels and that there is a strip at all. The other 32 hold, row by row,
//! 20 bits of the number and 12 of a cyclic redundancy check, highest first.

use sidetone_core::{Frame, Plane, PlaneMut};

/// Numbers run from 0 to one less than this, then from 0 again: 9.7 hours at
/// 30 frames a second.
pub const COUNTER_NUMBERS: u32 = 1 << BITS;

/// The number of a frame of `test.scene`, read from the picture itself; `None`
/// if there is none or it cannot be read beyond doubt. \[any\]
///
/// The picture may have been encoded, scaled, smoothed, or moved a pixel or
/// two; it may not have been cropped or mirrored. Blocks should still be about
/// 4 pixels wide, as they are in a picture 80 pixels across.
#[must_use]
pub fn read_counter(frame: &Frame) -> Option<u32> {
    frame.video()?;
    let luma = frame.plane(0);
    read_counter_in(&luma, [0, 0, luma.width, luma.height])
}

/// The same, of a scene that stands at `[x, y, width, height]` in the luma
/// plane of a larger picture. \[any\]
#[must_use]
pub fn read_counter_in(luma: &Plane<'_>, [x, y, width, height]: [usize; 4]) -> Option<u32> {
    let fits =
        |from: usize, size: usize, limit: usize| from.checked_add(size).is_some_and(|end| end <= limit);
    if width < COLUMNS || height < COLUMNS || !fits(x, width, luma.width) || !fits(y, height, luma.height) {
        return None;
    }
    let level = |row: usize, column: usize| {
        // The middle half of the block, where its neighbours show least.
        let across =
            |quarters: usize| x as f32 + (column * 4 + quarters) as f32 * width as f32 / ACROSS_QUARTERS;
        let down = |quarters: usize| y as f32 + (row * 4 + quarters) as f32 * height as f32 / DOWN_QUARTERS;
        mean(luma, [across(1), across(3)], [down(1), down(3)])
    };
    let last = COLUMNS - 1;
    let (white, black) = ([level(0, 0), level(1, last)], [level(0, last), level(1, 0)]);
    let (white_mean, black_mean) = ((white[0] + white[1]) / 2.0, (black[0] + black[1]) / 2.0);
    let contrast = white_mean - black_mean;
    let middle = (white_mean + black_mean) / 2.0;
    let doubt = contrast * DOUBT;
    let is_strip = contrast >= LEAST_CONTRAST
        && white.iter().all(|level| *level > middle + doubt)
        && black.iter().all(|level| *level < middle - doubt);
    if !is_strip {
        return None;
    }
    let mut word = 0u32;
    for (row, column) in cells() {
        let above = level(row, column) - middle;
        if above.abs() < doubt {
            return None;
        }
        word = word << 1 | u32::from(above > 0.0);
    }
    let number = word >> CHECK_BITS;
    (word == with_check(number)).then_some(number)
}

/// Writes the strip of `number`, modulo [`COUNTER_NUMBERS`].
pub(crate) fn write_counter(planes: &mut [PlaneMut<'_>; 3], number: u32) {
    let word = with_check(number % COUNTER_NUMBERS);
    let last = COLUMNS - 1;
    let mut blocks = [[false; COLUMNS]; 2];
    blocks[0][0] = true;
    blocks[1][last] = true;
    for (index, (row, column)) in cells().enumerate() {
        blocks[row][column] = word >> (31 - index) & 1 == 1;
    }
    let (width, height) = (planes[0].width, planes[0].height);
    let down = |row: usize| row * 2 * height / 45;
    let across = |column: usize| column * width / 20;
    for (row, blocks) in blocks.iter().enumerate() {
        for y in down(row)..down(row + 1) {
            let line = planes[0].row_mut(y);
            for (column, white) in blocks.iter().enumerate() {
                line[across(column)..across(column + 1)].fill(if *white { WHITE } else { BLACK });
            }
        }
    }
    for chroma in &mut planes[1..] {
        for y in 0..down(2).div_ceil(2) {
            chroma.row_mut(y)[..across(COLUMNS).div_ceil(2)].fill(128);
        }
    }
}

const BITS: u32 = 20;
const CHECK_BITS: u32 = 12;
const COLUMNS: usize = 18;
const ACROSS_QUARTERS: f32 = 80.0;
const DOWN_QUARTERS: f32 = 90.0;
/// Inside the limited range, so that ringing at their edges is not cut off.
const WHITE: u8 = 224;
const BLACK: u8 = 28;
/// A quarter of what is written.
const LEAST_CONTRAST: f32 = 48.0;
/// How far a block must stand from the middle grey, as a share of the contrast.
const DOUBT: f32 = 0.12;

/// The blocks of the number and its check, in order.
fn cells() -> impl Iterator<Item = (usize, usize)> {
    (0..2).flat_map(|row| (1..COLUMNS - 1).map(move |column| (row, column)))
}

/// The number with its check behind it: the remainder after division by
/// x^12 + x^11 + x^3 + x^2 + x + 1, begun with all ones so that 0 has a check
/// that is not 0.
fn with_check(number: u32) -> u32 {
    const POLYNOMIAL: u32 = 0x80f;
    let mut rest = 0xfff;
    for bit in (0..BITS).rev() {
        let out = rest >> 11 ^ number >> bit & 1;
        rest = rest << 1 & 0xfff;
        if out & 1 == 1 {
            rest ^= POLYNOMIAL;
        }
    }
    number << CHECK_BITS | rest
}

/// The mean of a box whose sides may lie between pixels.
fn mean(plane: &Plane<'_>, [left, right]: [f32; 2], [top, bottom]: [f32; 2]) -> f32 {
    let (mut sum, mut area) = (0.0, 0.0);
    for y in top as usize..(bottom.ceil() as usize).min(plane.height) {
        let tall = (bottom.min(y as f32 + 1.0) - top.max(y as f32)).max(0.0);
        let row = plane.row(y);
        for (x, pixel) in row.iter().enumerate().take(right.ceil() as usize).skip(left as usize) {
            let part = tall * (right.min(x as f32 + 1.0) - left.max(x as f32)).max(0.0);
            sum += part * f32::from(*pixel);
            area += part;
        }
    }
    if area > 0.0 { sum / area } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidetone_core::{Format, Header, Size, VideoFormat};

    fn picture(width: u32, height: u32) -> Frame {
        Frame::unpooled(Header::default(), Format::Video(VideoFormat::i420(Size::new(width, height))))
    }

    fn numbered(width: u32, height: u32, number: u32) -> Frame {
        let mut frame = picture(width, height);
        // A busy background, so that the strip's edges have something beside them.
        for (index, mut plane) in frame.planes_mut().into_iter().enumerate() {
            for y in 0..plane.height {
                for (x, pixel) in plane.row_mut(y).iter_mut().enumerate() {
                    *pixel = (x * 31 + y * 17 + index * 77) as u8;
                }
            }
        }
        write_counter(&mut frame.planes_mut(), number);
        frame
    }

    #[test]
    fn every_number_reads_back_at_any_size() {
        let mut rng = fastrand::Rng::with_seed(1);
        for (width, height) in [(640, 360), (64, 48), (65, 49), (1279, 719), (3840, 2160), (180, 320)] {
            for number in (0..20).chain((0..20).map(|_| rng.u32(0..COUNTER_NUMBERS))) {
                assert_eq!(read_counter(&numbered(width, height, number)), Some(number), "{width}x{height}");
            }
        }
        assert_eq!(read_counter(&numbered(640, 360, COUNTER_NUMBERS + 5)), Some(5));
    }

    #[test]
    fn a_wrong_block_is_never_read_as_another_number() {
        for first in 0..32 {
            for second in 0..32 {
                let mut frame = numbered(320, 180, 123_456);
                let mut planes = frame.planes_mut();
                for wrong in [first, second] {
                    let (row, column) = cells().nth(wrong).unwrap();
                    for y in row * 8..row * 8 + 8 {
                        for pixel in &mut planes[0].row_mut(y)[column * 16..column * 16 + 16] {
                            *pixel = 255 - *pixel;
                        }
                    }
                }
                let expected = (first == second).then_some(123_456);
                assert_eq!(read_counter(&frame), expected, "{first} {second}");
            }
        }
    }

    #[test]
    fn no_number_is_read_from_pictures_without_one() {
        let mut rng = fastrand::Rng::with_seed(2);
        let mut frame = picture(160, 90);
        for _ in 0..2000 {
            // Blocks of random grey in the very places: the hardest case.
            let mut planes = frame.planes_mut();
            for (row, column) in (0..2).flat_map(|row| (0..18).map(move |column| (row, column))) {
                let grey = rng.u8(..);
                for y in row * 4..row * 4 + 4 {
                    planes[0].row_mut(y)[column * 8..column * 8 + 8].fill(grey);
                }
            }
            assert_eq!(read_counter(&frame), None);
        }
        assert_eq!(read_counter(&picture(1, 1)), None);
    }

    #[test]
    fn a_scene_inside_a_larger_picture_is_read_where_it_stands() {
        let small = numbered(160, 120, 77);
        let mut large = picture(500, 300);
        let mut planes = large.planes_mut();
        for y in 0..120 {
            planes[0].row_mut(y + 33)[201..361].copy_from_slice(small.plane(0).row(y));
        }
        let luma = large.plane(0);
        assert_eq!(read_counter_in(&luma, [201, 33, 160, 120]), Some(77));
        assert_eq!(read_counter_in(&luma, [400, 33, 160, 120]), None);
        assert_eq!(read_counter_in(&luma, [usize::MAX, 0, 160, 120]), None);
    }
}
