//! `sidetone plugin`: what authors and users of plugins need.

mod bench;
mod check;
mod manifest;
mod new;
mod survey;

use std::path::Path;
use std::process::Command as Process;

use clap::{Args, Subcommand};

/// For authors and users of plugins: begin one, check it, time it, write its manifest, try what is installed
#[derive(Args)]
pub(super) struct Plugin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    New(new::New),
    Check(check::Check),
    Bench(bench::Bench),
    Manifest(manifest::ManifestOf),
    Survey(survey::Survey),
}

impl Plugin {
    /// Does it; gives the exit code.
    pub(super) fn run(self) -> u8 {
        match self.command {
            Command::New(new) => new.run(),
            Command::Check(check) => check.run(),
            Command::Bench(bench) => bench.run(),
            Command::Manifest(manifest) => manifest.run(),
            Command::Survey(survey) => survey.run(),
        }
    }
}

/// This program once more, to do `what` with a plugin in a process of its own.
fn again(what: &str, file: &Path) -> Process {
    // Where a process cannot tell what it runs, its name must do.
    let mut command = Process::new(std::env::current_exe().unwrap_or_else(|_| "sidetone".into()));
    command.args(["plugin", what]).arg(file);
    command
}
