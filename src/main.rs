//! The `sidetone` command: one file per subcommand in `command/`.

mod command;
mod measure;
mod statistics;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    command::run()
}
