//! `benches/RESULTS.md`: what was measured, on what, beside what was meant.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::machine;
use crate::peers::Peers;
use crate::reading::Reading;
use crate::rows::{ROWS, Row};
use crate::targets::{Figure, Most, TARGETS, Target};

/// A figure over its rounds.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    /// Half are at most this.
    pub(crate) median: f64,
    /// The least.
    pub(crate) least: f64,
    /// The greatest.
    pub(crate) greatest: f64,
}

/// All readings, by row, metric, case and whose they are, in order of rounds.
pub(crate) struct Results(BTreeMap<[String; 4], Vec<f64>>);

impl Results {
    pub(crate) fn new(readings: &[Reading]) -> Self {
        let mut results = Self(BTreeMap::new());
        for Reading { row, who, case, metric, value } in readings {
            results.add([row, metric, case, who], *value);
        }
        results.derive();
        results
    }

    fn add(&mut self, key: [&str; 4], value: f64) {
        self.0.entry(key.map(str::to_owned)).or_default().push(value);
    }

    fn values(&self, row: &str, figure: Figure<'_>) -> &[f64] {
        let key = [row, figure.metric, figure.case, figure.who].map(str::to_owned);
        self.0.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Figures that follow from others: what one more hop in a chain costs, and
    /// what a hop between lanes adds.
    fn derive(&mut self) {
        const CHAIN: [(&str, &str, &str, f64); 3] =
            [("at 10", "10", "1", 9.0), ("at 100", "100", "1", 99.0), ("slope", "100", "10", 90.0)];
        for who in self.everybody("inline") {
            for (case, more, less, nodes) in CHAIN {
                self.subtract("inline", ["cpu_ns_per_hop", case, &who], [more, less], nodes);
            }
        }
        for who in self.everybody("hop") {
            self.subtract("hop", ["cpu_ns_per_buffer", "added by the hop", &who], ["busy", "inline"], 1.0);
        }
    }

    fn subtract(&mut self, row: &str, [metric, case, who]: [&str; 3], [more, less]: [&str; 2], parts: f64) {
        let of = |case: &str| {
            let key = [row, "cpu_ns_per_buffer", case, who].map(str::to_owned);
            self.0.get(&key).cloned().unwrap_or_default()
        };
        let pairs: Vec<f64> =
            of(more).iter().zip(of(less)).map(|(more, less)| (more - less) / parts).collect();
        pairs.into_iter().for_each(|value| self.add([row, metric, case, who], value));
    }

    /// Who has figures in a row, Sidetone first.
    pub(crate) fn everybody(&self, row: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for [of, _, _, who] in self.0.keys() {
            if of == row && !names.contains(who) {
                names.push(who.clone());
            }
        }
        names.sort_by_key(|name| (name != "sidetone", name.clone()));
        names
    }

    /// A figure over its rounds, if it was measured.
    pub(crate) fn spread(&self, row: &str, figure: Figure<'_>) -> Option<Spread> {
        let mut sorted = self.values(row, figure).to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, greatest) = (*sorted.first()?, *sorted.last()?);
        let half = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 };
        Some(Spread { median, least, greatest })
    }

    /// The whole page. `notes` tells what could not be measured, and more.
    pub(crate) fn page(&self, peers: Option<&Peers>, notes: &[String]) -> String {
        let mut page = String::from(HEAD);
        let rounds = self.0.values().map(Vec::len);
        let (least, most) = (rounds.clone().min().unwrap_or(0), rounds.max().unwrap_or(0));
        let rounds = if least == most { most.to_string() } else { format!("{least} to {most}") };
        let _ = write!(page, "\nMedians of {rounds} rounds.\n\n## The machine\n\n");
        let versions = peers.map(Peers::versions).unwrap_or_default();
        for (what, is) in machine::description().into_iter().chain(versions) {
            let _ = writeln!(page, "- {what}: {is}");
        }
        page += "\n## What was meant, and what is\n\n";
        page += "| row | what | ours | at most | |\n|---|---|--:|--:|---|\n";
        TARGETS.iter().for_each(|target| page += &self.judged(target));
        for row in ROWS {
            page += &self.section(row, peers);
        }
        if !notes.is_empty() {
            page += "\n## What went wrong\n\n";
            for note in notes {
                let _ = writeln!(page, "- {note}");
            }
        }
        page
    }

    /// A target's line.
    fn judged(&self, target: &Target) -> String {
        let line = |ours: &str, most: &str, verdict: &str| {
            format!("| {} | {} | {ours} | {most} | {verdict} |\n", target.row, target.what)
        };
        let Some(ours) = self.spread(target.row, target.ours).map(|spread| spread.median) else {
            return line("–", "–", "not measured");
        };
        let (most, words) = match target.most {
            Most::Amount(most) => (most, shown(most)),
            Most::CoresAnd(more) => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                (cores as f64 + more, format!("{cores} + {more}"))
            }
            Most::Times(times, figure) => match self.spread(target.row, figure) {
                None => return line(&shown(ours), "–", &format!("nothing to compare with ({})", figure.who)),
                Some(theirs) => (times * theirs.median, format!("{times} × {}", shown(theirs.median))),
            },
        };
        let verdict = if ours <= most {
            "met".to_owned()
        } else {
            format!("**missed**, {} times what is allowed", shown(ours / most))
        };
        line(&shown(ours), &words, &verdict)
    }

    /// A row's figures: a table for each metric.
    fn section(&self, row: &Row, peers: Option<&Peers>) -> String {
        let mut text = format!("\n## {}\n\n{}\n", row.title, row.how);
        let peers = peers.into_iter().flat_map(|peers| &peers.all).filter(|peer| peer.row == row.name);
        for (index, peer) in peers.enumerate() {
            let gap = if index == 0 { "\n" } else { "" };
            let _ = writeln!(text, "{gap}- {}: {} ([how](../{}))", peer.who, peer.what, peer.source);
        }
        let everybody = self.everybody(row.name);
        if everybody.is_empty() {
            return text + "\nNot measured.\n";
        }
        for chart in crate::plots::CHARTS.iter().filter(|chart| chart.row == row.name) {
            let _ = write!(text, "\n![{}](plots/{}.svg)\n", chart.title, chart.file);
        }
        for (metric, words) in METRICS {
            let mut cases: Vec<&str> = row.cases.to_vec();
            cases.extend(["at 10", "at 100", "slope", "added by the hop"]);
            let lines: Vec<String> =
                cases.iter().filter_map(|case| self.line(row.name, metric, case, &everybody)).collect();
            if !lines.is_empty() {
                let names = everybody.join(" | ");
                let rule = "--:|".repeat(everybody.len());
                let _ = write!(text, "\n| {words} | {names} |\n|---|{rule}\n{}", lines.concat());
            }
        }
        text
    }

    /// A case's line of one metric, where anybody has it.
    fn line(&self, row: &str, metric: &str, case: &str, everybody: &[String]) -> Option<String> {
        let of = |who: &str| self.spread(row, Figure { who, case, metric });
        let spreads: Vec<Option<Spread>> = everybody.iter().map(|who| of(who)).collect();
        spreads.iter().any(Option::is_some).then_some(())?;
        let ours = of("sidetone").map(|spread| spread.median);
        let cells: Vec<String> = everybody
            .iter()
            .zip(&spreads)
            .map(|(who, spread)| match spread {
                None => "–".to_owned(),
                Some(spread) => {
                    let ratio = ours
                        .filter(|_| who != "sidetone" && spread.median > 0.0)
                        .map_or_else(String::new, |ours| format!(" ×{}", shown(ours / spread.median)));
                    let (least, greatest) = (shown(spread.least), shown(spread.greatest));
                    format!("{} [{least}–{greatest}]{ratio}", shown(spread.median))
                }
            })
            .collect();
        Some(format!("| {case} | {} |\n", cells.join(" | ")))
    }
}

/// Three digits that say something.
pub(crate) fn shown(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

const HEAD: &str = "\
# What Sidetone costs, beside what people would otherwise use

Written by `make bench`; do not edit.

Every measurement is a process of its own. The programs run in turns, ours, a
peer's, ours, in the other order every other round, so that what else the
machine does falls on all alike. A cell holds the median over the rounds, the
least and greatest in brackets, and after a peer's × how many times it ours is:
below 1 is in our favour, less being better everywhere. Time is taken from the
kernel's monotonic clock, processor time from its clocks of threads and
processes, by all programs alike. The peers' programs, and what they do and
leave out, are in `benches/peers/`.
";

/// Every metric, in the order of the tables, with its words.
const METRICS: &[(&str, &str)] = &[
    ("cpu_ns_per_buffer", "processor time a frame, ns"),
    ("cpu_ns_per_hop", "processor time one more hop costs, ns"),
    ("wall_ns_per_buffer", "wall time a frame, ns"),
    ("p50_us", "wake at p50, µs"),
    ("p99_us", "wake at p99, µs"),
    ("p999_us", "wake at p99.9, µs"),
    ("wall_ns_per_item", "wall time a copied sample, ns"),
    ("cpu_percent", "processor time, % of one processor"),
    ("codec_cpu_percent", "of it in the codecs, %"),
    ("source_cpu_percent", "of it in the sources, %"),
    ("outside_cpu_percent", "of it outside codecs and sources, %"),
    ("late_p50_ms", "late at p50, ms"),
    ("late_p99_ms", "late at p99, ms"),
    ("ticks_percent", "ticks, % of those due"),
    ("threads", "threads"),
    ("rss_mb", "memory, MB"),
    ("audio_p50_ms", "sound, capture to render at p50, ms"),
    ("audio_p99_ms", "sound, capture to render at p99, ms"),
    ("audio_outside_ms", "sound, outside the codecs, mean, ms"),
    ("video_p50_ms", "pictures, capture to render at p50, ms"),
    ("video_p99_ms", "pictures, capture to render at p99, ms"),
    ("video_outside_ms", "pictures, outside the codecs, mean, ms"),
    ("off_percent", "processor time with nothing on, %"),
    ("on_percent", "with everything on, %"),
    ("on_to_off", "on, against off"),
    ("built_in_ns_per_call", "a built-in node's call, ns"),
    ("plugin_ns_per_call", "a plugin's call that does the same, ns"),
    ("added_ns_per_call", "added by the plugin interface, ns"),
    ("in_process_p50_us", "a copy of a picture in this process at p50, µs"),
    ("isolated_p50_us", "the same in a process of its own at p50, µs"),
    ("added_p50_us", "added by the process, µs"),
    ("us_per_packet", "the server's processor time for a packet that came, µs"),
    ("latency_p50_ms", "from a publisher's socket to a subscriber's at p50, ms"),
    ("latency_p99_ms", "the same at p99, ms"),
    ("lost_percent", "lost, %"),
    ("first_frame_ms", "to the first frame, ms"),
    ("peak_rss_mb", "most memory, MB"),
];
