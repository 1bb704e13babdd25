//! `Reception`: how well one stream comes, as RFC 3550 has it: what of it was lost
//! (appendix A.3) and its jitter (§ 6.4.1).

use std::time::Instant;

/// How well a stream comes.
#[derive(Clone, Debug)]
pub struct Reception {
    /// The first number and the newest, counted on past their wrap.
    first: u64,
    newest: u64,
    received: u64,
    /// Expected and received by the last look.
    looked: (u64, u64),
    /// When the newest came, and its timestamp.
    arrived: Instant,
    timestamp: u32,
    jitter: f64,
    bytes: u64,
    nacks: u64,
    plis: u64,
}

/// What came in all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Totals {
    /// Packets that came.
    pub received: u64,
    /// Packets that did not; less than none where some came twice.
    pub lost: i64,
    /// Bytes that they carried.
    pub bytes: u64,
    /// Jitter, in milliseconds.
    pub jitter_ms: f64,
    /// How often packets were asked for again.
    pub nacks: u64,
    /// How often a key frame was.
    pub plis: u64,
}

/// What came since the look before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Packets that were to come.
    pub expected: u32,
    /// Of them those that did not; what came late counts against it.
    pub lost: u32,
    /// Jitter, in milliseconds.
    pub jitter_ms: f64,
}

impl Reception {
    /// Of a stream whose first packet came, with so many bytes. \[any\]
    #[must_use]
    pub const fn new(now: Instant, seq: u64, timestamp: u32, bytes: usize) -> Self {
        Self {
            first: seq,
            newest: seq,
            received: 1,
            looked: (0, 0),
            arrived: now,
            timestamp,
            jitter: 0.0,
            bytes: bytes as u64,
            nacks: 0,
            plis: 0,
        }
    }

    /// A packet came, with so many bytes; the stream has `clock_rate` ticks per second.
    /// \[any\]
    pub fn packet(&mut self, now: Instant, seq: u64, timestamp: u32, bytes: usize, clock_rate: u32) {
        self.received += 1;
        self.bytes += bytes as u64;
        self.first = self.first.min(seq);
        if seq <= self.newest {
            return;
        }
        self.newest = seq;
        // Packets of one picture share a timestamp, and are sent one after another.
        if timestamp == self.timestamp {
            return;
        }
        #[allow(clippy::cast_possible_wrap)] // a distance, either way
        let sent = f64::from(timestamp.wrapping_sub(self.timestamp) as i32) / f64::from(clock_rate);
        let came = now.saturating_duration_since(self.arrived).as_secs_f64();
        self.jitter += ((came - sent).abs() - self.jitter) / 16.0;
        (self.arrived, self.timestamp) = (now, timestamp);
    }

    /// So many more times packets were asked for again, and a key frame was. \[any\]
    pub const fn asked(&mut self, nacks: u64, plis: u64) {
        self.nacks += nacks;
        self.plis += plis;
    }

    /// What came in all. \[any\]
    #[must_use]
    pub fn totals(&self) -> Totals {
        let expected = self.newest - self.first + 1;
        let lost = i64::try_from(expected).unwrap_or(i64::MAX).saturating_sub_unsigned(self.received);
        Totals {
            received: self.received,
            lost,
            bytes: self.bytes,
            jitter_ms: self.jitter * 1_000.0,
            nacks: self.nacks,
            plis: self.plis,
        }
    }

    /// What came since the look before. \[any\]
    pub fn look(&mut self) -> Interval {
        let expected = self.newest - self.first + 1;
        let (before, had) = std::mem::replace(&mut self.looked, (expected, self.received));
        let (expected, received) = (expected - before, self.received - had);
        let fits = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        Interval {
            expected: fits(expected),
            lost: fits(expected.saturating_sub(received)),
            jitter_ms: self.jitter * 1_000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn loss_is_what_did_not_come_by_the_look() {
        let start = Instant::now();
        let at = |packet: u64| start + Duration::from_millis(20 * packet);
        let stamp = |packet: u64| u32::try_from(packet * 960).expect("short");
        let mut reception = Reception::new(at(0), 10, stamp(0), 80);
        for packet in [1, 2, 4, 6, 5] {
            reception.packet(at(packet), 10 + packet, stamp(packet), 80, 48_000);
        }
        let Interval { expected, lost, jitter_ms } = reception.look();
        assert_eq!((expected, lost), (7, 1));
        assert!(jitter_ms < 1e-3, "{jitter_ms}");
        reception.packet(at(7), 13, stamp(3), 80, 48_000);
        reception.packet(at(8), 18, stamp(8), 80, 48_000);
        assert_eq!((reception.look().expected, reception.look().lost), (2, 0), "a late one makes up for it");
        let Totals { received, lost, bytes, .. } = reception.totals();
        assert_eq!((received, lost, bytes), (8, 1, 640));
    }

    #[test]
    fn jitter_follows_how_unevenly_packets_come() {
        let start = Instant::now();
        let mut reception = Reception::new(start, 0, 0, 0);
        for packet in 1..200_u32 {
            let late = Duration::from_millis(u64::from(packet % 2) * 10);
            let at = start + Duration::from_millis(20) * packet + late;
            reception.packet(at, u64::from(packet), packet * 960, 0, 48_000);
        }
        let jitter_ms = reception.look().jitter_ms;
        assert!((jitter_ms - 10.0).abs() < 0.5, "{jitter_ms}");
    }
}
