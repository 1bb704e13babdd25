//! `MemTransport`: rooms inside one engine. Packets are handed over as frames,
//! without a copy.
//!
//! Every participant has a seat: an inbox (a bounded lock-free queue with many
//! producers and the seat's own node as its consumer) and the node's waker. A
//! room is a roster of seats behind a lock, and a version that counts its
//! changes. Whoever changes the roster, or says in its seat that it ceases or
//! leaves, raises the version with `Release` and wakes everyone. A node loads
//! the version with `Acquire` each time it is called, and takes the lock only
//! when it has changed; in the steady state nothing locks and nothing
//! allocates.
//!
//! A participant that ceases or leaves says so after its last packet is in the
//! inboxes. A node that sees the new version therefore finds all those packets
//! when it drains its inbox next, so it notes who leaves first, drains, and sees
//! them off last. The nasty race, a packet from somebody who is in the roster
//! but not yet in the node's copy, shows as an unknown sender: the version was
//! raised before that packet was sent, so looking again finds the sender.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_queue::ArrayQueue;
use sidetone_core::{
    Context, Control, DropReason, EventKind, Fault, Frame, Key, LeaveReason, NodeWaker, Setup, Timestamp,
};

use crate::peers::{Peers, SOURCES, ask_key_frame};
use crate::protocol::{Kind, Source};
use crate::transport::Transport;

/// The most packets that wait for one participant's node; a second of video at
/// 20 Mbit/s.
const INBOX: usize = 2_048;

/// The rooms of one engine.
#[derive(Default)]
pub(crate) struct MemRooms {
    rooms: Mutex<HashMap<Arc<str>, Arc<Room>>>,
}

#[derive(Default)]
struct Room {
    version: AtomicU64,
    roster: Mutex<Roster>,
}

#[derive(Default)]
struct Roster {
    seats: Vec<Arc<Seat>>,
    next: u64,
}

struct Seat {
    id: u64,
    user: Arc<str>,
    inbox: ArrayQueue<Parcel>,
    waker: NodeWaker,
    /// A [`Standing`]; written and read under the roster's lock, but for a
    /// node's own look at whether it was replaced.
    standing: AtomicU8,
    /// How often each source ceased; written under the roster's lock.
    ceased: [AtomicU32; SOURCES],
}

/// How a participant stands to the room.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Standing {
    Here,
    /// Sends no more, and takes what others still send.
    Leaving,
    /// Another login with the same name took its place.
    Replaced,
}

enum Parcel {
    Packet { from: u64, source: Source, frame: Frame },
    Ask { from: u64, source: Source, control: Control },
}

/// One participant's way into a room of this engine.
pub(crate) struct MemTransport {
    rooms: Arc<MemRooms>,
    name: Arc<str>,
    user: Arc<str>,
    /// The room and our seat in it; `None` once we are out.
    place: Option<(Arc<Room>, Arc<Seat>)>,
    /// The roster's version that `members` copies.
    version: u64,
    members: Vec<Member>,
    /// The bit rate last asked of our encoders.
    bitrate: [Option<u32>; SOURCES],
}

/// Another participant, as last seen in the roster.
struct Member {
    seat: Arc<Seat>,
    key: Key,
    /// How often each source ceased, as told and as last seen.
    told: [u32; SOURCES],
    ceased: [u32; SOURCES],
    leaving: Option<LeaveReason>,
    gone: bool,
    /// What it can take of what we publish.
    bitrate: [Option<u32>; SOURCES],
}

impl MemTransport {
    /// Enters `room` as `user`, in place of any older login of that name. Done
    /// when the node is made, so that nothing is lost that another node sends
    /// before this one is first called. \[control\]
    pub(crate) fn enter(setup: &Setup<'_>, room: &str, user: &str) -> Self {
        let (name, user): (Arc<str>, Arc<str>) = (room.into(), user.into());
        let all: Arc<MemRooms> = setup.shared.get();
        let mut rooms = lock(&all.rooms);
        let room = Arc::clone(rooms.entry(Arc::clone(&name)).or_default());
        let mut roster = lock(&room.roster);
        let older = roster.seats.iter().position(|seat| seat.user == user);
        let older = older.map(|place| roster.seats.remove(place));
        if let Some(older) = &older {
            older.standing.store(Standing::Replaced as u8, Ordering::Relaxed);
        }
        let seat = Arc::new(Seat {
            id: roster.next,
            user: Arc::clone(&user),
            inbox: ArrayQueue::new(INBOX),
            waker: setup.waker.clone(),
            standing: AtomicU8::new(Standing::Here as u8),
            ceased: Default::default(),
        });
        roster.next += 1;
        roster.seats.push(Arc::clone(&seat));
        room.tell(&roster);
        // Not in the roster any more, and to be woken after the version is up.
        if let Some(older) = older {
            older.waker.wake();
        }
        drop(roster);
        drop(rooms);
        let place = Some((room, seat));
        Self { rooms: all, name, user, place, version: 0, members: Vec::new(), bitrate: [None; SOURCES] }
    }

    /// Brings `members` up to date with the roster, if that has changed.
    fn look(&mut self, cx: &mut Context<'_>, peers: &mut Peers) {
        let Some((room, seat)) = &self.place else { return };
        let version = room.version.load(Ordering::Acquire);
        if version == self.version {
            return;
        }
        // A change after the load is seen at the next look.
        self.version = version;
        if seat.standing() == Standing::Replaced {
            cx.emit(EventKind::Notice(
                format!("{} was kicked offline: the same user joined again elsewhere", self.user).into(),
            ));
            peers.vanish_all(cx, LeaveReason::Closed);
            self.members.clear();
            self.place = None;
            return;
        }
        let roster = lock(&room.roster);
        let mut joined = false;
        for seat in roster.seats.iter().filter(|other| other.id != seat.id) {
            if self.members.iter().all(|member| member.seat.id != seat.id) {
                let key = peers.appear(cx, &seat.user);
                let seat = Arc::clone(seat);
                self.members.push(Member {
                    seat,
                    key,
                    told: [0; SOURCES],
                    ceased: [0; SOURCES],
                    leaving: None,
                    gone: false,
                    bitrate: [None; SOURCES],
                });
                joined = true;
            }
        }
        for member in &mut self.members {
            member.gone = roster.seats.iter().all(|seat| seat.id != member.seat.id);
            member.ceased =
                Source::ALL.map(|source| member.seat.ceased[source as usize].load(Ordering::Relaxed));
            member.leaving = match member.seat.standing() {
                Standing::Leaving => Some(LeaveReason::Left),
                _ if member.gone => Some(LeaveReason::Closed),
                _ => None,
            };
        }
        drop(roster);
        if joined {
            // So that the newcomer can decode what comes next.
            for source in Source::ALL.into_iter().filter(|source| source.kind() == Kind::Video) {
                ask_key_frame(cx, source);
            }
        }
    }

    /// Takes all that was in the inbox at the last look.
    fn drain(&mut self, cx: &mut Context<'_>, peers: &mut Peers) {
        let Some((_, seat)) = &self.place else { return };
        let seat = Arc::clone(seat);
        let mut key_frames = [false; SOURCES];
        let mut left = INBOX;
        while let Some(parcel) = (left > 0).then(|| seat.inbox.pop()).flatten() {
            left -= 1;
            let (Parcel::Packet { from, .. } | Parcel::Ask { from, .. }) = &parcel;
            if self.members.iter().all(|member| member.seat.id != *from) {
                self.look(cx, peers);
                left = INBOX;
            }
            let member = self.members.iter_mut().find(|member| member.seat.id == *from);
            match (parcel, member) {
                (Parcel::Packet { source, frame, .. }, Some(member)) => {
                    peers.packet(cx, member.key, source, frame);
                }
                // They came and went between two calls.
                (Parcel::Packet { .. }, None) => cx.dropped(DropReason::Unlinked),
                (Parcel::Ask { source, control: Control::Bitrate { bps }, .. }, Some(member)) => {
                    member.bitrate[source as usize] = Some(bps);
                }
                (Parcel::Ask { source, .. }, _) => key_frames[source as usize] = true,
            }
        }
        for source in Source::ALL {
            if key_frames[source as usize] {
                ask_key_frame(cx, source);
            }
        }
    }

    /// Tells what was noted at the last look, now that the inbox is drained.
    fn see_off(&mut self, cx: &mut Context<'_>, peers: &mut Peers) {
        self.members.retain_mut(|member| {
            for source in Source::ALL {
                if member.told[source as usize] != member.ceased[source as usize] {
                    peers.stream_ended(cx, member.key, source);
                }
            }
            member.told = member.ceased;
            if let Some(reason) = member.leaving {
                member.bitrate = [None; SOURCES];
                peers.vanish(member.key, reason);
            }
            !member.gone
        });
    }

    /// One encoder serves all: it must suit whoever can take least.
    fn pass_bitrates(&mut self, cx: &mut Context<'_>) {
        for source in Source::ALL {
            let place = source as usize;
            let least = self.members.iter().filter_map(|member| member.bitrate[place]).min();
            if let Some(bps) = least.filter(|_| least != self.bitrate[place]) {
                self.bitrate[place] = least;
                cx.request(place, &Control::Bitrate { bps });
            }
        }
    }

    /// Changes the room under its lock, and tells everyone.
    fn change(&self, change: impl FnOnce(&mut Roster, &Arc<Seat>)) {
        let Some((room, seat)) = &self.place else { return };
        let mut roster = lock(&room.roster);
        change(&mut roster, seat);
        room.tell(&roster);
    }
}

impl Transport for MemTransport {
    fn poll(&mut self, cx: &mut Context<'_>, peers: &mut Peers) -> Result<(), Fault> {
        let seen = self.version;
        self.look(cx, peers);
        self.drain(cx, peers);
        if self.version != seen {
            self.see_off(cx, peers);
        }
        self.pass_bitrates(cx);
        Ok(())
    }

    fn publish(&mut self, cx: &mut Context<'_>, source: Source, frame: Frame) {
        let Some((_, seat)) = &self.place else {
            cx.dropped(DropReason::Stopped);
            return;
        };
        let Some((last, others)) = self.members.split_last() else {
            cx.dropped(DropReason::Unlinked);
            return;
        };
        for member in others {
            member.post(cx, Parcel::Packet { from: seat.id, source, frame: frame.clone() });
        }
        last.post(cx, Parcel::Packet { from: seat.id, source, frame });
    }

    fn cease(&mut self, source: Source, _: Timestamp) {
        self.change(|_, seat| {
            seat.ceased[source as usize].fetch_add(1, Ordering::Relaxed);
        });
    }

    fn ask(&mut self, key: Key, source: Source, control: &Control) {
        let member = self.members.iter().find(|member| member.key == key && member.leaving.is_none());
        if let (Some(member), Some((_, seat))) = (member, &self.place) {
            // A request that finds the inbox full is lost; it is made again.
            let _ = member.seat.inbox.push(Parcel::Ask { from: seat.id, source, control: control.clone() });
            member.seat.waker.wake();
        }
    }

    fn say_goodbye(&mut self, _: Timestamp) {
        self.change(|_, seat| seat.standing.store(Standing::Leaving as u8, Ordering::Relaxed));
    }

    fn is_alone(&self) -> bool {
        self.members.iter().all(|member| member.leaving.is_some())
    }

    fn leave(&mut self) {
        let mut rooms = lock(&self.rooms.rooms);
        self.change(|roster, own| roster.seats.retain(|seat| seat.id != own.id));
        // A room that is empty is forgotten, unless another has its name by now.
        if let Some((room, _)) = self.place.take()
            && lock(&room.roster).seats.is_empty()
            && rooms.get(&self.name).is_some_and(|known| Arc::ptr_eq(known, &room))
        {
            rooms.remove(&self.name);
        }
        self.members.clear();
    }

    fn next_call(&self) -> Option<Timestamp> {
        None
    }
}

impl Drop for MemTransport {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Room {
    /// Makes everyone look at the roster, whose lock the caller holds.
    fn tell(&self, roster: &Roster) {
        self.version.fetch_add(1, Ordering::Release);
        roster.seats.iter().for_each(|seat| seat.waker.wake());
    }
}

impl Seat {
    fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Relaxed) {
            1 => Standing::Leaving,
            2 => Standing::Replaced,
            _ => Standing::Here,
        }
    }
}

impl Member {
    fn post(&self, cx: &mut Context<'_>, parcel: Parcel) {
        if self.seat.inbox.push(parcel).is_err() {
            cx.dropped(DropReason::Overflow);
        }
        self.seat.waker.wake();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the locks guard is changed in single steps, so a panic leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
