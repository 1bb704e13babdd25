//! `test.scene`: a person who talks before a wall, with a frame counter that
//! can be read back.
//!
//! Ports: → `out` raw video, I420.
//!
//! Parameters: `size`, 64x48 to 3840x2160, odd ones too, default 640x360.
//! `fps`, 1 to 120 frames a second, default 30; 23.976, 29.97 and 59.94 mean
//! 24000/1001 and so on. `figure`, who it is: `alice`, `bob`, `carol` or `dave`,
//! each with their own face, hair, clothes and wall; default `alice`. `counter`,
//! whether the frame's number stands in the top left corner as a strip of blocks,
//! default true. `pace`, `clock` gives each frame when it is due, `flat_out` as
//! fast as they are taken; default `clock`. `duration_s`, 0 to 1,000,000 s,
//! rounded up to whole frames, default 0 for no end. `frames`, 0 to
//! 1,000,000,000, how many frames it gives, default 0 for no end; of the two the
//! earlier end holds.
//!
//! Latency: none; a frame is captured and given at the same instant.
//!
//! Method: wall and figure are drawn once, when the node is made; a frame is a
//! copy of the wall, moved by parts of a pixel, the figure laid over it, leaning
//! row by row, and one of a few drawn states of eyes and mouth. Integer
//! arithmetic on pixels; the same parameters give the same bytes. The counter,
//! `sidetone_test::scene::read_counter`, is described in `counter.rs`.
//!
//! ```toml
//! sidetone = 1
//! links = ["scene -> file"]
//! nodes.scene = { kind = "test.scene", size = [320, 180], duration_s = 2 }
//! nodes.file = { kind = "file.y4m_sink", path = "scene.y4m" }
//! ```

use sidetone_core::{
    Context, Fault, FrameRate, MediaType, Negotiated, Node, NodeError, NodeSpec, ParamSpec, Params,
    Placement, PlaneMut, PortSpec, Size, VideoFormat,
};

pub use crate::counter::{COUNTER_NUMBERS, read_counter, read_counter_in};

use crate::backdrop::Backdrop;
use crate::counter::write_counter;
use crate::cutout::{Cutout, PARTS, Patch};
use crate::pace::{Beat, DURATION, PACE, Pace};
use crate::portrait::{self, EYES, Face, HALF_WIDTH, Look, MOUTH, TOP};
use crate::wave::{phase_at, sine};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "test.scene",
    summary: "A person who talks before a wall, with a frame counter that can be read back.",
    sheet: sidetone_core::data_sheet!("scene.rs"),
    inputs: &[],
    outputs: &[PortSpec::new("out", MediaType::i420(None, None), "The pictures.")],
    params: &[
        ParamSpec::size("size", Size::new(640, 360), "Width and height."),
        ParamSpec::float("fps", 30.0, 1.0, 120.0, "Frames per second."),
        ParamSpec::choice("figure", "alice", portrait::NAMES, "Who is seen."),
        ParamSpec::bool("counter", true, "Whether the frame's number stands in the corner."),
        PACE,
        DURATION,
        ParamSpec::int("frames", 0, 0, 1_000_000_000, "How many frames it gives; 0 is without end."),
    ],
    placement: Placement::Own,
    real_time: true,
    negotiate: &|offer| {
        let (size, fps) = (size(offer.params)?, frame_rate(offer.params.float("fps")));
        Ok(Negotiated::new([MediaType::i420(Some(size), Some(fps))]))
    },
    build: &|setup| Ok(Box::new(Scene::new(setup.params)?)),
};

struct Scene {
    format: VideoFormat,
    rate: FrameRate,
    pace: Pace,
    backdrop: Backdrop,
    figure: Figure,
    counter: bool,
}

impl Scene {
    fn new(params: &Params) -> Result<Self, NodeError> {
        let size = size(params)?;
        let rate = frame_rate(params.float("fps"));
        let look = portrait::look(params.text("figure"));
        let frames = u64::try_from(params.int("frames")).unwrap_or(0);
        Ok(Self {
            format: VideoFormat::i420(size),
            rate,
            pace: Pace::new(Beat::Pictures(rate), params).at_most(frames),
            backdrop: Backdrop::new(look.wall, look.wall_at, look.tint, size),
            figure: Figure::new(look, size),
            counter: params.bool("counter"),
        })
    }
}

impl Node for Scene {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some((index, header)) = self.pace.due(cx) else { return Ok(()) };
        let mut frame = cx.video(0, self.format, header);
        let mut planes = frame.planes_mut();
        let nanos = self.rate.offset_nanos(index);
        self.backdrop.show(&mut planes, (1.0 + sine(phase_at(nanos, 29_000))) / 2.0);
        self.figure.show(&mut planes, nanos);
        if self.counter {
            write_counter(&mut planes, (index % u64::from(COUNTER_NUMBERS)) as u32);
        }
        cx.push(0, frame);
        Ok(())
    }
}

fn size(params: &Params) -> Result<Size, NodeError> {
    let size = params.size("size");
    if (64..=3840).contains(&size.width) && (48..=2160).contains(&size.height) {
        return Ok(size);
    }
    let why = format!("is {size}; it must be from 64x48 to 3840x2160");
    Err(NodeError::Param { name: "size", why })
}

/// `fps` as a fraction: whole, the 1000/1001 of one, or thousandths.
fn frame_rate(fps: f64) -> FrameRate {
    let whole = fps.round();
    if (fps - whole).abs() < 0.001 {
        FrameRate::new(whole as u32, 1)
    } else if (fps - whole / 1.001).abs() < 0.0045 {
        FrameRate::new(whole as u32 * 1000, 1001)
    } else {
        FrameRate::new((fps * 1000.0).round() as u32, 1000)
    }
}

/// The person, drawn, and how they move.
struct Figure {
    planes: [Cutout; 3],
    eyes: Vec<[Patch; 3]>,
    mouths: Vec<[Patch; 3]>,
    eyes_at: [usize; 2],
    mouth_at: [usize; 2],
    /// Where the drawing's corner stands at rest, in pixels.
    corner: [i32; 2],
    /// Half a head's height in pixels.
    unit: f64,
    /// How far each row leans with the head: 256 at the crown, least at the
    /// bottom edge.
    lean: Vec<i32>,
    ahead: u64,
}

/// Drawn states from shut to open.
const EYE_STATES: usize = 6;
const MOUTH_STATES: usize = 10;
/// How far the body moves, in half head heights.
const SWAY: f64 = 0.16;
const BREATH: f64 = 0.035;

impl Figure {
    fn new(look: &'static Look, size: Size) -> Self {
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
        let share = |state: usize, states: usize| state as f32 / (states - 1) as f32;
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
            unit: f64::from(unit),
            lean,
            ahead: look.ahead,
        }
    }

    /// Lays the figure over `planes` as it is after `nanos`. \[real-time\]
    fn show(&mut self, planes: &mut [PlaneMut<'_>; 3], nanos: u64) {
        let wave = |period_ms: u64| {
            let ahead = self.ahead * (u64::MAX / 12);
            sine(phase_at(nanos, period_ms).wrapping_add(ahead))
        };
        let sway = SWAY * (0.7 * wave(5_300) + 0.3 * wave(2_170)) * self.unit;
        let breath = BREATH * (0.7 * wave(3_700) + 0.3 * wave(1_130)) * self.unit;
        // Talk in phrases: syllables come and go under a slower wave.
        let talk =
            ((wave(2_900) + 0.35) * 1.4).clamp(0.0, 1.0) * (0.55 + 0.45 * wave(240) * wave(410)).max(0.0);
        let mouth = (talk * (MOUTH_STATES - 1) as f64 + 0.5) as usize;
        let eyes = blink(nanos / 1_000_000 + self.ahead * 400);
        let (sway, breath) = ((sway * f64::from(PARTS)) as i32, (breath * f64::from(PARTS)) as i32);
        for (index, (cutout, plane)) in self.planes.iter_mut().zip(planes).enumerate() {
            let scale = if index == 0 { 2 } else { 1 };
            let half = 2 / scale as i32;
            cutout.patch(
                &self.eyes[eyes.min(EYE_STATES - 1)][index],
                self.eyes_at[0] * scale,
                self.eyes_at[1] * scale,
            );
            cutout.patch(
                &self.mouths[mouth.min(MOUTH_STATES - 1)][index],
                self.mouth_at[0] * scale,
                self.mouth_at[1] * scale,
            );
            let (left, top) = (self.corner[0] / half * PARTS, self.corner[1] / half * PARTS + breath / half);
            let lean = &self.lean;
            cutout.lay(plane, left, top, |row| {
                let row = (row * half as usize).min(lean.len().saturating_sub(1));
                ((sway * lean[row]) >> 8) / half
            });
        }
    }
}

/// The state of the eyes at a time: open, but for a fifth of a second every few.
fn blink(millis: u64) -> usize {
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

#[cfg(test)]
mod tests {
    use super::*;
    use sidetone_core::harness::Harness;
    use sidetone_core::{Format, Frame, Header, Plane, Shared, VIRTUAL_START, Value};
    use std::time::Duration;

    fn scene(size: (u32, u32), params: &[(&str, Value)]) -> Harness {
        let mut all = vec![("size", Size::new(size.0, size.1).into())];
        all.extend(params.iter().cloned());
        Harness::new(&SPEC, &all)
    }

    /// The first `count` frames.
    fn frames(size: (u32, u32), params: &[(&str, Value)], count: i64) -> Vec<Frame> {
        let mut all = vec![("pace", "flat_out".into()), ("frames", count.into())];
        all.extend(params.iter().cloned());
        let mut node = scene(size, &all);
        node.run();
        node.take(0)
    }

    fn differing(a: &Frame, b: &Frame) -> usize {
        let (a, b) = (a.plane(0), b.plane(0));
        (0..a.height).map(|y| a.row(y).iter().zip(b.row(y)).filter(|(a, b)| a != b).count()).sum()
    }

    /// The top of `frame`, where the counter is, with its luma made by `pixel`,
    /// at a new size; the rest stays black.
    fn remade(frame: &Frame, size: [usize; 2], pixel: impl Fn(&Plane<'_>, usize, usize) -> f32) -> Frame {
        let format = Format::Video(VideoFormat::i420(Size::new(size[0] as u32, size[1] as u32)));
        let mut out = Frame::unpooled(Header::default(), format);
        let from = frame.plane(0);
        let [mut luma, ..] = out.planes_mut();
        for y in 0..size[1].div_ceil(8) {
            for (x, to) in luma.row_mut(y).iter_mut().enumerate() {
                *to = pixel(&from, x, y).round().clamp(0.0, 255.0) as u8;
            }
        }
        out
    }

    /// The mean of the box that reaches `reach` pixels round a point.
    fn blurred(from: &Plane<'_>, x: usize, y: usize, reach: usize) -> f32 {
        let (mut sum, mut count) = (0u32, 0u32);
        for y in y.saturating_sub(reach)..(y + reach + 1).min(from.height) {
            for pixel in &from.row(y)[x.saturating_sub(reach)..(x + reach + 1).min(from.width)] {
                sum += u32::from(*pixel);
                count += 1;
            }
        }
        sum as f32 / count as f32
    }

    fn halved(from: &Plane<'_>, x: usize, y: usize) -> f32 {
        let at = |x: usize, y: usize| f32::from(from.row(y.min(from.height - 1))[x.min(from.width - 1)]);
        (at(2 * x, 2 * y) + at(2 * x + 1, 2 * y) + at(2 * x, 2 * y + 1) + at(2 * x + 1, 2 * y + 1)) / 4.0
    }

    #[test]
    fn each_frame_is_captured_and_given_when_it_is_due() {
        let mut node = scene((64, 48), &[("fps", 29.97.into())]);
        let rate = FrameRate::new(30_000, 1001);
        for n in 0..200 {
            let due = Duration::from_nanos(rate.offset_nanos(n));
            if n > 0 {
                node.advance_to(due - Duration::from_nanos(1));
                assert_eq!(node.take(0).len(), 0, "frame {n} came early");
            }
            node.advance_to(due);
            let frames = node.take(0);
            assert_eq!(frames.len(), 1, "frame {n}");
            assert_eq!(frames[0].header.captured, VIRTUAL_START + due);
            assert_eq!((frames[0].header.sequence, read_counter(&frames[0])), (n, Some(n as u32)));
        }
    }

    #[test]
    fn the_same_parameters_give_the_same_bytes() {
        let params = [("figure", "carol".into())];
        let (a, b) = (frames((320, 180), &params, 40), frames((320, 180), &params, 40));
        for (a, b) in a.iter().zip(&b) {
            for plane in 0..3 {
                let (a, b) = (a.plane(plane), b.plane(plane));
                assert!((0..a.height).all(|y| a.row(y) == b.row(y)));
            }
        }
    }

    #[test]
    fn the_picture_moves_and_the_figures_differ() {
        let alice = frames((320, 180), &[], 31);
        let [first, next, later] = [&alice[0], &alice[1], &alice[30]];
        assert!(differing(first, next) > 1000, "the scene stands still");
        assert!(differing(first, later) > 10_000);
        for name in &portrait::NAMES[1..] {
            let other = frames((320, 180), &[("figure", (*name).into())], 1);
            assert!(differing(first, &other[0]) > 20_000, "{name} looks like alice");
        }
    }

    #[test]
    fn the_face_has_the_chroma_of_skin_and_the_wall_has_not() {
        for name in portrait::NAMES {
            let params = [("figure", (*name).into()), ("counter", false.into())];
            let frame = &frames((640, 360), &params, 1)[0];
            let (cb, cr) = (frame.plane(1), frame.plane(2));
            let is_skin = |x: usize, y: usize| {
                (77..=127).contains(&cb.row(y)[x]) && (133..=173).contains(&cr.row(y)[x])
            };
            let share = |xs: std::ops::Range<usize>, ys: std::ops::Range<usize>| {
                let all = xs.len() * ys.len();
                let skin = ys.map(|y| xs.clone().filter(|x| is_skin(*x, y)).count()).sum::<usize>();
                skin as f64 / all as f64
            };
            // Both cheeks and the nose; the wall left of the shoulders.
            assert!(share(140..180, 90..105) > 0.95, "{name}: {}", share(140..180, 90..105));
            assert!(share(0..80, 0..170) < 0.01, "{name}: {}", share(0..80, 0..170));
        }
    }

    #[test]
    fn nothing_of_eyes_and_mouth_reaches_past_the_face() {
        for name in portrait::NAMES {
            let look = portrait::look(name);
            for [left, top, right, bottom] in [EYES, MOUTH] {
                for (x, y) in [(left, top), (right, top), (left, bottom), (right, bottom)] {
                    let (_, cover) = look.paint(x * 1.03, y + 0.02, 0.05, Face { eyes: 0.5, mouth: 0.5 });
                    assert!(cover > 0.999, "{name} at {x}, {y}: {cover}");
                }
            }
        }
    }

    #[test]
    fn the_eyes_blink_and_the_mouth_opens() {
        let states: Vec<usize> = (0..11_400).map(blink).collect();
        assert!(states.contains(&0) && states.iter().all(|state| *state < EYE_STATES));
        let open = states.iter().filter(|state| **state == EYE_STATES - 1).count();
        assert!(open > 10_000, "open for {open} ms of 11,400");
        let all = frames((640, 360), &[("counter", false.into())], 60);
        // The dark of an open mouth, over the whole lower face.
        let dark = |frame: &Frame| -> usize {
            let luma = frame.plane(0);
            (210..250).map(|y| luma.row(y)[290..350].iter().filter(|pixel| **pixel < 60).count()).sum()
        };
        let counts: Vec<usize> = all.iter().map(dark).collect();
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least > 60, "{least} to {most} dark pixels");
    }

    #[test]
    fn the_counter_survives_halving_blur_noise_and_dimming() {
        let mut rng = fastrand::Rng::with_seed(4);
        for size in [(640, 360), (320, 180), (1279, 719), (360, 640)] {
            for frame in frames(size, &[], 16) {
                let number = Some(frame.header.sequence as u32);
                let (width, height) = (size.0 as usize, size.1 as usize);
                let reach = (width / 160).max(1);
                let soft = remade(&frame, [width, height], |from, x, y| blurred(from, x, y, reach));
                assert_eq!(read_counter(&soft), number, "{size:?} blurred");
                let half = remade(&soft, [width.div_ceil(2), height.div_ceil(2)], halved);
                assert_eq!(read_counter(&half), number, "{size:?} blurred and halved");
                let noise: Vec<f32> = (0..4096).map(|_| (rng.f32() + rng.f32() - 1.0) * 50.0).collect();
                let worn = remade(&half, [width.div_ceil(2), height.div_ceil(2)], |from, x, y| {
                    f32::from(from.row(y)[x]) * 0.5 + 30.0 + noise[(y * 61 + x) % 4096]
                });
                assert_eq!(read_counter(&worn), number, "{size:?} blurred, halved, dimmed and noisy");
            }
        }
    }

    #[test]
    fn every_size_and_rate_in_range_is_drawn() {
        for size in [(64, 48), (65, 49), (64, 2160), (3840, 48), (99, 201), (1001, 333)] {
            let last = frames(size, &[("fps", 1.0.into())], 12).pop().unwrap();
            assert_eq!(last.video().unwrap().size, Size::new(size.0, size.1));
            if size.0 >= 20 && size.1 >= 48 {
                assert_eq!(read_counter(&last), Some(11), "{size:?}");
            }
        }
        let params = [("size", Size::new(63, 48).into())];
        let refused = Harness::try_new(&SPEC, &params, &Shared::default());
        let why = refused.err().unwrap().to_string();
        assert!(why.contains("64x48 to 3840x2160"));
        // The checker says the same.
        let params = Params::new(SPEC.params, &params).unwrap();
        let checked = SPEC.negotiated(&sidetone_core::Offer { params: &params, inputs: &[] });
        assert_eq!(checked.unwrap_err().help, why);
    }

    #[test]
    fn rates_that_mean_a_fraction_become_it() {
        let rates = [
            (30.0, 30, 1),
            (29.97, 30_000, 1001),
            (23.976, 24_000, 1001),
            (23.98, 24_000, 1001),
            (24.98, 24_980, 1000),
        ];
        for (fps, num, den) in rates {
            assert_eq!(frame_rate(fps), FrameRate::new(num, den));
        }
    }

    #[test]
    fn the_earlier_of_both_ends_holds() {
        let ended = |frames: i64, seconds: f64| {
            let mut node = scene((64, 48), &[("frames", frames.into()), ("duration_s", seconds.into())]);
            node.advance(Duration::from_secs(2));
            (node.take(0).len(), node.has_ended())
        };
        assert_eq!(ended(7, 0.0), (7, true));
        assert_eq!(ended(7, 0.1), (3, true));
        assert_eq!(ended(0, 0.5), (15, true));
        assert_eq!(ended(0, 0.0), (61, false));
    }
}
