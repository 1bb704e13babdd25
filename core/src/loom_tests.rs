//! The lock-free parts under every order of events that loom can make:
//! `RUSTFLAGS="--cfg loom" cargo test -p sidetone-core --release --lib loom_`.

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::link::{Crossing, Waking};
use crate::pool::Pool;
use crate::ring::ring;
use crate::waker::{LaneWaker, Place};

/// Runs `body` in every order, with at most `switches` forced switches between
/// threads where that is needed to come to an end.
fn model(switches: Option<usize>, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = switches;
    builder.check(body);
}

fn waking(lane: &Arc<LaneWaker>, place: u32) -> Waking {
    Waking { lane: Arc::clone(lane), place: Place::of(crate::ledger::NodeId(place)) }
}

#[test]
fn loom_a_ring_of_four_hands_over_every_item_once_in_order() {
    model(None, || {
        let (mut into, mut out) = ring(4);
        // One in and out first, so that the slots are used round their end.
        for n in 0..3 {
            assert!(into.push(Box::new(n)).is_ok());
            assert_eq!(out.pop().as_deref(), Some(&n));
        }
        let producer = thread::spawn(move || {
            for n in 0..3 {
                assert!(into.push(Box::new(n)).is_ok());
            }
        });
        let mut next = 0;
        while next < 3 {
            match out.pop() {
                Some(item) => {
                    assert_eq!(*item, next);
                    next += 1;
                }
                None => thread::yield_now(),
            }
        }
        producer.join().unwrap();
        assert!(out.pop().is_none());
    });
}

#[test]
fn loom_a_full_ring_refuses_and_what_is_left_in_it_is_freed() {
    model(None, || {
        let (mut into, mut out) = ring(4);
        let producer = thread::spawn(move || (0..6).filter(|n| into.push(Box::new(*n)).is_ok()).count());
        let first = out.pop();
        let sent = producer.join().unwrap();
        assert!((4..=5).contains(&sent), "{sent}");
        assert!(first.is_none_or(|first| *first == 0));
    });
}

#[test]
fn loom_whatever_is_put_in_wakes_a_lane_that_sleeps() {
    // Were a wake lost the receiver would sleep for ever, which loom reports.
    model(Some(3), || {
        let lane: Arc<LaneWaker> = Arc::default();
        let receiver = waking(&lane, 7);
        let (mut into, mut out) = ring(4);
        let sleeper = thread::spawn(move || {
            let mut next = 0;
            while next < 2 {
                let mut called = false;
                lane.look(|_| called = true);
                while let Some(item) = if called { out.pop() } else { None } {
                    assert_eq!(item, next);
                    next += 1;
                }
                if next < 2 {
                    lane.sleep(None);
                }
            }
        });
        for n in 0..2 {
            assert!(into.push(n).is_ok());
            receiver.lane.wake(receiver.place);
        }
        sleeper.join().unwrap();
    });
}

#[test]
fn loom_two_callers_of_one_place_and_the_mail_are_all_heard() {
    model(Some(2), || {
        let lane: Arc<LaneWaker> = Arc::default();
        let done = Arc::new(AtomicUsize::new(0));
        let caller = |n: usize| {
            let (lane, done) = (Arc::clone(&lane), Arc::clone(&done));
            move || {
                done.fetch_add(1, Ordering::Relaxed);
                if n == 0 {
                    lane.wake_for_mail();
                } else {
                    lane.wake(Place::default());
                }
            }
        };
        let (mail, place) = (caller(0), caller(1));
        // The sleeper joins nobody: loom takes an unpark for the end of a join.
        let sleeper = thread::spawn(move || {
            while done.load(Ordering::Relaxed) < 2 {
                lane.look(|_| {});
                if done.load(Ordering::Relaxed) < 2 {
                    lane.sleep(None);
                }
            }
        });
        let other = thread::spawn(mail);
        place();
        other.join().unwrap();
        sleeper.join().unwrap();
    });
}

#[test]
fn loom_a_sender_that_waits_for_room_is_told_of_it() {
    model(Some(3), || {
        let (sender, receiver): (Arc<LaneWaker>, Arc<LaneWaker>) = Default::default();
        let crossing = Arc::new(Crossing::new(waking(&sender, 1), waking(&receiver, 2)));
        let (mut into, mut out) = ring(4);
        for n in 0..4 {
            assert!(into.push(n).is_ok());
        }
        let waiting = Arc::clone(&crossing);
        // As a lane does: wait for room, else sleep until called.
        let producer = thread::spawn(move || {
            let mut item = 4;
            while let Err(back) = into.push(item) {
                item = back;
                if waiting.must_wait(&mut into, 4) {
                    sender.sleep(None);
                    sender.look(|_| {});
                }
            }
        });
        assert_eq!(out.pop(), Some(0));
        crossing.made_room();
        producer.join().unwrap();
        assert_eq!(std::iter::from_fn(|| out.pop()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    });
}

#[test]
fn loom_of_two_sharers_that_let_go_one_returns_the_value() {
    model(None, || {
        let pool = Pool::new(1, || 0usize);
        let mut a = pool.get();
        *a.get_mut().unwrap() = 5;
        let b = a.clone();
        let other = thread::spawn(move || {
            assert_eq!(*b, 5);
            drop(b);
        });
        assert_eq!(*a, 5);
        drop(a);
        other.join().unwrap();
        let mut again = pool.get();
        assert_eq!((pool.dry(), again.get_mut().copied()), (0, Some(5)));
    });
}

#[test]
fn loom_a_value_that_is_alone_may_be_written_though_it_was_shared() {
    model(None, || {
        let pool = Pool::new(1, || 0usize);
        let mut a = pool.get();
        let b = a.clone();
        let reader = thread::spawn(move || *b);
        if let Some(value) = a.get_mut() {
            *value = 9;
        }
        assert_eq!(reader.join().unwrap(), 0, "the sharer never sees the write");
    });
}

#[test]
fn loom_a_pool_dropped_while_a_value_comes_back_leaks_nothing() {
    // Loom reports what is not freed at the end of each run.
    model(None, || {
        let pool = Pool::new(2, || 0usize);
        let (a, b) = (pool.get(), pool.get());
        drop(a);
        let other = thread::spawn(move || drop(b));
        drop(pool);
        other.join().unwrap();
    });
}
