//! `Allocation`: which of the sizes of each stream a subscriber's connection carries.

use std::time::Duration;

use sidetone_core::Timestamp;

/// Of an estimate this part is given out, in hundredths: the rest is for what is sent
/// again and for what the estimate is wrong by. This and the next four are our own.
const GIVEN_OUT: u64 = 95;
/// More is sent only where there would be room for this much of it, in hundredths,
const ROOM: u64 = 115;
/// for so long: the estimate follows what is sent, and a step up that has to be taken
/// back costs a key frame each way.
const RAISE_AFTER: Duration = Duration::from_secs(2);
/// Less is sent where it has been too much for so long.
const LOWER_AFTER: Duration = Duration::from_millis(300);
/// A stream whose least size is too much is paused after so long: its publisher, who is
/// told what fits, has time to send less.
const PAUSE_AFTER: Duration = Duration::from_secs(2);
/// A publisher of one size is told this much of the estimate, in hundredths, so that
/// what follows it fits with the room that more must have: 95 ∕ 115 is more.
const LIMIT: u64 = 80;
/// … but never less, in bits per second: pictures that nobody could recognise help
/// nobody.
pub(super) const LEAST_LIMIT: u64 = 100_000;

/// A stream of pictures that a subscriber plays.
#[derive(Clone, Debug)]
pub(super) struct Want {
    /// The least goes first.
    pub(super) priority: u8,
    /// The greatest layer that is wished for.
    pub(super) most: usize,
    /// Bits per second of each layer, the least first; nothing for those that do not come.
    pub(super) layers: Vec<Option<u64>>,
    /// The layer that it is to have at present.
    pub(super) now: Option<usize>,
}

impl Want {
    fn cost(&self, layer: Option<usize>) -> u64 {
        layer.and_then(|layer| self.layers.get(layer).copied().flatten()).unwrap_or(0)
    }

    /// The least layer that comes, above `layer` if that is given.
    fn next(&self, layer: Option<usize>) -> Option<usize> {
        let from = layer.map_or(0, |layer| layer + 1);
        (from..self.layers.len()).find(|&layer| self.layers[layer].is_some())
    }

    /// Whether its present layer neither comes nor is wished for.
    fn is_wrong(&self) -> bool {
        self.now.is_some_and(|now| {
            let is_beyond = now > self.most && self.next(None).is_some_and(|least| least < now);
            is_beyond || (self.layers.get(now).copied().flatten().is_none() && self.next(None).is_some())
        })
    }
}

/// What of an estimate is there for pictures beside `audio`, all in bits per second.
pub(super) fn budget(estimate: u64, audio: u64) -> u64 {
    (estimate * GIVEN_OUT / 100).saturating_sub(audio)
}

/// What a publisher of one size is told, of the estimates of those who play it, in bits
/// per second: what four of five of them can take, so that the slowest does not rule.
pub(super) fn limit(mut shares: Vec<u64>) -> Option<u32> {
    shares.sort_unstable();
    let fifth = *shares.get(shares.len().saturating_sub(1) / 5)?;
    Some(u32::try_from((fifth * LIMIT / 100).max(LEAST_LIMIT)).unwrap_or(u32::MAX))
}

/// The layer of each stream that fits together into `budget` bits per second: first the
/// least of each, by priority, then a step more of each in turn, up to what is wished.
pub(super) fn allocate(budget: u64, wants: &[Want]) -> Vec<Option<usize>> {
    let mut order: Vec<usize> = (0..wants.len()).collect();
    order.sort_by_key(|&at| wants[at].priority);
    let mut layers = vec![None; wants.len()];
    let mut left = budget;
    for &at in &order {
        let least = wants[at].next(None);
        let cost = wants[at].cost(least);
        if least.is_some() && cost <= left {
            layers[at] = least;
            left -= cost;
        }
    }
    loop {
        let before = layers.clone();
        for &at in &order {
            let want = &wants[at];
            let Some(layer) = layers[at] else { continue };
            let Some(next) = want.next(Some(layer)).filter(|&next| next <= want.most) else { continue };
            let more = want.cost(Some(next)).saturating_sub(want.cost(Some(layer)));
            if more <= left {
                layers[at] = Some(next);
                left -= more;
            }
        }
        if layers == before {
            return layers;
        }
    }
}

/// What a subscriber's connection carries, followed as its estimate changes.
#[derive(Debug, Default)]
pub(super) struct Allocation {
    /// Since when it has been too much.
    over: Option<Timestamp>,
    /// Since when there has been room for more.
    room: Option<Timestamp>,
}

impl Allocation {
    /// The layer of each stream from now on, where that changes. Without a `budget`
    /// everything fits. `afresh`: other streams are wanted, or otherwise, so that what
    /// is new need not wait; nothing that plays is paused for it at once.
    pub(super) fn follow(
        &mut self,
        now: Timestamp,
        budget: Option<u64>,
        wants: &[Want],
        afresh: bool,
    ) -> Option<Vec<Option<usize>>> {
        let present: Vec<_> = wants.iter().map(|want| want.now).collect();
        let Some(budget) = budget else {
            *self = Self::default();
            let layers = allocate(u64::MAX, wants);
            return (layers != present).then_some(layers);
        };
        if cost(wants, &present) <= budget {
            self.over = None;
        }
        let layers = if afresh || wants.iter().any(Want::is_wrong) {
            self.room = None;
            spare(allocate(budget, wants), wants)
        } else if cost(wants, &present) > budget {
            self.room = None;
            self.lower(now, budget, wants)?
        } else {
            self.raise(now, budget, wants, &present)?
        };
        if cost(wants, &layers) <= budget {
            self.over = None;
        }
        (layers != present).then_some(layers)
    }

    fn lower(&mut self, now: Timestamp, budget: u64, wants: &[Want]) -> Option<Vec<Option<usize>>> {
        let over = now.since(*self.over.get_or_insert(now));
        // What is paused stays so, and nothing rises by what others are denied.
        let capped = wants.iter().map(|want| match want.now {
            Some(layer) => Want { most: layer, ..want.clone() },
            None => Want { layers: Vec::new(), ..want.clone() },
        });
        let capped: Vec<_> = capped.collect();
        let layers = allocate(budget, &capped);
        let layers = if over < PAUSE_AFTER { spare(layers, &capped) } else { layers };
        (over >= LOWER_AFTER).then_some(layers)
    }

    fn raise(
        &mut self,
        now: Timestamp,
        budget: u64,
        wants: &[Want],
        present: &[Option<usize>],
    ) -> Option<Vec<Option<usize>>> {
        let layers = allocate(budget / ROOM * 100, wants);
        // Better is what gives more to the first, by priority, that it does not give the
        // same; nobody is paused for another's greater size.
        let mut order: Vec<usize> = (0..wants.len()).collect();
        order.sort_by_key(|&at| wants[at].priority);
        let first = order.into_iter().find(|&at| layers[at] != present[at]);
        let is_better = first.is_some_and(|at| {
            let pauses =
                layers.iter().zip(present).any(|(layer, before)| layer.is_none() && before.is_some());
            layers[at] > present[at] && (present[at].is_none() || !pauses)
        });
        if !is_better {
            self.room = None;
            return None;
        }
        let since = *self.room.get_or_insert(now);
        if now.since(since) < RAISE_AFTER {
            return None;
        }
        self.room = None;
        Some(layers)
    }
}

/// The least of what would be paused, for now.
fn spare(mut layers: Vec<Option<usize>>, wants: &[Want]) -> Vec<Option<usize>> {
    for (layer, want) in layers.iter_mut().zip(wants) {
        *layer = layer.or_else(|| want.now.and(want.next(None)));
    }
    layers
}

/// Bits per second of these layers.
fn cost(wants: &[Want], layers: &[Option<usize>]) -> u64 {
    wants.iter().zip(layers).map(|(want, layer)| want.cost(*layer)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(priority: u8, most: usize, layers: &[u64]) -> Want {
        Want { priority, most, layers: layers.iter().map(|&bps| Some(bps)).collect(), now: None }
    }

    #[test]
    fn everyone_has_the_least_size_before_anyone_has_a_greater_one() {
        let three: &[u64] = &[100, 300, 900];
        let two = [want(1, 2, three), want(0, 2, three)];
        #[rustfmt::skip]
        let table: [(u64, &[Option<usize>], &str); 8] = [
            (99,    &[None, None],       "nothing fits"),
            (199,   &[None, Some(0)],    "the first by priority"),
            (200,   &[Some(0), Some(0)], "both"),
            (400,   &[Some(0), Some(1)], "one step, of the first"),
            (600,   &[Some(1), Some(1)], "one step each"),
            (1_199, &[Some(1), Some(1)], "no second step"),
            (1_200, &[Some(1), Some(2)], "two steps of the first"),
            (9_999, &[Some(2), Some(2)], "all"),
        ];
        for (budget, expected, why) in table {
            assert_eq!(allocate(budget, &two), expected, "{why}");
        }
        assert_eq!(allocate(9_999, &[want(0, 1, three)]), [Some(1)], "no more than is wished for");
        let holes = Want { layers: vec![None, Some(300), None, Some(900)], ..want(0, 3, &[]) };
        assert_eq!(allocate(9_999, std::slice::from_ref(&holes)), [Some(3)]);
        assert_eq!(allocate(500, &[holes]), [Some(1)], "layers that do not come are passed over");
        assert_eq!(allocate(9_999, &[want(0, 0, &[])]), [None], "no layer comes");
    }

    /// The layers after each tenth of a second in which `budgets` hold, as (tenths,
    /// budget), where they change: (tenths since the beginning, layers).
    fn follow(mut wants: Vec<Want>, budgets: &[(u32, u64)]) -> Vec<(u32, Vec<Option<usize>>)> {
        let mut allocation = Allocation::default();
        let mut changes = Vec::new();
        let mut now = Timestamp::from_nanos(1_000_000_000);
        let budgets = budgets.iter().flat_map(|&(tenths, budget)| (0..tenths).map(move |_| budget));
        for (tenth, budget) in (0..).zip(budgets) {
            if let Some(layers) = allocation.follow(now, Some(budget), &wants, tenth == 0) {
                for (want, layer) in wants.iter_mut().zip(&layers) {
                    want.now = *layer;
                }
                changes.push((tenth, layers));
            }
            now += Duration::from_millis(100);
        }
        changes
    }

    #[test]
    fn it_goes_down_soon_and_up_late() {
        let one = || vec![want(0, 2, &[100, 300, 900])];
        type Row<'a> = (&'a [(u32, u64)], &'a [(u32, Option<usize>)], &'a str);
        #[rustfmt::skip]
        let table: [Row<'_>; 8] = [
            (&[(50, 1_000)], &[(0, Some(2))], "at once at the beginning"),
            (&[(10, 1_000), (2, 400), (10, 1_000)], &[(0, Some(2))], "a dip of 200 ms"),
            (&[(10, 1_000), (10, 400)], &[(0, Some(2)), (13, Some(1))], "down after 300 ms"),
            (&[(10, 400), (60, 1_000)], &[(0, Some(1))], "room for it, but not to spare"),
            (&[(10, 400), (60, 1_040)], &[(0, Some(1)), (30, Some(2))], "room to spare for 2 s"),
            (&[(10, 400), (19, 1_040), (1, 400), (20, 1_040)], &[(0, Some(1))], "2 s without a break"),
            (&[(10, 400), (60, 50)], &[(0, Some(1)), (13, Some(0)), (30, None)], "down, then paused"),
            (&[(10, 50), (60, 120)], &[(30, Some(0))], "begun when it fits"),
        ];
        for (budgets, expected, why) in table {
            let expected: Vec<_> = expected.iter().map(|&(tenth, layer)| (tenth, vec![layer])).collect();
            assert_eq!(follow(one(), budgets), expected, "{why}");
        }
    }

    #[test]
    fn what_is_paused_comes_back_before_others_grow_and_nobody_is_paused_for_a_greater_size() {
        let two = vec![want(0, 1, &[100, 300]), want(1, 1, &[100, 300])];
        let changes = follow(two, &[(10, 150), (30, 260), (60, 1_000)]);
        let expected = [(0, vec![Some(0), None]), (30, vec![Some(0), Some(0)]), (60, vec![Some(1), Some(1)])];
        assert_eq!(changes, expected);
        // What fits into 250 but not into 250 ∕ 1.15 stays.
        assert_eq!(follow(vec![want(0, 1, &[120, 200]), want(1, 0, &[120])], &[(60, 250)]).len(), 1);
    }

    #[test]
    fn a_layer_that_comes_no_more_is_left_at_once() {
        let gone = Want { layers: vec![Some(100), None], now: Some(1), ..want(0, 1, &[]) };
        let mut allocation = Allocation::default();
        let now = Timestamp::from_nanos(1);
        assert_eq!(
            allocation.follow(now, Some(500), std::slice::from_ref(&gone), false),
            Some(vec![Some(0)])
        );
        let all_gone = Want { layers: vec![None, None], ..gone };
        assert_eq!(allocation.follow(now, Some(500), &[all_gone], false), None, "there is nothing better");
    }

    #[test]
    fn a_limit_is_what_most_can_take() {
        #[rustfmt::skip]
        let table: [(&[u64], Option<u32>); 6] = [
            (&[], None),
            (&[1_000_000], Some(800_000)),
            (&[50_000], Some(100_000)),
            (&[1_000_000, 300_000], Some(240_000)),
            (&[900_000, 300_000, 1_000_000, 800_000, 700_000], Some(240_000)),
            (&[900_000, 300_000, 1_000_000, 800_000, 700_000, 600_000], Some(480_000)),
        ];
        for (shares, expected) in table {
            assert_eq!(limit(shares.to_vec()), expected, "{shares:?}");
        }
        assert_eq!(budget(1_000_000, 50_000), 900_000);
        assert_eq!(budget(10_000, 50_000), 0);
    }
}
