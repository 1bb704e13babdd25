//! The subcommands, and what they share.

mod bench;
mod check;
mod completions;
mod diff;
mod draw;
mod load;
mod nodes;
mod plan;
mod plugin;
mod run;
mod serve;
mod token;
mod top;
mod tune;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};
use sidetone::plugins::{PluginOptions, registry_for};
use sidetone::{Diagnostics, Graph, LoadOptions, Registry};

/// All went well.
const FINE: u8 = 0;
/// It failed while running.
const FAILED: u8 = 1;
/// The graph or the arguments are wrong.
const WRONG: u8 = 2;

/// Sidetone runs real-time calls from graph files.
#[derive(Parser)]
#[command(
    name = "sidetone",
    version,
    about = "Runs real-time calls from graph files",
    after_help = "Start here:\n  sidetone run graphs/call.toml --seconds 10   a call between two people, in one process\n  \
                  sidetone run graphs/call.toml --help         what that graph lets you set\n  \
                  sidetone nodes                               everything a graph can be made of\n  \
                  sidetone check my.toml                       what is wrong with it, before running\n  \
                  sidetone top graphs/call.toml                run a graph and watch it, live\n\n\
                  Exit codes: 0 fine, 1 it failed while running, 2 the graph or the arguments are wrong."
)]
struct Cli {
    /// Look for plugins in this folder, too; may be repeated
    #[arg(long, value_name = "DIR", global = true)]
    plugins: Vec<PathBuf>,
    /// Run every plugin in a process of its own, whatever graphs say
    #[arg(long, global = true)]
    isolate_plugins: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    Plan(plan::Plan),
    Nodes(nodes::Nodes),
    Draw(draw::Draw),
    Diff(diff::Diff),
    Bench(bench::Bench),
    Tune(tune::Tune),
    Top(top::Top),
    Serve(serve::Serve),
    Load(load::Load),
    Token(token::Token),
    Plugin(plugin::Plugin),
    Completions(completions::Completions),
}

/// Reads the arguments and does what they say.
pub(crate) fn run() -> ExitCode {
    let Cli { plugins, isolate_plugins, command } = Cli::parse();
    // Without this program's own path effects of other formats are not looked for.
    let program = std::env::current_exe().ok();
    let _ = PLUGINS.set(PluginOptions { folders: plugins, isolate_all: isolate_plugins, program });
    let code = match command {
        Command::Run(run) => run.run(),
        Command::Check(check) => check.run(),
        Command::Plan(plan) => plan.run(),
        Command::Nodes(nodes) => nodes.run(),
        Command::Draw(draw) => draw.run(),
        Command::Diff(diff) => diff.run(),
        Command::Bench(bench) => bench.run(),
        Command::Tune(tune) => tune.run(),
        Command::Top(top) => top.run(),
        Command::Serve(serve) => serve.run(),
        Command::Load(load) => load.run(),
        Command::Token(token) => token.run(),
        Command::Plugin(plugin) => plugin.run(),
        Command::Completions(completions) => completions.run(),
    };
    ExitCode::from(code)
}

/// What the arguments say of plugins.
static PLUGINS: OnceLock<PluginOptions> = OnceLock::new();

/// Every kind that a graph in `file` may name. Says once which manifests cannot be
/// used.
fn kinds(file: Option<&Path>) -> Registry {
    static TOLD: AtomicBool = AtomicBool::new(false);
    let (registry, wrong) = registry_for(file, PLUGINS.get_or_init(PluginOptions::default));
    if !TOLD.swap(true, Ordering::Relaxed) {
        wrong.iter().for_each(|why| note(&format!("warning: a plugin is left out: {why}\n")));
    }
    registry
}

/// Prints to standard output; a closed pipe (`sidetone nodes | head`) is no
/// failure.
fn say(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// `--set NAME=VALUE`, as clap's value parser.
fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("give it as NAME=VALUE, such as network=mobile or cam.fps=15".to_owned()),
    }
}

/// Prints to standard error, which may be closed as well.
fn note(text: &str) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Loads and checks a graph; on mistakes prints them and gives the exit code.
/// Warnings are printed and are no reason to stop.
fn load(file: &Path, overrides: &[(String, String)], json: bool) -> Result<Graph, u8> {
    let options = LoadOptions { overrides, ..LoadOptions::default() };
    match Graph::load(file, &kinds(Some(file)), &options) {
        Ok((graph, warnings)) => {
            if !warnings.list.is_empty() && !json {
                note(&warnings.to_string());
            }
            Ok(graph)
        }
        Err(mistakes) => {
            complain(&mistakes, json);
            Err(WRONG)
        }
    }
}

/// Prints mistakes for a person, on standard error, or for a machine, on
/// standard output.
fn complain(mistakes: &Diagnostics, json: bool) {
    if json {
        say(&format!("{}\n", as_json(mistakes)));
    } else {
        note(&mistakes.to_string());
    }
}

/// Mistakes as one JSON object on one line.
fn as_json(mistakes: &Diagnostics) -> String {
    serde_json::to_string(mistakes).unwrap_or_default()
}
