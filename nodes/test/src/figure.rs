//! `Figure`: the drawn person of `test.scene`, and how they move.

use sidetone_core::{PlaneMut, Size, data_shape};

use crate::cutout::{Cutout, PARTS, Patch};
use crate::portrait::{self, EYES, Face, HALF_WIDTH, HEAD, Look, MOUTH, TOP};
use crate::wave::{phase_at, sine};

/// The person, drawn, and how they move.
pub(crate) struct Figure {
    planes: [Cutout; 3],
    eyes: Vec<[Patch; 3]>,
    mouths: Vec<[Patch; 3]>,
    eyes_at: [usize; 2],
    mouth_at: [usize; 2],
    /// Where the drawing's corner stands at rest, in pixels.
    corner: [i32; 2],
    /// Where the middle of the head stands at rest, in pixels.
    centre: [f32; 2],
    /// Half a head's height in pixels.
    unit: f64,
    /// How far each row leans with the head: 256 at the crown, least at the
    /// bottom edge.
    lean: Vec<i32>,
    ahead: u64,
}

/// Drawn states from shut to open.
pub(crate) const EYE_STATES: usize = 6;
const MOUTH_STATES: usize = 10;
/// How far the body moves, in half head heights.
const SWAY: f64 = 0.16;
const BREATH: f64 = 0.035;

/// How a figure stands and looks in one picture.
#[derive(Clone, Copy)]
pub(crate) struct Pose {
    /// How far the head is to the right, in parts of a pixel.
    sway: i32,
    /// How far all of it is down, likewise.
    breath: i32,
    /// The state of the mouth.
    mouth: usize,
    /// That of the eyes.
    eyes: usize,
}

impl Figure {
    pub(crate) fn new(look: &'static Look, size: Size) -> Self {
        let (width, height) = (size.width as f32, size.height as f32);
        let unit = (0.25 * height).min(0.30 * width);
        // The head stands about the middle; the body leaves the picture below,
        // also at the top of a breath.
        let centre = [width / 2.0, (height - 2.08 * unit).min(0.55 * height)];
        let even = |value: f32| (value / 2.0).floor() as i32 * 2;
        let corner = [even(centre[0] - HALF_WIDTH * unit), even(centre[1] + TOP * unit)];
        let below = height - corner[1] as f32 + 2.0 * BREATH as f32 * unit + 4.0;
        let (w, h) = ((HALF_WIDTH * unit) as usize + 2, (below / 2.0).ceil() as usize);
        // Two looks at a point: of the luma plane (scale 1) and of chroma (2).
        let paint = |plane: usize, x: usize, y: usize, face: Face| {
            let scale = if plane == 0 { 1.0 } else { 2.0 };
            let at = |place: usize, corner: i32, centre: f32| {
                ((place as f32 + 0.5) * scale + corner as f32 - centre) / unit
            };
            let (u, v) = (at(x, corner[0], centre[0]), at(y, corner[1], centre[1]));
            let (colour, cover) = look.paint(u, v, scale / unit, face);
            (colour[plane].clamp(16.0, 235.0), cover * 255.0)
        };
        let rest = Face { eyes: 1.0, mouth: 0.0 };
        let draw = |plane: usize| {
            let scale = if plane == 0 { 2 } else { 1 };
            Cutout::new(w * scale, h * scale, |x, y| paint(plane, x, y, rest))
        };
        // A part of the drawing on whole chroma pixels: left, top, right, bottom.
        let part = |[left, top, right, bottom]: [f32; 4]| {
            let place = |value: f32, corner: i32, centre: f32| {
                ((value * unit + centre - corner as f32) / 2.0) as usize
            };
            let (x, y) = (place(left, corner[0], centre[0]), place(top, corner[1], centre[1]));
            let (to_x, to_y) =
                (place(right, corner[0], centre[0]) + 1, place(bottom, corner[1], centre[1]) + 1);
            [x, y, to_x - x, to_y - y]
        };
        let patches = |[x, y, w, h]: [usize; 4], face: Face| {
            [0, 1, 2].map(|plane| {
                let scale = if plane == 0 { 2 } else { 1 };
                Patch::new(w * scale, h * scale, |i, j| paint(plane, x * scale + i, y * scale + j, face).0)
            })
        };
        let (eyes, mouth) = (part(EYES), part(MOUTH));
        let planes = [draw(0), draw(1), draw(2)];
        let crown = (0.2 * unit) as i32;
        let rows = planes[0].height as i32;
        let lean = (0..rows).map(|y| 256 - 205 * (y - crown).clamp(0, rows) / rows.max(1)).collect();
        Self {
            planes,
            eyes: (0..EYE_STATES)
                .map(|state| patches(eyes, Face { eyes: share(state, EYE_STATES), ..rest }))
                .collect(),
            mouths: (0..MOUTH_STATES)
                .map(|state| patches(mouth, Face { mouth: share(state, MOUTH_STATES), ..rest }))
                .collect(),
            eyes_at: [eyes[0], eyes[1]],
            mouth_at: [mouth[0], mouth[1]],
            corner,
            centre,
            unit: f64::from(unit),
            lean,
            ahead: look.ahead,
        }
    }

    /// How it stands and looks after `nanos`. \[real-time\]
    pub(crate) fn pose(&self, nanos: u64) -> Pose {
        let wave = |period_ms: u64| {
            let ahead = self.ahead * (u64::MAX / 12);
            sine(phase_at(nanos, period_ms).wrapping_add(ahead))
        };
        let sway = SWAY * (0.7 * wave(5_300) + 0.3 * wave(2_170)) * self.unit;
        let breath = BREATH * (0.7 * wave(3_700) + 0.3 * wave(1_130)) * self.unit;
        // Talk in phrases: syllables come and go under a slower wave.
        let talk =
            ((wave(2_900) + 0.35) * 1.4).clamp(0.0, 1.0) * (0.55 + 0.45 * wave(240) * wave(410)).max(0.0);
        Pose {
            sway: (sway * f64::from(PARTS)) as i32,
            breath: (breath * f64::from(PARTS)) as i32,
            mouth: ((talk * (MOUTH_STATES - 1) as f64 + 0.5) as usize).min(MOUTH_STATES - 1),
            eyes: blink(nanos / 1_000_000 + self.ahead * 400).min(EYE_STATES - 1),
        }
    }

    /// Its face and the points of it, in widths and heights of pictures of `size`:
    /// left and right eye, tip of the nose, left and right corner of the mouth.
    /// \[real-time\]
    pub(crate) fn landmarks(&self, pose: Pose, size: Size) -> (data_shape::Face, [[f32; 2]; 5]) {
        let unit = self.unit as f32;
        // Where a point of the drawing stands in the picture.
        let at = |[x, y]: [f32; 2]| {
            let (x, y) = (self.centre[0] + x * unit, self.centre[1] + y * unit);
            let row = (y as i32 - self.corner[1]).clamp(0, self.lean.len() as i32 - 1) as usize;
            let (sway, breath) = ((pose.sway * self.lean[row]) >> 8, pose.breath);
            let parts = PARTS as f32;
            [(x + sway as f32 / parts) / size.width as f32, (y + breath as f32 / parts) / size.height as f32]
        };
        let [left, top, right, bottom] = HEAD;
        let ([left, _], [right, _]) = (at([left, 0.0]), at([right, 0.0]));
        let ([_, top], [_, bottom]) = (at([0.0, top]), at([0.0, bottom]));
        let face = data_shape::Face { confidence: 1.0, left, top, width: right - left, height: bottom - top };
        (face, portrait::points(share(pose.mouth, MOUTH_STATES)).map(at))
    }

    /// Lays the figure over `planes`. \[real-time\]
    pub(crate) fn show(&mut self, planes: &mut [PlaneMut<'_>; 3], pose: Pose) {
        let Pose { sway, breath, mouth, eyes } = pose;
        for (index, (cutout, plane)) in self.planes.iter_mut().zip(planes).enumerate() {
            let scale = if index == 0 { 2 } else { 1 };
            let half = 2 / scale as i32;
            cutout.patch(&self.eyes[eyes][index], self.eyes_at[0] * scale, self.eyes_at[1] * scale);
            cutout.patch(&self.mouths[mouth][index], self.mouth_at[0] * scale, self.mouth_at[1] * scale);
            let (left, top) = (self.corner[0] / half * PARTS, self.corner[1] / half * PARTS + breath / half);
            let lean = &self.lean;
            cutout.lay(plane, left, top, |row| {
                let row = (row * half as usize).min(lean.len().saturating_sub(1));
                ((sway * lean[row]) >> 8) / half
            });
        }
    }
}

/// How far open the drawn state `state` of `states` is, 0 to 1.
fn share(state: usize, states: usize) -> f32 {
    state as f32 / (states - 1) as f32
}

/// The state of the eyes at a time: open, but for a fifth of a second every few.
pub(crate) fn blink(millis: u64) -> usize {
    // Three blinks in 11.4 s, two of them close together.
    let within = millis % 11_400;
    let since = [2_000u64, 2_450, 7_300].iter().filter_map(|at| within.checked_sub(*at)).min();
    let open = EYE_STATES as u64 - 1;
    let state = match since {
        Some(t @ 0..80) => open - t * (open + 1) / 80,
        Some(80..120) => 0,
        Some(t @ 120..240) => (t - 120) * (open + 1) / 120,
        _ => open,
    };
    state as usize
}
