//! What a run found.

use std::fmt;
use std::time::Instant;

use serde::Serialize;
use sidetone_core::histogram::Summary;

use crate::usage::Usage;

/// What a run found. What is counted was sent within the time of the measurement.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// How many came in, each time counted.
    pub participants: u64,
    /// How long that took, from connecting to media that are connected.
    pub joins_ms: Summary,
    /// Packets that publishers sent.
    pub sent: u64,
    /// Packets that were to come to subscribers: each of every stream to everyone who
    /// plays it; where the server chooses what one hears, each between the first and the
    /// last that came.
    pub expected: u64,
    /// Of them those that came.
    pub delivered: u64,
    /// … and those that did not.
    pub lost: u64,
    /// How often the server held a stream back from somebody whose connection, it found,
    /// does not carry it: what was held back is counted as lost.
    pub held_back: u64,
    /// Packets that came once more.
    pub duplicates: u64,
    /// From sending to when the system had it for the subscriber.
    pub latency_ms: Summary,
    /// What the processes used.
    #[serde(flatten)]
    pub used: ServerUse,
    /// The server's processor time for each packet that came to a subscriber, in µs.
    pub server_us_per_packet: Option<f64>,
    /// Who did not come in, or was put out, and why.
    pub failures: Vec<String>,
}

/// What the server's process and this one used.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ServerUse {
    /// How long the measurement was, in seconds.
    pub seconds: f64,
    /// The server's processor time, in seconds.
    pub server_cpu_s: Option<f64>,
    /// The server's resident memory in the end, in bytes.
    pub server_rss: Option<u64>,
    /// This process's own processor time, in seconds: near `seconds` for each of its
    /// threads it is what limits.
    pub own_cpu_s: f64,
}

impl ServerUse {
    /// What was used from one look at both processes to another.
    pub(super) fn between(
        (server, own, at): (Option<Usage>, Usage, Instant),
        (server_after, own_after, at_after): (Option<Usage>, Usage, Instant),
    ) -> Self {
        let seconds = |before: Usage, after: Usage| after.cpu.saturating_sub(before.cpu).as_secs_f64();
        Self {
            seconds: at_after.saturating_duration_since(at).as_secs_f64(),
            server_cpu_s: server.zip(server_after).map(|(before, after)| seconds(before, after)),
            server_rss: server_after.map(|after| after.rss),
            own_cpu_s: seconds(own, own_after),
        }
    }
}

impl Report {
    /// Adds what follows: `delivered` came to anybody.
    pub(super) fn finish(&mut self, delivered: u64) {
        #[allow(clippy::cast_precision_loss)] // far from that many
        let of_each = |seconds: f64| seconds * 1e6 / delivered as f64;
        self.server_us_per_packet = self.used.server_cpu_s.filter(|_| delivered > 0).map(of_each);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { joins_ms: joins, latency_ms: latency, used, .. } = self;
        writeln!(
            f,
            "participants  {}, in within {:.0} ms at p50, {:.0} ms at p99",
            self.participants, joins.p50, joins.p99
        )?;
        writeln!(f, "sent          {} packets in {:.1} s", self.sent, used.seconds)?;
        writeln!(f, "expected      {}", self.expected)?;
        writeln!(f, "delivered     {}", self.delivered)?;
        writeln!(f, "lost          {}", self.lost)?;
        if self.held_back > 0 {
            writeln!(
                f,
                "held back     {} times for want of bandwidth; what was held back counts as lost",
                self.held_back
            )?;
        }
        writeln!(f, "duplicates    {}", self.duplicates)?;
        writeln!(
            f,
            "latency       {:.2} ms at p50, {:.2} ms at p99, {:.2} ms at most",
            latency.p50, latency.p99, latency.max
        )?;
        if let (Some(cpu), Some(rss)) = (used.server_cpu_s, used.server_rss) {
            #[allow(clippy::cast_precision_loss)] // megabytes
            let mb = rss as f64 / 1e6;
            write!(f, "server        {:.0} % of a processor, {mb:.0} MB", 100.0 * cpu / used.seconds)?;
            match self.server_us_per_packet {
                Some(us) => writeln!(f, ", {us:.2} µs for each packet delivered")?,
                None => writeln!(f)?,
            }
        }
        writeln!(f, "load itself   {:.0} % of a processor", 100.0 * used.own_cpu_s / used.seconds)?;
        for why in self.failures.iter().take(10) {
            writeln!(f, "failed        {why}")?;
        }
        match self.failures.len().saturating_sub(10) {
            0 => Ok(()),
            more => writeln!(f, "failed        and {more} more"),
        }
    }
}
