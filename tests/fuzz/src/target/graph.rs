//! Graph files and their parts, up to what is drawn and scheduled of them.

use std::io;
use std::path::Path;

use sidetone::{Graph, LoadOptions, Schedule, draw};

use crate::Target;
use crate::nodes::REGISTRY;

/// What stands before each part in an input, after the graph; its name follows.
const PART: &str = "\n#part ";

/// A graph file and the parts it may name, as text.
pub(crate) const GRAPH_FILE: Target = Target {
    name: "graph_file",
    run: |bytes| {
        let read = |path: &Path| {
            // The graph's bytes stay as they are; that of parts are text.
            let split = bytes.windows(PART.len()).position(|at| at == PART.as_bytes());
            let (graph, parts) = bytes.split_at(split.unwrap_or(bytes.len()));
            if path == Path::new("graph.toml") {
                return Ok(graph.to_vec());
            }
            let parts = String::from_utf8_lossy(parts);
            let mut named = parts.split(PART).filter_map(|part| part.split_once('\n'));
            let found = named.find(|(name, _)| path == Path::new(name));
            found.map(|(_, text)| text.into()).ok_or_else(|| io::ErrorKind::NotFound.into())
        };
        let options = LoadOptions { overrides: &[], env: &|name| Some(name.to_lowercase()), read: &read };
        match Graph::load(Path::new("graph.toml"), &REGISTRY, &options) {
            Ok((graph, warnings)) => {
                let _ = (warnings.to_string(), Schedule::compile(&graph, 2));
                let _ = (draw::svg(&graph), draw::dot(&graph), draw::mermaid(&graph));
                for template in &graph.templates {
                    // A peer chooses its name.
                    let member = template.instantiate("../\u{0}\u{202e}é\"/");
                    assert_eq!(member.len(), template.nodes.len());
                }
                true
            }
            Err(found) => {
                assert!(found.has_errors() && found.list.len() <= 10_000, "{} problems", found.list.len());
                let _ = found.to_string();
                false
            }
        }
    },
    seeds: || {
        let call = include_str!("../../../../graphs/call.toml");
        let view = include_str!("../../../../graphs/self_view.toml");
        let parts = [
            ("parts/send_audio.toml", include_str!("../../../../graphs/parts/send_audio.toml")),
            ("parts/send_video.toml", include_str!("../../../../graphs/parts/send_video.toml")),
            ("parts/remote_audio.toml", include_str!("../../../../graphs/parts/remote_audio.toml")),
            ("parts/remote_video.toml", include_str!("../../../../graphs/parts/remote_video.toml")),
        ];
        let parts: String = parts.map(|(name, text)| format!("{PART}{name}\n{text}")).concat();
        let mut seeds = vec![[call, &parts].concat().into_bytes(), view.as_bytes().to_vec()];
        seeds.extend(REGISTRY.iter().filter_map(|spec| example(spec.sheet)));
        seeds
    },
    words: &[
        " -> ",
        ".in",
        ".out",
        "\n",
        "\"",
        "\"\"\"",
        "'",
        "[",
        "]",
        "{",
        "}",
        "[[",
        "=",
        "#",
        ",",
        "${",
        "${fps}",
        "${env:X:-1}",
        "$$",
        "nodes",
        "links",
        "[params]",
        "[ports]",
        "[each.",
        "of = ",
        "part = ",
        "parts = ",
        "\"graph.toml\"",
        "when = ",
        "kind = ",
        "lane = ",
        "on_fault = ",
        "loop = true",
        "capacity = ",
        "path = ",
        "overflow = ",
        "type = ",
        "min = ",
        "default = ",
        "budget_ms = ",
        "sidetone = 1\n",
        "true",
        "-1",
        "0",
        "1e308",
        "nan",
        "9223372036854775807",
        "[65536, 65536]",
        "é",
        "\u{feff}",
        "\u{202e}",
        "\u{1f600}",
        "\\u0000",
        "\r\n",
        PART,
    ],
    most_mib: 64,
};

/// The graph in a data sheet.
fn example(sheet: &str) -> Option<Vec<u8>> {
    let block = sheet.split("```toml\n").nth(1)?.split("//! ```").next()?;
    let lines = block.lines().map(|line| line.trim_start_matches("//!").trim_start());
    Some(lines.map(|line| format!("{line}\n")).collect::<String>().into_bytes())
}
