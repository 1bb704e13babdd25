//! The floor of a hop between threads: what is left when there is no framework.
//!
//! ```sh
//! cargo bench --bench floor                        # all of it
//! cargo bench --bench floor -- ring "wake apart"   # one measurement
//! ```
//!
//! `ring`: a bounded single-producer single-consumer ring (`ringbuf`); busy, both
//! threads spin; idle, the consumer parks, after raising a flag that says it
//! sleeps, and the producer unparks it only if the flag is up. `crossbeam`: a
//! bounded crossbeam-channel with its own waiting. Both hold 512 items, as a link
//! that carries RTP does. Items are 96 bytes, what a handle to a frame with its
//! header takes.
//!
//! `busy`: items as fast as they are taken, the two threads on a processor each;
//! wall time and both threads' processor time per item. `wake …`: an item every
//! 5 ms, from just before it is pushed to just after it is popped, by threads on
//! two processors (`apart`), on one (`together`), or where the scheduler puts
//! them (`free`).

use std::hint::spin_loop;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};
use nix::unistd::Pid;
use ringbuf::HeapRb;
use ringbuf::traits::{Consumer, Observer, Producer, Split};

const USAGE: &str = "usage: floor [ring|crossbeam busy|\"wake apart\"|\"wake together\"|\"wake free\" \
                     [--items N] [--seconds S] [--capacity N]]";
const EVERY: Duration = Duration::from_millis(5);
/// Items before the measured ones.
const WARM: usize = 20;

const WHO: [&str; 2] = ["ring", "crossbeam"];

/// What is measured, and on which processors the two threads stay.
struct Case {
    name: &'static str,
    busy: bool,
    pins: Pins,
}

/// The pushing thread's and the popping one's; `None` is any.
type Pins = (Option<usize>, Option<usize>);

const CASES: [Case; 4] = [
    Case { name: "busy", busy: true, pins: (Some(0), Some(1)) },
    Case { name: "wake apart", busy: false, pins: (Some(0), Some(1)) },
    Case { name: "wake together", busy: false, pins: (Some(1), Some(1)) },
    Case { name: "wake free", busy: false, pins: (None, None) },
];

type Item = [u64; 12];
/// Pushes an item, waiting until there is room.
type Push = Box<dyn FnMut(Item) + Send>;
/// Pops an item, waiting until there is one.
type Pop = Box<dyn FnMut() -> Item + Send>;
/// Metrics and their values.
type Figures = Vec<(&'static str, f64)>;

fn main() -> ExitCode {
    // `cargo bench` adds an argument of its own.
    let given: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = given.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        [] => WHO.iter().try_for_each(|who| CASES.iter().try_for_each(|case| report(who, case.name, &[]))),
        [who, case, ref options @ ..] => report(who, case, options),
        [_] => None,
    };
    match outcome {
        Some(()) => ExitCode::SUCCESS,
        None => {
            eprintln!("{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn report(who: &str, case: &str, options: &[&str]) -> Option<()> {
    for (metric, value) in measure(who, case, options)? {
        println!(
            "{{\"row\":\"hop\",\"who\":\"{who}\",\"case\":\"{case}\",\"metric\":\"{metric}\",\"value\":{value:.3}}}"
        );
    }
    Some(())
}

fn measure(who: &str, case: &str, options: &[&str]) -> Option<Figures> {
    let option = |name: &str, otherwise: f64| match options.iter().position(|word| *word == name) {
        None => Some(otherwise),
        Some(at) => options.get(at + 1)?.parse().ok(),
    };
    let items = option("--items", 1e6)? as usize;
    let wakes = (option("--seconds", 5.0)? / EVERY.as_secs_f64()) as usize;
    let capacity = option("--capacity", 512.0)? as usize;

    let case = CASES.iter().find(|known| known.name == case)?;
    let (push, pop): (Push, Pop) = match (who, case.busy) {
        ("ring", true) => spinning_ring(capacity),
        ("ring", false) => parking_ring(capacity),
        ("crossbeam", _) => channel(capacity),
        _ => return None,
    };
    Some(if case.busy { flat_out(push, pop, items, case.pins) } else { woken(push, pop, wakes, case.pins) })
}

fn spinning_ring(capacity: usize) -> (Push, Pop) {
    let (mut producer, mut consumer) = HeapRb::<Item>::new(capacity).split();
    let push = move |mut item| {
        while let Err(back) = producer.try_push(item) {
            item = back;
            spin_loop();
        }
    };
    let pop = move || {
        loop {
            if let Some(item) = consumer.try_pop() {
                return item;
            }
            spin_loop();
        }
    };
    (Box::new(push), Box::new(pop))
}

/// The consumer raises `asleep`, looks at the ring once more, and parks; the
/// producer pushes, and then looks at `asleep`. The two fences forbid that both
/// look before the other has written: either the consumer sees the item, or the
/// producer sees the flag.
fn parking_ring(capacity: usize) -> (Push, Pop) {
    let (mut producer, mut consumer) = HeapRb::<Item>::new(capacity).split();
    let asleep = Arc::new(AtomicBool::new(false));
    let (handed_over, sleeper) = crossbeam_channel::bounded(1);
    let consumers = Arc::clone(&asleep);

    let mut thread: Option<thread::Thread> = None;
    let push = move |mut item| {
        while let Err(back) = producer.try_push(item) {
            item = back;
            spin_loop();
        }
        fence(Ordering::SeqCst);
        if asleep.load(Ordering::Relaxed) && asleep.swap(false, Ordering::Relaxed) {
            // The consumer names its thread before it first sleeps.
            let thread = thread.get_or_insert_with(|| sleeper.recv().unwrap_or_else(|_| thread::current()));
            thread.unpark();
        }
    };
    let mut handed_over = Some(handed_over);
    let pop = move || {
        loop {
            if let Some(item) = consumer.try_pop() {
                return item;
            }
            if let Some(handed_over) = handed_over.take() {
                let _ = handed_over.send(thread::current());
            }
            consumers.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if consumer.is_empty() {
                thread::park();
            }
            consumers.store(false, Ordering::Relaxed);
        }
    };
    (Box::new(push), Box::new(pop))
}

fn channel(capacity: usize) -> (Push, Pop) {
    let (sender, receiver) = crossbeam_channel::bounded::<Item>(capacity);
    let push = move |item| {
        let _ = sender.send(item);
    };
    let pop = move || receiver.recv().unwrap_or_default();
    (Box::new(push), Box::new(pop))
}

fn flat_out(mut push: Push, mut pop: Pop, items: usize, (from, to): Pins) -> Figures {
    let warm = items / 10;
    let sender = thread::spawn(move || {
        pin(from);
        let mut before = Duration::ZERO;
        for n in 0..warm + items {
            if n == warm {
                before = thread_cpu();
            }
            push([n as u64; 12]);
        }
        thread_cpu().saturating_sub(before)
    });
    let receiver = thread::spawn(move || {
        pin(to);
        for _ in 0..warm {
            pop();
        }
        let (began, before) = (Instant::now(), thread_cpu());
        for _ in 0..items {
            std::hint::black_box(pop());
        }
        (began.elapsed(), thread_cpu().saturating_sub(before))
    });
    let sent = sender.join().unwrap_or_default();
    let (wall, received) = receiver.join().unwrap_or_default();
    let each = |time: Duration| time.as_nanos() as f64 / items as f64;
    vec![("wall_ns_per_buffer", each(wall)), ("cpu_ns_per_buffer", each(sent + received))]
}

fn woken(mut push: Push, mut pop: Pop, wakes: usize, (from, to): Pins) -> Figures {
    let epoch = Instant::now();
    let nanos = move || epoch.elapsed().as_nanos() as u64;
    let receiver = thread::spawn(move || {
        pin(to);
        let mut delays: Vec<u64> = (0..WARM + wakes)
            .map(|_| {
                let pushed = pop()[0];
                nanos() - pushed
            })
            .skip(WARM)
            .collect();
        delays.sort_unstable();
        delays
    });
    let sender = thread::spawn(move || {
        pin(from);
        let start = now(ClockId::CLOCK_MONOTONIC);
        for n in 1..=WARM + wakes {
            let due = start + EVERY * n as u32;
            let _ =
                clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &due.into());
            push([nanos(); 12]);
        }
    });
    let _ = sender.join();
    let delays = receiver.join().unwrap_or_default();
    let us = |share: f64| {
        let rank = (delays.len() as f64 * share).ceil() as usize;
        delays.get(rank.max(1) - 1).map_or(0.0, |nanos| *nanos as f64 / 1e3)
    };
    vec![("p50_us", us(0.5)), ("p99_us", us(0.99)), ("p999_us", us(0.999))]
}

/// Keeps the calling thread on one processor, or lets it run where it is put.
fn pin(processor: Option<usize>) {
    let Some(processor) = processor else { return };
    let mut set = CpuSet::new();
    if set.set(processor).is_err() || sched_setaffinity(Pid::from_raw(0), &set).is_err() {
        eprintln!("note: processor {processor} cannot be had; the thread runs where it is put");
    }
}

fn thread_cpu() -> Duration {
    now(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

fn now(clock: ClockId) -> Duration {
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}
