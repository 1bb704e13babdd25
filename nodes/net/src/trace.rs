//! `Trace`: a recorded link, as a list of the milliseconds at which one
//! 1500-byte packet could leave.
//!
//! The format is mahimahi's (R. Netravali et al., "Mahimahi: Accurate
//! Record-and-Replay for HTTP", USENIX ATC 2015, § 4): a text file with one
//! whole number a line, in milliseconds from the start, never decreasing; the
//! same number twice stands for two packets in that millisecond. The last
//! number is also the length of the recording, which then begins anew. Blank
//! lines are passed over.

use std::fmt;

use sidetone_core::Timestamp;

/// The most lines a trace may have; at 100 Mbit/s that is eight minutes.
pub const MAX_LINES: usize = 4_000_000;

/// The most bytes a trace's file may have.
pub const MAX_BYTES: usize = 48 << 20;

/// What one line of a trace lets through, headers included, in bytes.
pub const OPPORTUNITY_BYTES: usize = 1500;

/// A recorded link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Milliseconds, never decreasing; at least one, the last above 0.
    opportunities: Vec<u32>,
}

/// What is wrong with a trace, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceError {
    /// The line, from 1.
    pub line: usize,
    /// Where that line begins, in bytes from the start.
    pub offset: usize,
    /// What is wrong and what would do.
    pub why: &'static str,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for TraceError {}

impl Trace {
    /// Reads a trace from the bytes of its file. \[control\]
    ///
    /// # Errors
    /// Names the first line that is not right.
    pub fn parse(bytes: &[u8]) -> Result<Self, TraceError> {
        let mut opportunities: Vec<u32> = Vec::new();
        let (mut offset, mut line) = (0, 0);
        let at = |line, offset, why| Err(TraceError { line, offset, why });
        if bytes.len() > MAX_BYTES {
            return at(1, 0, "the trace is longer than 48 MB; cut it");
        }
        for text in bytes.split(|&byte| byte == b'\n') {
            line += 1;
            let trimmed = text.trim_ascii();
            if !trimmed.is_empty() {
                let Some(ms) = number(trimmed) else {
                    return at(line, offset, "this is not a whole number of milliseconds below 2^32");
                };
                if opportunities.last().is_some_and(|&before| ms < before) {
                    return at(line, offset, "this is earlier than the line before; sort the lines");
                }
                if opportunities.len() == MAX_LINES {
                    return at(line, offset, "a trace has at most 4000000 lines; cut it here");
                }
                opportunities.push(ms);
            }
            offset += text.len() + 1;
        }
        match opportunities.last() {
            None => at(1, 0, "the trace is empty; it needs a line for every packet that could leave"),
            Some(0) => at(line, 0, "the last line must be above 0, since it is the recording's length"),
            Some(_) => Ok(Self { opportunities }),
        }
    }

    /// How many packets the recording lets through. \[any\]
    #[must_use]
    pub fn packets(&self) -> usize {
        self.opportunities.len()
    }

    /// The recording's length in milliseconds, above 0. \[any\]
    #[must_use]
    pub fn millis(&self) -> u32 {
        self.opportunities.last().copied().unwrap_or(1).max(1)
    }

    /// When the opportunity numbered `index`, counted on through every round,
    /// comes, with the recording begun at `start`. \[real-time\]
    #[must_use]
    pub fn time(&self, start: Timestamp, index: u64) -> Timestamp {
        let count = self.opportunities.len() as u64;
        let within = usize::try_from(index % count).map_or(0, |place| self.opportunities[place]);
        let millis = u128::from(index / count) * u128::from(self.millis()) + u128::from(within);
        let nanos = u64::try_from(millis * 1_000_000).unwrap_or(u64::MAX);
        Timestamp::from_nanos(start.nanos().saturating_add(nanos))
    }

    /// The number of the first opportunity at or after `now`. \[real-time\]
    #[must_use]
    pub fn first_from(&self, start: Timestamp, now: Timestamp) -> u64 {
        let elapsed = now.nanos().saturating_sub(start.nanos()).div_ceil(1_000_000);
        let period = u64::from(self.millis());
        let (mut round, mut within) = (elapsed / period, elapsed % period);
        if within == 0 && round > 0 {
            // The last lines of one round and the first of the next share this
            // millisecond.
            (round, within) = (round - 1, period);
        }
        let place = self.opportunities.partition_point(|&ms| u64::from(ms) < within);
        round * self.opportunities.len() as u64 + place as u64
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    // `str::parse` alone would take a leading plus.
    digits[0].is_ascii_digit().then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(5_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn errors_name_the_line_and_its_place() {
        let cases: [(&[u8], usize, usize, &str); 7] = [
            (b"", 1, 0, "empty"),
            (b"\n \r\n", 1, 0, "empty"),
            (b"1\n2\nx\n", 3, 4, "whole number"),
            (b"1\n-2\n", 2, 2, "whole number"),
            (b"+1\n", 1, 0, "whole number"),
            (b"1\n4294967296\n", 2, 2, "whole number"),
            (b"5\n\n4\n", 3, 3, "earlier"),
        ];
        for (bytes, line, offset, why) in cases {
            let error = Trace::parse(bytes).unwrap_err();
            assert_eq!((error.line, error.offset), (line, offset), "{error}");
            assert!(error.to_string().contains(why), "{error}");
        }
        assert!(Trace::parse(b"0\n0").unwrap_err().why.contains("above 0"));
    }

    #[test]
    fn a_recording_begins_anew_when_it_ends() {
        let trace = Trace::parse(b"0\r\n5\n5\n20").unwrap();
        assert_eq!((trace.packets(), trace.millis()), (4, 20));
        let times: Vec<_> = (0..9).map(|index| trace.time(at(0), index)).collect();
        let expected = [0, 5, 5, 20, 20, 25, 25, 40, 40].map(at);
        assert_eq!(times, expected);
    }

    #[test]
    fn the_first_opportunity_from_an_instant_is_the_earliest_not_before_it() {
        let trace = Trace::parse(b"0\n5\n5\n20\n").unwrap();
        for ms in 0..200 {
            let first = trace.first_from(at(0), at(ms));
            assert!(trace.time(at(0), first) >= at(ms), "at {ms} ms");
            assert!(first == 0 || trace.time(at(0), first - 1) < at(ms), "at {ms} ms");
        }
        assert_eq!(trace.first_from(at(0), at(4) + std::time::Duration::from_nanos(1)), 1);
    }

    #[test]
    fn no_bytes_make_the_parser_or_a_parsed_trace_panic() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            let alphabet = b"0123456789\n\r -+.\xff";
            let bytes: Vec<u8> =
                (0..rng.usize(0..40)).map(|_| alphabet[rng.usize(..alphabet.len())]).collect();
            if let Ok(trace) = Trace::parse(&bytes) {
                let first = trace.first_from(at(0), Timestamp::NEVER);
                let _ = (trace.time(at(0), first), trace.time(at(0), u64::MAX));
            }
        }
    }
}
