//! `PictureScaler`: resamples I420 pictures into a rectangle of another picture.
//!
//! Own code rather than a crate: the tables of weights are kept from frame to
//! frame, so that nothing is allocated once a size is known (the resizing crates
//! looked at compute them on every call), it reads and writes planes with
//! strides where they lie, and integer arithmetic gives the same bytes on every
//! machine.
//!
//! Method: separable, in fixed point. Rows are summed by a plain loop that
//! vectorises, samples along x one by one; so, to do little of the latter, a
//! picture that gets lower is summed down first and one that gets higher along
//! first. Between the passes a sample has 6 fractional bits. Weights have 14 and
//! add up to one exactly, so that flat areas stay what they are. Sample centres
//! are aligned, in chroma by the luma planes' ratio, which keeps odd sizes in
//! register. Beyond the picture's edge its last sample counts.

use sidetone_core::{Frame, Plane, PlaneMut, Size};

/// Weights are in units of 1/16384.
const ONE: i32 = 1 << 14;
/// Bits by which a sample between the two passes is finer.
const FINE: u32 = 6;

/// How samples between samples are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quality {
    /// Bilinear: two samples each way, however much smaller the picture gets.
    Fast,
    /// Area average where the picture gets smaller, Catmull-Rom (Keys 1981,
    /// a = −0.5) where it gets larger.
    Good,
}

impl Quality {
    /// The words of the graph file.
    pub(crate) const WORDS: &[&str] = &["fast", "good"];

    /// What `word` means; good for an unknown one. \[any\]
    pub(crate) fn of(word: &str) -> Self {
        if word == "fast" { Self::Fast } else { Self::Good }
    }
}

/// The part of a picture that is shown, in luma samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Window {
    /// All of a picture. \[any\]
    pub(crate) fn whole(size: Size) -> Self {
        Self { x: 0.0, y: 0.0, width: f64::from(size.width), height: f64::from(size.height) }
    }
}

/// Where a picture goes, in luma samples. `x` and `y` are even, so that luma
/// and chroma stay together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rect {
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

impl Rect {
    /// The same rectangle in plane `index`. \[any\]
    pub(crate) const fn in_plane(&self, index: usize) -> Self {
        if index == 0 {
            return *self;
        }
        let (width, height) = (self.width.div_ceil(2), self.height.div_ceil(2));
        Self { x: self.x / 2, y: self.y / 2, width, height }
    }
}

/// Resamples pictures, keeping its tables while sizes stay. \[real-time\], but
/// for the first picture of a size that was not prepared for.
#[derive(Default)]
pub(crate) struct PictureScaler {
    key: Option<(Size, Window, Rect, Quality)>,
    /// Along x and y, for luma and for chroma.
    axes: [[Axis; 2]; 2],
    scratch: Vec<i16>,
}

impl PictureScaler {
    /// Fills `to` of the picture `onto` with `window` of the picture `from`.
    pub(crate) fn scale(
        &mut self,
        from: &Frame,
        window: Window,
        onto: &mut [PlaneMut<'_>; 3],
        to: Rect,
        quality: Quality,
    ) {
        let Some(video) = from.video() else { return };
        self.prepare(video.size, window, to, quality);
        for (index, plane) in onto.iter_mut().enumerate() {
            let [x, y] = &self.axes[usize::from(index > 0)];
            resample(from.plane(index), plane, to.in_plane(index), x, y, &mut self.scratch);
        }
    }

    /// Makes the tables for pictures of size `from`, unless they are there. \[any\],
    /// allocates
    pub(crate) fn prepare(&mut self, from: Size, window: Window, to: Rect, quality: Quality) {
        let key = (from, window, to, quality);
        if self.key.replace(key) != Some(key) {
            self.axes = axes(key);
            let widest = self.axes.iter().map(|[_, y]| to.width * y.taps).max();
            self.scratch.resize((from.width as usize).max(widest.unwrap_or(0)), 0);
        }
    }
}

fn axes((from, window, to, quality): (Size, Window, Rect, Quality)) -> [[Axis; 2]; 2] {
    let (x_step, y_step) = (window.width / to.width as f64, window.height / to.height as f64);
    let from = Rect { x: 0, y: 0, width: from.width as usize, height: from.height as usize };
    [(0, 1.0), (1, 2.0)].map(|(plane, part)| {
        let (from, to) = (from.in_plane(plane), to.in_plane(plane));
        [
            Axis::new(from.width, to.width, x_step, window.x / part, quality),
            Axis::new(from.height, to.height, y_step, window.y / part, quality),
        ]
    })
}

/// Which input samples make each output sample along one direction, and by
/// what weights.
#[derive(Default)]
struct Axis {
    /// Whether samples are taken one by one as they are.
    copies: bool,
    taps: usize,
    starts: Vec<usize>,
    /// `taps` for each output sample.
    weights: Vec<i16>,
}

impl Axis {
    /// For `to` samples, `step` input samples apart, the first one's left edge
    /// at `origin` of `from` samples.
    fn new(from: usize, to: usize, step: f64, origin: f64, quality: Quality) -> Self {
        let reach = match quality {
            Quality::Fast => 2,
            // One more where the samples' edges do not fall on one another.
            Quality::Good if step > 1.0 => {
                step.ceil() as usize + usize::from(step.fract() + origin.fract() > 0.0)
            }
            Quality::Good => 4,
        };
        let copies = step == 1.0 && origin.fract() == 0.0;
        let taps = if copies { 1 } else { reach }.min(from);
        let mut axis =
            Self { copies, taps, starts: Vec::with_capacity(to), weights: Vec::with_capacity(to * taps) };
        for index in 0..to {
            let left = origin + index as f64 * step;
            let centre = left + step / 2.0 - 0.5;
            let first = match quality {
                _ if copies => left,
                Quality::Fast => centre.floor(),
                Quality::Good if step > 1.0 => left.floor(),
                Quality::Good => centre.floor() - 1.0,
            };
            // What falls outside the picture is put on its outermost samples.
            let start = first.clamp(0.0, (from - taps) as f64);
            let mut row = vec![0.0; taps];
            for tap in 0..if copies { 1 } else { reach } {
                let at = first + tap as f64;
                let weight = match quality {
                    _ if copies => 1.0,
                    Quality::Fast => (1.0 - (at - centre).abs()).max(0.0),
                    Quality::Good if step > 1.0 => ((at + 1.0).min(left + step) - at.max(left)).max(0.0),
                    Quality::Good => catmull_rom(at - centre),
                };
                row[(at - start).clamp(0.0, (taps - 1) as f64) as usize] += weight;
            }
            axis.starts.push(start as usize);
            axis.weights.extend(fixed(&row));
        }
        axis
    }
}

fn catmull_rom(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}

/// Weights in fixed point that add up to `ONE`. Rounding the running sum keeps
/// each within one unit, however many they are.
fn fixed(weights: &[f64]) -> impl Iterator<Item = i16> {
    let sum: f64 = weights.iter().sum();
    let (mut running, mut before) = (0.0, 0);
    weights.iter().map(move |weight| {
        running += weight / sum * f64::from(ONE);
        let rounded = running.round() as i32;
        (rounded - std::mem::replace(&mut before, rounded)) as i16
    })
}

fn resample(from: Plane<'_>, onto: &mut PlaneMut<'_>, to: Rect, x: &Axis, y: &Axis, scratch: &mut [i16]) {
    let sides = to.x..to.x + to.width;
    if x.copies && y.taps == 1 {
        for index in 0..to.height {
            let row = &from.row(y.starts[index])[x.starts[0]..][..to.width];
            onto.row_mut(to.y + index)[sides.clone()].copy_from_slice(row);
        }
    } else if to.height > from.height {
        // Fewer rows come in than go out: each is summed along x once, and the
        // last few of them are kept, each in the place of its number mod taps.
        let mut next = 0;
        for index in 0..to.height {
            let start = y.starts[index];
            next = next.max(start);
            while next < start + y.taps {
                let place = &mut scratch[next % y.taps * to.width..][..to.width];
                along(from.row(next), x, place, fine);
                next += 1;
            }
            let kept = |tap: usize| &scratch[(start + tap) % y.taps * to.width..][..to.width];
            let weights = &y.weights[index * y.taps..][..y.taps];
            sum_rows(kept, weights, &mut onto.row_mut(to.y + index)[sides.clone()], rounded);
        }
    } else {
        let row = &mut scratch[..from.width];
        for index in 0..to.height {
            let start = y.starts[index];
            sum_rows(|tap| from.row(start + tap), &y.weights[index * y.taps..][..y.taps], row, fine);
            along(row, x, &mut onto.row_mut(to.y + index)[sides.clone()], rounded);
        }
    }
}

/// The weighted sum of a few rows, of which `source` gives the first, second …
fn sum_rows<'a, S: Copy + Into<i32> + 'a, O>(
    source: impl Fn(usize) -> &'a [S],
    weights: &[i16],
    out: &mut [O],
    finish: impl Fn(i32) -> O,
) {
    let part = |weight: i16, sample: &S| i32::from(weight) * (*sample).into();
    match *weights {
        [wa, wb] => {
            for ((out, a), b) in out.iter_mut().zip(source(0)).zip(source(1)) {
                *out = finish(part(wa, a) + part(wb, b));
            }
        }
        [wa, wb, wc, wd] => {
            let rows = source(0).iter().zip(source(1)).zip(source(2)).zip(source(3));
            for (out, (((a, b), c), d)) in out.iter_mut().zip(rows) {
                *out = finish(part(wa, a) + part(wb, b) + part(wc, c) + part(wd, d));
            }
        }
        _ => {
            // In blocks, so that the sums stay in the nearest cache.
            for (block, out) in out.chunks_mut(256).enumerate() {
                let mut sums = [0_i32; 256];
                for (tap, &weight) in weights.iter().enumerate() {
                    for (sum, sample) in sums.iter_mut().zip(&source(tap)[block * 256..]) {
                        *sum += part(weight, sample);
                    }
                }
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out = finish(sum));
            }
        }
    }
}

/// One row's weighted sums along x.
fn along<S: Copy + Into<i32>, O>(row: &[S], x: &Axis, out: &mut [O], finish: impl Fn(i32) -> O) {
    match x.taps {
        1 => along_by::<1, S, O>(row, x, out, finish),
        2 => along_by::<2, S, O>(row, x, out, finish),
        3 => along_by::<3, S, O>(row, x, out, finish),
        4 => along_by::<4, S, O>(row, x, out, finish),
        _ => {
            for ((out, &start), weights) in out.iter_mut().zip(&x.starts).zip(x.weights.chunks_exact(x.taps))
            {
                let products = row[start..].iter().zip(weights).map(|(&s, &w)| s.into() * i32::from(w));
                *out = finish(products.sum());
            }
        }
    }
}

/// The same for a number of taps known beforehand, which is what makes it fast.
fn along_by<const TAPS: usize, S: Copy + Into<i32>, O>(
    row: &[S],
    x: &Axis,
    out: &mut [O],
    finish: impl Fn(i32) -> O,
) {
    let (weights, _) = x.weights.as_chunks::<TAPS>();
    for ((out, &start), weights) in out.iter_mut().zip(&x.starts).zip(weights) {
        let mut sum = 0;
        for (&sample, &weight) in row[start..start + TAPS].iter().zip(weights) {
            sum += sample.into() * i32::from(weight);
        }
        *out = finish(sum);
    }
}

/// A sum of weighted samples as the second pass takes it. Bicubic overshoots by
/// a quarter at most: 255 * 64 * 1.25 fits.
fn fine(sum: i32) -> i16 {
    const SHIFT: u32 = 14 - FINE;
    ((sum + (1 << (SHIFT - 1))) >> SHIFT) as i16
}

/// A sum of weighted fine samples as a sample.
fn rounded(sum: i32) -> u8 {
    const SHIFT: u32 = 14 + FINE;
    ((sum + (1 << (SHIFT - 1))) >> SHIFT).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidetone_core::{Format, Header, VideoFormat};
    use std::time::Instant;

    fn picture(width: u32, height: u32) -> Frame {
        Frame::unpooled(Header::default(), Format::Video(VideoFormat::i420(Size::new(width, height))))
    }

    fn noise(width: u32, height: u32, seed: u64) -> Frame {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut frame = picture(width, height);
        frame.bytes_mut().iter_mut().for_each(|byte| *byte = random.u8(..));
        frame
    }

    fn whole(width: u32, height: u32) -> Rect {
        Rect { x: 0, y: 0, width: width as usize, height: height as usize }
    }

    /// The plain twin: every output sample by itself, in floating point.
    fn plain(from: &Frame, index: usize, to: Size, quality: Quality, x: usize, y: usize) -> f64 {
        let size = from.video().unwrap().size;
        let plane = from.plane(index);
        let weights = |from: usize, luma_from: u32, luma_to: u32, at: usize| {
            let step = f64::from(luma_from) / f64::from(luma_to);
            let (left, mut all) = (at as f64 * step, vec![0.0; from]);
            for sample in -40..from as i64 + 40 {
                let place = sample as f64 - (left + step / 2.0 - 0.5);
                let weight = match quality {
                    Quality::Fast => (1.0 - place.abs()).max(0.0),
                    Quality::Good if step > 1.0 => {
                        let (a, b) = (sample as f64, sample as f64 + 1.0);
                        (b.min(left + step) - a.max(left)).max(0.0)
                    }
                    Quality::Good => catmull_rom(place),
                };
                all[sample.clamp(0, from as i64 - 1) as usize] += weight;
            }
            let sum: f64 = all.iter().sum();
            all.into_iter().map(move |weight| weight / sum).collect::<Vec<_>>()
        };
        let along = weights(plane.width, size.width, to.width, x);
        let down = weights(plane.height, size.height, to.height, y);
        let row = |y: usize| plane.row(y).iter().zip(&along).map(|(&s, w)| f64::from(s) * w).sum::<f64>();
        down.iter().enumerate().map(|(y, w)| if *w == 0.0 { 0.0 } else { w * row(y) }).sum()
    }

    #[test]
    fn the_fast_kernel_is_within_one_of_its_plain_twin_at_any_size() {
        let sizes = [
            (64, 48, 33, 17),
            (33, 17, 64, 49),
            (64, 48, 64, 20),
            (5, 3, 40, 40),
            (1, 1, 9, 7),
            (90, 61, 7, 5),
        ];
        let (mut fast_time, mut plain_time) = (0.0, 0.0);
        for (case, &(w, h, tw, th)) in sizes.iter().enumerate() {
            for quality in [Quality::Fast, Quality::Good] {
                let (from, mut to) = (noise(w, h, case as u64), picture(tw, th));
                let window = Window::whole(Size::new(w, h));
                let start = Instant::now();
                PictureScaler::default().scale(&from, window, &mut to.planes_mut(), whole(tw, th), quality);
                fast_time += start.elapsed().as_secs_f64();
                let start = Instant::now();
                for index in 0..3 {
                    let plane = to.plane(index);
                    for y in 0..plane.height {
                        for x in 0..plane.width {
                            let expected = plain(&from, index, Size::new(tw, th), quality, x, y);
                            let off = (f64::from(plane.row(y)[x]) - expected.clamp(0.0, 255.0)).abs();
                            assert!(
                                off <= 1.0,
                                "{quality:?} {w}x{h} to {tw}x{th}, plane {index} {x},{y}: {off}"
                            );
                        }
                    }
                }
                plain_time += start.elapsed().as_secs_f64();
            }
        }
        println!("resampling: fast {:.2} ms, plain {:.2} ms", fast_time * 1e3, plain_time * 1e3);
    }

    #[test]
    fn a_flat_picture_stays_exactly_flat() {
        for quality in [Quality::Fast, Quality::Good] {
            for (tw, th) in [(13, 7), (100, 101), (31, 500)] {
                let (mut from, mut to) = (picture(47, 31), picture(tw, th));
                from.bytes_mut().fill(201);
                let window = Window::whole(Size::new(47, 31));
                PictureScaler::default().scale(&from, window, &mut to.planes_mut(), whole(tw, th), quality);
                assert!(
                    (0..3).all(|p| (0..to.plane(p).height).all(|y| to
                        .plane(p)
                        .row(y)
                        .iter()
                        .all(|&s| s == 201)))
                );
            }
        }
    }

    #[test]
    fn ten_thousand_samples_become_their_average() {
        let (mut from, mut to) = (picture(10_923, 2), picture(1, 1));
        let [mut luma, ..] = from.planes_mut();
        for y in 0..2 {
            luma.row_mut(y).iter_mut().enumerate().for_each(|(x, sample)| *sample = (x / 43) as u8);
        }
        let window = Window::whole(Size::new(10_923, 2));
        PictureScaler::default().scale(&from, window, &mut to.planes_mut(), whole(1, 1), Quality::Good);
        assert!((126..=127).contains(&to.plane(0).row(0)[0]), "{}", to.plane(0).row(0)[0]);
    }

    #[test]
    fn the_same_size_in_a_rectangle_is_copied_exactly() {
        let (from, mut to) = (noise(20, 10, 7), picture(40, 30));
        let rect = Rect { x: 6, y: 4, width: 20, height: 10 };
        let window = Window::whole(Size::new(20, 10));
        PictureScaler::default().scale(&from, window, &mut to.planes_mut(), rect, Quality::Good);
        for index in 0..3 {
            let at = rect.in_plane(index);
            for y in 0..at.height {
                assert_eq!(&to.plane(index).row(at.y + y)[at.x..][..at.width], from.plane(index).row(y));
            }
        }
    }
}
