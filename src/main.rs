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
    if std::env::args_os().nth(1).is_some_and(|first| first == plugins::ARGUMENT) {
        return plugins::process::main();
    }
    command::run()
}
