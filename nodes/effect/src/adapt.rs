//! `effect.adapt`: makes pictures smaller and fewer while the network carries less.
//!
//! Ports: `in` raw video, I420, any size, which may change → `out` the same, of
//! that size or a smaller one, which may change.
//!
//! Parameters: `size`, [width, height] in pixels, the most that comes out: larger
//! pictures are fitted in with their shape; 16384x16384 by default. `fps`, 1 to 240
//! frames/s, the most that come out, default 240; may change while running. `prefer`,
//! what is given up last when less gets through: "balanced" (the default: sides and
//! rate are cut in turn), "sharpness" (the rate is cut first, what W3C's
//! `degradationPreference` calls "maintain-resolution") or "smoothness" (the sides
//! first: "maintain-framerate").
//!
//! Latency: none. Pictures that may stay as they are pass untouched, in the buffer
//! they came in.
//!
//! Method: put it before an encoder that hands on what the network carries
//! (`Control::Bitrate`), as `codec.av1_encode` does. Below 0.04 bits a pixel the
//! sides are cut to 3/4, 1/2, 3/8 and 1/4, or the rate to 1/2, 1/3, 1/4 and 1/6, down
//! to 5 frames/s, until that much is left: at once, but at most once a second. When a
//! quarter more than needed gets through for 2 s, it gives back as much as that allows.
//! Each new size makes the encoder begin with a key frame. Pictures are left out evenly,
//! by their time stamps, and counted as declined; each change is told as an event.
//! Resampled by area average, as by `effect.scale`.
//!
//! ```toml
//! sidetone = 1
//! links = ["scene -> adapt -> av1 -> pack -> room.video_in"]
//! nodes.scene = { kind = "test.scene" }
//! nodes.adapt = { kind = "effect.adapt", size = [1280, 720], prefer = "smoothness" }
//! nodes.av1 = { kind = "codec.av1_encode" }
//! nodes.pack = { kind = "rtp.pack_av1" }
//! nodes.room = { kind = "room.join", url = "mem://demo", user = "alice" }
//! ```

use std::time::Duration;

use sidetone_core::{
    Context, Control, DropReason, EventKind, Fault, FaultKind, MediaType, Mismatch, Negotiated, Node,
    NodeSpec, Offer, ParamSpec, Placement, PortSpec, Setup, Size, Through, Timestamp, VideoFormat,
};

use crate::adapt_level::{Course, Pictures, Prefer, sizes, within};
use crate::resample::{PictureScaler, Quality, Rect, Window};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "effect.adapt",
    summary: "Makes pictures smaller and fewer while the network carries less.",
    sheet: sidetone_core::data_sheet!("adapt.rs"),
    inputs: &[PortSpec::new("in", MediaType::i420(None, None), "The pictures.")],
    outputs: &[PortSpec::new("out", MediaType::i420(None, None), "As many and as large as get through.")],
    params: &[
        ParamSpec::size("size", Size::new(Size::MAX_SIDE, Size::MAX_SIDE), "The most that comes out.")
            .unit("pixels"),
        ParamSpec::float("fps", MOST_FPS, 1.0, MOST_FPS, "The most that come out.").unit("frames/s").live(),
        ParamSpec::choice("prefer", "balanced", Prefer::WORDS, "What is given up last."),
    ],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &negotiate,
    build: &|setup| Ok(Box::new(Adapt::new(&setup))),
};

/// As many frames a second as there may be.
const MOST_FPS: f64 = 240.0;
/// What is taken for the rate of pictures of which none is known.
const USUAL_FPS: f64 = 30.0;

fn negotiate(offer: &Offer<'_>) -> Result<Negotiated, Mismatch> {
    // The size is that of the moment. The rate is what comes at best, and about.
    let fps = match offer.inputs.first() {
        Some(Some(MediaType::Video { fps, .. })) => *fps,
        _ => None,
    };
    Ok(Negotiated::new([MediaType::i420(None, fps)]))
}

struct Adapt {
    most: Size,
    most_fps: f64,
    prefer: Prefer,
    /// The rate at which pictures come, where the graph knows it.
    comes_fps: Option<f64>,
    /// What the network carries, in bits a second, once that is known.
    carried: Option<u32>,
    course: Course,
    /// The size that the scalers are made for, and one for each size to come out.
    from: Option<Size>,
    scalers: Vec<(Size, PictureScaler)>,
    /// What comes out now, as last told.
    now: Option<Pictures>,
    /// When the next picture is due, while not all of them are.
    due: Option<Timestamp>,
}

impl Adapt {
    fn new(setup: &Setup<'_>) -> Self {
        let params = setup.params;
        let (from, comes_fps) = match setup.inputs.first() {
            Some(Some(MediaType::Video { size, fps, .. })) => (*size, fps.map(|fps| fps.per_second())),
            _ => (None, None),
        };
        let mut node = Self {
            most: params.size("size"),
            most_fps: params.float("fps"),
            prefer: Prefer::of(params.text("prefer")),
            comes_fps,
            carried: None,
            course: Course::default(),
            from: None,
            scalers: Vec::new(),
            now: None,
            due: None,
        };
        // Made ahead where the graph tells what comes.
        from.into_iter().for_each(|from| node.prepare(from));
        node
    }

    /// The most that comes out of pictures of this size.
    fn full(&self, from: Size) -> Pictures {
        Pictures {
            size: within(from, self.most),
            fps: self.comes_fps.unwrap_or(USUAL_FPS).min(self.most_fps),
        }
    }

    /// Makes the tables for pictures of this size, whatever size they are to get, so
    /// that none has to be made when the network changes.
    fn prepare(&mut self, from: Size) {
        if self.from.replace(from) == Some(from) {
            return;
        }
        self.scalers.clear();
        for size in sizes(self.full(from).size).filter(|size| *size != from) {
            let mut scaler = PictureScaler::default();
            scaler.prepare(from, Window::whole(from), whole(size), Quality::Good);
            self.scalers.push((size, scaler));
        }
    }

    /// Whether a picture of this time is one of those that go on: of those around a due
    /// time the nearest.
    fn is_due(&mut self, pts: Timestamp, fps: f64) -> bool {
        if fps >= self.comes_fps.unwrap_or(if self.most_fps < MOST_FPS { MOST_FPS } else { USUAL_FPS }) {
            self.due = None;
            return true;
        }
        let interval = Duration::from_secs_f64(1.0 / fps);
        let due = self.due.unwrap_or(pts);
        let half = Duration::from_secs_f64(0.5 / self.comes_fps.unwrap_or(USUAL_FPS));
        // Time that went back, or on by more than a picture, begins anew.
        let is_astray = due > pts + 2 * interval || pts > due + interval;
        let is_due = is_astray || pts + half >= due;
        if is_due {
            self.due = Some(if is_astray { pts } else { due } + interval);
        }
        is_due
    }
}

fn whole(size: Size) -> Rect {
    Rect { x: 0, y: 0, width: size.width as usize, height: size.height as usize }
}

impl Node for Adapt {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(mut frame) = cx.pop(0) else { return Ok(()) };
        let Some(video) = frame.video() else {
            return Err(Fault::new(FaultKind::WrongFormat, "effect.adapt takes raw video"));
        };
        let full = self.full(video.size);
        let carried = self.carried.map_or(f64::INFINITY, f64::from);
        let level = self.course.at(cx.now(), full, self.prefer, carried);
        let left = full.at(self.prefer, level);
        if self.now.replace(left).is_some_and(|before| before != left) {
            cx.emit(EventKind::Adapted { width: left.size.width, height: left.size.height, fps: left.fps });
        }
        if !self.is_due(frame.header.pts, left.fps) {
            cx.dropped(DropReason::Declined);
            return Ok(());
        }
        if left.size == video.size {
            cx.push(0, frame);
            return Ok(());
        }
        self.prepare(video.size);
        let Some((_, scaler)) = self.scalers.iter_mut().find(|(size, _)| *size == left.size) else {
            return Err(Fault::new(FaultKind::WrongFormat, "effect.adapt has no table for this size"));
        };
        let format = VideoFormat { size: left.size, ..video };
        let mut out = cx.video(0, format, std::mem::take(&mut frame.header));
        scaler.scale(
            &frame,
            Window::whole(video.size),
            &mut out.planes_mut(),
            whole(left.size),
            Quality::Good,
        );
        cx.push(0, out);
        Ok(())
    }

    fn control(
        &mut self,
        control: &Control,
        from: Option<Through>,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        match control {
            // It is for whoever makes less of it, and that is done here.
            Control::Bitrate { bps } => self.carried = Some(*bps),
            Control::Set { param: "fps", value } => self.most_fps = value.as_float(),
            _ if from.is_some() => cx.forward(control),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidetone_core::harness::Harness;
    use sidetone_core::{Frame, FrameRate, Params, Value};

    const UP: Option<Through> = Some(Through { port: 0, key: None });
    const FRAME: Duration = Duration::from_nanos(33_333_334);

    /// A node that is given a grey picture 30 times a second.
    struct Rig(Harness, (u32, u32));

    impl Rig {
        fn new(params: &[(&str, Value)]) -> Self {
            Self(Harness::new(&SPEC, params), (640, 360))
        }

        fn carries(&mut self, kbps: u32) {
            self.0.control(Control::Bitrate { bps: kbps * 1_000 }, UP);
        }

        /// The pictures that come out of so many.
        fn run(&mut self, count: usize) -> Vec<Frame> {
            for _ in 0..count {
                let mut frame = self.0.picture(self.1.0, self.1.1, |plane, _, _| [90, 120, 140][plane]);
                frame.header = self.0.header(FRAME);
                self.0.push(0, frame);
                self.0.advance(FRAME);
            }
            assert_eq!(self.0.fault(), None);
            self.0.take(0)
        }

        fn declined(&self) -> u64 {
            self.0.ledger().dropped[DropReason::Declined as usize].get()
        }
    }

    fn size(frame: &Frame) -> (u32, u32) {
        let size = frame.video().unwrap().size;
        (size.width, size.height)
    }

    fn numbers(frames: &[Frame]) -> Vec<u64> {
        frames.iter().map(|frame| frame.header.sequence).collect()
    }

    #[test]
    fn a_picture_that_gets_through_as_it_is_passes_in_its_own_buffer() {
        let mut rig = Rig::new(&[]);
        for kbps in [None, Some(600)] {
            kbps.into_iter().for_each(|kbps| rig.carries(kbps));
            let frame = rig.0.picture(640, 360, |_, _, _| 7);
            let place = frame.plane(0).data.as_ptr();
            rig.0.push(0, frame);
            rig.0.run();
            assert_eq!(rig.0.take(0)[0].plane(0).data.as_ptr(), place);
        }
        assert!(rig.0.events().is_empty() && rig.0.upstream().is_empty());
    }

    #[test]
    fn less_makes_them_smaller_and_fewer_and_more_restores_them_and_each_change_is_told() {
        let mut rig = Rig::new(&[]);
        rig.run(15);
        rig.carries(90);
        let less = rig.run(60);
        assert!(less.iter().all(|frame| size(frame) == (480, 270)));
        // Each second one, and those that were left out are known.
        assert_eq!((less.len(), rig.declined()), (30, 30));
        assert!(numbers(&less).windows(2).all(|pair| pair[1] == pair[0] + 2));
        for plane in 0..3 {
            let plane_of = less[9].plane(plane);
            assert!(
                (0..plane_of.height).all(|y| plane_of.row(y).iter().all(|&s| s == [90, 120, 140][plane]))
            );
        }
        rig.carries(500);
        let more = rig.run(150);
        let whole = more.iter().position(|frame| size(frame) == (640, 360)).unwrap();
        assert_eq!(whole, 30, "after two seconds");
        assert_eq!(more.len() - whole, 90, "all of them");
        let told: Vec<_> = rig.0.events().iter().map(ToString::to_string).collect();
        assert_eq!(told, ["pictures of 480x270, 15 a second", "pictures of 640x360, 30 a second"]);
        assert!(rig.0.upstream().is_empty(), "it is for this node alone");
    }

    #[test]
    fn sharpness_keeps_the_size_and_smoothness_the_rate() {
        for (prefer, expected) in [("sharpness", ((640, 360), 15)), ("smoothness", ((320, 180), 60))] {
            let mut rig = Rig::new(&[("prefer", prefer.into())]);
            rig.carries(90);
            let out = rig.run(60);
            assert_eq!((size(&out[5]), out.len()), expected, "{prefer}");
        }
    }

    #[test]
    fn no_more_comes_out_than_the_graph_allows_whatever_comes_in() {
        let most = [("size", Size::new(320, 320).into()), ("fps", 10.0.into())];
        let mut rig = Rig::new(&most);
        assert_eq!(numbers(&rig.run(12)), [0, 3, 6, 9]);
        rig.0.control(Control::Set { param: "fps", value: 240.0.into() }, None);
        for (given, expected) in [((640, 360), (320, 180)), ((100, 400), (80, 320)), ((32, 20), (32, 20))] {
            rig.1 = given;
            let out = rig.run(4);
            assert_eq!((out.len(), size(&out[0])), (4, expected));
        }
    }

    #[test]
    fn time_stamps_that_stand_still_or_jump_hold_nothing_up() {
        let mut rig = Rig::new(&[("fps", 10.0.into())]);
        let times = [5_000, 5_000, 5_001, 5_100, 9_000, 1_000, 1_050, 1_100];
        for time in times {
            let mut frame = rig.0.picture(8, 8, |_, _, _| 7);
            frame.header.pts = Timestamp::from_nanos(time * 1_000_000);
            rig.0.push(0, frame);
            rig.0.run();
        }
        let out: Vec<_> = rig.0.take(0).iter().map(|frame| frame.header.pts.nanos() / 1_000_000).collect();
        assert_eq!(out, [5_000, 5_100, 9_000, 1_000, 1_100]);
        assert_eq!(rig.declined(), 3);
    }

    #[test]
    fn the_rate_is_known_beforehand_and_the_size_is_not() {
        let params = Params::new(SPEC.params, &[]).unwrap();
        let fps = Some(FrameRate::new(25, 1));
        let inputs = [Some(MediaType::i420(Some(Size::new(640, 360)), fps))];
        let answer = SPEC.negotiated(&Offer { params: &params, inputs: &inputs }).unwrap();
        assert_eq!(answer, Negotiated::new([MediaType::i420(None, fps)]));
    }
}
