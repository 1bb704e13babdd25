//! The graph behind a [`Room`](super::Room), as files that are in memory alone.

use std::io;
use std::path::Path;

use sidetone_core::{Diagnostics, Graph, LoadOptions, Value};

use super::{End, Options, Play};

/// What its file is called.
const GRAPH: &str = "room.toml";

/// What plays one of the others' streams, from RTP to sound and to pictures.
const AUDIO: &str = include_str!("../../graphs/parts/remote_audio.toml");
const VIDEO: &str = include_str!("../../graphs/parts/remote_video.toml");

/// Makes it. \[control\]
///
/// # Errors
/// A kind or a parameter that there is not.
pub(super) fn load(options: &Options) -> Result<Graph, Diagnostics> {
    let files = files(options);
    let read = |path: &Path| {
        let file = files.iter().find(|(name, _)| path.file_name().is_some_and(|asked| asked == &**name));
        file.map(|(_, text)| text.clone().into_bytes()).ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    // In a file it would be shown where something is wrong beside it.
    let token = [("room.token".to_owned(), options.token.clone())];
    let load = LoadOptions { overrides: &token, env: &|_| None, read: &read };
    Graph::load(Path::new(GRAPH), &options.registry, &load).map(|(graph, _)| graph)
}

/// What it is made of, piece by piece.
#[derive(Default)]
struct Sketch {
    /// Parts, by their names.
    files: Vec<(String, String)>,
    nodes: Vec<String>,
    links: Vec<String>,
    /// What is made for each of the others.
    parts: Vec<String>,
    member_links: Vec<String>,
}

fn files(options: &Options) -> Vec<(String, String)> {
    let mut sketch = Sketch::default();
    sketch.plays(&Sort {
        outputs: ["audio", "screen_audio"],
        part: AUDIO,
        params: "",
        play: &options.hear,
        together: ["mix", "hear"],
        gather: End::new("audio.mix"),
        fit: None,
    });
    sketch.plays(&Sort {
        outputs: ["video", "screen"],
        part: VIDEO,
        // The server sends what was lost again: that is worth waiting for.
        params: ", wait_ms = 150",
        play: &options.see,
        together: ["tile", "see"],
        gather: End::new("effect.tile").set("size", options.size),
        // Their size changes with what gets through.
        fit: Some(End::new("effect.scale").set("size", options.size)),
    });
    let ca_file = options.ca_file.as_ref().map_or_else(String::new, |file| file.display().to_string());
    let room = End::new("room.join")
        .set("url", &*options.url)
        .set("auto_play", options.auto_play)
        .set("ca_file", &*ca_file)
        .set("allow_remote", options.allow_remote);
    sketch.nodes.push(format!("room = {}", line(&room)));
    let Sketch { mut files, nodes, links, parts, member_links } = sketch;
    let mut text = format!("sidetone = 1\nlinks = [{}]\n[nodes]\n{}\n", links.join(", "), nodes.join("\n"));
    if !parts.is_empty() {
        let (parts, links) = (parts.join(", "), member_links.join(", "));
        text += &format!("[each.remote]\nof = \"room.participant\"\nparts = [{parts}]\nlinks = [{links}]\n");
    }
    files.push((GRAPH.to_owned(), text));
    files
}

/// Sound, or pictures.
struct Sort<'a> {
    /// The room's outputs of it.
    outputs: [&'static str; 2],
    /// What decodes it, and how.
    part: &'static str,
    params: &'static str,
    play: &'a Play,
    /// What gathers all of it and what takes that, by their names, and the former.
    together: [&'static str; 2],
    gather: End,
    /// What each goes through that is played by itself.
    fit: Option<End>,
}

impl Sketch {
    fn plays(&mut self, Sort { outputs, part, params, play, together, gather, fit }: &Sort<'_>) {
        let [gathers, takes] = together;
        if let Play::Together(end) = play {
            self.nodes.push(format!("{gathers} = {}", line(gather)));
            self.nodes.push(format!("{takes} = {}", line(end)));
            self.links.push(format!("\"{gathers} -> {takes}\""));
        }
        for output in outputs {
            let last = match play {
                Play::Nowhere => continue,
                Play::Together(_) => (*gathers).to_owned(),
                Play::Each(end) => {
                    self.files.push((format!("{output}_end.toml"), ends_in(end, fit.as_ref())));
                    self.parts.push(format!("{{ part = \"{output}_end.toml\", source = \"{output}\" }}"));
                    format!("{output}_end")
                }
            };
            self.files.push((format!("remote_{output}.toml"), (*part).to_owned()));
            self.parts.push(format!("{{ part = \"remote_{output}.toml\"{params} }}"));
            self.member_links.push(format!("\"remote.{output} -> remote_{output} -> {last}\""));
        }
    }
}

/// The part in which one of the others' streams ends.
fn ends_in(end: &End, fit: Option<&End>) -> String {
    let (links, first, fit) = match fit {
        Some(fit) => ("links = [\"fit -> end\"]", "fit", format!("fit = {}", line(fit))),
        None => ("", "end", String::new()),
    };
    format!(
        "sidetone = 1\n{links}\n[ports]\nin = \"{first}.in\"\n[params]\n\
         source = {{ type = \"text\", meaning = \"What is played\" }}\n[nodes]\nend = {}\n{fit}\n",
        line(end)
    )
}

/// A node's line in a graph file, without its name.
fn line(End { kind, params }: &End) -> String {
    let params = params.iter().map(|(name, value)| format!(", {} = {}", quoted(name), literal(value)));
    format!("{{ kind = {}{} }}", quoted(kind), params.collect::<String>())
}

fn literal(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text),
        other => other.to_string(),
    }
}

/// Text as TOML has it: what JSON writes is that, but for one character.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}
