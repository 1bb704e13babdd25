//! What must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::world::{Heard, World};
use crate::events::{PublishState, RoomState};
use crate::protocol::UserName;
use crate::server::room::Settings;
use crate::server::room::census::Sight;

impl World {
    /// At every moment.
    pub(super) fn check_now(&self) -> Result<(), String> {
        let census = self.room.census();
        let links: BTreeSet<_> = census.iter().filter_map(|sight| sight.link).collect();
        let present = census.iter().filter(|sight| sight.link.is_some()).count();
        if links.len() != present {
            return Err("two participants have one connection".into());
        }
        let users: BTreeSet<_> = census.iter().map(|sight| &sight.user).collect();
        if users.len() != census.len() {
            return Err("a user is in the room twice".into());
        }
        for (link, wire) in &self.wires {
            if wire.joined && wire.server_open != self.room.has(*link) {
                return Err(format!("{link:?} of seat {} leaks, or is missing", wire.actor));
            }
        }
        let numbers: Vec<_> = census.iter().flat_map(|sight| &sight.streams).collect();
        let unique: BTreeSet<u32> = numbers.iter().map(|stream| stream.no).collect();
        if unique.len() != numbers.len() {
            return Err("two streams have one number".into());
        }
        if unique != self.streams {
            return Err(format!("the room has streams {unique:?}, the media {:?}", self.streams));
        }
        for sight in &census {
            let grants = &sight.grants;
            if sight.streams.iter().any(|stream| grants.hidden || !grants.publish.contains(&stream.source)) {
                return Err(format!("{} publishes what the token does not allow", sight.user));
            }
            if !grants.subscribe && !sight.plays.is_empty() {
                return Err(format!("{} plays what the token does not allow", sight.user));
            }
            if let Some(no) = sight.plays.keys().find(|no| !unique.contains(no)) {
                return Err(format!("{} plays stream {no}, which is over", sight.user));
            }
            let told = self.plays.get(&sight.id).into_iter().flatten();
            if !told.eq(sight.plays.keys()) {
                return Err(format!("the media play others to {} than the room says", sight.user));
            }
        }
        for (seat, actor) in self.actors.iter().enumerate() {
            let Some(session) = &actor.session else { continue };
            if session.unfit() > 0 {
                return Err(format!("seat {seat} was told what does not fit what it knows"));
            }
            if session.is_over() && actor.open.is_some() {
                return Err(format!("seat {seat} is out, with a connection open"));
            }
        }
        Ok(())
    }

    /// After the room did what was due: who is gone was silent for long enough, and who
    /// was silent for long enough is gone.
    pub(super) fn check_tick(&self, before: &[Sight], heard: &Heard) -> Result<(), String> {
        let Settings { grace, ping, .. } = self.settings;
        let census = self.room.census();
        if self.room.next_tick().is_some_and(|next| next <= self.now) {
            return Err("the room leaves undone what is due".into());
        }
        for sight in before {
            let is_here = census.iter().find(|other| other.id == sight.id);
            let Some(heard) = heard.get(&sight.id) else { continue };
            let [spoke, media] = heard.map(|at| self.now.since(at));
            let is_late = spoke >= grace * 3 || media >= grace;
            let is_expired = self.now.since(sight.until) >= Duration::from_secs(5);
            match is_here {
                None if !(is_expired || sight.link.is_none() && is_late) => {
                    return Err(format!("{} was removed too soon: silent for {media:?}", sight.user));
                }
                Some(now) if now.link.is_none() && is_late => {
                    return Err(format!("{} stays though silent for {media:?}", sight.user));
                }
                Some(now) if now.link.is_some() && spoke >= ping * 3 => {
                    return Err(format!("{} has a dead connection", sight.user));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Once all has been quiet for long enough that everyone is back.
    pub(super) fn check_quiet(&mut self) -> Result<(), String> {
        self.check_now()?;
        let census: BTreeMap<UserName, Sight> =
            self.room.census().into_iter().map(|sight| (sight.user.clone(), sight)).collect();
        let mut users = BTreeSet::new();
        for (seat, actor) in self.actors.iter().enumerate().filter(|(_, actor)| actor.runs()) {
            let Some(session) = &actor.session else { continue };
            let wrong = |what: &str| Err(format!("seat {seat} ({}): {what}", actor.user));
            if !session.is_in() || !matches!(actor.seen.state, Some(RoomState::Joined { .. })) {
                return wrong(&format!("is not in: {:?}", actor.seen.state));
            }
            if !users.insert(actor.user.clone()) {
                return wrong("two programs of one user are in");
            }
            let Some(own) = census.get(&actor.user) else { return wrong("the room does not know it") };
            if own.link != actor.open.map(|(_, link)| link) || own.is_offering {
                return wrong("the room reaches it otherwise, or answers it not");
            }
            // Who and what is there.
            let others = || census.values().filter(|other| other.id != own.id && !other.grants.hidden);
            let there: BTreeSet<_> = others().map(|other| &other.user).collect();
            let streams: BTreeMap<_, _> =
                others().flat_map(|other| &other.streams).map(|stream| (&stream.id, stream)).collect();
            let seen: BTreeSet<_> = actor.seen.users.iter().collect();
            let known: BTreeSet<_> = session.roster().users().collect();
            if there != seen || there != known {
                return wrong(&format!("there are {there:?}, it saw {seen:?}, it knows {known:?}"));
            }
            let known: BTreeMap<_, _> =
                session.roster().streams().map(|stream| (&stream.id, stream)).collect();
            if streams != known {
                return wrong(&format!("there are {streams:?}, it knows {known:?}"));
            }
            let muted: BTreeMap<_, _> = streams.iter().map(|(id, stream)| (*id, stream.muted)).collect();
            let seen: BTreeMap<_, _> = actor.seen.streams.iter().map(|(id, muted)| (id, *muted)).collect();
            if muted != seen {
                return wrong(&format!("there are {muted:?}, it saw {seen:?}"));
            }
            // What it publishes.
            let published: BTreeMap<_, _> =
                own.streams.iter().map(|stream| (&stream.id, stream.muted)).collect();
            let known: BTreeMap<_, _> = session.published_now().collect();
            let asked: BTreeMap<_, _> = actor.asked.published.iter().collect();
            if published != known || !published.keys().eq(asked.keys()) {
                return wrong(&format!("it publishes {published:?}, it knows {known:?}, asked {asked:?}"));
            }
            if asked.values().any(|state| **state != PublishState::Published) {
                return wrong(&format!("its program believes {asked:?}"));
            }
            // What it plays.
            let wished = streams
                .values()
                .filter_map(|stream| Some((stream.no, actor.asked.wish(&stream.id, stream.source)?)));
            let wished: BTreeMap<_, _> = wished.filter(|_| own.grants.subscribe).collect();
            if own.plays != wished {
                return wrong(&format!("it plays {:?}, wished {wished:?}", own.plays));
            }
        }
        if let Some(ghost) = census.keys().find(|user| !users.contains(user)) {
            return Err(format!("{ghost} is in the room, but nobody's program is"));
        }
        Ok(())
    }

    /// Once everyone left, and long enough after.
    pub(super) fn check_empty(&mut self) -> Result<(), String> {
        let [people, events, ended] = self.room.kept();
        if people + ended > 0 || events > self.settings.replay || !self.room.is_over() {
            return Err(format!("the room keeps {people} people, {events} events, {ended} sessions"));
        }
        let wires: Vec<_> = self.wires.values().filter(|wire| wire.client_open || wire.server_open).collect();
        if !wires.is_empty() || !self.heard.is_empty() || !self.plays.is_empty() {
            return Err(format!("{} connections are left, {:?} media", wires.len(), self.plays));
        }
        Ok(())
    }
}
