//! Pictures of a graph: DOT for Graphviz, Mermaid for web pages and wikis, and
//! an SVG of our own. The same graph always gives the same text.

use std::collections::HashSet;
use std::fmt::Write as _;

use crate::graph::Graph;
use crate::layout::{Layout, NODE_HEIGHT, TEMPLATE_TITLE};
use crate::media_type::{MediaType, Medium};
use crate::net::{Net, NetLink};

/// The graph for Graphviz: `dot -Tsvg`. \[control\]
#[must_use]
pub fn dot(graph: &Graph) -> String {
    let net = graph.net();
    let text = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ");
    let mut out = format!("digraph \"{}\" {{\n", text(&graph.name));
    out += "  rankdir=LR;\n  fontname=\"sans-serif\";\n";
    out += "  node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\"];\n";
    out += "  edge [fontname=\"sans-serif\", fontsize=10];\n";
    let node = |index: usize, indent: &str| {
        let node = &net.nodes[index];
        let (name, kind) = (text(local(&net, index)), text(node.spec.kind));
        format!("{indent}n{index} [label=\"{name}\\n{kind}\", fillcolor=\"{}\"];\n", fill(kind.as_str()))
    };
    for index in (0..net.nodes.len()).filter(|index| net.nodes[*index].template.is_none()) {
        out += &node(index, "  ");
    }
    for (number, template) in net.templates.iter().enumerate() {
        let _ = writeln!(out, "  subgraph cluster_{number} {{");
        let _ = writeln!(out, "    style=\"rounded,dashed\";\n    label=\"{}\";", text(&title(&net, number)));
        for index in (0..net.nodes.len()).filter(|index| net.nodes[*index].template == Some(number)) {
            out += &node(index, "    ");
        }
        out += "  }\n";
        debug_assert!(template.hub < net.nodes.len());
    }
    for link in &net.links {
        let style = if link.is_loop { ", style=dashed, constraint=false" } else { "" };
        let label = text(&short(&link.media));
        let colour = stroke(&link.media);
        let _ = writeln!(
            out,
            "  n{} -> n{} [label=\"{label}\", color=\"{colour}\"{style}];",
            link.from.0, link.to.0
        );
    }
    out + "}\n"
}

/// The graph for Mermaid, as Markdown pages show it. \[control\]
#[must_use]
pub fn mermaid(graph: &Graph) -> String {
    let net = graph.net();
    let text = |text: &str| {
        text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('\n', " ")
    };
    let mut out = String::from("flowchart LR\n");
    let node = |index: usize, indent: &str| {
        let kind = net.nodes[index].spec.kind;
        format!("{indent}n{index}[\"{}<br/><small>{}</small>\"]\n", text(local(&net, index)), text(kind))
    };
    for index in (0..net.nodes.len()).filter(|index| net.nodes[*index].template.is_none()) {
        out += &node(index, "  ");
    }
    for number in 0..net.templates.len() {
        let _ = writeln!(out, "  subgraph t{number}[\"{}\"]", text(&title(&net, number)));
        for index in (0..net.nodes.len()).filter(|index| net.nodes[*index].template == Some(number)) {
            out += &node(index, "    ");
        }
        out += "  end\n";
        let _ = writeln!(out, "  style t{number} fill:none,stroke:#888,stroke-dasharray:5 4");
    }
    for link in &net.links {
        let arrow = if link.is_loop { "-.->" } else { "-->" };
        let label = text(&short(&link.media));
        let _ = writeln!(out, "  n{} {arrow}|\"{label}\"| n{}", link.from.0, link.to.0);
    }
    for (index, node) in net.nodes.iter().enumerate() {
        let _ = writeln!(out, "  style n{index} fill:{},stroke:#555", fill(node.spec.kind));
    }
    out
}

/// Width of a character of a name and of smaller text, on average.
const WIDE: f64 = 8.8;
const NARROW: f64 = 6.3;
/// Space around the whole.
const MARGIN: f64 = 24.0;
/// Space for the title.
const HEAD: f64 = 46.0;

/// The graph as a picture. \[control\]
#[must_use]
pub fn svg(graph: &Graph) -> String {
    let net = graph.net();
    let layout = Layout::of(&net);
    let columns = Columns::of(&net, &layout);
    let about = graph.about.lines().next().unwrap_or_default();
    let head = (graph.name.chars().count() as f64 * 10.0).max(about.chars().count() as f64 * 6.4);
    let width = columns.end.max(head + 2.0 * MARGIN);
    // Loops lead back below everything.
    let loops = net.links.iter().filter(|link| link.is_loop).count() as f64;
    let height = HEAD + layout.height + 2.0 * MARGIN + 14.0 * loops;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{MARGIN}\" y=\"30\" font-size=\"17\" font-weight=\"bold\" fill=\"#222\">{}</text>\n\
         <text x=\"{MARGIN}\" y=\"48\" font-size=\"12\" fill=\"#666\">{}</text>\n",
        xml(&graph.name),
        xml(about)
    );
    let top = HEAD + MARGIN;
    for (number, extent) in layout.templates.iter().enumerate() {
        let Some(extent) = extent else { continue };
        let left = columns.left[extent.first] - 14.0;
        let right = columns.left[extent.last] + columns.width[extent.last] + 14.0;
        let (y, height) = (top + extent.top, extent.bottom - extent.top);
        let _ = writeln!(
            out,
            "<rect x=\"{left:.0}\" y=\"{y:.1}\" width=\"{:.0}\" height=\"{height:.1}\" rx=\"10\" fill=\"#fafafa\" \
             stroke=\"#999\" stroke-dasharray=\"6 4\"/>\n\
             <text x=\"{:.0}\" y=\"{:.1}\" font-size=\"11\" font-style=\"italic\" fill=\"#666\">{}</text>",
            right - left,
            left + 10.0,
            y + TEMPLATE_TITLE - 3.0,
            xml(&title(&net, number))
        );
    }
    let mut drawn =
        Drawn { top, bottom: top + layout.height, loops: 0, labelled: HashSet::new(), labels: String::new() };
    for (index, link) in net.links.iter().enumerate() {
        out += &drawn.link(&net, &layout, &columns, link, &layout.passes[index]);
    }
    for (index, node) in net.nodes.iter().enumerate() {
        let (x, width) = (columns.left[layout.layer[index]], columns.width[layout.layer[index]]);
        let y = top + layout.y[index] - NODE_HEIGHT / 2.0;
        let (fill, edge) = (fill(node.spec.kind), edge(node.spec.kind));
        let _ = writeln!(
            out,
            "<g><title>{}</title><rect x=\"{x:.0}\" y=\"{y:.1}\" width=\"{width:.0}\" height=\"{NODE_HEIGHT}\" \
             rx=\"8\" fill=\"{fill}\" stroke=\"{edge}\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"13\" font-weight=\"bold\" text-anchor=\"middle\" \
             fill=\"#222\">{}</text>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"11\" text-anchor=\"middle\" fill=\"#555\">{}</text></g>",
            xml(node.spec.summary),
            x + width / 2.0,
            y + 20.0,
            xml(local(&net, index)),
            x + width / 2.0,
            y + 36.0,
            xml(node.spec.kind)
        );
    }
    out + &drawn.labels + "</svg>\n"
}

/// Where each layer stands.
struct Columns {
    left: Vec<f64>,
    width: Vec<f64>,
    end: f64,
}

impl Columns {
    fn of(net: &Net, layout: &Layout) -> Self {
        let count = layout.layer.iter().max().map_or(0, |last| last + 1);
        let mut width = vec![70.0f64; count];
        for (index, node) in net.nodes.iter().enumerate() {
            let name = local(net, index).chars().count() as f64 * WIDE;
            let kind = node.spec.kind.chars().count() as f64 * NARROW;
            let column = &mut width[layout.layer[index]];
            *column = column.max(name.max(kind) + 22.0);
        }
        // The gap after each layer leaves room for what its links carry.
        let mut gap = vec![40.0f64; count];
        for link in net.links.iter().filter(|link| !link.is_loop) {
            let gap = &mut gap[layout.layer[link.from.0]];
            *gap = gap.max(short(&link.media).chars().count() as f64 * NARROW + 34.0);
        }
        let mut left = Vec::with_capacity(count);
        let mut x = MARGIN + 14.0;
        for (width, gap) in width.iter().zip(&gap) {
            left.push(x);
            x += width + gap;
        }
        let end = x - gap.last().copied().unwrap_or(0.0) + MARGIN + 14.0;
        Self { left, width, end }
    }
}

/// What was drawn so far.
struct Drawn {
    top: f64,
    bottom: f64,
    loops: usize,
    /// The outputs that have a label.
    labelled: HashSet<(usize, usize)>,
    /// Drawn last, so that nothing hides them.
    labels: String,
}

impl Drawn {
    fn link(
        &mut self,
        net: &Net,
        layout: &Layout,
        columns: &Columns,
        link: &NetLink,
        passes: &[f64],
    ) -> String {
        let (from, to) = (link.from.0, link.to.0);
        let (a, b) = (layout.layer[from], layout.layer[to]);
        // Several links at one side of a node do not all touch one point, and leave
        // it in the order of where they lead.
        let spread = |node: usize, own: &dyn Fn(&NetLink) -> bool, far: &dyn Fn(&NetLink) -> usize| {
            let mut links: Vec<_> = net.links.iter().filter(|other| own(other)).collect();
            links.sort_by(|a, b| layout.y[far(a)].total_cmp(&layout.y[far(b)]));
            let index = links.iter().position(|other| std::ptr::eq(*other, link)).unwrap_or(0) as f64;
            let step = (NODE_HEIGHT - 16.0) / (links.len() as f64).max(4.0);
            self.top + layout.y[node] + (index - (links.len() as f64 - 1.0) / 2.0) * step
        };
        let start = (
            columns.left[a] + columns.width[a],
            spread(from, &|other| other.from.0 == from, &|other| other.to.0),
        );
        let end = (columns.left[b], spread(to, &|other| other.to.0 == to, &|other| other.from.0));
        let colour = stroke(&link.media);
        let mut path = format!("M{:.1} {:.1}", start.0, start.1);
        let mut dash = "";
        let mut text = xml(&short(&link.media));
        let label;
        if link.is_loop || b <= a {
            self.loops += 1;
            let low = self.bottom + 8.0 + 14.0 * self.loops as f64;
            dash = " stroke-dasharray=\"5 4\"";
            let _ = write!(
                path,
                " C{0:.1} {1:.1} {0:.1} {low:.1} {2:.1} {low:.1} L{3:.1} {low:.1} C{4:.1} {low:.1} {4:.1} {5:.1} {6:.1} {5:.1}",
                start.0 + 34.0,
                start.1,
                start.0,
                end.0,
                end.0 - 34.0,
                end.1,
                end.0 - 7.0
            );
            label = ((start.0 + end.0) / 2.0, low - 4.0, "middle");
        } else {
            let mut at = start;
            let mut curve = |to: (f64, f64), at: &mut (f64, f64)| {
                let middle = (at.0 + to.0) / 2.0;
                let _ =
                    write!(path, " C{middle:.1} {:.1} {middle:.1} {:.1} {:.1} {:.1}", at.1, to.1, to.0, to.1);
                *at = to;
            };
            for (index, y) in passes.iter().enumerate() {
                let layer = a + 1 + index;
                curve((columns.left[layer], self.top + y), &mut at);
                curve((columns.left[layer] + columns.width[layer], self.top + y), &mut at);
            }
            curve((end.0 - 7.0, end.1), &mut at);
            // Beside the line, not on it.
            let fans_out = net.links.iter().filter(|other| other.from.0 == from).count() > 1;
            label = if fans_out {
                let last = passes.last().map_or(start.1, |y| self.top + y);
                let below = if last < end.1 - 3.0 { 13.0 } else { -5.0 };
                let fans_in = net.links.iter().filter(|other| other.to.0 == to).count() > 1;
                if !self.labelled.insert(link.from) && fans_in {
                    // The same words stand at another link of this port.
                    text.clear();
                }
                (end.0 - 12.0, end.1 + below, "end")
            } else {
                let next = passes.first().map_or(end.1, |y| self.top + y);
                let below = if next < start.1 - 3.0 { 13.0 } else { -5.0 };
                (start.0 + 9.0, start.1 + below, "start")
            };
        }
        let _ = writeln!(
            self.labels,
            "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"10\" text-anchor=\"{}\" fill=\"{colour}\" stroke=\"#fff\" \
             stroke-width=\"3\" paint-order=\"stroke\">{}</text>",
            label.0, label.1, label.2, text
        );
        let (x, y) = (end.0 - 1.0, end.1);
        format!(
            "<g><title>{}</title><path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"{dash}/>\
             <path d=\"M{x:.1} {y:.1} l-8 -4 v8 z\" fill=\"{colour}\"/></g>\n",
            xml(&format!("{} to {}: {}", net.sender_name(link), net.receiver_name(link.to), link.media))
        )
    }
}

/// A node's name inside its template.
fn local(net: &Net, node: usize) -> &str {
    let node = &net.nodes[node];
    let prefix = node.template.map_or(0, |template| net.templates[template].name.len() + 1);
    node.name.get(prefix..).unwrap_or(&node.name)
}

fn title(net: &Net, template: usize) -> String {
    let template = &net.templates[template];
    format!("{}: for each {} of {}", template.name, template.group, net.nodes[template.hub].name)
}

/// What a link carries, in a word or two.
fn short(media: &MediaType) -> String {
    match media {
        MediaType::Audio { rate, channels, .. } => {
            let rate = rate.map(|rate| match rate % 1_000 {
                0 => format!("{} kHz", rate / 1_000),
                _ => format!("{rate} Hz"),
            });
            let channels = channels.map(|channels| match channels {
                1 => "mono".to_owned(),
                2 => "stereo".to_owned(),
                more => format!("{more} channels"),
            });
            let words: Vec<_> = rate.into_iter().chain(channels).collect();
            if words.is_empty() { "sound".into() } else { words.join(" ") }
        }
        MediaType::Video { size, fps, .. } => {
            let words: Vec<_> =
                size.map(|size| size.to_string()).into_iter().chain(fps.map(|fps| fps.to_string())).collect();
            if words.is_empty() { "pictures".into() } else { words.join(" ") }
        }
        MediaType::Packets { codec: Some(codec) } => codec.to_string(),
        MediaType::Packets { codec: None } => "packets".into(),
        MediaType::Rtp { codec: Some(codec) } => format!("RTP {codec}"),
        MediaType::Rtp { codec: None } => "RTP".into(),
        MediaType::Events => "events".into(),
        MediaType::Data(name) => (*name).into(),
        MediaType::Any => "anything".into(),
    }
}

/// The colour of what a link carries: sound, pictures, or neither.
fn stroke(media: &MediaType) -> &'static str {
    match media.medium() {
        Some(Medium::Audio) => "#b45309",
        Some(Medium::Video) => "#1d4ed8",
        None => "#6b7280",
    }
}

/// The colours of a node, by its job.
fn colours(kind: &str) -> (&'static str, &'static str) {
    match kind.split('.').next().unwrap_or_default() {
        "file" | "test" | "device" => ("#f3f4f6", "#6b7280"),
        "audio" => ("#fef3c7", "#b45309"),
        "effect" => ("#fce7f3", "#be185d"),
        "codec" => ("#dcfce7", "#15803d"),
        "rtp" => ("#cffafe", "#0e7490"),
        "net" => ("#fee2e2", "#b91c1c"),
        "room" => ("#ede9fe", "#6d28d9"),
        _ => ("#e0e7ff", "#4338ca"),
    }
}

fn fill(kind: &str) -> &'static str {
    colours(kind).0
}

fn edge(kind: &str) -> &'static str {
    colours(kind).1
}

fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph_tests::{call, good};

    #[test]
    fn the_same_graph_gives_the_same_pictures() {
        for draw in [dot, mermaid, svg] {
            assert_eq!(draw(&call(&[])), draw(&call(&[])));
        }
    }

    #[test]
    fn every_node_and_link_is_in_every_picture() {
        let graph = call(&[]);
        let net = graph.net();
        let counts = [
            (dot(&graph), "fillcolor=", " -> "),
            (mermaid(&graph), "<br/>", "-->|"),
            (svg(&graph), "rx=\"8\"", "stroke-width=\"1.6\""),
        ];
        for (picture, node, link) in counts {
            assert_eq!(picture.matches(node).count(), net.nodes.len(), "{picture}");
            assert_eq!(picture.matches(link).count(), net.links.len(), "{picture}");
            assert!(picture.contains("bobs: for each participant of alice_room"), "{picture}");
        }
    }

    #[test]
    fn no_two_nodes_overlap_and_boxes_hold_their_own_alone() {
        for graph in [call(&[]), two_ways()] {
            stands_well(&graph);
        }
    }

    fn stands_well(graph: &Graph) {
        let net = graph.net();
        let layout = Layout::of(&net);
        for a in 0..net.nodes.len() {
            assert!(layout.y[a] >= NODE_HEIGHT / 2.0 && layout.y[a] <= layout.height - NODE_HEIGHT / 2.0);
            for b in 0..a {
                let apart = (layout.y[a] - layout.y[b]).abs() >= NODE_HEIGHT + 4.0;
                assert!(layout.layer[a] != layout.layer[b] || apart, "{a} {b}");
            }
            for (number, extent) in layout.templates.iter().enumerate() {
                let extent = extent.unwrap();
                let across = (extent.first..=extent.last).contains(&layout.layer[a]);
                let inside = across && layout.y[a] > extent.top && layout.y[a] < extent.bottom;
                assert_eq!(inside, net.nodes[a].template == Some(number), "{}", net.nodes[a].name);
            }
        }
    }

    #[test]
    fn media_flow_to_the_right_and_loops_lead_back() {
        let text = r#"
sidetone = 1
links = ["tone -> mix -> gain -> file", { path = "gain -> echo -> mix", loop = true }]
[nodes]
tone = { kind = "test.tone" }
mix = { kind = "audio.mix" }
gain = { kind = "audio.gain" }
echo = { kind = "audio.gain", gain_db = -12 }
file = { kind = "file.wav_sink", path = "x.wav" }
"#;
        let graph = good(&[("call.toml", text)], &[]);
        let net = graph.net();
        let layout = Layout::of(&net);
        for link in &net.links {
            assert_eq!(layout.layer[link.from.0] < layout.layer[link.to.0], !link.is_loop);
        }
        assert_eq!(svg(&graph).matches("stroke-dasharray").count(), 1);
        assert!(mermaid(&graph).contains("-.->"));
    }

    #[test]
    fn names_cannot_break_out_of_the_text() {
        let graph = Graph { name: "a\"b<c>&\n".into(), about: "</text>".into(), ..Graph::default() };
        assert!(svg(&graph).contains("a&quot;b&lt;c&gt;&amp; ") && svg(&graph).contains("&lt;/text&gt;"));
        assert!(dot(&graph).starts_with("digraph \"a\\\"b<c>& \" {"));
        assert!(mermaid(&graph).starts_with("flowchart LR\n"));
    }

    /// Two people in one room, both ways, with a loop and links past nodes.
    fn two_ways() -> Graph {
        let remote = "sidetone = 1\nlinks = [\"jitter -> unpack -> decode\", \"vjitter -> vunpack -> vdecode\"]\n[ports]\nin = \"jitter.in\"\nout = \"decode.out\"\nvideo_in = \"vjitter.in\"\nvideo = \"vdecode.out\"\n[nodes]\njitter = { kind = \"rtp.jitter_buffer\" }\nunpack = { kind = \"rtp.unpack_opus\" }\ndecode = { kind = \"codec.opus_decode\" }\nvjitter = { kind = \"rtp.jitter_buffer\" }\nvunpack = { kind = \"rtp.unpack_av1\" }\nvdecode = { kind = \"codec.av1_decode\" }\n";
        let text = r#"
# Two people in one room, both ways, seen and heard in files.
sidetone = 1
links = [
 "a_mic -> a_gain -> a_opus -> a_pack -> a_net -> a_room.audio_in",
 "a_cam -> a_smooth -> a_av1 -> a_vpack -> a_vnet -> a_room.video_in",
 "a_cam -> a_mirror -> a_self",
 "b_mic -> b_opus -> b_pack -> b_room.audio_in",
 "b_cam -> b_av1 -> b_vpack -> b_room.video_in",
 "a_mix -> a_heard", "a_tile -> a_seen", "b_mix -> b_level -> b_heard",  "b_tile -> b_seen", "b_tile -> sheet", "a_tile -> sheet",
 { path = "b_level -> b_echo -> b_mix", loop = true },
]
[nodes]
a_mic = { kind = "test.tone" }
a_gain = { kind = "audio.gain" }
a_opus = { kind = "codec.opus_encode" }
a_pack = { kind = "rtp.pack_opus" }
a_net = { kind = "net.impair" }
a_cam = { kind = "test.scene" }
a_smooth = { kind = "effect.smooth_skin" }
a_mirror = { kind = "effect.mirror" }
a_self = { kind = "file.y4m_sink", path = "self.y4m" }
a_av1 = { kind = "codec.av1_encode" }
a_vpack = { kind = "rtp.pack_av1" }
a_vnet = { kind = "net.impair" }
a_room = { kind = "room.join", url = "mem://demo", user = "a" }
a_mix = { kind = "audio.mix" }
a_tile = { kind = "effect.tile" }
a_heard = { kind = "file.wav_sink", path = "a.wav" }
a_seen = { kind = "file.y4m_sink", path = "a.y4m" }
b_mic = { kind = "test.tone" }
b_opus = { kind = "codec.opus_encode" }
b_pack = { kind = "rtp.pack_opus" }
b_cam = { kind = "test.scene" }
b_av1 = { kind = "codec.av1_encode" }
b_vpack = { kind = "rtp.pack_av1" }
b_room = { kind = "room.join", url = "mem://demo", user = "b" }
b_mix = { kind = "audio.mix" }
b_level = { kind = "audio.level" }
b_echo = { kind = "audio.gain" }
b_tile = { kind = "effect.tile" }
b_heard = { kind = "file.wav_sink", path = "b.wav" }
b_seen = { kind = "file.y4m_sink", path = "b.y4m" }
sheet = { kind = "file.contact_sheet_sink", path = "b.png" }
[each.bobs]
of = "a_room"
parts = ["remote.toml"]
links = ["bobs.audio -> remote.in", "bobs.video -> remote.video_in", "remote.out -> a_mix", "remote.video -> a_tile"]
[each.alices]
of = "b_room"
parts = ["remote.toml"]
links = ["alices.audio -> remote.in", "alices.video -> remote.video_in", "remote.out -> b_mix", "remote.video -> b_tile"]
"#;
        good(&[("call.toml", text), ("remote.toml", remote)], &[])
    }

    #[test]
    fn large_graphs_are_drawn_in_time() {
        let nodes: String = (0..4_000).map(|n| format!("n{n} = {{ kind = \"test.tone\" }}\n")).collect();
        let links: String = (1..2_000).map(|n| format!("\"n{n} -> mix\",")).collect();
        let text = format!(
            "sidetone = 1\nlinks = [{links} \"mix -> file\"]\n[nodes]\nmix = {{ kind = \"audio.mix\" }}\n\
             file = {{ kind = \"file.wav_sink\", path = \"x\" }}\n{nodes}"
        );
        let (graph, _) = crate::graph_tests::load(&text).unwrap();
        let start = std::time::Instant::now();
        assert_eq!(svg(&graph).matches("rx=\"8\"").count(), 4_002);
        assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    }
}
