//! `effect.mirror`: flips pictures, as people expect to see themselves.
//!
//! Ports: `in` raw video, I420, any size → `out` the same.
//!
//! Parameters: `axis`, "horizontal" (left and right change places; the default),
//! "vertical" (top and bottom do) or "both" (a turn by 180 degrees); `enabled`,
//! true or false, default true, may change while running. When not enabled,
//! pictures pass untouched.
//!
//! Latency: none.
//!
//! Method: each row is reversed, or rows are exchanged, in place; a picture that
//! others hold too is copied first. Where a side is odd, the last chroma sample
//! stands for one luma sample instead of two; it is flipped like the others,
//! which puts colour one luma sample off its place. The other choice, averaging
//! neighbours, would blur colour; this way flipping twice gives the same bytes.
//!
//! ```toml
//! sidetone = 1
//! links = ["scene -> mirror -> file"]
//! nodes.scene = { kind = "test.scene" }
//! nodes.mirror = { kind = "effect.mirror" }
//! nodes.file = { kind = "file.y4m_sink", path = "mirrored.y4m" }
//! ```

use sidetone_core::registry::same;
use sidetone_core::{
    Context, Control, Fault, FaultKind, MediaType, Node, NodeSpec, ParamSpec, Placement, PlaneMut, PortSpec,
    Through, Value,
};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "effect.mirror",
    summary: "Flips pictures, as people expect to see themselves.",
    sheet: sidetone_core::data_sheet!("mirror.rs"),
    inputs: &[PortSpec::new("in", MediaType::i420(None, None), "The pictures.")],
    outputs: &[PortSpec::new("out", MediaType::i420(None, None), "The pictures, flipped.")],
    params: &[
        ParamSpec::choice(
            "axis",
            "horizontal",
            &["horizontal", "vertical", "both"],
            "Which sides change places: left and right, top and bottom, or both.",
        ),
        ParamSpec::bool("enabled", true, "Whether pictures are flipped.").live(),
    ],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &same,
    build: &|setup| {
        let axis = setup.params.text("axis");
        Ok(Box::new(Mirror {
            across: axis != "vertical",
            down: axis != "horizontal",
            enabled: setup.params.bool("enabled"),
        }))
    },
};

struct Mirror {
    across: bool,
    down: bool,
    enabled: bool,
}

impl Node for Mirror {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(mut frame) = cx.pop(0) else { return Ok(()) };
        let Some(video) = frame.video() else {
            return Err(Fault::new(FaultKind::WrongFormat, "effect.mirror takes raw video"));
        };
        if self.enabled {
            if !frame.is_alone() {
                // Into a buffer of this node's own: the frame's pool may be dry.
                let mut copy = cx.video(0, video, std::mem::take(&mut frame.header));
                copy.bytes_mut().copy_from_slice(frame.bytes());
                frame = copy;
            }
            for mut plane in frame.planes_mut() {
                if self.across {
                    (0..plane.height).for_each(|y| plane.row_mut(y).reverse());
                }
                if self.down {
                    exchange_rows(&mut plane);
                }
            }
        }
        cx.push(0, frame);
        Ok(())
    }

    fn control(
        &mut self,
        control: &Control,
        from: Option<Through>,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        match control {
            Control::Set { param: "enabled", value } => self.enabled = *value == Value::Bool(true),
            _ if from.is_some() => cx.forward(control),
            _ => {}
        }
        Ok(())
    }
}

fn exchange_rows(plane: &mut PlaneMut<'_>) {
    let stride = plane.stride;
    let (mut upper, mut lower) = (0, plane.height.saturating_sub(1));
    while upper < lower {
        let (above, below) = plane.data.split_at_mut(lower * stride);
        above[upper * stride..][..stride].swap_with_slice(&mut below[..stride]);
        upper += 1;
        lower -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidetone_core::Frame;
    use sidetone_core::harness::Harness;

    fn sample(plane: usize, x: usize, y: usize) -> u8 {
        (plane * 80 + x * 7 + y * 31) as u8
    }

    fn flipped(node: &mut Harness, frame: Frame) -> Frame {
        node.push(0, frame);
        node.run();
        node.take(0).remove(0)
    }

    #[test]
    fn every_axis_flips_every_plane_at_any_size() {
        for (width, height) in [(16, 8), (33, 17), (1, 1), (2, 5), (129, 2)] {
            for (axis, across, down) in
                [("horizontal", true, false), ("vertical", false, true), ("both", true, true)]
            {
                let mut node = Harness::new(&SPEC, &[("axis", axis.into())]);
                let frame = node.picture(width, height, sample);
                let out = flipped(&mut node, frame);
                for index in 0..3 {
                    let plane = out.plane(index);
                    for (y, x) in (0..plane.height).flat_map(|y| (0..plane.width).map(move |x| (y, x))) {
                        let from_x = if across { plane.width - 1 - x } else { x };
                        let from_y = if down { plane.height - 1 - y } else { y };
                        assert_eq!(plane.row(y)[x], sample(index, from_x, from_y), "{axis} {width}x{height}");
                    }
                }
            }
        }
    }

    #[test]
    fn flipping_twice_gives_the_same_bytes() {
        let mut node = Harness::new(&SPEC, &[("axis", "both".into())]);
        let frame = node.picture(33, 17, sample);
        let before = frame.clone();
        let once = flipped(&mut node, frame);
        assert_ne!(once.plane(0).row(0), before.plane(0).row(0));
        let twice = flipped(&mut node, once);
        assert!((0..3).all(|p| (0..before.plane(p).height).all(|y| twice.plane(p).row(y) == before.plane(p).row(y))));
    }

    #[test]
    fn a_picture_that_others_hold_stays_as_it_was_for_them() {
        let mut node = Harness::new(&SPEC, &[]);
        let frame = node.picture(8, 8, sample);
        let held = frame.clone();
        flipped(&mut node, frame);
        assert_eq!(held.plane(0).row(3)[1], sample(0, 1, 3));
    }

    #[test]
    fn when_not_enabled_the_same_buffer_passes() {
        let mut node = Harness::new(&SPEC, &[]);
        node.control(Control::Set { param: "enabled", value: false.into() }, None);
        let frame = node.picture(8, 8, sample);
        let place = frame.plane(0).data.as_ptr();
        let out = flipped(&mut node, frame);
        assert_eq!((out.plane(0).data.as_ptr(), out.plane(0).row(0)[1]), (place, sample(0, 1, 0)));
    }
}
