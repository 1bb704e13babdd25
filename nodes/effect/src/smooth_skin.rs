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
//! and more (1080p, not 720p) among the machine's cores, with the same result;
//! such calls wait for other threads, so keep it off on a real-time lane.
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
    ],
    placement: Placement::Shared,
    real_time: true,
    negotiate: same,
    build: &|setup| Ok(Box::new(SmoothSkin::new(setup.params))),
};

struct SmoothSkin {
    look: Look,
    parallel: bool,
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
        Self { look, parallel: params.bool("parallel"), filter: SkinFilter::new() }
    }

    fn set(&mut self, param: &str, value: &Value) {
        let place = match param {
            "smooth" => &mut self.look.smooth,
            "whiten" => &mut self.look.whiten,
            "rosy" => &mut self.look.rosy,
            "sharpen" => &mut self.look.sharpen,
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
        if self.look.is_plain() {
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
