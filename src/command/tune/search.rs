//! `Search`: which setting is measured next.
//!
//! A grid where all settings fit into the trials that may be spent. Otherwise
//! half of the trials are spread evenly over every knob (a Latin hypercube:
//! McKay, Beckman and Conover, Technometrics 21, 1979), which shows the lie of
//! the land, and the rest go where a tree-structured Parzen estimator (crate
//! `tpe`; Bergstra et al., NIPS 2011) expects better ones.

use std::collections::HashMap;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tpe::TpeOptimizer;

use super::knobs::{Knob, Values};

/// How often an optimiser may answer with what is known already.
const MOST_REPETITIONS: usize = 50;

/// A value for each knob, in their order.
pub(super) type Choice = Vec<String>;

/// Which setting is measured next.
pub(super) struct Search {
    knobs: Vec<Knob>,
    /// Positions still to be tried, the last first: all of a grid, or what is
    /// spread evenly.
    planned: Vec<Vec<f64>>,
    /// For what comes after those; none in a grid.
    optimisers: Vec<TpeOptimizer>,
    random: StdRng,
    left: usize,
    /// Where the setting stands that was given last.
    present: Vec<f64>,
    scores: HashMap<Choice, f64>,
}

impl Search {
    /// Over `knobs`, with at most `trials` settings.
    pub(super) fn new(knobs: Vec<Knob>, trials: usize, seed: u64) -> Self {
        let count = knobs.iter().try_fold(1usize, |all, knob| all.checked_mul(knob.count()?));
        let is_grid = count.is_some_and(|count| count <= trials);
        let mut planned = match is_grid {
            true => grid(&knobs),
            false => spread(&knobs, trials.div_ceil(2), seed),
        };
        planned.reverse();
        let optimisers = match is_grid {
            true => Vec::new(),
            false => knobs.iter().filter_map(optimiser).collect(),
        };
        let random = StdRng::seed_from_u64(seed);
        Self { knobs, planned, optimisers, random, left: trials, present: Vec::new(), scores: HashMap::new() }
    }

    /// Whether every setting is measured.
    pub(super) fn is_grid(&self) -> bool {
        self.optimisers.is_empty()
    }

    /// At most how many settings are still to come.
    pub(super) fn left(&self) -> usize {
        if self.is_grid() { self.planned.len() } else { self.left }
    }

    /// The setting to measure next.
    pub(super) fn next(&mut self) -> Option<Choice> {
        self.left = self.left.checked_sub(1)?;
        for _ in 0..MOST_REPETITIONS {
            let positions = match self.planned.pop() {
                Some(positions) => positions,
                None if self.is_grid() => return None,
                None => self.ask()?,
            };
            let choice: Choice = self.knobs.iter().zip(&positions).map(|(knob, at)| knob.text(*at)).collect();
            self.present = positions;
            match self.scores.get(&choice) {
                None => return Some(choice),
                // What is known need not be measured again.
                Some(score) => self.learn(*score),
            }
        }
        None
    }

    /// How well the setting did that was given last: less is better.
    pub(super) fn tell(&mut self, choice: Choice, score: f64) {
        self.scores.insert(choice, score);
        self.learn(score);
    }

    fn ask(&mut self) -> Option<Vec<f64>> {
        self.optimisers.iter_mut().map(|optimiser| optimiser.ask(&mut self.random).ok()).collect()
    }

    fn learn(&mut self, score: f64) {
        for (optimiser, position) in self.optimisers.iter_mut().zip(&self.present) {
            // It refuses what is no number; then it learns nothing.
            let _ = optimiser.tell(*position, score);
        }
    }
}

fn optimiser(knob: &Knob) -> Option<TpeOptimizer> {
    let range = tpe::range(0.0, knob.span()).ok()?;
    let estimator = match knob.values {
        Values::Listed { ordered: false, .. } => tpe::histogram_estimator(),
        _ => tpe::parzen_estimator(),
    };
    Some(TpeOptimizer::new(estimator, range))
}

/// Every setting, the last knob turning fastest.
fn grid(knobs: &[Knob]) -> Vec<Vec<f64>> {
    knobs.iter().fold(vec![Vec::new()], |settings, knob| {
        let extended = |setting: &Vec<f64>| {
            let setting = setting.clone();
            (0..knob.count().unwrap_or(0)).map(move |index| [&setting[..], &[index as f64]].concat())
        };
        settings.iter().flat_map(extended).collect()
    })
}

/// `count` settings of which each knob's are spread evenly over all it has, in an
/// order of its own.
fn spread(knobs: &[Knob], count: usize, seed: u64) -> Vec<Vec<f64>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut column = |knob: &Knob| {
        let mut column: Vec<f64> =
            (0..count).map(|n| (n as f64 + 0.5) / count as f64 * knob.span()).collect();
        random.shuffle(&mut column);
        column
    };
    let columns: Vec<Vec<f64>> = knobs.iter().map(&mut column).collect();
    (0..count).map(|n| columns.iter().map(|column| column[n]).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(texts: &[&str]) -> Knob {
        let texts = texts.iter().map(|&text| text.into()).collect();
        Knob { name: "k".into(), values: Values::Listed { texts, ordered: true } }
    }

    fn between(from: f64, to: f64) -> Knob {
        Knob { name: "k".into(), values: Values::Between(from, to) }
    }

    #[test]
    fn what_fits_is_a_grid_and_every_setting_comes_once() {
        let mut search = Search::new(vec![listed(&["a", "b"]), listed(&["1", "2", "3"])], 6, 1);
        assert!(search.is_grid() && search.left() == 6);
        let all: Vec<_> = std::iter::from_fn(|| search.next()).map(|choice| choice.concat()).collect();
        assert_eq!(all, ["a1", "a2", "a3", "b1", "b2", "b3"]);
    }

    #[test]
    fn a_search_is_spread_first_then_goes_where_it_is_better_and_is_the_same_for_a_seed() {
        let run = |seed| {
            let mut search = Search::new(vec![between(0.0, 1.0), between(0.0, 1.0)], 60, seed);
            assert!(!search.is_grid());
            let mut tried = Vec::new();
            while let Some(choice) = search.next() {
                let at: Vec<f64> = choice.iter().map(|text| text.parse().unwrap()).collect();
                let score = (at[0] - 0.3).powi(2) + (at[1] - 0.8).powi(2);
                search.tell(choice, score);
                tried.push((score, at));
            }
            tried
        };
        let tried = run(3);
        assert_eq!((tried.len(), &tried), (60, &run(3)));
        assert_ne!(tried, run(4));
        let least =
            |tried: &[(f64, Vec<f64>)]| tried.iter().map(|(score, _)| *score).fold(f64::MAX, f64::min);
        assert!(least(&tried[30..]) < least(&tried[..30]) && least(&tried) < 0.002, "{}", least(&tried));
        let mut first: Vec<_> = tried[..30].iter().map(|(_, at)| (at[0] * 30.0) as usize).collect();
        first.sort_unstable();
        assert_eq!(first, (0..30).collect::<Vec<_>>(), "one in each thirtieth");
    }

    #[test]
    fn nothing_is_measured_twice_and_a_small_space_comes_to_its_end() {
        let mut search = Search::new(vec![listed(&["1", "2", "3"]), listed(&["4", "5", "6"])], 8, 1);
        assert!(!search.is_grid());
        let mut seen = Vec::new();
        while let Some(choice) = search.next() {
            assert!(!seen.contains(&choice), "{choice:?}");
            search.tell(choice.clone(), 1.0);
            seen.push(choice);
        }
        assert!((4..=8).contains(&seen.len()), "{}", seen.len());
    }
}
