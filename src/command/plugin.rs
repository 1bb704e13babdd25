//! `sidetone plugin`: what authors and users of plugins need.

mod new;
mod survey;

use clap::{Args, Subcommand};

/// For authors and users of plugins: begin one, try what is installed
#[derive(Args)]
pub(super) struct Plugin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    New(new::New),
    Survey(survey::Survey),
}

impl Plugin {
    /// Does it; gives the exit code.
    pub(super) fn run(self) -> u8 {
        match self.command {
            Command::New(new) => new.run(),
            Command::Survey(survey) => survey.run(),
        }
    }
}
