//! Rooms under a deterministic simulator: a room on one side, two to eight participants
//! on the other, and between them a network that delays, holds back and loses, all drawn
//! from one seed. While participants come, go, publish, mute and are cut off, and once
//! all is quiet again, what must hold of rosters, streams, sessions and times is checked.
//!
//! `SEED=17 cargo test -p sidetone-room sim::` runs one seed and shows what happened in it.

mod actor;
mod checks;
mod network;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use world::{Tally, World};

const SEEDS: u64 = 1_000;

#[test]
fn a_thousand_networks_leave_every_room_as_its_participants_made_it() {
    let one = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    if let Some(seed) = one {
        panic!("{}", shown(seed));
    }
    let (next, tally) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
    let work = || {
        let mut failures = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS || !failures.is_empty() {
                return failures;
            }
            let mut world = World::new(seed, false);
            match run(&mut world) {
                Ok(()) => tally.lock().expect("no thread panics").add(&world.tally),
                Err(_) => failures.push(seed),
            }
        }
    };
    let failures = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).min()
    });
    if let Some(seed) = failures {
        panic!("{}", shown(seed));
    }
    let tally = tally.into_inner().expect("no thread panics");
    println!("{tally:?}");
    // The seeds were worth running: all that can happen did.
    for (what, count) in tally.counts() {
        assert!(count >= 50, "{what} happened {count} times in {SEEDS} seeds: {tally:?}");
    }
}

/// Lets all happen in a world: what did not hold.
fn run(world: &mut World) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or(Err("it panicked".into()))
}

/// What became of a seed, and what happened last in it.
fn shown(seed: u64) -> String {
    let mut world = World::new(seed, true);
    let why = run(&mut world).err().unwrap_or("all held".into());
    format!("seed {seed}: {why}\n{}", world.trace())
}
