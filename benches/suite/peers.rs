//! The peers, as `benches/peers/peers.toml` lists them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::machine::first_line;

/// The list.
#[derive(Deserialize)]
pub(crate) struct Peers {
    framework: BTreeMap<String, Framework>,
    /// Who is measured, in the order of the list.
    #[serde(rename = "peer")]
    pub(crate) all: Vec<Peer>,
}

#[derive(Deserialize)]
struct Framework {
    name: String,
    /// What prints it; nothing where there is none.
    #[serde(default)]
    version: Vec<String>,
}

/// One peer's program for one row.
#[derive(Deserialize)]
pub(crate) struct Peer {
    /// Which row it has figures for.
    pub(crate) row: String,
    /// Whose they are.
    pub(crate) who: String,
    /// What it runs, for people.
    pub(crate) what: String,
    /// The file that says how.
    pub(crate) source: String,
    /// The command that makes the program.
    pub(crate) build: Vec<String>,
    command: Vec<String>,
    cases: Vec<String>,
    #[serde(default)]
    quick: Vec<String>,
}

impl Peers {
    /// Reads the list.
    pub(crate) fn read() -> Result<Self, String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/peers.toml");
        let text = std::fs::read_to_string(&path)
            .map_err(|why| format!("cannot read {}: {why}; --alone runs without peers", path.display()))?;
        toml::from_str(&text).map_err(|why| format!("{}: {why}", path.display()))
    }

    /// Every framework's name and version.
    pub(crate) fn versions(&self) -> Vec<(String, String)> {
        let versions = self.framework.values().filter_map(|framework| {
            let (program, arguments) = framework.version.split_first()?;
            Some((framework.name.clone(), first_line(program, arguments)))
        });
        versions.collect()
    }
}

impl Peer {
    /// What to run for `case`; `None` if it does not have it.
    pub(crate) fn command(&self, case: &str, quick: bool) -> Option<Vec<String>> {
        self.cases.iter().any(|known| known == case).then_some(())?;
        let words = self.command.iter().map(|word| word.replace("{case}", case));
        Some(words.chain(self.quick.iter().filter(|_| quick).cloned()).collect())
    }

    /// Makes its program, its compiler's output shown.
    pub(crate) fn build(&self) -> Result<(), String> {
        let (program, arguments) = self.build.split_first().ok_or("it has no command that builds it")?;
        let status = Command::new(program)
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("`{}` ended with {status}", self.build.join(" "))),
            Err(why) => Err(format!("{program} does not start: {why}")),
        }
    }
}
