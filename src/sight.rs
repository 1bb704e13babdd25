//! What a running engine shows at one time: its ledger and what it said last.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sidetone::{EventKind, Snapshot, Update, Watch};
use sidetone_room::events::RoomEvent;

/// Events that are remembered.
const EVENTS: usize = 32;
/// A look is shown again to whoever asks within this time, so that many who
/// ask cost no more than one.
const FRESH: Duration = Duration::from_millis(400);

/// What a running engine shows, as `/report.json` tells it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sight {
    #[serde(flatten)]
    pub(crate) snapshot: Snapshot,
    /// What was said last, the oldest first.
    pub(crate) events: Vec<Said>,
}

/// An event in words.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Said {
    /// Seconds since the start.
    pub(crate) at: f64,
    pub(crate) node: String,
    pub(crate) what: String,
}

/// The last events of a run. Cloned, it is the same.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<VecDeque<Said>>>);

impl Events {
    /// Remembers an event that a person would want to hear of.
    pub(crate) fn hear(&self, update: &Update<'_>) {
        let Update::Event { at, node, kind } = update else { return };
        if is_news(kind) {
            let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if events.len() == EVENTS {
                events.pop_front();
            }
            events.push_back(Said { at: *at, node: (*node).to_owned(), what: kind.to_string() });
        }
    }

    fn list(&self) -> Vec<Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Whether an event is worth a line. Levels come five times a second for every
/// speaker, a room's volumes, networks and limits every second or two, figures stand in
/// the report, and the end of a node is no news.
pub(crate) fn is_news(kind: &EventKind) -> bool {
    match kind {
        EventKind::Level { .. } | EventKind::Ended | EventKind::Figure(_) => false,
        EventKind::Own(words) => !words.get().is_some_and(RoomEvent::is_periodic),
        _ => true,
    }
}

/// Looks at a running engine for one sort of asker: what happened lately is
/// since that sort's last look.
pub(crate) struct Viewer {
    watch: Watch,
    events: Events,
    last: Option<(Instant, Arc<Sight>)>,
}

impl Viewer {
    pub(crate) const fn new(watch: Watch, events: Events) -> Self {
        Self { watch, events, last: None }
    }

    /// What the engine shows; `None` once its run is over.
    pub(crate) fn look(&mut self) -> Option<Arc<Sight>> {
        if let Some((at, sight)) = &self.last
            && at.elapsed() < FRESH
        {
            return Some(Arc::clone(sight));
        }
        let snapshot = self.watch.snapshot()?;
        let sight = Arc::new(Sight { snapshot, events: self.events.list() });
        self.last = Some((Instant::now(), Arc::clone(&sight)));
        Some(sight)
    }
}

/// A call of two, as tests look at it.
#[cfg(test)]
pub(crate) fn example() -> Sight {
    use serde_json::json;

    let summary = |count: u64, p50: f64| json!({ "count": count, "mean": p50, "p50": p50, "p95": 2.0 * p50, "p99": 3.0 * p50, "max": 4.0 * p50 });
    let stage = |node: &str, kind: &str, dropped: u64, ms: f64| {
        json!({ "node": node, "kind": kind, "lane": "mic", "frames": 200, "dropped": dropped, "busy_ms": 40.0,
                "dropped_by_reason": if dropped > 0 { vec![("late", dropped)] } else { vec![] },
                "wait_ms": summary(200, ms), "work_ms": summary(200, 0.25), "buffer_ms": summary(200, 0.0) })
    };
    let lately = |node: &str, dropped: u64, ms: f64| {
        json!({ "node": node, "lane": "mic", "frames": 50, "dropped": dropped, "utilisation": 0.02,
                "wait_ms": summary(50, ms), "work_ms": summary(50, 0.25), "buffer_ms": summary(0, 0.0) })
    };
    let ends = json!({ "audio": summary(50, 40.5) });
    let sight = json!({
        "graph": "a \"call\"\n", "seconds": 2.0, "virtual_time": false, "seed": 1, "end_to_end_ms": ends,
        "paths": [], "figures": [], "faults": [], "breaches": [], "undrained": [], "forgotten": 0, "lost_events": 1,
        "lanes": [{ "lane": "mic", "real_time": true, "utilisation": 0.2, "turns": 800, "wakes": 400 }],
        "stages": [stage("mic", "test.tone", 0, 0.0), stage("met[\\bob]/jitter", "rtp.jitter_buffer", 7, 1.5)],
        "links": [{ "from": "mic.out", "to": "met[\\bob]/jitter.in", "frames": 200, "dropped": 3, "high_water": 2, "capacity": 16, "overflow": "drop_oldest" }],
        "members": 2,
        "recent": { "seconds": 0.5, "end_to_end_ms": ends,
                    "lanes": [{ "lane": "mic", "utilisation": 0.25, "turns": 200, "wakes": 100 }],
                    "stages": [lately("mic", 0, 0.0), lately("met[\\bob]/jitter", 4, 1.5)] },
        "events": [{ "at": 1.5, "node": "room", "what": "participant \u{1b}[31mbob joined" }],
    });
    serde_json::from_value(sight).unwrap()
}
