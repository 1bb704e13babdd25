//! `Trial`: one setting with what it showed, and which of many are worth having.

use serde_json::{Value as Json, json};

use super::search::Choice;
use super::wishes::{Better, Wish};

/// One setting and what it showed.
pub(super) struct Trial {
    /// A value for each knob.
    pub(super) choice: Choice,
    pub(super) outcome: Outcome,
    /// Whether no other is as good in everything and better in something.
    pub(super) on_frontier: bool,
}

pub(super) enum Outcome {
    Measured {
        /// A value for each wish: the objective, then the subjects.
        values: Vec<f64>,
        /// By how much the subjects are missed, together; 0 if they are kept.
        missed: f64,
        /// The medians of all figures, for machines.
        figures: Json,
    },
    /// Why it could not be measured.
    Failed(String),
}

impl Trial {
    pub(super) fn measured(choice: Choice, values: Vec<f64>, wishes: &[Wish], figures: Json) -> Self {
        let missed = wishes.iter().zip(&values).map(|(wish, value)| wish.missed_by(*value)).sum();
        Self { choice, outcome: Outcome::Measured { values, missed, figures }, on_frontier: false }
    }

    pub(super) fn failed(choice: Choice, why: String) -> Self {
        Self { choice, outcome: Outcome::Failed(why), on_frontier: false }
    }

    /// The value of each wish, if it was measured.
    pub(super) fn values(&self) -> Option<&[f64]> {
        match &self.outcome {
            Outcome::Measured { values, .. } => Some(values),
            Outcome::Failed(_) => None,
        }
    }

    /// Whether it keeps to every subject.
    pub(super) fn keeps(&self) -> bool {
        matches!(&self.outcome, Outcome::Measured { missed, .. } if *missed == 0.0)
    }

    /// How well it did, less being better: any that keeps to the subjects before
    /// any that does not, and those by how far they are from it.
    pub(super) fn score(&self, objective: &Wish) -> f64 {
        match &self.outcome {
            Outcome::Failed(_) => f64::INFINITY,
            Outcome::Measured { missed, .. } if *missed > 0.0 => 1e15 * (1.0 + missed),
            Outcome::Measured { values, .. } => match (objective.better, values.first()) {
                (Better::Less, Some(value)) => *value,
                (Better::More, Some(value)) => -value,
                (_, None) => f64::INFINITY,
            },
        }
    }

    pub(super) fn as_json(&self, names: &[String]) -> Json {
        let set: serde_json::Map<_, _> =
            names.iter().cloned().zip(self.choice.iter().map(|v| json!(v))).collect();
        match &self.outcome {
            Outcome::Failed(why) => json!({ "set": set, "failed": why }),
            Outcome::Measured { values, figures, .. } => {
                json!({ "set": set, "objective": values.first(), "subjects": values.get(1..),
                        "keeps": self.keeps(), "on_frontier": self.on_frontier, "figures": figures })
            }
        }
    }
}

/// Marks those than which no other is as good in every wish and better in one
/// (Pareto's frontier); of several alike the first.
pub(super) fn mark_frontier(trials: &mut [Trial], wishes: &[Wish]) {
    let beats = |a: &[f64], b: &[f64]| {
        let as_good = |a: &[f64], b: &[f64]| {
            wishes.iter().zip(a.iter().zip(b)).all(|(wish, (a, b))| wish.as_good(*a, *b))
        };
        (as_good(a, b), as_good(b, a))
    };
    for index in 0..trials.len() {
        let on_frontier = trials[index].values().is_some_and(|mine| {
            !trials.iter().enumerate().any(|(other, trial)| {
                trial.values().is_some_and(|theirs| match beats(theirs, mine) {
                    (true, true) => other < index,
                    (better, _) => better,
                })
            })
        });
        trials[index].on_frontier = on_frontier;
    }
}

/// The best of those that keep to the subjects.
pub(super) fn best(trials: &[Trial], objective: &Wish) -> Option<usize> {
    let score = |index: &usize| trials[*index].score(objective);
    // On the frontier, so that of those alike in the objective it is one that no
    // other beats.
    let kept = (0..trials.len()).filter(|index| trials[*index].keeps() && trials[*index].on_frontier);
    kept.min_by(|a, b| score(a).total_cmp(&score(b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tune::wishes::Wishes;

    fn trials(values: &[[f64; 2]]) -> (Vec<Trial>, Vec<Wish>) {
        let wishes = Wishes::read("latency", Better::Less, "snr>=10").unwrap().list;
        let trial = |values: &[f64; 2]| Trial::measured(Vec::new(), values.to_vec(), &wishes, Json::Null);
        let mut trials: Vec<_> = values.iter().map(trial).collect();
        trials.push(Trial::failed(Vec::new(), "no".into()));
        mark_frontier(&mut trials, &wishes);
        (trials, wishes)
    }

    #[test]
    fn the_frontier_holds_what_nothing_beats_and_each_point_once() {
        let (trials, _) =
            trials(&[[20.0, 8.0], [30.0, 12.0], [30.0, 12.0], [35.0, 11.0], [50.0, 20.0], [50.0, 19.0]]);
        let marked: Vec<_> = trials.iter().map(|trial| trial.on_frontier).collect();
        assert_eq!(marked, [true, true, false, false, true, false, false]);
    }

    #[test]
    fn the_best_keeps_to_the_subjects_first() {
        let (some, wishes) = trials(&[[20.0, 8.0], [50.0, 20.0], [30.0, 12.0]]);
        assert_eq!(best(&some, &wishes[0]), Some(2));
        assert!(some[2].score(&wishes[0]) < some[1].score(&wishes[0]));
        assert!(some[1].score(&wishes[0]) < some[0].score(&wishes[0]));
        let (none, wishes) = trials(&[[20.0, 8.0]]);
        assert_eq!(best(&none, &wishes[0]), None);
    }
}
