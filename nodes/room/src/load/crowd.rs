//! `Crowd`: all simulated participants of a run, and what they measured together.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sidetone_core::histogram::Histogram;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};

use super::LoadError;
use super::connection::{Common, Connection, Of, Traffic};
use super::report::{Report, ServerUse};
use super::stamp::wall;
use crate::usage::Usage;

/// How long packets may be under way after the last was sent.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// How long nothing may come to somebody before the measurement ends, in nanoseconds:
/// somebody speaks all the time.
const MOST_SILENCE: u64 = 1_000_000_000;

/// All simulated participants of a run.
pub struct Crowd {
    common: Arc<Common>,
    end: watch::Sender<bool>,
    steady: Vec<(Vec<u32>, JoinHandle<Traffic>)>,
    passing: Vec<JoinHandle<Traffic>>,
    links: Vec<JoinHandle<Result<u64, LoadError>>>,
    joins: Histogram,
    failed: Vec<String>,
}

/// How a run goes.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Seconds of measuring so far; none before it begins.
    pub measured_s: Option<u64>,
    /// Participants who came in so far.
    pub joined: u64,
    /// Packets that came so far.
    pub delivered: u64,
}

impl Crowd {
    /// Nobody yet. \[control\]
    ///
    /// # Errors
    /// This machine's cryptography makes no certificate.
    pub fn new() -> Result<Self, LoadError> {
        Ok(Self {
            common: Arc::new(Common::new()?),
            end: watch::channel(false).0,
            steady: Vec::new(),
            passing: Vec::new(),
            links: Vec::new(),
            joins: Histogram::default(),
            failed: Vec::new(),
        })
    }

    /// What connections of this run share. \[any\]
    #[must_use]
    pub const fn common(&self) -> &Arc<Common> {
        &self.common
    }

    /// Turns true when the run is over. \[any\]
    #[must_use]
    pub fn end(&self) -> watch::Receiver<bool> {
        self.end.subscribe()
    }

    /// Somebody came in within `took`. \[control\]
    pub fn joined(&self, took: Duration) {
        self.joins.record(took);
    }

    /// Somebody did not come in, or was put out. \[control\]
    pub fn failed(&mut self, why: String) {
        self.failed.push(why);
    }

    /// A connection that is there from before the measurement to its end, and to which
    /// these streams are to come, by their numbers in the run. To be called on a tokio
    /// runtime. \[control\]
    pub fn stays(&mut self, connection: Connection, streams: Vec<u32>) {
        self.steady.push((streams, tokio::spawn(connection.run(self.end()))));
    }

    /// A connection that is there for a while: until `end` turns true. To be called on a
    /// tokio runtime. \[control\]
    pub fn passes(&mut self, connection: Connection, end: watch::Receiver<bool>) {
        self.passing.push(tokio::spawn(connection.run(end)));
    }

    /// What keeps a participant in a room, until the run is over. \[control\]
    pub(super) fn link(&mut self, link: JoinHandle<Result<u64, LoadError>>) {
        self.links.push(link);
    }

    /// How far it is. \[any\]
    #[must_use]
    pub fn progress(&self, measured_s: Option<u64>) -> Progress {
        let delivered = self.common.delivered[0].load(Ordering::Relaxed);
        Progress { measured_s, joined: self.joins.count(), delivered }
    }

    /// Measures for `seconds`: what came of what was sent within them, and what process
    /// `server` used meanwhile. `each_second` is called that often. \[control\]
    ///
    /// # Errors
    /// Nothing is known of the process.
    pub async fn measure(
        &mut self,
        seconds: u64,
        server: Option<&str>,
        mut each_second: impl AsyncFnMut(&mut Self, u64),
    ) -> Result<ServerUse, LoadError> {
        let look = || -> std::io::Result<_> {
            Ok((server.map(Usage::of).transpose()?, Usage::of("self")?, Instant::now()))
        };
        let nanos = |seconds: u64| seconds.saturating_mul(1_000_000_000);
        let from = wall();
        let begun = Instant::now();
        let _ = self.common.window.set((from, from + nanos(seconds)));
        let before = look()?;
        for second in 0..seconds {
            each_second(self, second).await;
            sleep_until((begun + Duration::from_secs(second + 1)).into()).await;
        }
        let after = look()?;
        Ok(ServerUse::between(before, after))
    }

    /// Ends it: waits for what is under way, lets everyone go, and adds up. \[control\]
    pub async fn end_and_report(mut self, used: ServerUse) -> Report {
        sleep(UNDER_WAY).await;
        let _ = self.end.send(true);
        let mut report =
            Report { participants: self.joins.count(), joins_ms: self.joins.summary(), ..Report::default() };
        let mut steady = Vec::new();
        for (streams, task) in self.steady {
            match task.await {
                Ok(traffic) => steady.push((streams, traffic)),
                Err(why) => self.failed.push(why.to_string()),
            }
        }
        let sent: BTreeMap<u32, Range<u64>> =
            steady.iter().flat_map(|(_, traffic)| traffic.sent.iter().cloned()).collect();
        report.sent = sent.values().map(|range| range.end - range.start).sum();
        let latency = Histogram::default();
        for (streams, traffic) in &steady {
            let none = super::tally::Tally::default();
            for stream in streams {
                let came = traffic.came.get(&Of::Stream(*stream)).unwrap_or(&none);
                let range = sent.get(stream).cloned().unwrap_or(0..0);
                report.expected += range.end - range.start;
                report.delivered += came.count(range);
            }
            add_slots(&mut report, traffic);
            latency.merge(&traffic.latency);
            // By slots what is missing is seen between two that came alone.
            let end = self.common.window.get().map_or(0, |(_, end)| *end);
            let falls_silent = |(is_meant, last): (&bool, &u64)| *is_meant && last + MOST_SILENCE < end;
            if traffic.by_slot.iter().zip(&traffic.last).any(falls_silent) {
                self.failed.push("nothing came to somebody any more, or ever".into());
            }
        }
        for task in self.passing {
            let Ok(traffic) = task.await else { continue };
            add_slots(&mut report, &traffic);
            latency.merge(&traffic.latency);
            self.failed.extend(traffic.broken);
        }
        for (_, traffic) in steady {
            report.duplicates += traffic.came.values().map(|tally| tally.duplicates).sum::<u64>();
            self.failed.extend(traffic.broken);
        }
        for link in self.links {
            match link.await {
                Ok(Ok(held_back)) => report.held_back += held_back,
                Ok(Err(why)) => self.failed.push(why.to_string()),
                Err(why) => self.failed.push(why.to_string()),
            }
        }
        report.lost = report.expected - report.delivered;
        report.latency_ms = latency.summary();
        report.failures = self.failed;
        report.used = used;
        report.finish(self.common.delivered[1].load(Ordering::Relaxed));
        report
    }
}

/// What came by slots.
fn add_slots(report: &mut Report, traffic: &Traffic) {
    for (of, tally) in &traffic.came {
        if matches!(of, Of::Slot(_)) {
            let range = tally.measured();
            report.expected += range.end - range.start;
            report.delivered += tally.count(range);
        }
    }
}
