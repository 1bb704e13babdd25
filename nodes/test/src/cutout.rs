//! `Cutout`: a drawing with soft edges, laid over pictures between pixels.

use std::ops::Range;

use sidetone_core::{Plane, PlaneMut};

/// Fractions of a pixel that positions are given in.
pub(crate) const PARTS: i32 = 16;

/// One plane of a drawing: values already multiplied by how much they cover,
/// so that moving it between pixels makes no dark fringe.
pub(crate) struct Cutout {
    pub(crate) width: usize,
    pub(crate) height: usize,
    values: Vec<u8>,
    cover: Vec<u8>,
    /// In each row, what is not empty; never its first or last column.
    spans: Vec<Range<usize>>,
}

impl Cutout {
    /// A drawing whose value and cover (both 0 to 255, the value not yet
    /// multiplied) at a pixel are `draw(x, y)`. Its first and last columns stay
    /// empty. \[control\]
    pub(crate) fn new(width: usize, height: usize, mut draw: impl FnMut(usize, usize) -> (f32, f32)) -> Self {
        let mut cutout = Self {
            width,
            height,
            values: vec![0; width * height],
            cover: vec![0; width * height],
            spans: Vec::with_capacity(height),
        };
        for y in 0..height {
            let mut span = 0..0;
            for x in 1..width.saturating_sub(1) {
                let (value, cover) = draw(x, y);
                let cover = (cover + 0.5) as u8;
                if cover > 0 {
                    cutout.cover[y * width + x] = cover;
                    cutout.values[y * width + x] = (value * f32::from(cover) / 255.0 + 0.5) as u8;
                    span = if span.is_empty() { x..x + 1 } else { span.start..x + 1 };
                }
            }
            cutout.spans.push(span);
        }
        cutout
    }

    /// Puts `patch` in at (`x`, `y`), where the drawing covers fully. \[real-time\]
    pub(crate) fn patch(&mut self, patch: &Patch, x: usize, y: usize) {
        for (row, from) in patch.values.chunks_exact(patch.width).enumerate() {
            let start = (y + row) * self.width + x;
            self.values[start..start + patch.width].copy_from_slice(from);
        }
    }

    /// Lays it over `plane` with its corner at (`left`, `top`), in parts of a
    /// pixel, each row moved right by `lean(row)` parts more. \[real-time\]
    pub(crate) fn lay(&self, plane: &mut PlaneMut<'_>, left: i32, top: i32, lean: impl Fn(usize) -> i32) {
        // Pixel y of the plane lies between rows j and j + 1 of the drawing.
        let (shift, down) = split(top);
        for y in 0..plane.height {
            let j = y as i32 - shift - 1;
            let Ok(j) = usize::try_from(j) else { continue };
            if j + 1 >= self.height {
                break;
            }
            let (upper, lower) = (&self.spans[j], &self.spans[j + 1]);
            let span = match (upper.is_empty(), lower.is_empty()) {
                (true, true) => continue,
                (true, false) => lower.clone(),
                (false, true) => upper.clone(),
                (false, false) => upper.start.min(lower.start)..upper.end.max(lower.end),
            };
            let (shift, across) = split(left + lean(j));
            // What it covers, one more for the pixel it reaches into, cut to the plane.
            let from = (span.start as i32 + shift).max(0);
            let to = (span.end as i32 + shift + 1).min(plane.width as i32);
            if from >= to {
                continue;
            }
            let start = (from - shift - 1) as usize;
            let count = (to - from) as usize;
            let row = |data: &'_ [u8], j: usize| -> Range<usize> {
                debug_assert!(j * self.width + start + count < data.len());
                j * self.width + start..j * self.width + start + count + 1
            };
            let out = &mut plane.row_mut(y)[from as usize..to as usize];
            let weights = Weights::new(across, down);
            blend(
                out,
                [&self.values[row(&self.values, j)], &self.values[row(&self.values, j + 1)]],
                [&self.cover[row(&self.cover, j)], &self.cover[row(&self.cover, j + 1)]],
                weights,
            );
        }
    }
}

/// A part of a drawing in another state, fully covering.
pub(crate) struct Patch {
    width: usize,
    values: Vec<u8>,
}

impl Patch {
    /// One whose value at a pixel is `draw(x, y)`. \[control\]
    pub(crate) fn new(width: usize, height: usize, mut draw: impl FnMut(usize, usize) -> f32) -> Self {
        let mut values = Vec::with_capacity(width * height);
        for y in 0..height {
            values.extend((0..width).map(|x| (draw(x, y) + 0.5) as u8));
        }
        Self { width, values }
    }
}

/// Copies the part of `from` that begins `left` parts of a pixel in and is as
/// large as `to`; `from` is wider by at least that and one more. \[real-time\]
pub(crate) fn pan(from: Plane<'_>, to: &mut PlaneMut<'_>, left: usize) {
    let (whole, part) = (left / PARTS as usize, (left % PARTS as usize) as u16);
    for y in 0..to.height {
        let out = to.row_mut(y);
        let source = &from.row(y)[whole..whole + out.len() + 1];
        for (out, pair) in out.iter_mut().zip(source.windows(2)) {
            *out = ((u16::from(pair[0]) * (16 - part) + u16::from(pair[1]) * part + 8) >> 4) as u8;
        }
    }
}

/// A position in whole pixels, rounded down, and the weight of 1 to 16 that the
/// later of the two samples around a pixel has.
fn split(position: i32) -> (i32, u16) {
    (position.div_euclid(PARTS), (PARTS - position.rem_euclid(PARTS)) as u16)
}

/// How much each of four neighbours counts; 256 in all, so that sums of
/// products fit 16 bits and the compiler can do many at once.
#[derive(Clone, Copy)]
struct Weights([u16; 4]);

impl Weights {
    const fn new(across: u16, down: u16) -> Self {
        Self([(16 - across) * (16 - down), across * (16 - down), (16 - across) * down, across * down])
    }
}

/// Lays one row over `out`; the rows of `values` and `cover` hold one more.
fn blend(out: &mut [u8], values: [&[u8]; 2], cover: [&[u8]; 2], Weights(w): Weights) {
    let count = out.len();
    let [[v0, v1], [v2, v3]] = values.map(|row| [&row[..count], &row[1..=count]]);
    let [[c0, c1], [c2, c3]] = cover.map(|row| [&row[..count], &row[1..=count]]);
    let at = |row: &[u8], index: usize, weight: u16| u16::from(row[index]) * weight;
    for (index, out) in out.iter_mut().enumerate() {
        let value = at(v0, index, w[0]) + at(v1, index, w[1]) + at(v2, index, w[2]) + at(v3, index, w[3]);
        let cover = at(c0, index, w[0]) + at(c1, index, w[1]) + at(c2, index, w[2]) + at(c3, index, w[3]);
        let cover = (cover + 128) >> 8;
        // 255 covers wholly: stretch it to 256.
        let seen = 256 - (cover + (cover >> 7));
        let behind = (u16::from(*out) * seen + 128) >> 8;
        *out = (((value + 128) >> 8) + behind).min(255) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(cutout: &Cutout, left: i32, top: i32) -> Vec<u8> {
        let mut data = vec![100; 20 * 10];
        let mut plane = PlaneMut { data: &mut data, stride: 20, width: 20, height: 10 };
        cutout.lay(&mut plane, left, top, |_| 0);
        data
    }

    #[test]
    fn at_whole_pixels_a_full_cutout_covers_exactly() {
        let cutout =
            Cutout::new(6, 6, |x, y| (200.0, if (1..5).contains(&y) && x < 5 { 255.0 } else { 0.0 }));
        let data = laid(&cutout, 3 * PARTS, 2 * PARTS);
        for y in 0..10 {
            for x in 0..20 {
                let inside = (4..8).contains(&x) && (3..7).contains(&y);
                assert_eq!(data[y * 20 + x], if inside { 200 } else { 100 }, "{x},{y}");
            }
        }
    }

    #[test]
    fn halfway_between_pixels_the_edge_is_half() {
        let cutout = Cutout::new(6, 6, |_, _| (200.0, 255.0));
        let data = laid(&cutout, 3 * PARTS + 8, 2 * PARTS);
        assert_eq!(data[5 * 20 + 3..5 * 20 + 10], [100, 150, 200, 200, 200, 150, 100]);
    }

    #[test]
    fn outside_the_picture_it_is_cut_off() {
        let cutout = Cutout::new(6, 6, |_, _| (200.0, 255.0));
        for left in -200..500 {
            for top in [-300, -40, 0, 3, 120, 150, 400] {
                let data = laid(&cutout, left, top);
                assert!(data.iter().all(|pixel| (100..=200).contains(pixel)));
            }
        }
    }

    #[test]
    fn panning_moves_by_parts_of_a_pixel() {
        let from: Vec<u8> = (0..8).map(|x| x * 16).collect();
        let mut out = [0; 4];
        let mut to = PlaneMut { data: &mut out, stride: 4, width: 4, height: 1 };
        pan(Plane { data: &from, stride: 8, width: 8, height: 1 }, &mut to, 2 * 16 + 5);
        assert_eq!(out, [37, 53, 69, 85]);
    }
}
