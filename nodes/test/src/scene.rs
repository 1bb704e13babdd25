//! `test.scene`: a person who talks before a wall, with a frame counter that
//! can be read back.
//!
//! Ports: → `out` raw video, I420; → `landmarks` data of
//! `sidetone.face_landmarks/1`, scheme 5: where in each picture the eyes, the tip of
//! the nose and the corners of the mouth are drawn, with the picture's times.
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
//! arithmetic on pixels; the same parameters give the same bytes. The landmarks are
//! no detector's: they come from what moves the figure, and are worked out only if
//! something is linked there. The counter,
//! `sidetone_test::scene::read_counter`, is described in `counter.rs`.
//!
//! ```toml
//! sidetone = 1
//! links = ["scene -> file"]
//! nodes.scene = { kind = "test.scene", size = [320, 180], duration_s = 2 }
//! nodes.file = { kind = "file.y4m_sink", path = "scene.y4m" }
//! ```

use sidetone_core::data_shape::{FACE_LANDMARKS, FaceLandmarks};
use sidetone_core::{
    Context, Fault, FrameRate, MediaType, Negotiated, Node, NodeError, NodeSpec, ParamSpec, Params,
    Placement, PortSpec, Size, VideoFormat,
};

pub use crate::counter::{COUNTER_NUMBERS, read_counter, read_counter_in};

use crate::backdrop::Backdrop;
use crate::counter::write_counter;
use crate::figure::Figure;
use crate::pace::{Beat, DURATION, PACE, Pace};
use crate::portrait;
use crate::wave::{phase_at, sine};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "test.scene",
    summary: "A person who talks before a wall, with a frame counter that can be read back.",
    sheet: sidetone_core::data_sheet!("scene.rs"),
    inputs: &[],
    outputs: &[
        PortSpec::new("out", MediaType::i420(None, None), "The pictures."),
        PortSpec::new("landmarks", MediaType::Data(FACE_LANDMARKS), "Where the face is in each of them."),
    ],
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
        let nanos = self.rate.offset_nanos(index);
        let pose = self.figure.pose(nanos);
        if cx.is_linked(1, None) {
            let (face, points) = self.figure.landmarks(pose, self.format.size);
            let mut bytes = [0; FaceLandmarks::bytes(5, 1)];
            // It can be written: there is room, and what is drawn has finite places.
            if FaceLandmarks::write(5, &[(face, &points)], &mut bytes).is_ok() {
                let landmarks = cx.data(1, FACE_LANDMARKS, &bytes, header.clone());
                cx.push(1, landmarks);
            }
        }
        let mut frame = cx.video(0, self.format, header);
        let mut planes = frame.planes_mut();
        self.backdrop.show(&mut planes, (1.0 + sine(phase_at(nanos, 29_000))) / 2.0);
        self.figure.show(&mut planes, pose);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{EYE_STATES, blink};
    use crate::portrait::{EYES, Face, MOUTH};
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

    /// The first `count` frames, each with the points of its face in pixels, and its box.
    fn with_points(figure: &str, count: i64) -> Vec<(Frame, [[f32; 2]; 5], [f32; 4])> {
        let (width, height) = (640.0, 360.0);
        let params = [
            ("figure", figure.into()),
            ("counter", false.into()),
            ("pace", "flat_out".into()),
            ("frames", count.into()),
        ];
        let mut node = scene((640, 360), &params);
        node.link_output(1, None);
        node.run();
        let both = node.take(0).into_iter().zip(node.take(1));
        let both = both.map(|(picture, landmarks)| {
            let (a, b) = (&picture.header, &landmarks.header);
            assert_eq!(
                (a.pts, a.captured, a.duration, a.sequence),
                (b.pts, b.captured, b.duration, b.sequence)
            );
            let read = FaceLandmarks::read(landmarks.data(FACE_LANDMARKS).unwrap()).unwrap();
            assert_eq!((read.scheme(), read.len(), read.face(0).confidence), (5, 1, 1.0));
            let points: Vec<_> = read.points(0).map(|[x, y]| [x * width, y * height]).collect();
            let face = read.face(0);
            let [left, top] = [face.left * width, face.top * height];
            let bounds = [left, top, left + face.width * width, top + face.height * height];
            (picture, points.try_into().unwrap(), bounds)
        });
        both.collect()
    }

    #[test]
    fn the_landmarks_lie_on_what_is_drawn_while_it_moves() {
        for figure in portrait::NAMES {
            let all = with_points(figure, 160);
            assert_eq!(all.len(), 160);
            let xs = all.iter().map(|(_, points, _)| points[2][0]);
            let moved = xs.clone().fold(f32::MIN, f32::max) - xs.fold(f32::MAX, f32::min);
            assert!(moved > 15.0, "{figure} moves by {moved} pixels, too little to show anything");
            for (n, (frame, points, [left, top, right, bottom])) in all.iter().enumerate() {
                let luma = |[x, y]: [f32; 2], dx: f32, dy: f32| {
                    i32::from(frame.plane(0).row((y + dy) as usize)[(x + dx) as usize])
                };
                let cr = |[x, y]: [f32; 2], dy: f32| {
                    i32::from(frame.plane(2).row((y + dy) as usize / 2)[x as usize / 2])
                };
                let [left_eye, right_eye, nose, left_corner, right_corner] = *points;
                let at = format!("{figure}, frame {n}");
                for [x, y] in points {
                    assert!((left..right).contains(&x) && (top..bottom).contains(&y), "{at}: {points:?}");
                }
                assert!(left_eye[0] < nose[0] && nose[0] < right_eye[0], "{at}: {points:?}");
                // Open eyes: a dark pupil right there, the bright white beside it.
                if blink(n as u64 * 1_000_000_000 / 30 / 1_000_000 + portrait::look(figure).ahead * 400)
                    == EYE_STATES - 1
                {
                    for eye in [left_eye, right_eye] {
                        let (pupil, white) = (luma(eye, 0.0, 1.0), luma(eye, 8.5, 1.0));
                        assert!(pupil < 60 && white > pupil + 50, "{at}: pupil {pupil}, white {white}");
                    }
                }
                // The tip of the nose is skin, and brighter than the nostrils under it.
                let (tip, nostril) = (luma(nose, 0.0, 0.0), luma(nose, 7.0, 9.5));
                assert!((133..=173).contains(&cr(nose, 0.0)) && tip > nostril + 15, "{at}: {tip}, {nostril}");
                // The mouth begins at its corners: inside them there is a dark line.
                for (corner, out) in [(left_corner, -1.0), (right_corner, 1.0)] {
                    // How much darker it is at their height than above and below.
                    let depth = |columns: std::ops::Range<i32>| {
                        let mean = |rows: std::ops::RangeInclusive<i32>| {
                            let places = rows.flat_map(|dy| columns.clone().map(move |dx| (dx, dy)));
                            let all = places.map(|(dx, dy)| luma(corner, dx as f32 * out, dy as f32));
                            let all: Vec<_> = all.collect();
                            all.iter().sum::<i32>() / all.len() as i32
                        };
                        (mean(-12..=-9) + mean(9..=12)) / 2 - mean(-1..=1)
                    };
                    let (inside, beside) = (depth(-4..0), depth(4..9));
                    assert!(inside >= beside + 3, "{at}: corner {inside}, beside {beside}");
                }
            }
        }
    }

    #[test]
    fn pictures_are_the_same_whether_or_not_anybody_takes_the_landmarks() {
        let params = [("counter", false.into())];
        let alone = frames((640, 360), &params, 3);
        for (a, (b, ..)) in alone.iter().zip(with_points("alice", 3)) {
            assert_eq!(differing(a, &b), 0);
        }
        let mut node = scene((640, 360), &[("frames", 3.into())]);
        node.advance(Duration::from_secs(1));
        assert_eq!((node.take(0).len(), node.take(1).len()), (3, 0), "nobody asked for them");
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
