//! `sidetone completions`: what a shell needs to complete the command.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, FINE, say};

/// Print a script with which your shell completes `sidetone` commands
///
/// For bash: `sidetone completions bash > ~/.local/share/bash-completion/completions/sidetone`
#[derive(Args)]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> u8 {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "sidetone", &mut script);
        say(&String::from_utf8_lossy(&script));
        FINE
    }
}
