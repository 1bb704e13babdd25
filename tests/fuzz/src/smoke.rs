//! A short run over mutated seeds, on any compiler: deterministic, without
//! knowledge of what code it reaches.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Target;
use crate::meter::peak_of;
use crate::mutator::Mutator;

/// How long one input may take before it counts as a hang.
const HANG: Duration = Duration::from_secs(20);

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Inputs tried.
    pub inputs: u64,
    /// Of these, how many were taken for what they should be.
    pub taken: u64,
    /// The most memory that one of them had the target hold, in bytes.
    pub peak: usize,
    /// How long it took, the making of the seeds aside.
    pub elapsed: Duration,
}

/// Runs `target` on inputs drawn from `seed`, until that is `enough`.
///
/// # Panics
/// At the first input that makes the target panic, hang or hold too much; tells
/// the input.
pub fn run(target: &'static Target, seed: u64, enough: impl Fn(&Report) -> bool + Send + 'static) -> Report {
    let current = Arc::new(Mutex::new((0, Vec::new())));
    let (done, end) = channel::<()>();
    let worker = {
        let current = Arc::clone(&current);
        std::thread::spawn(move || {
            let _done = done; // dropped however this thread ends
            let mut mutator = Mutator::new(seed, (target.seeds)(), target.words);
            let (mut report, began) = (Report::default(), Instant::now());
            while !enough(&report) {
                let input = mutator.next();
                {
                    let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
                    current.0 = report.inputs;
                    input.clone_into(&mut current.1);
                }
                let (taken, peak) = peak_of(|| (target.run)(input));
                let most = target.most_mib << 20;
                assert!(peak <= most, "it held {peak} bytes at once; {most} are the most it may");
                report.inputs += 1;
                report.taken += u64::from(taken);
                report.peak = report.peak.max(peak);
                report.elapsed = began.elapsed();
            }
            report
        })
    };
    let fail = |what: &str| -> ! {
        let current = current.lock().unwrap_or_else(PoisonError::into_inner);
        panic!(
            "{name} {what} on input {number} of seed {seed}; replay it with\n\
             cargo run -p sidetone-fuzz -- replay {name} {input}",
            name = target.name,
            number = current.0,
            input = hex(&current.1),
        )
    };
    let mut before = None;
    while end.recv_timeout(HANG) == Err(RecvTimeoutError::Timeout) {
        let number = current.lock().unwrap_or_else(PoisonError::into_inner).0;
        if before.replace(number) == Some(number) {
            fail("hangs");
        }
    }
    worker.join().unwrap_or_else(|_| fail("panics"))
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that `digits` stand for.
#[must_use]
pub fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then(|| digits.as_bytes().chunks(2).map(pair).collect()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAGILE: Target = Target {
        name: "fragile",
        run: |bytes| {
            assert!(bytes.len() < 4, "too long");
            true
        },
        seeds: || vec![vec![1, 2, 3]],
        words: &["word"],
        most_mib: 1,
    };
    const GREEDY: Target = Target { name: "greedy", run: |_| vec![1u8; 2 << 20].is_empty(), ..FRAGILE };

    fn complaint(target: &'static Target) -> String {
        let failed = std::panic::catch_unwind(|| run(target, 1, |report| report.inputs == 1_000));
        failed.unwrap_err().downcast_ref::<String>().unwrap().clone()
    }

    #[test]
    fn a_failing_input_is_told_so_that_it_can_be_replayed() {
        let complaint = complaint(&FRAGILE);
        let input = complaint.rsplit(' ').next().and_then(unhex).unwrap();
        assert!(input.len() >= 4 && complaint.contains("replay fragile"), "{complaint}");
    }

    #[test]
    fn holding_too_much_memory_is_a_failure() {
        assert!(complaint(&GREEDY).contains("greedy panics on input 0 of seed 1"));
    }

    #[test]
    fn hexadecimal_digits_go_there_and_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        assert_eq!((unhex("0"), unhex("0g")), (None, None));
    }
}
