//! `sidetone tune`: which values of a graph's parameters serve best.

mod knobs;
mod picture;
mod search;
mod trial;
mod wishes;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value as Json, json};
use sidetone::{Graph, LoadOptions};

use self::knobs::Knob;
use self::picture::{Axis, Dot, Picture, Rank};
use self::search::{Choice, Search};
use self::trial::{Outcome, Trial, best, mark_frontier};
use self::wishes::{Better, Wishes};
use super::bench::troubles;
use super::run::seconds;
use super::{FAILED, FINE, WRONG, complain, kinds, load, note, say, setting};
use crate::measure::{Interrupt, Measured, Reading, Run, measure};
use crate::statistics::median;
use crate::table::{Align, table};

/// Search a graph's parameters for the best figures
///
/// Turns the knobs of --over, runs the graph with each setting, and prints the
/// frontier: the settings than which no other is as good in everything and better
/// in something. The best of them that keeps to every --subject comes last, as
/// --set options.
///
/// Figures: latency (capture to render, p95; audio.latency, video.latency.p50,
/// latency.p99), cpu (% of a core), late and lost (% of frames), dropped,
/// bitrate (kbit/s of RTP); snr, psnr and missing where the graph holds a
/// test.compare_audio or test.compare_video; NODE.work, NODE.wait and
/// NODE.buffer of any node. Where several fit a name, the worst counts.
///
/// Every setting is tried where they are not more than --trials. Otherwise half
/// the trials are spread evenly, and the rest go where a tree-structured Parzen
/// estimator expects better ones. In virtual time latency leaves work aside, and
/// the same seed gives the same result.
#[derive(Args)]
#[command(after_help = "For example:\n  \
    sidetone tune graphs/tune_voice.toml --virtual --seconds 10 \\\n    \
      --subject 'snr>=12,late<=1%' --over 'enc.frame_ms=5,10,20 jitter.quantile=0.8..0.99'\n\n\
    Values of --over: a list (2.5,5,10), a range (0.9..0.99), a range with a step (16..64/8), words.")]
pub(super) struct Tune {
    /// The graph file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The parameters to turn, as --set names them, with their values
    #[arg(long, value_name = "NAME=VALUES …", required = true)]
    over: Vec<String>,
    /// The figure that is to be small
    #[arg(long, visible_alias = "minimize", value_name = "FIGURE", default_value = "latency")]
    minimise: String,
    /// The figure that is to be large, instead
    #[arg(long, visible_alias = "maximize", value_name = "FIGURE", conflicts_with = "minimise")]
    maximise: Option<String>,
    /// What every good setting keeps to, parted by commas
    #[arg(long, value_name = "FIGURE>=NUMBER,…", default_value = "")]
    subject: String,
    /// Give a parameter of the graph, or of a node (cam.fps=15); may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// The folder for the files the graph writes: short for --set out=DIR
    #[arg(long, value_name = "DIR")]
    out: Option<String>,
    /// How long each run takes
    #[arg(long, value_name = "N", value_parser = seconds, default_value = "10")]
    seconds: Duration,
    /// Run in virtual time, as fast as it goes
    #[arg(long = "virtual")]
    virtual_time: bool,
    /// How many settings are measured, at most
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    trials: u32,
    /// How many runs of each setting; its figures are their medians
    #[arg(long, value_name = "R", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repeat: u32,
    /// The seed of the search and of the first repeat; each repeat takes the next
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write the picture as SVG
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Print JSON: every setting with its figures
    #[arg(long)]
    json: bool,
    /// Print no progress
    #[arg(long, short)]
    quiet: bool,
}

/// What is searched for, over what.
struct Task {
    set: Vec<(String, String)>,
    knobs: Vec<Knob>,
    wishes: Wishes,
    /// The unit of each wish's figure, once a run has shown it.
    units: Vec<String>,
}

impl Tune {
    pub(super) fn run(&self) -> u8 {
        let mut task = match self.task() {
            Ok(task) => task,
            Err(code) => return code,
        };
        let interrupt = Interrupt::on_ctrl_c().unwrap_or_else(|error| {
            note(&format!("warning: Ctrl-C will end the search without its result: {error}\n"));
            Interrupt::default()
        });
        let mut search = Search::new(task.knobs.clone(), self.trials as usize, self.seed);
        let is_grid = search.is_grid();
        let mut trials = match self.measure_all(&mut task, &mut search, &interrupt) {
            Ok(trials) => trials,
            Err(code) => return code,
        };
        mark_frontier(&mut trials, &task.wishes.list);
        let best = best(&trials, &task.wishes.list[0]);
        if trials.iter().all(|trial| trial.values().is_none()) {
            let why = trials.iter().find_map(|trial| match &trial.outcome {
                Outcome::Failed(why) => Some(why.as_str()),
                Outcome::Measured { .. } => None,
            });
            note(&format!(
                "error: no setting could be measured\n{}\n",
                why.unwrap_or("stopped before the first")
            ));
            return FAILED;
        }
        let picture = self.picture(&task, &trials, best);
        match self.json {
            true => say(&format!("{:#}\n", self.as_json(&task, &trials, best, is_grid))),
            false => say(&self.as_text(&task, &trials, best, is_grid, &picture)),
        }
        if let Some(path) = &self.plot
            && let Err(error) = std::fs::write(path, picture::svg(&picture))
        {
            note(&format!("error: cannot write {}: {error}\n", path.display()));
            return FAILED;
        }
        if best.is_none() {
            note("error: no setting keeps to every subject\n");
            return FAILED;
        }
        FINE
    }

    fn task(&self) -> Result<Task, u8> {
        let mut set = self.set.clone();
        set.extend(self.out.clone().map(|folder| ("out".to_owned(), folder)));
        let graph = load(&self.file, &set, self.json)?;
        let (objective, better) = match &self.maximise {
            Some(name) => (name, Better::More),
            None => (&self.minimise, Better::Less),
        };
        let knobs = knobs::read(&self.over.join("\n"), &graph);
        let wishes = Wishes::read(objective, better, &self.subject);
        match (knobs, wishes) {
            (Ok(knobs), Ok(wishes)) => Ok(Task { set, knobs, wishes, units: Vec::new() }),
            (knobs, wishes) => {
                [knobs.err(), wishes.err()].into_iter().flatten().for_each(|why| complain(&why, self.json));
                Err(WRONG)
            }
        }
    }

    fn measure_all(
        &self,
        task: &mut Task,
        search: &mut Search,
        interrupt: &Interrupt,
    ) -> Result<Vec<Trial>, u8> {
        let most = search.left();
        let mut trials: Vec<Trial> = Vec::new();
        while let Some(choice) = search.next() {
            let named = named(&task.knobs, &choice);
            self.progress(&format!("setting {} of at most {most}: {}", trials.len() + 1, named.join(" ")));
            let trial = match self.measure_one(task, &choice, interrupt) {
                _ if interrupt.is_asked() => break,
                Ok(runs) => self.outcome(task, choice.clone(), &runs)?,
                Err(why) => Trial::failed(choice.clone(), why),
            };
            search.tell(choice, trial.score(&task.wishes.list[0]));
            trials.push(trial);
        }
        if !self.quiet && std::io::stderr().is_terminal() {
            note("\r\x1b[K");
        }
        Ok(trials)
    }

    /// The runs of one setting, or why there are none.
    fn measure_one(
        &self,
        task: &Task,
        choice: &Choice,
        interrupt: &Interrupt,
    ) -> Result<Vec<Measured>, String> {
        let turned = task.knobs.iter().map(|knob| knob.name.clone()).zip(choice.iter().cloned());
        let overrides: Vec<_> = task.set.iter().cloned().chain(turned).collect();
        let options = LoadOptions { overrides: &overrides, ..LoadOptions::default() };
        let (graph, _) =
            Graph::load(&self.file, &kinds(Some(&self.file)), &options).map_err(|why| why.to_string())?;
        let mut runs = Vec::new();
        for repeat in 0..self.repeat {
            let seed = self.seed.wrapping_add(u64::from(repeat));
            let run = Run { seconds: self.seconds, virtual_time: self.virtual_time, seed };
            let measured = measure(&graph, run, interrupt).map_err(|why| why.to_string())?;
            match troubles(&measured.report).into_iter().next() {
                Some(trouble) => return Err(trouble),
                None => runs.push(measured),
            }
            if interrupt.is_asked() {
                break;
            }
        }
        Ok(runs)
    }

    /// What the runs of a setting came to. A figure that the first setting does
    /// not show is a mistake; one that a later one lacks is that setting's failure.
    fn outcome(&self, task: &mut Task, choice: Choice, runs: &[Measured]) -> Result<Trial, u8> {
        if task.units.is_empty() {
            let readings = runs.first().map_or(&[][..], |run| &run.readings);
            task.units = task.wishes.check(readings).map_err(|mistakes| {
                complain(&mistakes, self.json);
                WRONG
            })?;
        }
        let mut values = Vec::new();
        for wish in &task.wishes.list {
            let shown: Vec<_> = runs.iter().filter_map(|run| wish.of(&run.readings)).collect();
            match median(&shown.iter().map(|(value, _)| *value).collect::<Vec<_>>()) {
                Some(value) => values.push(value),
                None => return Ok(Trial::failed(choice, format!("it showed no {}", wish.name))),
            }
        }
        Ok(Trial::measured(choice, values, &task.wishes.list, figures(runs)))
    }

    fn progress(&self, what: &str) {
        if !self.quiet {
            match std::io::stderr().is_terminal() {
                true => note(&format!("\r\x1b[K{what}")),
                false => note(&format!("{what}\n")),
            }
        }
    }

    fn picture(&self, task: &Task, trials: &[Trial], best: Option<usize>) -> Picture {
        let mut axes = task.wishes.list.iter().zip(&task.units).map(|(wish, unit)| Axis {
            name: wish.name.clone(),
            unit: unit.clone(),
            limit: wish.limit,
        });
        let across = axes.next().unwrap_or(Axis { name: String::new(), unit: String::new(), limit: None });
        let dots = trials.iter().enumerate().filter_map(|(index, trial)| {
            let (across, up) = trial.values()?.split_first()?;
            let rank = match trial.on_frontier {
                _ if best == Some(index) => Rank::Best,
                true => Rank::Frontier,
                false => Rank::Beaten,
            };
            let label = named(&task.knobs, &trial.choice).join(" ");
            Some(Dot { across: *across, up: up.to_vec(), rank, label })
        });
        let title = format!("{}: {}", self.file.display(), across.name);
        Picture { title, across, up: axes.collect(), dots: dots.collect() }
    }

    fn as_text(
        &self,
        task: &Task,
        trials: &[Trial],
        best: Option<usize>,
        is_grid: bool,
        picture: &Picture,
    ) -> String {
        let time = if self.virtual_time { "virtual" } else { "real" };
        let how = if is_grid { "a grid of" } else { "a search through" };
        let runs = if self.repeat == 1 { "one run".to_owned() } else { format!("{} runs", self.repeat) };
        let mut text = format!(
            "{}: {how} {} settings, {runs} of {:.1} s of {time} time each\n\n",
            self.file.display(),
            trials.len(),
            self.seconds.as_secs_f64()
        );
        let mut frontier: Vec<usize> = (0..trials.len()).filter(|index| trials[*index].on_frontier).collect();
        let objective = |index: &usize| trials[*index].values().and_then(|values| values.first().copied());
        frontier.sort_by(|a, b| objective(a).unwrap_or(0.0).total_cmp(&objective(b).unwrap_or(0.0)));
        let row = |index: &usize| {
            let trial = &trials[*index];
            let values = trial.values().unwrap_or_default().iter().map(|value| format!("{value:.2}"));
            let mark = match trial.keeps() {
                _ if best == Some(*index) => "best",
                true => "keeps",
                false => "",
            };
            trial.choice.iter().cloned().chain(values).chain([mark.to_owned()]).collect::<Vec<_>>()
        };
        let titles: Vec<String> = task
            .wishes
            .list
            .iter()
            .zip(&task.units)
            .map(|(wish, unit)| match wish.limit {
                None => format!("{} {unit}", wish.name),
                Some(_) => wish.title(),
            })
            .collect();
        let names = task.knobs.iter().map(|knob| knob.name.as_str());
        let mut head: Vec<_> =
            names.chain(titles.iter().map(String::as_str)).map(|name| (name, Align::Right)).collect();
        head.push(("", Align::Left));
        text.push_str(&table(&head, &frontier.iter().map(row).collect::<Vec<_>>()));
        let sketch = picture::sketch(picture);
        if !sketch.is_empty() {
            text.push_str(&format!("\n{sketch}"));
        }
        let failed: Vec<_> = trials
            .iter()
            .filter_map(|trial| match &trial.outcome {
                Outcome::Failed(why) => Some((named(&task.knobs, &trial.choice).join(" "), why)),
                Outcome::Measured { .. } => None,
            })
            .collect();
        if let Some((first, why)) = failed.first() {
            text.push_str(&format!("\n{} settings could not be measured; {first}:\n{why}\n", failed.len()));
        }
        text.push_str(&match best {
            Some(index) => {
                let options =
                    named(&task.knobs, &trials[index].choice).into_iter().map(|set| format!("--set {set}"));
                format!("\nbest: {}\n", options.collect::<Vec<_>>().join(" "))
            }
            None => "\nNo setting keeps to every subject.\n".to_owned(),
        });
        text
    }

    fn as_json(&self, task: &Task, trials: &[Trial], best: Option<usize>, is_grid: bool) -> Json {
        let names: Vec<String> = task.knobs.iter().map(|knob| knob.name.clone()).collect();
        let set: BTreeMap<_, _> = task.set.iter().cloned().collect();
        let wishes: Vec<_> = task
            .wishes
            .list
            .iter()
            .zip(&task.units)
            .map(|(wish, unit)| {
                let better = if wish.better == Better::Less { "less" } else { "more" };
                json!({ "figure": wish.name, "unit": unit, "better": better, "limit": wish.limit })
            })
            .collect();
        json!({
            "graph": self.file.display().to_string(), "set": set, "seconds": self.seconds.as_secs_f64(),
            "virtual_time": self.virtual_time, "repeat": self.repeat, "seed": self.seed,
            "search": if is_grid { "grid" } else { "tpe" },
            "objective": wishes.first(), "subjects": wishes.get(1..),
            "trials": trials.iter().map(|trial| trial.as_json(&names)).collect::<Vec<_>>(),
            "best": best,
        })
    }
}

/// "NAME=VALUE" for each knob.
fn named(knobs: &[Knob], choice: &Choice) -> Vec<String> {
    knobs.iter().zip(choice).map(|(knob, value)| format!("{}={value}", knob.name)).collect()
}

/// The medians of all figures over the runs of one setting.
fn figures(runs: &[Measured]) -> Json {
    let mut all: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for Reading { name, value, .. } in runs.iter().flat_map(|run| &run.readings) {
        all.entry(name).or_default().push(*value);
    }
    let medians = all.into_iter().map(|(name, values)| (name.to_owned(), json!(median(&values))));
    Json::Object(medians.collect())
}
