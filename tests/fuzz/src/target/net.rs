//! Recorded network traces.

use sidetone::{Timestamp, VIRTUAL_START};
use sidetone_net::trace::Trace;

use crate::Target;

pub(crate) const TRACE: Target = Target {
    name: "trace",
    run: |bytes| {
        let Ok(trace) = Trace::parse(bytes) else { return false };
        assert!(trace.packets() <= bytes.len() && trace.millis() > 0);
        for now in [VIRTUAL_START, Timestamp::ZERO, Timestamp::NEVER] {
            let index = trace.first_from(VIRTUAL_START, now);
            assert!(trace.time(VIRTUAL_START, index) >= now.max(VIRTUAL_START) || now == Timestamp::NEVER);
            let _ = trace.time(VIRTUAL_START, u64::MAX);
        }
        true
    },
    // A slow, a fast, and a bursty link.
    seeds: || {
        let lines = |line: fn(u32) -> u32| {
            (0..20).map(|index| format!("{}\n", line(index))).collect::<String>().into_bytes()
        };
        vec![
            lines(|index| 40 * (index + 1)),
            lines(|index| index / 4 + 1),
            lines(|index| index / 10 * 500 + 9),
        ]
    },
    words: &["\n", "\r\n", "0", "-1", "+1", " ", "4294967295", "4294967296", "1e9"],
    most_mib: 1,
};
