//! `sidetone plugin manifest`: what a library says of itself, as its manifest.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use sidetone::plugins::check::{confined, in_child};
use sidetone::plugins::{Library, Manifest, search};

use super::again;
use crate::command::{FAILED, FINE, note, say};

/// How long a library may take to be loaded and to give its table.
const LIMIT: Duration = Duration::from_secs(10);

/// Write a plugin's manifest from the table that is compiled into it
///
/// The library is loaded in a process of its own.
#[derive(Args)]
#[command(after_help = "For example:\n  \
    sidetone plugin manifest target/release/libglow.so           prints it\n  \
    sidetone plugin manifest target/release/libglow.so --write   writes glow.sidetone.toml into the crate")]
pub(crate) struct ManifestOf {
    /// The plugin's library
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write it to where it belongs: beside the library, or into the crate of which it is
    /// in the target folder
    #[arg(long)]
    write: bool,
    /// Load it in this process, for the one that started it
    #[arg(long, hide = true)]
    here: bool,
}

impl ManifestOf {
    pub(super) fn run(&self) -> u8 {
        if self.here {
            return self.tell();
        }
        match self.text().and_then(|text| self.put(&text)) {
            Ok(()) => FINE,
            Err(why) => {
                note(&format!("error: {why}\n"));
                FAILED
            }
        }
    }

    /// Loads the library here and prints its manifest.
    fn tell(&self) -> u8 {
        let mut out = confined(LIMIT.as_secs());
        match Library::load(&self.file) {
            Ok(library) if out.write_all(library.table.to_text().as_bytes()).is_ok() => FINE,
            Ok(_) => FAILED,
            Err(why) => {
                note(&format!("{why}\n"));
                FAILED
            }
        }
    }

    /// The manifest that the library's table makes.
    fn text(&self) -> Result<String, String> {
        let mut command = again("manifest", &self.file);
        command.arg("--here");
        let heard = in_child(command, LIMIT)?;
        if let Some(end) = heard.bad_end(true) {
            let printed = heard.printed.trim();
            let words = heard.lines.iter().filter_map(|line| line.strip_prefix('!'));
            let all = [end.as_str()].into_iter().chain(words).collect::<Vec<_>>().join("; ");
            // One that refused has said why itself.
            let refused = heard.status.is_some_and(|status| status.code() == Some(i32::from(FAILED)));
            return Err(if refused && !printed.is_empty() {
                printed.to_owned()
            } else {
                format!("{}: {all} while it was loaded and read", self.file.display())
            });
        }
        Ok(heard.lines.join("\n") + "\n")
    }

    fn put(&self, text: &str) -> Result<(), String> {
        if !self.write {
            say(text);
            return Ok(());
        }
        let path = search::manifest_for(&self.file);
        let mut manifest = Manifest::parse(text).map_err(|why| why.to_string())?;
        // The file's name is the manifest's own: the table does not know it.
        manifest.library = Manifest::read(&path).ok().and_then(|before| before.library);
        std::fs::write(&path, manifest.to_text())
            .map_err(|why| format!("cannot write {}: {why}", path.display()))?;
        say(&format!("wrote {}\n", path.display()));
        Ok(())
    }
}
