//! `effect.scale`: makes pictures larger or smaller.
//!
//! Ports: `in` raw video, I420, any size, which may change → `out` raw video,
//! I420, of `size`.
//!
//! Parameters: `size`, [width, height] in pixels, must be given; `fit`, what to
//! do where the shapes differ: "letterbox" (black bars; the default), "crop"
//! (cuts off what hangs over) or "stretch"; `quality`, "good" (area average when
//! smaller, bicubic when larger; the default) or "fast" (bilinear, which shows
//! jagged edges below half size); `degrade`, 0 to 3, default 0: from 1 on it is
//! "fast" whatever `quality` says; may change while running.
//!
//! Latency: none. Pictures that have the size already pass untouched, in the
//! buffer they came in.
//!
//! Method: separable resampling in fixed point, see `PictureScaler`; bicubic is
//! Catmull-Rom (Keys, "Cubic convolution interpolation", IEEE ASSP 29(6), 1981).
//! Own code instead of a resizing crate: its tables stay from frame to frame, so
//! that nothing is allocated, and its bytes are the same on every machine.
//!
//! ```toml
//! sidetone = 1
//! links = ["scene -> smaller -> file"]
//! nodes.scene = { kind = "test.scene" }
//! nodes.smaller = { kind = "effect.scale", size = [320, 180], fit = "crop" }
//! nodes.file = { kind = "file.y4m_sink", path = "small.y4m" }
//! ```

use sidetone_core::param::DEGRADE;
use sidetone_core::{
    Context, Control, Fault, FaultKind, MediaType, Mismatch, Negotiated, Node, NodeSpec, Offer, ParamSpec,
    Params, Placement, PortSpec, Size, Through, VideoFormat,
};

use crate::fit::{Fit, blacken, whole};
use crate::resample::{PictureScaler, Quality};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "effect.scale",
    summary: "Makes pictures larger or smaller.",
    sheet: sidetone_core::data_sheet!("scale.rs"),
    inputs: &[PortSpec::new("in", MediaType::i420(None, None), "The pictures.")],
    outputs: &[PortSpec::new("out", MediaType::i420(None, None), "The pictures at their new size.")],
    params: &[
        ParamSpec::size("size", Size::new(640, 360), "The size to come out.").unit("pixels").required(),
        ParamSpec::choice("fit", "letterbox", Fit::WORDS, "What to do where the shapes differ."),
        ParamSpec::choice(
            "quality",
            "good",
            Quality::WORDS,
            "Bilinear, or area average (smaller) and bicubic (larger).",
        ),
        DEGRADE,
    ],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &negotiate,
    build: &|setup| Ok(Box::new(Scale::new(setup.params))),
};

fn negotiate(offer: &Offer<'_>) -> Result<Negotiated, Mismatch> {
    let fps = match offer.inputs.first() {
        Some(Some(MediaType::Video { fps, .. })) => *fps,
        _ => None,
    };
    Ok(Negotiated::new([MediaType::i420(Some(offer.params.size("size")), fps)]))
}

struct Scale {
    size: Size,
    fit: Fit,
    quality: Quality,
    /// Whether to be fast whatever the quality, for want of time.
    hurries: bool,
    scaler: PictureScaler,
}

impl Scale {
    fn new(params: &Params) -> Self {
        Self {
            size: params.size("size"),
            fit: Fit::of(params.text("fit")),
            quality: Quality::of(params.text("quality")),
            hurries: params.int(DEGRADE.name) > 0,
            scaler: PictureScaler::default(),
        }
    }
}

impl Node for Scale {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(mut frame) = cx.pop(0) else { return Ok(()) };
        let Some(video) = frame.video() else {
            return Err(Fault::new(FaultKind::WrongFormat, "effect.scale takes raw video"));
        };
        if video.size == self.size {
            cx.push(0, frame);
            return Ok(());
        }
        let mut out = cx.video(0, VideoFormat::i420(self.size), std::mem::take(&mut frame.header));
        let all = whole(&out);
        let (window, rect) = self.fit.place(video.size, all);
        let mut planes = out.planes_mut();
        if rect != all {
            blacken(&mut planes, all);
        }
        let quality = if self.hurries { Quality::of("fast") } else { self.quality };
        self.scaler.scale(&frame, window, &mut planes, rect, quality);
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
            Control::Set { param: "degrade", value } => self.hurries = value.as_float() > 0.0,
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
    use sidetone_core::{Frame, FrameRate, Value};
    use std::time::Duration;

    fn scaled(width: u32, height: u32, more: &[(&str, Value)], frame: impl Fn(&Harness) -> Frame) -> Frame {
        let mut params: Vec<(&str, Value)> = vec![("size", Size::new(width, height).into())];
        params.extend_from_slice(more);
        let mut node = Harness::new(&SPEC, &params);
        node.push(0, frame(&node));
        node.run();
        node.take(0).remove(0)
    }

    fn grey(_: usize, _: usize, _: usize) -> u8 {
        99
    }

    #[test]
    fn a_picture_of_the_right_size_passes_in_its_own_buffer() {
        let mut node = Harness::new(&SPEC, &[("size", Size::new(33, 17).into())]);
        let frame = node.picture(33, 17, grey);
        let place = frame.plane(0).data.as_ptr();
        node.push(0, frame);
        node.run();
        assert_eq!(node.take(0)[0].plane(0).data.as_ptr(), place);
    }

    #[test]
    fn letterboxing_leaves_black_bars_and_nothing_else() {
        let out = scaled(64, 32, &[], |node| node.picture(32, 32, grey));
        let (luma, chroma) = (out.plane(0), out.plane(1));
        for y in 0..32 {
            let row = luma.row(y);
            assert!(row[..16].iter().chain(&row[48..]).all(|&s| s == 16));
            assert!(row[16..48].iter().all(|&s| s == 99));
            assert_eq!((chroma.row(y / 2)[7], chroma.row(y / 2)[8]), (128, 99));
        }
    }

    #[test]
    fn cropping_and_stretching_leave_no_bars() {
        for fit in ["crop", "stretch"] {
            for quality in ["fast", "good"] {
                let more = [("fit", fit.into()), ("quality", quality.into())];
                for (width, height) in [(64, 32), (31, 77), (1, 1)] {
                    let out = scaled(width, height, &more, |node| node.picture(33, 31, grey));
                    for plane in (0..3).map(|index| out.plane(index)) {
                        assert!((0..plane.height).all(|y| plane.row(y).iter().all(|&s| s == 99)));
                    }
                }
            }
        }
    }

    #[test]
    fn cropping_shows_the_middle() {
        let bars = |node: &Harness| node.picture(96, 32, |_, x, _| if x < 96 / 3 { 50 } else { 200 });
        let out = scaled(32, 32, &[("fit", "crop".into())], bars);
        assert!(out.plane(0).row(9)[1..].iter().all(|&s| s == 200), "{:?}", out.plane(0).row(9));
    }

    #[test]
    fn good_averages_what_fast_would_miss() {
        let stripes = |node: &Harness| node.picture(256, 256, |_, x, _| if x % 4 == 0 { 255 } else { 0 });
        let good = scaled(64, 64, &[], stripes);
        assert!(good.plane(0).row(30).iter().all(|&s| s == 64));
        let fast = scaled(64, 64, &[("quality", "fast".into())], stripes);
        assert!(fast.plane(0).row(30).iter().all(|&s| s == 0));
        let hurried = scaled(64, 64, &[("degrade", 1.into())], stripes);
        assert_eq!(hurried.bytes(), fast.bytes());
    }

    #[test]
    fn it_hurries_while_it_is_told_to() {
        let mut node = Harness::new(&SPEC, &[("size", Size::new(64, 64).into())]);
        let mut sample = |level: i64| {
            node.control(Control::Set { param: "degrade", value: level.into() }, None);
            let stripes = node.picture(256, 256, |_, x, _| if x % 4 == 0 { 255 } else { 0 });
            node.push(0, stripes);
            node.run();
            node.take(0)[0].plane(0).row(30)[9]
        };
        assert_eq!([sample(0), sample(2), sample(0)], [64, 0, 64]);
    }

    #[test]
    fn sizes_may_change_while_running_and_headers_go_on() {
        let mut node = Harness::new(&SPEC, &[("size", Size::new(20, 20).into())]);
        for (sequence, (width, height)) in [(64, 48), (10, 90), (20, 20), (7, 7)].into_iter().enumerate() {
            let mut frame = node.picture(width, height, grey);
            frame.header = node.header(Duration::from_millis(33));
            node.push(0, frame);
            node.run();
            let out = node.take(0).remove(0);
            assert_eq!(out.video().unwrap().size, Size::new(20, 20));
            assert_eq!((out.header.sequence, out.header.duration.as_millis()), (sequence as u64, 33));
        }
    }

    #[test]
    fn the_new_size_and_the_old_rate_are_known_beforehand() {
        let params = Params::new(SPEC.params, &[("size", Size::new(320, 180).into())]).unwrap();
        let fps = Some(FrameRate::new(25, 1));
        let inputs = [Some(MediaType::i420(Some(Size::new(640, 360)), fps))];
        let answer = SPEC.negotiated(&Offer { params: &params, inputs: &inputs }).unwrap();
        assert_eq!(answer, Negotiated::new([MediaType::i420(Some(Size::new(320, 180)), fps)]));
    }
}
