//! `effect.smooth_skin`: smooths, brightens and warms skin, and leaves the rest alone.
//!
//! Ports: `in` raw video, I420, any size → `out` the same.
//!
//! Parameters, each 0 to 1, each may change while running: `smooth`, how much
//! fine texture is taken from skin, default 0.5; `whiten`, how much lighter and
//! paler it gets, default 0.2; `rosy`, how much redder, default 0.1; `sharpen`,
//! how much crisper everything else and the edges in skin get, default 0. With
//! all four at 0 pictures pass untouched, in the buffer they came in.
//! `parallel`, true or false, default false: shares pictures of 1.5 megapixels
//! and more (1080p, not 720p) among the machine's cores, with the same result.
//! It gives up the real-time promise that this kind makes without it, since such
//! calls wait for other threads and may lock; so it is off by default.
//! `degrade`, 0 to 3, default 0: from 1 on pictures pass untouched, which takes no
//! time; may change while running.
//!
//! Latency: none.
//!
//! Method: local statistics (Lee, "Digital image enhancement and noise filtering
//! by use of local statistics", IEEE PAMI 2(2), 1980): luma moves towards its
//! local mean by ε / (variance + ε), so that texture goes and edges (eyes, brows,
//! lips, hair) stay. Mean and variance are taken at half resolution and applied
//! at full, after the fast guided filter (He and Sun, arXiv:1505.00996). Skin is
//! what has the colour of skin: an ellipse in Cb and Cr (Hsu, Abdel-Mottaleb and
//! Jain, IEEE PAMI 24(5), 2002), averaged over the neighbourhood. Colour is all
//! it knows: a wall of that colour is smoothed too.
//!
//! ```toml
//! sidetone = 1
//! links = ["scene -> smooth -> file"]
//! nodes.scene = { kind = "test.scene" }
//! nodes.smooth = { kind = "effect.smooth_skin", smooth = 0.7, rosy = 0.2 }
//! nodes.file = { kind = "file.y4m_sink", path = "smooth.y4m" }
//! ```

use sidetone_core::param::DEGRADE;
use sidetone_core::registry::same;
use sidetone_core::{
    Context, Control, Fault, FaultKind, MediaType, Node, NodeSpec, ParamSpec, Params, Placement, PortSpec,
    Through, Value,
};

use crate::skin_filter::{Look, SkinFilter};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "effect.smooth_skin",
    summary: "Smooths, brightens and warms skin, and leaves the rest alone.",
    sheet: sidetone_core::data_sheet!("smooth_skin.rs"),
    inputs: &[PortSpec::new("in", MediaType::i420(None, None), "The pictures.")],
    outputs: &[PortSpec::new("out", MediaType::i420(None, None), "The pictures with smoother skin.")],
    params: &[
        ParamSpec::float("smooth", 0.5, 0.0, 1.0, "How much fine texture is taken from skin.").live(),
        ParamSpec::float("whiten", 0.2, 0.0, 1.0, "How much lighter and paler skin gets.").live(),
        ParamSpec::float("rosy", 0.1, 0.0, 1.0, "How much redder skin gets.").live(),
        ParamSpec::float("sharpen", 0.0, 0.0, 1.0, "How much crisper all that is not smooth skin gets.")
            .live(),
        ParamSpec::bool("parallel", false, "Whether pictures of 1.5 megapixels and more use several cores."),
        DEGRADE,
    ],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &same,
    build: &|setup| Ok(Box::new(SmoothSkin::new(setup.params))),
};

struct SmoothSkin {
    look: Look,
    parallel: bool,
    /// Whether to leave pictures alone, for want of time.
    is_off: bool,
    filter: SkinFilter,
}

impl SmoothSkin {
    fn new(params: &Params) -> Self {
        let look = Look {
            smooth: params.float("smooth") as f32,
            whiten: params.float("whiten") as f32,
            rosy: params.float("rosy") as f32,
            sharpen: params.float("sharpen") as f32,
        };
        let is_off = params.int(DEGRADE.name) > 0;
        Self { look, parallel: params.bool("parallel"), is_off, filter: SkinFilter::new() }
    }

    fn set(&mut self, param: &str, value: &Value) {
        let place = match param {
            "smooth" => &mut self.look.smooth,
            "whiten" => &mut self.look.whiten,
            "rosy" => &mut self.look.rosy,
            "sharpen" => &mut self.look.sharpen,
            "degrade" => return self.is_off = value.as_float() > 0.0,
            _ => return,
        };
        *place = value.as_float() as f32;
    }
}

impl Node for SmoothSkin {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(mut frame) = cx.pop(0) else { return Ok(()) };
        let Some(video) = frame.video() else {
            return Err(Fault::new(FaultKind::WrongFormat, "effect.smooth_skin takes raw video"));
        };
        if self.is_off || self.look.is_plain() {
            cx.push(0, frame);
            return Ok(());
        }
        let mut out = cx.video(0, video, std::mem::take(&mut frame.header));
        self.filter.apply(&frame, &mut out, &self.look, self.parallel);
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
            Control::Set { param, value } => self.set(param, value),
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
    use sidetone_core::{Frame, Plane};

    const SKIN: [u8; 3] = [150, 110, 152];
    const WALL: [u8; 3] = [150, 128, 128];

    fn noise(x: usize, y: usize) -> u8 {
        fastrand::Rng::with_seed((x * 7_919 + y) as u64).u8(0..13)
    }

    /// Skin to the left of `edge`, wall to the right, both with texture.
    fn half_skin(node: &Harness, width: u32, height: u32, edge: usize) -> Frame {
        node.picture(width, height, |plane, x, y| {
            let is_skin = if plane == 0 { x < edge } else { 2 * x < edge };
            let base = if is_skin { SKIN } else { WALL }[plane];
            if plane == 0 { base - 6 + noise(x, y) } else { base }
        })
    }

    fn run(node: &mut Harness, frame: Frame) -> Frame {
        node.push(0, frame);
        node.run();
        node.take(0).remove(0)
    }

    fn variance(plane: Plane<'_>, columns: std::ops::Range<usize>) -> f64 {
        let samples: Vec<f64> = (20..plane.height - 20)
            .flat_map(|y| plane.row(y)[columns.clone()].iter().map(|&s| f64::from(s)))
            .collect();
        let mean = samples.iter().sum::<f64>() / samples.len() as f64;
        samples.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / samples.len() as f64
    }

    #[test]
    fn flat_skin_gets_smooth_and_all_else_stays_byte_for_byte() {
        for (width, height) in [(256, 128), (255, 127)] {
            let mut node =
                Harness::new(&SPEC, &[("smooth", 1.0.into()), ("whiten", 1.0.into()), ("rosy", 1.0.into())]);
            let before = half_skin(&node, width, height, 128);
            let after = run(&mut node, before.clone());
            let (was, is) = (variance(before.plane(0), 20..100), variance(after.plane(0), 20..100));
            assert!(is < was / 10.0, "{was} fell to {is} only");
            for index in 0..3 {
                // The mask's window reaches 2 half samples past the edge, and
                // interpolation one more.
                let outside = if index == 0 { 128 + 8 } else { 64 + 4 };
                let (before, after) = (before.plane(index), after.plane(index));
                assert!((0..before.height).all(|y| before.row(y)[outside..] == after.row(y)[outside..]));
            }
        }
    }

    #[test]
    fn a_strong_edge_in_skin_keeps_its_contrast() {
        let mut node =
            Harness::new(&SPEC, &[("smooth", 1.0.into()), ("whiten", 0.0.into()), ("rosy", 0.0.into())]);
        let line = |plane: usize, x: usize, _| match plane {
            0 if (100..106).contains(&x) => 70,
            _ => SKIN[plane],
        };
        let frame = node.picture(256, 128, line);
        let after = run(&mut node, frame);
        let row = after.plane(0).row(64);
        let contrast = row[90] - row[102];
        assert!(contrast >= 72, "80 levels became {contrast}");
    }

    #[test]
    fn with_everything_at_zero_the_same_buffer_passes() {
        let mut node = Harness::new(&SPEC, &[]);
        for param in ["smooth", "whiten", "rosy"] {
            node.control(Control::Set { param, value: 0.0.into() }, None);
        }
        let frame = half_skin(&node, 33, 17, 16);
        let (held, place) = (frame.clone(), frame.plane(0).data.as_ptr());
        let after = run(&mut node, frame);
        assert_eq!(after.plane(0).data.as_ptr(), place);
        assert_eq!(after.bytes(), held.bytes());
    }

    #[test]
    fn while_it_is_to_do_less_pictures_pass_untouched() {
        let mut node = Harness::new(&SPEC, &[("smooth", 1.0.into())]);
        let mut changed = |level: i64| {
            node.control(Control::Set { param: "degrade", value: level.into() }, None);
            let frame = half_skin(&node, 64, 48, 48);
            let before = frame.bytes().to_vec();
            run(&mut node, frame).bytes() != before
        };
        assert_eq!([changed(0), changed(1), changed(3), changed(0)], [true, false, false, true]);
    }

    #[test]
    fn each_parameter_does_its_own_thing_at_once() {
        let mut node =
            Harness::new(&SPEC, &[("smooth", 0.0.into()), ("whiten", 0.0.into()), ("rosy", 0.0.into())]);
        let mean = |frame: &Frame, plane: usize| {
            let plane = frame.plane(plane);
            (0..plane.height).flat_map(|y| plane.row(y)).map(|&s| f64::from(s)).sum::<f64>()
                / (plane.width * plane.height) as f64
        };
        let mut with = |param: &'static str, value: f64| {
            node.control(Control::Set { param, value: value.into() }, None);
            let frame = half_skin(&node, 96, 96, 96);
            let after = run(&mut node, frame);
            node.control(Control::Set { param, value: 0.0.into() }, None);
            [mean(&after, 0), mean(&after, 1), mean(&after, 2), variance(after.plane(0), 20..76)]
        };
        let plain = with("smooth", 0.0);
        let [smooth, white, rosy, sharp] =
            ["smooth", "whiten", "rosy", "sharpen"].map(|param| with(param, 1.0));
        assert!(smooth[3] < plain[3] / 5.0 && (smooth[0] - plain[0]).abs() < 1.0 && smooth[2] == plain[2]);
        assert!(white[0] > plain[0] + 15.0 && white[2] < plain[2] - 2.0);
        assert!(rosy[2] > plain[2] + 7.0 && rosy[0] == plain[0]);
        assert!((sharp[0] - plain[0]).abs() < 1.0 && sharp[2] == plain[2]);
    }

    #[test]
    fn sharpening_steepens_edges_outside_skin() {
        let mut node = Harness::new(&SPEC, &[("sharpen", 1.0.into())]);
        let frame =
            node.picture(
                64,
                64,
                |plane, x, _| if plane > 0 { 128 } else { 100 + 20 * (x.clamp(30, 34) - 30) as u8 },
            );
        let after = run(&mut node, frame.clone());
        let step = |frame: &Frame| frame.plane(0).row(30)[33] - frame.plane(0).row(30)[31];
        assert!(after.plane(0).row(30)[34] > frame.plane(0).row(30)[34], "no overshoot");
        assert!(step(&after) >= step(&frame));
    }

    #[test]
    fn the_size_may_change_with_every_picture() {
        let mut node = Harness::new(&SPEC, &[("sharpen", 0.5.into())]);
        for (width, height) in [(64, 64), (1, 1), (640, 2), (3, 300), (64, 64)] {
            let frame = half_skin(&node, width, height, 40);
            let mut fresh = Harness::new(&SPEC, &[("sharpen", 0.5.into())]);
            let expected = run(&mut fresh, frame.clone());
            let after = run(&mut node, frame);
            for (a, b) in (0..3).map(|index| (after.plane(index), expected.plane(index))) {
                assert!((0..a.height).all(|y| a.row(y) == b.row(y)), "{width}x{height}");
            }
        }
    }
}
