//! `sidetone plugin check`: whether a plugin keeps what the interface asks.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use sidetone::plugins::check::{CASES, CaseReport, Options, Report, Task, Verdict, case, check, run};

use super::again;
use crate::command::run::seconds;
use crate::command::{FAILED, FINE, WRONG, note, say, setting};

/// Find out what is wrong with a plugin, before its users do
///
/// Each case runs in a process of its own, with limits of time, memory and open
/// files, so that a crash or a hang is what the case found. A case that fails says
/// what was seen, what to do about it, and how to see it again. real_time sees
/// calls of the C library and of the system; what it cannot see (an allocator of the
/// plugin's own, locks that nobody else holds, what other threads do) it does not
/// tell.
#[derive(Args)]
#[command(after_help = "For example:\n  \
    sidetone plugin check target/release/libglow.so\n  \
    sidetone plugin check libglow.so --only bounds_after --seed 7\n\n\
    Exit codes: 0 all that could be checked is well, 1 something is wrong, 2 the arguments are.")]
pub(crate) struct Check {
    /// The plugin's library
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// This case alone; may be repeated
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// What random values are drawn with
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Give a parameter that has no default; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// How long a case may take
    #[arg(long, value_name = "S", value_parser = seconds, default_value = "10")]
    limit: Duration,
    /// Cases that run at once
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// List the cases and what they show
    #[arg(long)]
    list: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Run this case in this process, for the one that started it
    #[arg(long, hide = true)]
    case: Option<String>,
}

impl Check {
    pub(super) fn run(&self) -> u8 {
        if let Some(case) = &self.case {
            return run(Task {
                library: self.file.clone(),
                case: case.clone(),
                seed: self.seed,
                set: self.set.clone(),
                cpu_s: self.limit.as_secs() + 1,
            });
        }
        if self.list {
            CASES.iter().for_each(|case| say(&format!("{:<16}  {}\n", case.name, case.shows)));
            return FINE;
        }
        if let Some(name) = self.only.iter().find(|name| case(name).is_none()) {
            let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
            note(&format!("error: there is no case {name}; there are {}\n", names.join(", ")));
            return WRONG;
        }
        let command = |case: &str| self.command(case);
        let options = Options {
            library: self.file.clone(),
            only: self.only.clone(),
            seed: self.seed,
            limit: self.limit,
            jobs: usize::from(self.jobs),
            command: &command,
        };
        let report = check(&options, &mut |case| {
            if !self.json {
                say(&as_text(case));
            }
        });
        let (passed, failed, skipped) = report.counts();
        if self.json {
            say(&as_json(&report));
        } else {
            say(&format!("\n{passed} passed, {failed} failed, {skipped} skipped\n"));
        }
        if failed == 0 { FINE } else { FAILED }
    }

    /// What runs a case in a process of its own.
    fn command(&self, case: &str) -> Command {
        let mut command = again("check", &self.file);
        command.args(["--case", case, "--seed", &self.seed.to_string()]);
        command.args(["--limit", &self.limit.as_secs_f64().to_string()]);
        for (name, value) in &self.set {
            command.arg("--set").arg(format!("{name}={value}"));
        }
        command
    }
}

fn as_text(case: &CaseReport) -> String {
    match &case.verdict {
        Verdict::Ok => format!("ok       {:<16}  {}\n", case.name, case.shows),
        Verdict::Skipped(why) => format!("skipped  {:<16}  {why}\n", case.name),
        Verdict::Failed(seen) => {
            let mut text = format!("FAILED   {:<16}  it must be that {}\n", case.name, case.shows);
            for seen in seen {
                text.push_str(&format!("         seen:   {}\n", seen.replace('\n', "\n                 ")));
            }
            if let Some(advice) = case.advice {
                text.push_str(&format!("         do:     {advice}\n"));
            }
            if let Some(again) = &case.again {
                text.push_str(&format!("         again:  {again}\n"));
            }
            text
        }
    }
}

fn as_json(report: &Report) -> String {
    let (passed, failed, skipped) = report.counts();
    let mut whole = json!(report);
    whole["passed"] = passed.into();
    whole["failed"] = failed.into();
    whole["skipped"] = skipped.into();
    format!("{whole:#}\n")
}
