//! Adds a kind of node of one's own to the registry and uses it in a graph.
//!
//! ```sh
//! cargo run --release --example own_node
//! ```

use std::path::Path;

use sidetone::registry::same;
use sidetone::{
    Clock, Context, Engine, Fault, Graph, LoadOptions, MediaType, Node, NodeSpec, Options, Placement,
    PortSpec, registry,
};

/// Turns sound upside down.
struct Invert;

static INVERT: NodeSpec = NodeSpec {
    kind: "own.invert",
    summary: "Turns sound upside down.",
    sheet: "",
    inputs: &[PortSpec::new("in", MediaType::AUDIO, "The sound.")],
    outputs: &[PortSpec::new("out", MediaType::AUDIO, "The same, inverted.")],
    params: &[],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &same,
    build: &|_| Ok(Box::new(Invert)),
};

impl Node for Invert {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(mut frame) = cx.pop(0) {
            let channels = frame.audio().map_or(0, |audio| usize::from(audio.channels));
            for channel in 0..channels {
                frame.channel_mut(channel).iter_mut().for_each(|sample| *sample = -*sample);
            }
            cx.push(0, frame);
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut kinds = registry();
    kinds.add(&INVERT);
    let text = r#"
        sidetone = 1
        links = ["tone -> invert -> file"]
        nodes.tone = { kind = "test.tone" }
        nodes.invert = { kind = "own.invert" }
        nodes.file = { kind = "file.wav_sink", path = "out/inverted.wav" }"#;
    let options = LoadOptions { read: &|_| Ok(text.into()), ..LoadOptions::default() };
    let (graph, _) = Graph::load(Path::new("own.toml"), &kinds, &options)?;
    let limit = Some(std::time::Duration::from_secs(1));
    let report = Engine::new(graph, Options { clock: Clock::virtual_time(), limit, ..Options::default() })?
        .run(|_| {});
    println!("{} frames of sound in out/inverted.wav", report.stages[2].frames);
    Ok(())
}
