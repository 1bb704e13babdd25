//! The `sidetone` command: one file per subcommand in `command/`.

mod command;
mod measure;
mod metrics;
mod serve;
mod sight;
mod statistics;
mod table;
mod trace_file;

use std::process::ExitCode;

fn main() -> ExitCode {
    command::run()
}
