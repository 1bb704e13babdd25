//! The `sidetone` command: one file per subcommand in `command/`.

mod command;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    command::run()
}
