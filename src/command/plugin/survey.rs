//! `sidetone plugin survey`: every installed effect of other formats, tried.

use std::collections::BTreeMap;
use std::path::Path;

use clap::{Args, ValueEnum};
use serde_json::{Value as Json, json};
use sidetone::plugins::describe::{catalogue, families};
use sidetone::plugins::survey::{Format, PICTURES, SOUNDS, Trial, trial};

use super::super::{FAILED, FINE, note, say};
use crate::table::{Align, table};

/// Run every installed effect for a moment, in a process of its own, and say how long
/// a frame takes and why what does not run does not
///
/// Each gets 30 pictures of 640x360, or 3 s of sound at 48 kHz, with its defaults.
#[derive(Args)]
pub(super) struct Survey {
    /// Of which format
    format: Word,
    /// Only effects whose names begin so
    #[arg(default_value = "")]
    begin: String,
    /// Run them in this process: faster, and whatever one does befalls the survey
    #[arg(long)]
    in_process: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Word {
    Frei0r,
    Ladspa,
    Clap,
}

impl Survey {
    pub(super) fn run(&self) -> u8 {
        let program = match std::env::current_exe() {
            Ok(program) => program,
            Err(why) => {
                note(&format!(
                    "error: this program does not find itself, so it cannot describe effects: {why}\n"
                ));
                return FAILED;
            }
        };
        let format = match self.format {
            Word::Frei0r => Format::Frei0r,
            Word::Ladspa => Format::Ladspa,
            Word::Clap => Format::Clap,
        };
        let trials = self.trials(format, &program);
        let unusable = &catalogue(format, &program).unusable;
        if self.json {
            say(&as_json(format, &trials, unusable));
        } else {
            say(&as_text(format, &trials, unusable));
        }
        FINE
    }

    fn trials(&self, format: Format, program: &Path) -> Vec<(&'static str, Result<Trial, String>)> {
        let [frei0r, ladspa, clap] = families(program, false);
        let family = match format {
            Format::Frei0r => frei0r,
            Format::Ladspa => ladspa,
            Format::Clap => clap,
        };
        let isolate = if self.in_process { "none" } else { "process" };
        let mut trials = Vec::new();
        for spec in (family.all)() {
            let name = family.name_of(spec);
            if name.starts_with(&self.begin) {
                if !self.json {
                    note(&format!("{name}\n"));
                }
                trials.push((name, trial(spec, &[("isolate", isolate.into())])));
            }
        }
        trials
    }
}

fn as_text(
    format: Format,
    trials: &[(&str, Result<Trial, String>)],
    unusable: &BTreeMap<String, String>,
) -> String {
    let mut rows = Vec::new();
    for (name, result) in trials {
        let cells = match result {
            Ok(Trial { frames, median_ms, most_ms }) => {
                [frames.to_string(), format!("{median_ms:.3}"), format!("{most_ms:.3}"), "runs".into()]
            }
            Err(why) => [String::new(), String::new(), String::new(), why.clone()],
        };
        rows.push(std::iter::once((*name).to_owned()).chain(cells).collect());
    }
    let head = [
        ("EFFECT", Align::Left),
        ("FRAMES", Align::Right),
        ("p50 ms", Align::Right),
        ("MOST ms", Align::Right),
        ("RESULT", Align::Left),
    ];
    let mut text = table(&head, &rows);
    let mut medians: Vec<f64> =
        trials.iter().filter_map(|(_, result)| Some(result.as_ref().ok()?.median_ms)).collect();
    medians.sort_by(f64::total_cmp);
    text.push_str(&format!(
        "\n{} {} effects: {} run, {} fault, {} are of a sort that no node stands for.\n",
        trials.len() + unusable.len(),
        format.word(),
        medians.len(),
        trials.len() - medians.len(),
        unusable.len()
    ));
    if let (Some(middle), Some(tenth)) = (medians.get(medians.len() / 2), medians.get(medians.len() * 9 / 10))
    {
        let (count, what) = if format == Format::Frei0r {
            (PICTURES, "pictures of 640x360")
        } else {
            (SOUNDS, "frames of 10 ms at 48 kHz")
        };
        text.push_str(&format!(
            "{count} {what} each; half take less than {middle:.3} ms a frame at p50, nine in ten less than {tenth:.3}.\n"
        ));
    }
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, why) in unusable {
        reasons.entry(why).or_default().push(name);
    }
    for (why, names) in reasons {
        text.push_str(&format!("Not used, since {why}: {}.\n", names.join(", ")));
    }
    text
}

fn as_json(
    format: Format,
    trials: &[(&str, Result<Trial, String>)],
    unusable: &BTreeMap<String, String>,
) -> String {
    let effects: Vec<Json> = trials
        .iter()
        .map(|(name, result)| match result {
            Ok(Trial { frames, median_ms, most_ms }) => {
                json!({ "effect": name, "frames": frames, "p50_ms": median_ms, "most_ms": most_ms })
            }
            Err(why) => json!({ "effect": name, "fault": why }),
        })
        .collect();
    format!("{:#}\n", json!({ "format": format.word(), "effects": effects, "unusable": unusable }))
}
