//! `sidetone plugin bench`: what a plugin's frames cost.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use sidetone::plugins::check::{Measured, bench, confined, in_child};

use super::again;
use crate::command::{FAILED, FINE, note, say, setting};
use crate::statistics::{Ratio, Spread};
use crate::table::{Align, table};

/// How long it may all take.
const LIMIT: Duration = Duration::from_secs(600);

/// Time a plugin: milliseconds a frame, by size, beside a node that only passes it on
///
/// Plugin and bypass take turns, frame by frame, so that a machine that grows slower
/// slows both. It is all done in one process, which is not this one. From a debug
/// build of either the figures say little.
#[derive(Args)]
#[command(after_help = "For example:\n  sidetone plugin bench target/release/libglow.so\n  \
    sidetone plugin bench libglow.so --set strength=1 --json")]
pub(crate) struct Bench {
    /// The plugin's library, with its manifest
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How many frames of each size
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    frames: u32,
    /// Give a parameter; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Print JSON: every value and its spread
    #[arg(long)]
    json: bool,
    /// Run it in this process, for the one that started it
    #[arg(long, hide = true)]
    here: bool,
}

impl Bench {
    pub(super) fn run(&self) -> u8 {
        if self.here {
            return self.measure();
        }
        match self.listen() {
            Ok(all) => {
                say(&if self.json { as_json(&all) } else { as_text(&all) });
                FINE
            }
            Err(why) => {
                note(&format!("error: {why}\n"));
                FAILED
            }
        }
    }

    /// Measures here, and prints each size as a line of JSON.
    fn measure(&self) -> u8 {
        let mut out = confined(LIMIT.as_secs());
        let done = bench(&self.file, &self.set, self.frames, &mut |measured| {
            let line = serde_json::to_string(measured).unwrap_or_default();
            // If nobody listens any more nobody misses it.
            let _ = out.write_all(format!("{line}\n").as_bytes());
        });
        match done {
            Ok(()) => FINE,
            Err(why) => {
                note(&format!("{why}\n"));
                FAILED
            }
        }
    }

    fn listen(&self) -> Result<Vec<Measured>, String> {
        let mut command = again("bench", &self.file);
        command.args(["--here", "--frames", &self.frames.to_string()]);
        for (name, value) in &self.set {
            command.arg("--set").arg(format!("{name}={value}"));
        }
        let heard = in_child(command, LIMIT)?;
        if let Some(end) = heard.bad_end(true) {
            let printed = heard.printed.trim();
            return Err(if printed.is_empty() { end } else { printed.to_owned() });
        }
        let all: Vec<Measured> =
            heard.lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        if all.is_empty() {
            return Err("it takes neither pictures nor sound: there is nothing to time it with".into());
        }
        Ok(all)
    }
}

fn spreads(measured: &Measured) -> Option<(Spread, Spread, Option<Ratio>)> {
    let pairs: Vec<_> = measured.plugin_ms.iter().copied().zip(measured.bypass_ms.iter().copied()).collect();
    Some((Spread::of(&measured.plugin_ms)?, Spread::of(&measured.bypass_ms)?, Ratio::of(&pairs)))
}

fn as_text(all: &[Measured]) -> String {
    use Align::{Left, Right};
    let head = [
        ("kind", Left),
        ("frame", Left),
        ("ms", Right),
        ("a quarter", Right),
        ("three quarters", Right),
        ("most", Right),
        ("bypass ms", Right),
        ("more ms", Right),
    ];
    let rows: Vec<Vec<String>> = all
        .iter()
        .filter_map(|measured| {
            let (plugin, bypass, _) = spreads(measured)?;
            let numbers = [plugin.median, plugin.q1, plugin.q3, plugin.max, bypass.median];
            let more = plugin.median - bypass.median;
            let cells = numbers.into_iter().chain([more]).map(|ms| format!("{ms:.4}"));
            Some([measured.kind.clone(), measured.frame.clone()].into_iter().chain(cells).collect())
        })
        .collect();
    table(&head, &rows)
}

fn as_json(all: &[Measured]) -> String {
    let each: Vec<_> = all
        .iter()
        .filter_map(|measured| {
            let (plugin, bypass, ratio) = spreads(measured)?;
            Some(json!({
                "kind": measured.kind,
                "frame": measured.frame,
                "plugin": { "ms": plugin, "values": measured.plugin_ms },
                "bypass": { "ms": bypass, "values": measured.bypass_ms },
                "ratio": ratio,
            }))
        })
        .collect();
    format!("{:#}\n", json!(each))
}
