//! What a hop costs: inside a lane, by the slope from 10 to 100 nodes; between
//! lanes, a packet from a source to a node, beside a bounded crossbeam-channel
//! between two threads that carries as many values.
//!
//! ```sh
//! cargo bench --bench hops
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use sidetone::registry::{declared, same};
use sidetone::{
    Codec, Context, Engine, Fault, Graph, LoadOptions, MediaType, Node, NodeSpec, Options, ParamSpec,
    Placement, PortSpec, Registry,
};

const FRAMES: i64 = 200_000;
const ROUNDS: usize = 5;
const IN: PortSpec = PortSpec::new("in", MediaType::packets(Codec::Opus), "Packets.");
const OUT: PortSpec = PortSpec::new("out", MediaType::packets(Codec::Opus), "Packets.");

/// Puts out packets as fast as its link takes them.
struct Source(i64);

impl Node for Source {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        for _ in 0..32.min(self.0) {
            let header = cx.born(cx.now(), Duration::ZERO);
            let packet = cx.packet(0, Codec::Opus, &[0; 16], header);
            cx.push(0, packet);
        }
        self.0 -= 32;
        if self.0 <= 0 {
            cx.end();
        }
        cx.wake_at(cx.now());
        Ok(())
    }
}

/// Hands packets on, or lets them go where nothing is linked.
struct Pass;

impl Node for Pass {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(frame) = cx.pop(0) {
            cx.push(0, frame);
        }
        Ok(())
    }
}

const fn spec(kind: &'static str, inputs: &'static [PortSpec], params: &'static [ParamSpec]) -> NodeSpec {
    NodeSpec {
        kind,
        summary: "For benches.",
        sheet: "",
        inputs,
        outputs: &[OUT],
        params,
        placement: Placement::Shared,
        real_time: true,
        negotiate: if inputs.is_empty() { declared } else { same },
        build: &|setup| {
            Ok(match setup.inputs {
                [] => Box::new(Source(FRAMES)) as Box<dyn Node>,
                _ => Box::new(Pass),
            })
        },
    }
}

static SOURCE: NodeSpec = spec("bench.source", &[], &[]);
static PASS: NodeSpec = spec("bench.pass", &[IN], &[]);

/// Nanoseconds a packet through `nodes` nodes; each on a lane of its own, or all
/// on one.
fn engine(nodes: usize, apart: bool) -> f64 {
    let names: Vec<String> = (0..nodes).map(|index| format!("p{index}")).collect();
    let lane = |index: usize| if apart { format!("l{index}") } else { "one".into() };
    let mut text =
        format!("# Bench.\nsidetone = 1\nlinks = [\"source -> {}\"]\n[nodes]\n", names.join(" -> "));
    text += "source = { kind = \"bench.source\", lane = \"one\" }\n";
    for (index, name) in names.iter().enumerate() {
        text += &format!("{name} = {{ kind = \"bench.pass\", lane = \"{}\" }}\n", lane(index));
    }
    let registry = Registry::new([&SOURCE, &PASS]);
    let options = LoadOptions { read: &|_| Ok(text.clone().into_bytes()), ..LoadOptions::default() };
    let graph = Graph::load(Path::new("bench.toml"), &registry, &options);
    let graph = graph.unwrap_or_else(|why| panic!("{why}")).0;
    let engine = Engine::new(graph, Options::default()).unwrap_or_else(|why| panic!("{why}"));
    let began = Instant::now();
    engine.run(|_| {});
    began.elapsed().as_nanos() as f64 / FRAMES as f64
}

/// Nanoseconds a value through a bounded channel between two threads.
fn channel() -> f64 {
    let (sender, receiver) = crossbeam_channel::bounded::<[u64; 16]>(32);
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || (0..FRAMES).all(|n| sender.send([n as u64; 16]).is_ok()));
        receiver.iter().for_each(drop);
    });
    began.elapsed().as_nanos() as f64 / FRAMES as f64
}

fn median(mut measure: impl FnMut() -> f64) -> f64 {
    let mut all: Vec<f64> = (0..ROUNDS).map(|_| measure()).collect();
    all.sort_by(f64::total_cmp);
    all[ROUNDS / 2]
}

fn main() {
    let (ten, hundred) = (median(|| engine(10, false)), median(|| engine(100, false)));
    println!("inside a lane:  {:6.0} ns a hop (slope from 10 to 100 nodes)", (hundred - ten) / 90.0);
    // The source's own work is in the figure: what one packet costs the slower of
    // two lanes that work side by side.
    let (apart, channel) = (median(|| engine(1, true)), median(channel));
    println!(
        "between lanes:  {apart:6.0} ns a packet, {:.2} times a crossbeam-channel's {channel:.0} ns",
        apart / channel
    );
}
