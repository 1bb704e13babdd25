//! `SkinFilter`: smooths, brightens and warms skin in I420 pictures.
//!
//! Four passes, each over rows of plain slices that the compiler turns into
//! vector code. "Half" means the chroma planes' resolution:
//!
//! 1. `sample`: luma averaged 2x2 to half, and for each half sample how
//!    skin-coloured it is: a 64 KB table indexed by Cb and Cr, dimmed in the dark.
//! 2. `measure`: mean and variance of half luma in a square window, by running
//!    sums, and the skin mask averaged the same way, which gives it soft edges.
//!    From these, how flat skin each place is: mask · ε / (variance + ε).
//! 3. `finish_luma`, at full size: the half-size measures are interpolated
//!    (bilinear), and each sample moves towards its local mean by its flatness.
//! 4. `finish_chroma`, at half size.
//!
//! Everything is integer but the one division for each half sample, which is
//! single precision (IEEE, the same everywhere). Sums are exact, so that bands of
//! rows may be worked on apart and give the same bytes.

use rayon::prelude::*;
use sidetone_core::{Frame, Plane, Size};

/// Pictures of at least this many pixels are shared among cores when that is
/// allowed; below, waking threads costs more than it saves.
pub(crate) const PARALLEL_PIXELS: usize = 1_500_000;
/// Bands that a large picture is cut into.
const BANDS: usize = 8;
/// One, in the units of masks and weights.
const FULL: u16 = 8_191;
/// Differences from the surroundings below 20/16 levels are taken for noise
/// and not sharpened.
const CORING: i16 = 20;

/// How the skin should look: each 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Look {
    pub(crate) smooth: f32,
    pub(crate) whiten: f32,
    pub(crate) rosy: f32,
    pub(crate) sharpen: f32,
}

impl Look {
    /// Whether it changes nothing. \[any\]
    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// `Look` in the kernels' units.
#[derive(Clone, Copy)]
struct Amounts {
    /// Variance (levels²) at which a place counts as half flat.
    epsilon: f32,
    /// Share of the way to the local mean, of 65536.
    smooth: u16,
    /// Of the curve in `finish`: 3,900 lifts by 28 levels where it is highest.
    lift: u16,
    /// Share of the way to grey, of 65536.
    pale: u16,
    /// Shifts of Cb and Cr in quarter levels.
    shift: [u16; 2],
    /// Share of the fine detail that is added, of 65536; and half as much again.
    sharpen: u16,
}

impl Amounts {
    fn of(look: &Look) -> Self {
        let Look { smooth, whiten, rosy, sharpen } = *look;
        // Above about 10 levels of deviation something is drawn there: an eye,
        // a brow, a lip. The last tenth of the texture stays: without it skin
        // looks like plastic.
        let deviation = 4.0 + 5.0 * smooth;
        Self {
            epsilon: deviation * deviation,
            smooth: (65_535.0 * 0.9 * smooth * (2.0 - smooth)) as u16,
            lift: (3_900.0 * whiten) as u16,
            pale: (65_535.0 * 0.15 * whiten) as u16,
            shift: [(6.0 * rosy) as u16, (40.0 * rosy) as u16],
            sharpen: (65_535.0 * sharpen) as u16,
        }
    }
}

/// The filter with its table and scratch space.
pub(crate) struct SkinFilter {
    table: Box<[u8]>,
    size: Option<Size>,
    radius: usize,
    /// Half-size planes, rows without padding between them.
    half: Vec<u8>,
    skin: Vec<u8>,
    mean: Vec<u16>,
    flat: Vec<u16>,
    mask: Vec<u16>,
    bands: Vec<Scratch>,
}

impl SkinFilter {
    /// With room for nothing yet. \[control\]
    pub(crate) fn new() -> Self {
        Self {
            table: skin_table(),
            size: None,
            radius: 0,
            half: Vec::new(),
            skin: Vec::new(),
            mean: Vec::new(),
            flat: Vec::new(),
            mask: Vec::new(),
            bands: (0..BANDS).map(|_| Scratch::default()).collect(),
        }
    }

    /// Fills the picture `to` with `from` as `look` wants it; both are of one
    /// format. Allocates when the size changes. \[real-time\] unless `parallel`.
    pub(crate) fn apply(&mut self, from: &Frame, to: &mut Frame, look: &Look, parallel: bool) {
        let Some(video) = from.video().filter(|video| to.video() == Some(*video)) else { return };
        self.fit(video.size);
        let amounts = Amounts::of(look);
        let planes = [from.plane(0), from.plane(1), from.plane(2)];
        let (columns, rows) = (planes[1].width, planes[1].height);
        let parallel = parallel && planes[0].width * planes[0].height >= PARALLEL_PIXELS;
        // Rows of one band; one band is all where the work is not shared.
        let band = if parallel { rows.div_ceil(BANDS) } else { rows };
        let chunk = band * columns;

        let table = &self.table;
        let (half, skin) = (&mut self.half[..], &mut self.skin[..]);
        let sample = |(index, (half, skin)): (usize, (&mut [u8], &mut [u8]))| {
            sample(&planes, index * band, table, half, skin);
        };
        if parallel {
            half.par_chunks_mut(chunk).zip(skin.par_chunks_mut(chunk)).enumerate().for_each(sample);
        } else {
            sample((0, (half, skin)));
        }

        let halves = Halves { luma: &self.half, skin: &self.skin, columns, rows, radius: self.radius };
        let (mean, flat, mask) = (&mut self.mean[..], &mut self.flat[..], &mut self.mask[..]);
        type Measures<'a> = (usize, (((&'a mut [u16], &'a mut [u16]), &'a mut [u16]), &'a mut Scratch));
        let measure = |(index, (((mean, flat), mask), scratch)): Measures<'_>| {
            measure(&halves, index * band, amounts.epsilon, scratch, [mean, flat, mask]);
        };
        if parallel {
            let outputs = mean.par_chunks_mut(chunk).zip(flat.par_chunks_mut(chunk));
            let outputs = outputs.zip(mask.par_chunks_mut(chunk)).zip(self.bands.par_iter_mut());
            outputs.enumerate().for_each(measure);
        } else {
            measure((0, (((mean, flat), mask), &mut self.bands[0])));
        }

        let measured = Measured { mean: &self.mean, flat: &self.flat, mask: &self.mask, columns, rows };
        let [luma, cb, cr] = to.planes_mut();
        let strides = [luma.stride, cb.stride, cr.stride];
        type Bands<'a> = (usize, (((&'a mut [u8], &'a mut [u8]), &'a mut [u8]), &'a mut Scratch));
        let finish = |(index, (((luma, cb), cr), scratch)): Bands<'_>| {
            let first = index * band;
            finish_luma(planes[0], &measured, first, &amounts, scratch, (luma, strides[0]));
            finish_chroma(planes[1], &measured, first, &amounts, amounts.shift[0], (cb, strides[1]));
            finish_chroma(planes[2], &measured, first, &amounts, amounts.shift[1], (cr, strides[2]));
        };
        if parallel {
            let luma = luma.data.par_chunks_mut(2 * band * strides[0]);
            let chroma = cb.data.par_chunks_mut(band * strides[1]);
            let outputs = luma.zip(chroma).zip(cr.data.par_chunks_mut(band * strides[2]));
            outputs.zip(self.bands.par_iter_mut()).enumerate().for_each(finish);
        } else {
            finish((0, (((luma.data, cb.data), cr.data), &mut self.bands[0])));
        }
    }

    fn fit(&mut self, size: Size) {
        if self.size == Some(size) {
            return;
        }
        self.size = Some(size);
        let (columns, rows) = (size.width.div_ceil(2) as usize, size.height.div_ceil(2) as usize);
        self.radius = radius(columns, rows);
        self.half.resize(columns * rows, 0);
        self.skin.resize(columns * rows, 0);
        for plane in [&mut self.mean, &mut self.flat, &mut self.mask] {
            plane.resize(columns * rows, 0);
        }
        self.bands.iter_mut().for_each(|band| band.fit(columns, self.radius));
    }
}

/// Half the window's side, in half samples: some 1.5 % of the picture's longer
/// side, which is the size of what make-up would cover.
fn radius(columns: usize, rows: usize) -> usize {
    ((columns.max(rows) + 60) / 120).clamp(2, 8)
}

/// Half the side of the window that the mask is averaged over.
const fn mask_radius(radius: usize) -> usize {
    radius / 2 + 1
}

/// How skin-coloured each pair of Cb and Cr is, 0 to 255, at `cb << 8 | cr`: in
/// full inside the ellipse of Hsu, Abdel-Mottaleb and Jain, "Face detection in
/// color images", IEEE PAMI 24(5), 2002, § 3.2, and fading out around it.
fn skin_table() -> Box<[u8]> {
    // The ellipse's axes lie at 2.53 rad; these are its cosine and sine.
    const TURN: (f32, f32) = (-0.818_85, 0.574_01);
    (0..=u16::MAX)
        .map(|pair| {
            let (cb, cr) = (f32::from(pair >> 8) - 109.38, f32::from(pair & 255) - 152.02);
            let x = (TURN.0 * cb + TURN.1 * cr - 1.60) / 25.39;
            let y = (TURN.0 * cr - TURN.1 * cb - 2.41) / 14.03;
            (255.0 * (1.5 - (x * x + y * y)) / 0.7).clamp(0.0, 255.0) as u8
        })
        .collect()
}

/// One band's rows on their way.
#[derive(Default)]
struct Scratch {
    /// Sums down each column of the window, with the edges repeated.
    columns: [Vec<i32>; 3],
    /// Sums over the whole window, for one row.
    sums: [Vec<i32>; 3],
    /// Half-size measures mixed for one full-size row, with the edges repeated.
    mixed: [Vec<u16>; 3],
    /// The same at full size.
    wide: [Vec<u16>; 3],
    /// Column sums for sharpening, with the edges repeated.
    detail: Vec<u16>,
    /// What sharpening adds, in 1/8 levels.
    added: Vec<i16>,
}

impl Scratch {
    fn fit(&mut self, columns: usize, radius: usize) {
        self.columns.iter_mut().for_each(|row| row.resize(columns + 2 * radius + 1, 0));
        self.sums.iter_mut().for_each(|row| row.resize(columns, 0));
        self.mixed.iter_mut().for_each(|row| row.resize(columns + 2, 0));
        self.wide.iter_mut().for_each(|row| row.resize(2 * columns, 0));
        self.detail.resize(2 * columns + 2, 0);
        self.added.resize(2 * columns, 0);
        self.added.fill(0);
    }
}

/// Pass 1, for the half rows from `first` that `half` and `skin` hold.
fn sample(planes: &[Plane<'_>; 3], first: usize, table: &[u8], half: &mut [u8], skin: &mut [u8]) {
    let [luma, cb, cr] = planes;
    let rows = half.chunks_exact_mut(cb.width).zip(skin.chunks_exact_mut(cb.width));
    for (y, (half, skin)) in (first..).zip(rows) {
        let (upper, lower) = (luma.row(2 * y), luma.row((2 * y + 1).min(luma.height - 1)));
        let (pairs_above, last_above) = upper.as_chunks::<2>();
        let (pairs_below, last_below) = lower.as_chunks::<2>();
        for ((out, a), b) in half.iter_mut().zip(pairs_above).zip(pairs_below) {
            let sum = u16::from(a[0]) + u16::from(a[1]) + u16::from(b[0]) + u16::from(b[1]);
            *out = ((sum + 2) >> 2) as u8;
        }
        if let (Some(out), [a], [b]) = (half.last_mut(), last_above, last_below) {
            *out = ((2 * u16::from(*a) + 2 * u16::from(*b) + 2) >> 2) as u8;
        }
        for ((skin, &cb), &cr) in skin.iter_mut().zip(cb.row(y)).zip(cr.row(y)) {
            *skin = table[usize::from(cb) << 8 | usize::from(cr)];
        }
        for (skin, &luma) in skin.iter_mut().zip(&*half) {
            // Colour means little in the dark, where hair and shadows are: from
            // nothing at 24 to all at 56.
            let lit = u16::from(luma.saturating_sub(24)).min(32) * 8;
            *skin = ((u16::from(*skin) * lit.min(255)) >> 8) as u8;
        }
    }
}

struct Halves<'a> {
    luma: &'a [u8],
    skin: &'a [u8],
    columns: usize,
    rows: usize,
    radius: usize,
}

impl<'a> Halves<'a> {
    /// Row `y` of `plane`; beyond the picture, its outermost row.
    fn row(&self, plane: &'a [u8], y: isize) -> &'a [u8] {
        let y = y.clamp(0, self.rows as isize - 1) as usize;
        &plane[y * self.columns..][..self.columns]
    }
}

/// Pass 2, for the half rows from `first` that the outputs (mean in 1/16 levels,
/// flatness, mask) hold.
fn measure(halves: &Halves<'_>, first: usize, epsilon: f32, scratch: &mut Scratch, out: [&mut [u16]; 3]) {
    let Halves { luma, skin, columns, radius, .. } = *halves;
    let narrow = mask_radius(radius);
    let measure = Measure {
        share: 1.0 / (2 * radius + 1).pow(2) as f32,
        skin_share: 1.0 / (255 * (2 * narrow + 1).pow(2)) as f32,
        epsilon,
    };
    let Scratch { columns: [padded_sum, padded_square, padded_cover], sums, .. } = scratch;
    let middle = radius..radius + columns;
    let [mean, flat, mask] = out;
    let outputs = mean.chunks_exact_mut(columns).zip(flat.chunks_exact_mut(columns));
    for (index, ((mean, flat), mask)) in outputs.zip(mask.chunks_exact_mut(columns)).enumerate() {
        let (y, reach, short) = ((first + index) as isize, radius as isize, narrow as isize);
        let sum = &mut padded_sum[middle.clone()];
        let square = &mut padded_square[middle.clone()];
        let cover = &mut padded_cover[middle.clone()];
        if index == 0 {
            [&mut *sum, &mut *square, &mut *cover].into_iter().for_each(|row| row.fill(0));
            (y - reach..=y + reach).for_each(|y| add(halves.row(luma, y), sum, square));
            (y - short..=y + short).for_each(|y| add_plain(halves.row(skin, y), cover));
        } else {
            exchange(halves.row(luma, y + reach), halves.row(luma, y - reach - 1), sum, square);
            exchange_plain(halves.row(skin, y + short), halves.row(skin, y - short - 1), cover);
        }
        run_along(padded_sum, radius, radius, &mut sums[0]);
        run_along(padded_square, radius, radius, &mut sums[1]);
        run_along(padded_cover, radius, narrow, &mut sums[2]);
        let [sums, squares, covers] = &*sums;
        let sums = sums.iter().zip(squares).zip(covers);
        for (((mean, flat), mask), ((&sum, &square), &cover)) in mean.iter_mut().zip(flat).zip(mask).zip(sums)
        {
            [*mean, *flat, *mask] = measure.of(sum, square, cover);
        }
    }
}

fn add(row: &[u8], sum: &mut [i32], square: &mut [i32]) {
    for ((sum, square), &sample) in sum.iter_mut().zip(square).zip(row) {
        *sum += i32::from(sample);
        *square += squared(sample);
    }
}

fn exchange(new: &[u8], old: &[u8], sum: &mut [i32], square: &mut [i32]) {
    for (((sum, square), &new), &old) in sum.iter_mut().zip(square).zip(new).zip(old) {
        *sum += i32::from(new) - i32::from(old);
        *square += squared(new) - squared(old);
    }
}

fn add_plain(row: &[u8], sum: &mut [i32]) {
    sum.iter_mut().zip(row).for_each(|(sum, &sample)| *sum += i32::from(sample));
}

fn exchange_plain(new: &[u8], old: &[u8], sum: &mut [i32]) {
    for ((sum, &new), &old) in sum.iter_mut().zip(new).zip(old) {
        *sum += i32::from(new) - i32::from(old);
    }
}

/// In 16 bits, where a product is one instruction.
#[inline]
fn squared(sample: u8) -> i32 {
    i32::from(u16::from(sample) * u16::from(sample))
}

/// Sums of `columns` over windows of `2 * radius + 1`; `columns` has `pad`
/// places before its first and after its last, which get these' values.
fn run_along(columns: &mut [i32], pad: usize, radius: usize, sums: &mut [i32]) {
    let (first, last) = (columns[pad], columns[pad + sums.len() - 1]);
    columns[..pad].fill(first);
    columns[pad + sums.len()..].fill(last);
    let leaving = &columns[pad - radius..];
    let entering = &columns[pad + radius + 1..];
    let mut sum: i32 = leaving[..=2 * radius].iter().sum();
    for ((out, &new), &old) in sums.iter_mut().zip(entering).zip(leaving) {
        *out = sum;
        sum += new - old;
    }
}

#[derive(Clone, Copy)]
struct Measure {
    share: f32,
    skin_share: f32,
    epsilon: f32,
}

impl Measure {
    /// Mean in 1/16 levels, flatness and mask, the latter two up to `FULL`.
    #[inline]
    fn of(&self, sum: i32, square: i32, cover: i32) -> [u16; 3] {
        let mean = sum as f32 * self.share;
        let variance = (square as f32 * self.share - mean * mean).max(0.0);
        // Specks of skin colour in the background stay out, holes are filled:
        // a quarter of the window must be skin, three quarters are enough.
        let skin = (cover as f32 * self.skin_share * 2.0 - 0.5).clamp(0.0, 1.0) * f32::from(FULL);
        let flat = skin * (self.epsilon / (variance + self.epsilon));
        [mean * 16.0, flat, skin].map(nearest)
    }
}

/// `x`, 0 to 65535, rounded: adding 2^23 leaves the integer in the low bits.
/// (A cast would check its range, which keeps the loop from vectorising.)
#[inline]
fn nearest(x: f32) -> u16 {
    (x + 8_388_608.0).to_bits() as u16
}

struct Measured<'a> {
    mean: &'a [u16],
    flat: &'a [u16],
    mask: &'a [u16],
    columns: usize,
    rows: usize,
}

/// Pass 3, for the luma rows from `2 * first` that `out` holds.
fn finish_luma(
    from: Plane<'_>,
    measured: &Measured<'_>,
    first: usize,
    amounts: &Amounts,
    scratch: &mut Scratch,
    (out, stride): (&mut [u8], usize),
) {
    let Measured { columns, rows, .. } = *measured;
    let Scratch { mixed, wide, detail, added, .. } = scratch;
    if amounts.sharpen == 0 {
        added.fill(0);
    }
    for (index, out) in out.chunks_exact_mut(stride).enumerate() {
        let y = 2 * first + index;
        let (here, out) = (from.row(y), &mut out[..from.width]);
        let near = y / 2;
        let far = if y.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(rows - 1) };
        let row = |y: usize| y * columns..(y + 1) * columns;
        let is_bare = |y: usize| measured.mask[row(y)].iter().all(|&mask| mask == 0);
        if amounts.sharpen == 0 && is_bare(near) && is_bare(far) {
            out.copy_from_slice(here);
            continue;
        }
        for ((mixed, wide), plane) in
            mixed.iter_mut().zip(&mut *wide).zip([measured.mean, measured.flat, measured.mask])
        {
            mix(&plane[row(near)], &plane[row(far)], mixed);
            widen(mixed, wide);
        }
        if amounts.sharpen > 0 {
            let (above, below) = (from.row(y.saturating_sub(1)), from.row((y + 1).min(from.height - 1)));
            sharpen([above, here, below], &wide[1], amounts.sharpen, detail, added);
        }
        let [mean, flat, mask] = wide;
        let measures = mean.iter().zip(&*flat).zip(&*mask).zip(&*added);
        for ((out, &luma), (((&mean, &flat), &mask), &added)) in out.iter_mut().zip(here).zip(measures) {
            *out = finish(luma, mean, flat, mask, added, amounts.smooth, amounts.lift);
        }
    }
}

/// Three parts `near`, one part `far`, into `mixed` from its second place on;
/// its first and last repeat their neighbours.
fn mix(near: &[u16], far: &[u16], mixed: &mut [u16]) {
    let last = near.len();
    for ((out, &near), &far) in mixed[1..=last].iter_mut().zip(near).zip(far) {
        *out = (3 * near + far + 2) >> 2;
    }
    mixed[0] = mixed[1];
    mixed[last + 1] = mixed[last];
}

/// Twice as many samples, each three parts its nearest and one part its next.
fn widen(mixed: &[u16], wide: &mut [u16]) {
    let (pairs, _) = wide.as_chunks_mut::<2>();
    for (((pair, &before), &here), &after) in pairs.iter_mut().zip(mixed).zip(&mixed[1..]).zip(&mixed[2..]) {
        *pair = [(3 * here + before + 2) >> 2, (3 * here + after + 2) >> 2];
    }
}

/// The difference to the 3x3 (1 2 1) average, less its noise, where nothing
/// is smoothed.
fn sharpen(rows: [&[u8]; 3], flat: &[u16], gain: u16, detail: &mut [u16], added: &mut [i16]) {
    let [above, here, below] = rows;
    let last = here.len();
    for (((out, &a), &b), &c) in detail[1..=last].iter_mut().zip(above).zip(here).zip(below) {
        *out = u16::from(a) + 2 * u16::from(b) + u16::from(c);
    }
    detail[0] = detail[1];
    detail[last + 1] = detail[last];
    let around = detail.iter().zip(&detail[1..]).zip(&detail[2..]);
    for (((out, &luma), &flat), ((&a, &b), &c)) in added.iter_mut().zip(here).zip(flat).zip(around) {
        let fine = (i16::from(luma) << 4) - (a + 2 * b + c) as i16;
        let fine = fine - fine.clamp(-CORING, CORING);
        let share = high((FULL - flat) << 2, gain);
        let step = high_signed(fine, share as i16);
        *out = step + (step >> 1);
    }
}

/// One luma sample: towards its mean (1/16 levels) by its flatness, up by its
/// mask, and by what sharpening adds (1/8 levels).
#[inline]
fn finish(luma: u8, mean: u16, flat: u16, mask: u16, added: i16, smooth: u16, lift: u16) -> u8 {
    let wide = i16::from(luma);
    let way = high(flat << 2, smooth);
    let smoothed = high_signed(mean as i16 - (wide << 4), way as i16);
    // The curve y²·(235 − y): highest in the light tones, nothing at black, so
    // that pupils stay dark, and nothing at 235, the range's end.
    let curve = u16::from(luma) * u16::from(235_u8.saturating_sub(luma));
    let curve = high(curve << 2, u16::from(luma) << 8);
    let lifted = high(curve, high(mask << 2, lift)) as i16;
    ((((wide << 3) + smoothed + (lifted >> 2) + added) + 4) >> 3).clamp(0, 255) as u8
}

/// Pass 4, for the rows of one chroma plane from `first` that `out` holds:
/// towards grey, and by `shift` quarter levels up.
fn finish_chroma(
    from: Plane<'_>,
    measured: &Measured<'_>,
    first: usize,
    amounts: &Amounts,
    shift: u16,
    (out, stride): (&mut [u8], usize),
) {
    for (y, out) in (first..).zip(out.chunks_exact_mut(stride)) {
        let out = &mut out[..from.width];
        if amounts.pale == 0 && shift == 0 {
            out.copy_from_slice(from.row(y));
            continue;
        }
        let mask = &measured.mask[y * measured.columns..][..measured.columns];
        for ((out, &chroma), &mask) in out.iter_mut().zip(from.row(y)).zip(mask) {
            *out = tint(chroma, mask, amounts.pale, shift);
        }
    }
}

#[inline]
fn tint(chroma: u8, mask: u16, pale: u16, shift: u16) -> u8 {
    let paled = high_signed((128 - i16::from(chroma)) << 3, high(mask << 2, pale) as i16);
    let shifted = high(mask << 3, shift) as i16;
    (i16::from(chroma) + ((paled + shifted + 2) >> 2)).clamp(0, 255) as u8
}

/// The high half of a product: one instruction on eight samples.
#[inline]
fn high(a: u16, b: u16) -> u16 {
    ((u32::from(a) * u32::from(b)) >> 16) as u16
}

#[inline]
fn high_signed(a: i16, b: i16) -> i16 {
    ((i32::from(a) * i32::from(b)) >> 16) as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidetone_core::{Format, Header, VideoFormat};
    use std::time::Instant;

    /// A picture with patches in and out of the range of skin colours, noisy in
    /// some places, flat in others.
    fn patches(width: u32, height: u32, seed: u64) -> Frame {
        let mut random = fastrand::Rng::with_seed(seed);
        let format = Format::Video(VideoFormat::i420(Size::new(width, height)));
        let mut frame = Frame::unpooled(Header::default(), format);
        let colours: Vec<[u8; 3]> = (0..64)
            .map(|_| {
                if random.bool() {
                    [random.u8(20..220), 110, 150]
                } else {
                    [random.u8(..), random.u8(..), random.u8(..)]
                }
            })
            .collect();
        for (index, mut plane) in frame.planes_mut().into_iter().enumerate() {
            let side = if index == 0 { 24 } else { 12 };
            for y in 0..plane.height {
                for (x, sample) in plane.row_mut(y).iter_mut().enumerate() {
                    let patch = (y / side * 7 + x / side) % 64;
                    let noise = if patch % 3 == 0 { 40 } else { 6 };
                    *sample = colours[patch][index].saturating_add(random.u8(0..noise));
                }
            }
        }
        frame
    }

    fn filtered(from: &Frame, look: &Look, parallel: bool) -> Frame {
        let mut to = Frame::unpooled(Header::default(), *from.format());
        SkinFilter::new().apply(from, &mut to, look, parallel);
        to
    }

    /// The plain twin: every sample by itself, straight from the definitions.
    struct Plain<'a> {
        from: &'a Frame,
        table: Box<[u8]>,
        amounts: Amounts,
    }

    impl Plain<'_> {
        fn at(&self, plane: usize, x: i64, y: i64) -> i32 {
            let plane = self.from.plane(plane);
            let clamp = |at: i64, length: usize| at.clamp(0, length as i64 - 1) as usize;
            i32::from(plane.row(clamp(y, plane.height))[clamp(x, plane.width)])
        }

        fn half(&self, x: i64, y: i64) -> i32 {
            let chroma = self.from.plane(1);
            let x = 2 * x.clamp(0, chroma.width as i64 - 1);
            let y = 2 * y.clamp(0, chroma.height as i64 - 1);
            (self.at(0, x, y) + self.at(0, x + 1, y) + self.at(0, x, y + 1) + self.at(0, x + 1, y + 1) + 2)
                / 4
        }

        fn skin(&self, x: i64, y: i64) -> i32 {
            let colour = i32::from(self.table[(self.at(1, x, y) * 256 + self.at(2, x, y)) as usize]);
            let lit = ((self.half(x, y) - 24).clamp(0, 32) * 8).min(255);
            colour * lit / 256
        }

        /// Mean, flatness and mask.
        fn measures(&self, x: i64, y: i64) -> [i32; 3] {
            let chroma = self.from.plane(1);
            let (x, y) = (x.clamp(0, chroma.width as i64 - 1), y.clamp(0, chroma.height as i64 - 1));
            let radius = radius(chroma.width, chroma.height);
            let window = |radius: usize, value: &dyn Fn(i64, i64) -> i32| -> i32 {
                let near = -(radius as i64)..=radius as i64;
                near.clone()
                    .flat_map(|dy| near.clone().map(move |dx| (dx, dy)))
                    .map(|(dx, dy)| value(x + dx, y + dy))
                    .sum()
            };
            let narrow = mask_radius(radius);
            let measure = Measure {
                share: 1.0 / (2 * radius + 1).pow(2) as f32,
                skin_share: 1.0 / (255 * (2 * narrow + 1).pow(2)) as f32,
                epsilon: self.amounts.epsilon,
            };
            let sum = window(radius, &|x, y| self.half(x, y));
            let square = window(radius, &|x, y| self.half(x, y).pow(2));
            measure
                .of(
                    sum,
                    square,
                    window(narrow, &|x, y| {
                        self.skin(x.clamp(0, chroma.width as i64 - 1), y.clamp(0, chroma.height as i64 - 1))
                    }),
                )
                .map(i32::from)
        }

        fn luma(&self, x: i64, y: i64) -> u8 {
            let far = |at: i64| if at % 2 == 0 { at / 2 - 1 } else { at / 2 + 1 };
            let mixed = |x: i64| {
                let (near, far) = (self.measures(x, y / 2), self.measures(x, far(y)));
                [0, 1, 2].map(|index| (3 * near[index] + far[index] + 2) / 4)
            };
            let (near, far) = (mixed(x / 2), mixed(far(x)));
            let [mean, flat, mask] = [0, 1, 2].map(|index| (3 * near[index] + far[index] + 2) / 4);
            let luma = self.at(0, x, y);
            let step = |by: i32, share: i32| (by * share) >> 16;
            let smoothed = step(mean - 16 * luma, (4 * flat * i32::from(self.amounts.smooth)) >> 16);
            let curve = (4 * luma * (235 - luma).max(0) * luma) >> 8;
            let lifted = (curve * ((4 * mask * i32::from(self.amounts.lift)) >> 16)) >> 16;
            let around: i32 = (-1..=1)
                .flat_map(|dy: i64| (-1..=1).map(move |dx: i64| (dx, dy)))
                .map(|(dx, dy)| self.at(0, x + dx, y + dy) * (2 - dx.abs() as i32) * (2 - dy.abs() as i32))
                .sum();
            let fine = 16 * luma - around;
            let fine = fine - fine.clamp(-20, 20);
            let detail = step(fine, (4 * (8_191 - flat) * i32::from(self.amounts.sharpen)) >> 16);
            let added = if self.amounts.sharpen > 0 { detail + (detail >> 1) } else { 0 };
            ((8 * luma + smoothed + (lifted >> 2) + added + 4) >> 3).clamp(0, 255) as u8
        }

        fn chroma(&self, plane: usize, x: i64, y: i64) -> u8 {
            let [_, _, mask] = self.measures(x, y);
            let chroma = self.at(plane, x, y);
            let paled = (8 * (128 - chroma) * ((4 * mask * i32::from(self.amounts.pale)) >> 16)) >> 16;
            let shifted = (8 * mask * i32::from(self.amounts.shift[plane - 1])) >> 16;
            (chroma + ((paled + shifted + 2) >> 2)).clamp(0, 255) as u8
        }
    }

    #[test]
    fn the_fast_kernels_give_the_same_bytes_as_their_plain_twin_at_any_size() {
        let looks = [
            Look { smooth: 0.5, whiten: 0.2, rosy: 0.1, sharpen: 0.0 },
            Look { smooth: 1.0, whiten: 1.0, rosy: 1.0, sharpen: 1.0 },
            Look { sharpen: 0.7, ..Look::default() },
        ];
        let sizes = [(64, 48), (63, 47), (1, 1), (2, 7), (45, 2), (90, 31)];
        let (mut fast_time, mut plain_time) = (0.0, 0.0);
        for (case, (width, height)) in sizes.into_iter().enumerate() {
            let (from, look) = (patches(width, height, case as u64), looks[case % 3]);
            let start = Instant::now();
            let fast = filtered(&from, &look, false);
            fast_time += start.elapsed().as_secs_f64();
            let start = Instant::now();
            let plain = Plain { from: &from, table: skin_table(), amounts: Amounts::of(&look) };
            for index in 0..3 {
                let plane = fast.plane(index);
                for (y, x) in (0..plane.height).flat_map(|y| (0..plane.width).map(move |x| (y, x))) {
                    let (at_x, at_y) = (x as i64, y as i64);
                    let expected =
                        if index == 0 { plain.luma(at_x, at_y) } else { plain.chroma(index, at_x, at_y) };
                    assert_eq!(plane.row(y)[x], expected, "{width}x{height}, plane {index}, {x},{y}");
                }
            }
            plain_time += start.elapsed().as_secs_f64();
        }
        println!("skin: fast {:.2} ms, plain {:.2} ms", fast_time * 1e3, plain_time * 1e3);
    }

    #[test]
    fn sharing_the_work_among_cores_changes_no_byte() {
        let from = patches(1_503, 1_001, 9);
        const { assert!(1_503 * 1_001 >= PARALLEL_PIXELS) };
        let look = Look { smooth: 0.8, whiten: 0.4, rosy: 0.3, sharpen: 0.5 };
        let (alone, shared) = (filtered(&from, &look, false), filtered(&from, &look, true));
        for (alone, shared) in (0..3).map(|index| (alone.plane(index), shared.plane(index))) {
            assert!((0..alone.height).all(|y| alone.row(y) == shared.row(y)));
        }
    }

    #[test]
    fn skin_of_every_tone_is_in_the_table_and_grass_sky_and_grey_are_not() {
        let table = skin_table();
        let at = |[red, green, blue]: [f32; 3]| {
            let cb = 128.0 - 0.148 * red - 0.291 * green + 0.439 * blue;
            let cr = 128.0 + 0.439 * red - 0.368 * green - 0.071 * blue;
            table[(cb as usize) << 8 | cr as usize]
        };
        let skin = [
            [255., 224., 196.],
            [240., 200., 170.],
            [224., 172., 140.],
            [198., 134., 100.],
            [141., 85., 60.],
            [90., 55., 40.],
        ];
        for tone in skin {
            assert!(at(tone) > 127, "{tone:?}: {}", at(tone));
        }
        for other in [
            [60., 140., 50.],
            [110., 160., 220.],
            [128., 128., 128.],
            [250., 250., 250.],
            [200., 30., 30.],
            [20., 20., 20.],
        ] {
            assert_eq!(at(other), 0, "{other:?}");
        }
    }
}
