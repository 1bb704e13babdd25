//! `--minimise` and `--subject`: what a search is for, and what it must keep to.

use std::sync::Arc;

use sidetone::{Diagnostic, Diagnostics, Place, Sources, suggest};

use crate::measure::Reading;

/// A figure that is to be small or large, and the limit it must keep to if it
/// has one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wish {
    /// As people ask for it: "latency", "compare.psnr".
    pub(super) name: String,
    pub(super) better: Better,
    pub(super) limit: Option<f64>,
    /// What was written after the limit.
    unit: String,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    Less,
    More,
}

/// Wishes and the text they were read from.
#[derive(Clone, Debug)]
pub(super) struct Wishes {
    /// The objective, then the subjects.
    pub(super) list: Vec<Wish>,
    sources: Arc<Sources>,
}

impl Wish {
    /// What it is called where its limit matters: "psnr >= 34 dB".
    pub(super) fn title(&self) -> String {
        match (self.limit, self.better) {
            (None, _) => self.name.clone(),
            (Some(limit), Better::Less) => format!("{} <= {limit}{}", self.name, self.unit),
            (Some(limit), Better::More) => format!("{} >= {limit}{}", self.name, self.unit),
        }
    }

    /// The figure among `readings`, and its unit. A name may leave out what it
    /// begins with (a medium, a node) and a final `.p95`; of several that fit,
    /// the worst counts.
    pub(super) fn of<'a>(&self, readings: &'a [Reading]) -> Option<(f64, &'a str)> {
        let fits = |name: &str, wanted: &str| {
            name.strip_suffix(wanted).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        let alike = |wanted: &str| -> Vec<&'a Reading> {
            let mut some: Vec<_> = readings.iter().filter(|reading| reading.name == wanted).collect();
            if some.is_empty() {
                some = readings.iter().filter(|reading| fits(&reading.name, wanted)).collect();
            }
            some
        };
        let mut some = alike(&self.name);
        if some.is_empty() {
            some = alike(&format!("{}.p95", self.name));
        }
        let unit = &some.first()?.unit;
        let values = some.iter().map(|reading| reading.value);
        let worst = match self.better {
            Better::Less => values.fold(f64::MIN, f64::max),
            Better::More => values.fold(f64::MAX, f64::min),
        };
        Some((worst, unit))
    }

    /// By how much of the limit `value` misses it; 0 where it keeps to it.
    pub(super) fn missed_by(&self, value: f64) -> f64 {
        let Some(limit) = self.limit else { return 0.0 };
        let beyond = match self.better {
            Better::Less => value - limit,
            Better::More => limit - value,
        };
        beyond.max(0.0) / limit.abs().max(1e-9)
    }

    /// Whether `a` is no worse than `b`.
    pub(super) fn as_good(&self, a: f64, b: f64) -> bool {
        match self.better {
            Better::Less => a <= b,
            Better::More => a >= b,
        }
    }
}

impl Wishes {
    /// Reads the objective's name and `NAME>=NUMBER,NAME<=NUMBER`.
    ///
    /// # Errors
    /// All that is wrong, each with its place in the text.
    pub(super) fn read(objective: &str, better: Better, subjects: &str) -> Result<Self, Diagnostics> {
        let mut sources = Sources::default();
        let option = if better == Better::Less { "--minimise" } else { "--maximise" };
        let file = sources.add(option, objective);
        let place = Place { file, start: 0, end: objective.len() as u32 };
        let name = objective.trim().to_owned();
        let mut list = vec![Wish { name, better, limit: None, unit: String::new(), place }];
        let mut found = Vec::new();
        let file = sources.add("--subject", subjects);
        let mut start = 0;
        for item in subjects.split(',') {
            let place = Place { file, start: start as u32, end: (start + item.len()) as u32 };
            start += item.len() + 1;
            if item.trim().is_empty() {
                continue;
            }
            match subject(item.trim(), place) {
                Some(wish) => list.push(wish),
                None => found.push(
                    Diagnostic::error("this is no FIGURE>=NUMBER or FIGURE<=NUMBER")
                        .at(place, "")
                        .help("for example --subject 'snr>=12,late<=0.1%'"),
                ),
            }
        }
        let sources = Arc::new(sources);
        if found.is_empty() { Ok(Self { list, sources }) } else { Err(Diagnostics::new(found, sources)) }
    }

    /// The units of all figures, of which a run must show each in the unit that
    /// was written.
    ///
    /// # Errors
    /// Those that it does not show, and what was meant.
    pub(super) fn check(&self, readings: &[Reading]) -> Result<Vec<String>, Diagnostics> {
        let mut found = Vec::new();
        let mut units = Vec::new();
        for wish in &self.list {
            match wish.of(readings) {
                None => {
                    let message = format!("no run shows a figure {}", wish.name);
                    // Those of single stages are many, and plain once one is known.
                    let stages = [".wait.", ".work.", ".buffer."];
                    let plain = |name: &&str| !stages.iter().any(|stage| name.contains(stage));
                    let all = readings.iter().map(|reading| reading.name.as_str()).filter(plain);
                    let last = all.clone().filter_map(|name| name.split_once('.').map(|(_, last)| last));
                    let known: Vec<_> = all.chain(["latency"]).chain(last).collect();
                    let mut known: Vec<_> = known
                        .iter()
                        .enumerate()
                        .filter(|(n, a)| !known[..*n].contains(a))
                        .map(|(_, a)| *a)
                        .collect();
                    known.sort_unstable();
                    let advice = suggest::names(&wish.name, "figures", known);
                    found.push(Diagnostic::error(message).at(wish.place, "").help(advice).help(
                        "snr, psnr and missing come from a node test.compare_audio or test.compare_video; bitrate \
                         from an RTP packer; NODE.work, NODE.wait and NODE.buffer from any node",
                    ));
                }
                Some((_, unit)) if !wish.unit.is_empty() && !same_unit(&wish.unit, unit) => {
                    let has = if unit.is_empty() { "no unit" } else { unit };
                    let message = format!("{} has {has}, not {}", wish.name, wish.unit);
                    found.push(Diagnostic::error(message).at(wish.place, ""));
                }
                Some((_, unit)) => units.push(unit.to_owned()),
            }
        }
        if found.is_empty() { Ok(units) } else { Err(Diagnostics::new(found, Arc::clone(&self.sources))) }
    }
}

fn subject(item: &str, place: Place) -> Option<Wish> {
    let at = item.find(['<', '>'])?;
    let better = if item[at..].starts_with('<') { Better::Less } else { Better::More };
    let (name, rest) = (item[..at].trim(), item[at + 1..].trim_start_matches('=').trim());
    let end = rest.find(|c: char| !(c.is_ascii_digit() || "+-.".contains(c))).unwrap_or(rest.len());
    let limit: f64 = rest[..end].parse().ok().filter(|limit: &f64| limit.is_finite())?;
    let unit = rest[end..].trim().to_owned();
    (!name.is_empty()).then(|| Wish { name: name.to_owned(), better, limit: Some(limit), unit, place })
}

fn same_unit(written: &str, unit: &str) -> bool {
    written.eq_ignore_ascii_case(unit) || (unit == "kbit/s" && written.eq_ignore_ascii_case("kbps"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings() -> Vec<Reading> {
        [
            ("audio.latency.p50", "ms", 30.0),
            ("audio.latency.p95", "ms", 40.0),
            ("video.latency.p95", "ms", 50.0),
            ("late", "%", 0.2),
            ("near.psnr", "dB", 40.0),
            ("far.psnr", "dB", 33.0),
            ("bitrate", "kbit/s", 40.0),
        ]
        .map(|(name, unit, value)| Reading { name: name.into(), unit: unit.into(), value })
        .to_vec()
    }

    fn wishes(objective: &str, subjects: &str) -> Wishes {
        Wishes::read(objective, Better::Less, subjects).unwrap_or_else(|why| panic!("{why}"))
    }

    #[test]
    fn names_find_their_figure_and_the_worst_of_several_counts() {
        for (name, value) in [
            ("latency", 50.0),
            ("audio.latency", 40.0),
            ("latency.p50", 30.0),
            ("audio.latency.p95", 40.0),
            ("psnr", 40.0),
            ("far.psnr", 33.0),
            ("late", 0.2),
        ] {
            let wish = &wishes(name, "").list[0];
            assert_eq!(wish.of(&readings()).map(|(value, _)| value), Some(value), "{name}");
        }
        let more = Wishes::read("psnr", Better::More, "").unwrap();
        assert_eq!(more.list[0].of(&readings()), Some((33.0, "dB")));
        assert_eq!(wishes("atency", "").list[0].of(&readings()), None);
    }

    #[test]
    fn subjects_are_read_with_or_without_their_units() {
        let list = wishes("latency", " psnr>=34 dB, late <= 0.1%,bitrate<50kbps,").list;
        let limits: Vec<_> =
            list[1..].iter().map(|wish| (wish.name.as_str(), wish.better, wish.limit.unwrap())).collect();
        assert_eq!(
            limits,
            [("psnr", Better::More, 34.0), ("late", Better::Less, 0.1), ("bitrate", Better::Less, 50.0)]
        );
        assert!(wishes("latency", "psnr>=34dB,late<=0.1%,bitrate<50kbps").check(&readings()).is_ok());
        assert!((list[1].missed_by(33.0) - 1.0 / 34.0).abs() < 1e-12 && list[1].missed_by(40.0) == 0.0);
        assert!((list[2].missed_by(0.2) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn mistakes_point_at_their_column() {
        let told = Wishes::read("latency", Better::Less, "psnr>=34,late").unwrap_err().to_string();
        assert!(told.contains("--> --subject:1:10") && told.contains("for example"), "{told}");
        let told = wishes("latncy", "").check(&readings()).unwrap_err().to_string();
        assert!(told.contains("--> --minimise:1:1") && told.contains("did you mean latency?"), "{told}");
        let told = wishes("latency", "snr>=3").check(&readings()).unwrap_err().to_string();
        assert!(told.contains("--> --subject:1:1") && told.contains("test.compare_audio"), "{told}");
        let told = wishes("latency", "late<=3ms").check(&readings()).unwrap_err().to_string();
        assert!(told.contains("late has %, not ms"), "{told}");
    }
}
