//! `PoolPlan`: how many buffers an output keeps, how large, and how many of
//! them are made before they are needed: a pure function of the graph.
//!
//! A buffer is out of its pool for as long as any frame holds it. A frame goes
//! from link to link while nodes hand it on, which those may do that put out
//! what they take in; a node that puts out something else copies. So an output
//! needs as many buffers as the links may hold that its frames can reach that
//! way, and a few more for every node on the way: those that it works on, keeps
//! to compare, or (jitter buffers, simulated networks) holds back.

use std::collections::{BTreeMap, HashSet};

use crate::cell::OnFault;
use crate::frame::{self, AudioFormat, VideoFormat, WhenDry};
use crate::graph::Graph;
use crate::media_type::{MediaType, Medium};
use crate::net::{Net, NetLink};
use crate::registry::Foreign;
use crate::schedule::default_capacity;
use crate::shared_memory::Access;

/// How many members of a template are counted on where the graph does not say.
const MEMBERS: usize = 8;
/// The most buffers of one output, whatever its links may hold.
const MOST: usize = 4_096;
/// The most buffers of outputs that share a pool, and the most that these make
/// ahead.
const MOST_SHARED: usize = 4 * MOST;
const MOST_AHEAD: usize = 128;

/// Where the length of frames of sound is not known: one part in so many of a
/// second, 20 ms, since few packets hold more.
const USUAL: u32 = 50;

/// The pool of one output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolPlan {
    /// Bytes of a buffer, where they are known before the first frame.
    pub bytes: Option<usize>,
    /// The most buffers that are kept.
    pub slots: usize,
    /// Buffers made ahead.
    pub prefill: usize,
    /// Whether these are made before the start. Else they are made with the first
    /// frame that asks for a buffer: its size is not known sooner, or the node
    /// may hand on the frames that come to it and never ask.
    pub at_start: bool,
    /// The number of the pool that it shares with others: outputs of nodes on one
    /// lane whose buffers are made at the start and are of one size. A lane makes
    /// one frame after the other, so that they rarely need many at once.
    pub shared: Option<usize>,
    /// What becomes of a frame when none is free and no more may be made.
    pub when_dry: WhenDry,
    /// What another process does with the buffers, which then lie in memory that
    /// it can map: frames that reach a node whose code runs apart, or that it makes.
    /// Those made for want of a free one do not, and have to be copied.
    pub mapped: Option<Access>,
}

impl PoolPlan {
    /// Bytes that the pool may come to, as far as known. \[any\]
    #[must_use]
    pub fn at_most(&self) -> usize {
        self.bytes.unwrap_or_default() * self.slots
    }
}

/// Bytes that these outputs make ahead, as far as known. \[any\]
#[must_use]
pub fn made_ahead<'a>(plans: impl Iterator<Item = &'a PoolPlan> + Clone) -> usize {
    let shared = shared(plans.clone()).into_values();
    let alone = plans.filter(|plan| plan.shared.is_none()).copied();
    alone.chain(shared).map(|plan| plan.bytes.unwrap_or_default() * plan.prefill).sum()
}

/// The pools that outputs share, by number: each has as many buffers as they may
/// have together, up to a limit.
pub(crate) fn shared<'a>(plans: impl Iterator<Item = &'a PoolPlan>) -> BTreeMap<usize, PoolPlan> {
    let mut shared: BTreeMap<usize, PoolPlan> = BTreeMap::new();
    for plan in plans {
        let Some(number) = plan.shared else { continue };
        let all = shared.entry(number).or_insert(PoolPlan { slots: 0, prefill: 0, ..*plan });
        all.slots = MOST_SHARED.min(all.slots + plan.slots);
        all.prefill = MOST_AHEAD.min(all.prefill + plan.prefill);
    }
    shared
}

/// Has outputs share pools whose nodes are on one lane.
fn share(pools: &mut [Vec<PoolPlan>], lane_of: &[usize]) {
    let mut alike: BTreeMap<_, Vec<&mut PoolPlan>> = BTreeMap::new();
    for (pools, lane) in pools.iter_mut().zip(lane_of) {
        for plan in pools.iter_mut().filter(|plan| plan.at_start && plan.when_dry == WhenDry::Allocate) {
            alike.entry((lane, plan.bytes, plan.mapped)).or_default().push(plan);
        }
    }
    for (number, plans) in alike.into_values().filter(|plans| plans.len() > 1).enumerate() {
        plans.into_iter().for_each(|plan| plan.shared = Some(number));
    }
}

/// The pools of every node's outputs: those of the graph's own nodes, which are
/// on the lanes `lane_of`, then those of each template's.
pub(crate) fn plan(graph: &Graph, lane_of: &[usize]) -> (Vec<Vec<PoolPlan>>, Vec<Vec<Vec<PoolPlan>>>) {
    let net = graph.net();
    let reach = Reach::of(graph, &net);
    let pools = |index: usize| -> Vec<PoolPlan> {
        let node = &net.nodes[index];
        let pool = |(port, media): (usize, &MediaType)| {
            let many = if node.spec.outputs[port].each.is_some() { MEMBERS } else { 1 };
            let behind = reach.behind(index, port);
            let slots = (held(media) + reach.held(&behind)).saturating_mul(many).min(MOST);
            let is_apart = node.foreign == Foreign::Apart;
            let comes_apart =
                |(link, _): &(usize, usize)| net.nodes[net.links[*link].to.0].foreign == Foreign::Apart;
            let bytes = bytes(media);
            // What takes many into one makes that one itself.
            let takes = node.inputs.iter().zip(node.spec.inputs).filter(|(_, port)| !port.many);
            let hands_on = takes.filter_map(|(input, _)| *input).any(|input| input.meet(media).is_some());
            let all = graph.when_dry == WhenDry::Drop;
            PoolPlan {
                bytes,
                slots,
                prefill: if all { slots } else { slots.min(first(media)) },
                // What runs apart gives other frames than it takes; what is blanked
                // goes out in buffers of its own.
                at_start: bytes.is_some() && (is_apart || !hands_on || node.on_fault == OnFault::Black),
                shared: None,
                when_dry: graph.when_dry,
                mapped: match is_apart {
                    true => Some(Access::Write),
                    false => behind.iter().any(comes_apart).then_some(Access::Read),
                },
            }
        };
        node.outputs.iter().enumerate().map(pool).collect()
    };
    let mut own: Vec<_> = (0..graph.nodes.len()).map(pools).collect();
    share(&mut own, lane_of);
    let mut begin = graph.nodes.len();
    let templates = graph.templates.iter().map(|template| {
        let end = begin + template.nodes.len();
        let plans = (begin..end).map(pools).collect();
        begin = end;
        plans
    });
    (own, templates.collect())
}

/// Bytes of a buffer for `media`, where they are known.
fn bytes(media: &MediaType) -> Option<usize> {
    match *media {
        MediaType::Audio { rate: Some(rate), channels: Some(channels), samples } => {
            Some(AudioFormat { rate, channels, samples: samples.unwrap_or(rate / USUAL) }.bytes())
        }
        MediaType::Video { format: Some(pixel), size: Some(size), .. } => {
            Some(VideoFormat { pixel, size }.bytes())
        }
        // Packets of pictures have no size that fits most of them.
        MediaType::Packets { .. } => {
            media.medium().filter(|medium| *medium == Medium::Audio).map(|_| frame::PACKET_ROOM)
        }
        MediaType::Rtp { .. } => Some(frame::PACKET_ROOM),
        _ => None,
    }
}

/// Frames of `media` that a node may hold beside those in its links.
const fn held(media: &MediaType) -> usize {
    match media {
        MediaType::Audio { .. } | MediaType::Video { .. } => 4,
        MediaType::Packets { .. } => 64,
        // A jitter buffer's half second of pictures.
        MediaType::Rtp { .. } => 512,
        _ => 64,
    }
}

/// Buffers for `media` that are made ahead: what a steady flow has under way,
/// so that none is made once it runs.
fn first(media: &MediaType) -> usize {
    match media {
        MediaType::Audio { .. } | MediaType::Video { .. } => 4,
        MediaType::Packets { .. } => 8,
        // The packets of a large picture; a network's delay of sound.
        MediaType::Rtp { .. } => {
            if media.medium() == Some(Medium::Audio) {
                32
            } else {
                64
            }
        }
        _ => 4,
    }
}

/// How many frames may be under way behind an output.
struct Reach<'a> {
    net: &'a Net,
    graph: &'a Graph,
    /// The links that begin at each node.
    leaving: Vec<Vec<usize>>,
}

impl<'a> Reach<'a> {
    fn of(graph: &'a Graph, net: &'a Net) -> Self {
        let mut leaving = vec![Vec::new(); net.nodes.len()];
        net.links.iter().enumerate().for_each(|(index, link)| leaving[link.from.0].push(index));
        Self { net, graph, leaving }
    }

    /// The links that the frames of output `port` of node `node` may reach, and how
    /// many there are of each.
    fn behind(&self, node: usize, port: usize) -> Vec<(usize, usize)> {
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        let mut open: Vec<(usize, usize)> =
            self.links(node, |link| link.from.1 == port).map(|link| (link, 1)).collect();
        while let Some((index, before)) = open.pop() {
            if !seen.insert(index) {
                continue;
            }
            let link = &self.net.links[index];
            let many = before * self.members(link);
            found.push((index, many));
            let outputs = &self.net.nodes[link.to.0].outputs;
            let hands_on = |next: &NetLink| outputs[next.from.1].meet(&link.media).is_some();
            open.extend(self.links(link.to.0, hands_on).map(|next| (next, many)));
        }
        found
    }

    /// How many frames may be in these links, and in the nodes that they lead to.
    fn held(&self, links: &[(usize, usize)]) -> usize {
        let one = |&(index, many): &(usize, usize)| {
            let link = &self.net.links[index];
            let capacity = link.capacity.unwrap_or_else(|| default_capacity(&link.media));
            many.saturating_mul(capacity + held(&link.media))
        };
        links.iter().map(one).fold(0, usize::saturating_add).min(MOST)
    }

    fn links(&self, node: usize, fits: impl Fn(&NetLink) -> bool) -> impl Iterator<Item = usize> {
        self.leaving[node].iter().copied().filter(move |&link| fits(&self.net.links[link]))
    }

    /// How many there are of a link: one for each member, where it leads into a
    /// template.
    fn members(&self, link: &NetLink) -> usize {
        match link.template {
            Some(template) if self.net.nodes[link.from.0].template.is_none() => {
                self.graph.templates[template].most.unwrap_or(MEMBERS).min(MEMBERS)
            }
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph_tests::{call, good};

    fn pools(text: &str) -> (Graph, Vec<Vec<PoolPlan>>) {
        let graph = good(&[("call.toml", text)], &[]);
        let lane_of = vec![0; graph.nodes.len()];
        let pools = plan(&graph, &lane_of).0;
        (graph, pools)
    }

    const CHAIN: &str = r#"
sidetone = 1
links = ["tone -> gain -> opus -> pack -> network -> room.audio_in"]
[nodes]
tone = { kind = "test.tone" }
gain = { kind = "audio.gain" }
opus = { kind = "codec.opus_encode" }
pack = { kind = "rtp.pack_opus" }
network = { kind = "net.impair" }
room = { kind = "room.join", url = "mem://demo", user = "alice" }
"#;

    #[test]
    fn an_output_has_as_many_buffers_as_its_frames_may_fill() {
        let (graph, pools) = pools(CHAIN);
        let of = |name: &str| pools[graph.node(name).unwrap()][0];
        // 16 in each of two links, 4 in each of three nodes.
        assert_eq!((of("tone").slots, of("tone").bytes), (44, Some(1_920)));
        assert_eq!(of("gain").slots, 24, "the encoder copies");
        // 512 in each of two links; the packer, the network and the room hold some.
        assert_eq!(of("pack").slots, 512 + 2 * (512 + 512));
        assert_eq!(of("opus").bytes, Some(2_048));
    }

    #[test]
    fn little_is_made_ahead_and_nothing_where_frames_may_be_handed_on() {
        let (graph, pools) = pools(CHAIN);
        let of = |name: &str| pools[graph.node(name).unwrap()][0];
        assert_eq!((of("tone").prefill, of("tone").at_start), (4, true));
        assert_eq!((of("gain").at_start, of("network").at_start), (false, false));
        assert_eq!((of("pack").prefill, of("pack").at_start), (32, true));
    }

    #[test]
    fn decoders_and_mixers_have_buffers_before_the_first_frame_comes() {
        let (graph, pools) = pools(
            r#"
sidetone = 1
links = ["tone -> opus -> decode -> mix -> file"]
[nodes]
tone = { kind = "test.tone", frame_ms = 20 }
opus = { kind = "codec.opus_encode" }
decode = { kind = "codec.opus_decode" }
mix = { kind = "audio.mix" }
file = { kind = "file.wav_sink", path = "out.wav" }
"#,
        );
        let of = |name: &str| pools[graph.node(name).unwrap()][0];
        assert_eq!((of("decode").bytes, of("decode").at_start), (Some(3_840), true), "20 ms");
        assert_eq!((of("mix").bytes, of("mix").at_start), (Some(1_920), true));
    }

    #[test]
    fn a_graph_that_drops_when_dry_makes_all_its_buffers_ahead() {
        let (graph, pools) = pools(&CHAIN.replace("sidetone = 1", "sidetone = 1\nwhen_dry = \"drop\""));
        assert_eq!(graph.when_dry, WhenDry::Drop);
        for pool in pools.iter().flatten() {
            assert_eq!((pool.prefill, pool.shared, pool.when_dry), (pool.slots, None, WhenDry::Drop));
        }
    }

    #[test]
    fn what_reaches_a_node_that_runs_apart_can_be_mapped_and_nothing_else() {
        let (graph, pools) = pools(
            r#"
sidetone = 1
links = ["cam -> scale -> tint -> shade -> file", "tone -> sound"]
[nodes]
cam = { kind = "test.scene" }
scale = { kind = "effect.scale", size = [320, 180] }
tint = { kind = "plugin.tint" }
shade = { kind = "plugin.tint", isolate = "process" }
file = { kind = "file.y4m_sink", path = "out.y4m" }
tone = { kind = "test.tone" }
sound = { kind = "file.wav_sink", path = "out.wav" }
"#,
        );
        let of = |name: &str| pools[graph.node(name).unwrap()][0];
        let mapped = ["cam", "scale", "tint", "shade", "tone"].map(|name| of(name).mapped);
        assert_eq!(mapped, [None, Some(Access::Read), Some(Access::Read), Some(Access::Write), None]);
        assert_eq!((of("tint").at_start, of("shade").at_start), (false, true), "it hands nothing on");
    }

    #[test]
    fn a_thousand_streams_of_sound_share_what_is_made_ahead() {
        let stream = |n: usize| {
            format!(
                "tone{n} = {{ kind = \"test.tone\", frame_ms = 20 }}\na{n} = {{ kind = \"audio.gain\" }}\n\
                 b{n} = {{ kind = \"audio.gain\" }}\nfile{n} = {{ kind = \"file.wav_sink\", path = \"{n}\" }}\n"
            )
        };
        let links: Vec<_> = (0..1_000).map(|n| format!("\"tone{n} -> a{n} -> b{n} -> file{n}\"")).collect();
        let nodes: String = (0..1_000).map(stream).collect();
        let (_, pools) = pools(&format!("sidetone = 1\nlinks = [{}]\n[nodes]\n{nodes}", links.join(", ")));
        let at_start = pools.iter().flatten().filter(|pool| pool.at_start);
        assert_eq!(made_ahead(at_start), MOST_AHEAD * 3_840);
    }

    #[test]
    fn what_templates_take_counts_for_every_member() {
        let graph = call(&[]);
        let (own, templates) = plan(&graph, &vec![0; graph.nodes.len()]);
        let room = graph.node("alice_room").unwrap();
        assert!(own[room].iter().all(|pool| pool.slots == MOST), "{:?}", own[room]);
        assert_eq!(templates.len(), graph.templates.len());
        assert!(
            templates
                .iter()
                .zip(&graph.templates)
                .all(|(plans, template)| plans.len() == template.nodes.len())
        );
    }
}
