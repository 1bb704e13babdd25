//! `Doors`: how many connections one address may have, how many may be there that have
//! not asked for anything, and how often one address may ask to join. Told what happens
//! and when; opens nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::server::config::LimitsConfig;
use crate::server::log::Damper;

/// Why somebody was turned away: a limit of the configuration, or the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// The address has as many connections as it may.
    SocketsPerIp,
    /// As many as may be have not asked for anything yet.
    Waiting,
    /// It took too long to ask.
    Patience,
    /// The address asked to join too often.
    JoinsPerIp,
    /// It did not speak TLS, or would not trust the certificate.
    Tls,
}

impl Turned {
    /// Each, with what /metrics calls it.
    const ALL: [(Self, &str); 5] = [
        (Self::SocketsPerIp, "sockets_per_ip"),
        (Self::Waiting, "waiting"),
        (Self::Patience, "patience_s"),
        (Self::JoinsPerIp, "joins_per_ip"),
        (Self::Tls, "tls"),
    ];
}

/// Who is at the doors.
#[derive(Debug)]
pub(super) struct Doors {
    limits: LimitsConfig,
    crowd: Mutex<Crowd>,
    turned: [AtomicU64; Turned::ALL.len()],
    told: Mutex<Damper<usize>>,
}

#[derive(Debug)]
struct Crowd {
    /// Connections, by whose.
    sockets: HashMap<IpAddr, usize>,
    /// Among them those that have not asked for anything.
    waiting: usize,
    /// The present second, and how often who asked to join in it.
    second: Instant,
    joins: HashMap<IpAddr, u32>,
}

/// A connection: its place in the crowd, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    doors: Arc<Doors>,
    whose: IpAddr,
    is_waiting: AtomicBool,
}

impl Doors {
    pub(super) fn new(limits: &LimitsConfig, now: Instant) -> Arc<Self> {
        let crowd = Crowd { sockets: HashMap::new(), waiting: 0, second: now, joins: HashMap::new() };
        let (limits, crowd) = (limits.clone(), Mutex::new(crowd));
        Arc::new(Self { limits, crowd, turned: Default::default(), told: Mutex::new(Damper::new()) })
    }

    /// Somebody connects. None if they are turned away. \[any\]
    pub(super) fn enter(self: &Arc<Self>, now: Instant, address: IpAddr) -> Option<Place> {
        let whose = whose(address);
        let mut crowd = self.crowd();
        if crowd.waiting >= self.limits.waiting {
            drop(crowd);
            self.count(now, Turned::Waiting, whose);
            return None;
        }
        let sockets = crowd.sockets.entry(whose).or_default();
        if *sockets >= self.limits.sockets_per_ip {
            drop(crowd);
            self.count(now, Turned::SocketsPerIp, whose);
            return None;
        }
        *sockets += 1;
        crowd.waiting += 1;
        Some(Place { doors: Arc::clone(self), whose, is_waiting: AtomicBool::new(true) })
    }

    fn count(&self, now: Instant, why: Turned, ip: IpAddr) {
        self.turned[why as usize].fetch_add(1, Ordering::Relaxed);
        let told =
            self.told.lock().unwrap_or_else(PoisonError::into_inner).tell(now.into_std(), why as usize);
        if let Some(untold) = told {
            let (_, limit) = Turned::ALL[why as usize];
            let untold = (untold > 0).then_some(untold);
            warn!(%ip, limit, untold, "turned away");
        }
    }

    /// How often somebody was turned away, by why. \[any\]
    pub(super) fn turned(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Turned::ALL.iter().map(|(why, name)| (*name, self.turned[*why as usize].load(Ordering::Relaxed)))
    }

    /// Connections, and among them those that have not asked for anything. \[any\]
    pub(super) fn sizes(&self) -> (usize, usize) {
        let crowd = self.crowd();
        (crowd.sockets.values().sum(), crowd.waiting)
    }

    fn crowd(&self) -> MutexGuard<'_, Crowd> {
        // Nothing that is done with it panics half-way.
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// How long it may take to ask for something. \[any\]
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(self.doors.limits.patience_s)
    }

    /// It was turned away. \[any\]
    pub(super) fn count(&self, now: Instant, why: Turned) {
        self.doors.count(now, why, self.whose);
    }

    /// It has asked for something. \[any\]
    pub(super) fn asked(&self) {
        if self.is_waiting.swap(false, Ordering::Relaxed) {
            self.doors.crowd().waiting -= 1;
        }
    }

    /// Whether it may ask to join now; counts those that may not. \[any\]
    pub(super) fn may_join(&self, now: Instant) -> bool {
        let mut crowd = self.doors.crowd();
        if now.saturating_duration_since(crowd.second) >= Duration::from_secs(1) {
            crowd.second = now;
            crowd.joins.clear();
        }
        let joins = crowd.joins.entry(self.whose).or_default();
        let may = *joins < self.doors.limits.joins_per_ip;
        *joins += u32::from(may);
        drop(crowd);
        if !may {
            self.doors.count(now, Turned::JoinsPerIp, self.whose);
        }
        may
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.asked();
        let mut crowd = self.doors.crowd();
        if let Some(sockets) = crowd.sockets.get_mut(&self.whose) {
            *sockets -= 1;
            if *sockets == 0 {
                crowd.sockets.remove(&self.whose);
            }
        }
    }
}

/// What counts as one address: of IPv6 the network of one customer's line (RFC 6177).
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) & (u128::MAX << 64)).into()),
        ip @ IpAddr::V4(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doors(sockets_per_ip: usize, waiting: usize, joins_per_ip: u32) -> Arc<Doors> {
        let limits = LimitsConfig { sockets_per_ip, waiting, joins_per_ip, ..LimitsConfig::default() };
        Doors::new(&limits, Instant::now())
    }

    fn turned(doors: &Doors, why: &str) -> u64 {
        doors.turned().find(|(name, _)| *name == why).map(|(_, count)| count).expect("a reason")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn reasons_stand_in_their_own_places() {
        for (place, (why, _)) in Turned::ALL.iter().enumerate() {
            assert_eq!(*why as usize, place);
        }
    }

    #[test]
    fn one_address_has_so_many_connections_and_others_have_theirs() {
        let doors = doors(2, 100, 1);
        let first = doors.enter(Instant::now(), ip("192.0.2.1"));
        let second = doors.enter(Instant::now(), ip("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(doors.enter(Instant::now(), ip("192.0.2.1")).is_none());
        let other = doors.enter(Instant::now(), ip("192.0.2.2"));
        assert!(other.is_some());
        let sixes = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"];
        let sixes = sixes.map(|text| doors.enter(Instant::now(), ip(text)));
        assert_eq!(sixes.each_ref().map(Option::is_some), [true, true, false, true]);
        assert_eq!(turned(&doors, "sockets_per_ip"), 2);
        drop(first);
        assert!(doors.enter(Instant::now(), ip("192.0.2.1")).is_some(), "one of them is gone");
        drop((second, other, sixes));
        assert_eq!(doors.sizes(), (0, 0));
        assert!(doors.crowd().sockets.is_empty(), "nothing is kept of who is gone");
    }

    #[test]
    fn only_so_many_connections_have_not_asked_for_anything() {
        let doors = doors(100, 2, 1);
        let first = doors.enter(Instant::now(), ip("192.0.2.1")).expect("a place");
        let second = doors.enter(Instant::now(), ip("192.0.2.2")).expect("a place");
        assert!(doors.enter(Instant::now(), ip("192.0.2.3")).is_none());
        assert_eq!((turned(&doors, "waiting"), doors.sizes()), (1, (2, 2)));
        first.asked();
        first.asked();
        assert_eq!(doors.sizes(), (2, 1));
        let third = doors.enter(Instant::now(), ip("192.0.2.3")).expect("a place");
        drop((second, third));
        assert_eq!(doors.sizes(), (1, 0));
        drop(first);
        assert_eq!(doors.sizes(), (0, 0));
    }

    #[test]
    fn one_address_joins_so_often_in_a_second() {
        let doors = doors(100, 100, 3);
        let [one, same, other] = ["192.0.2.1", "192.0.2.1", "192.0.2.2"]
            .map(|text| doors.enter(Instant::now(), ip(text)).expect("a place"));
        let now = Instant::now();
        let may = [&one, &same, &one, &same, &one, &other].map(|place| place.may_join(now));
        assert_eq!(may, [true, true, true, false, false, true]);
        assert_eq!(turned(&doors, "joins_per_ip"), 2);
        assert!(!one.may_join(now + Duration::from_millis(900)));
        assert!(one.may_join(now + Duration::from_secs(1)), "in another second");
    }
}
