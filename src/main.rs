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

use sidetone::plugins;

fn main() -> ExitCode {
    // Child processes that run the code of others.
    match std::env::args_os().nth(1) {
        Some(first) if first == plugins::ARGUMENT => return plugins::process::main(),
        Some(first) if first == plugins::describe::ARGUMENT => return plugins::describe::main(),
        _ => {}
    }
    command::run()
}
