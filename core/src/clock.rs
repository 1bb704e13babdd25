//! `Clock`: the injected source of time, real or virtual.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::Timestamp;
use crate::timestamp::duration_nanos;

/// Where virtual time begins: one second after the epoch, so that a node may
/// look a little way back without meeting zero.
pub const VIRTUAL_START: Timestamp = Timestamp::from_nanos(1_000_000_000);

/// The engine's source of time. Cheap to clone; all clones agree. \[any\]
///
/// Nodes never see it: they are told the time in their `Context`.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Real { anchor: Instant, unix: u64 },
    Virtual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's monotonic clock, anchored to the Unix epoch now. \[control\]
    #[must_use]
    pub fn real() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, duration_nanos);
        Self(Source::Real { anchor: Instant::now(), unix })
    }

    /// A clock that stands still at [`VIRTUAL_START`] until it is advanced. \[control\]
    #[must_use]
    pub fn virtual_time() -> Self {
        Self(Source::Virtual(Arc::new(AtomicU64::new(VIRTUAL_START.nanos()))))
    }

    /// Now. \[any\]; only the engine calls it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::Real { anchor, unix } => {
                Timestamp::from_nanos(unix.saturating_add(duration_nanos(anchor.elapsed())))
            }
            Source::Virtual(nanos) => Timestamp::from_nanos(nanos.load(Ordering::Relaxed)),
        }
    }

    /// Whether time passes only when it is advanced. \[any\]
    #[must_use]
    pub const fn is_virtual(&self) -> bool {
        matches!(self.0, Source::Virtual(_))
    }

    /// Moves a virtual clock forward to `to`; a real clock, or a time already
    /// past, is left alone. \[control\]
    pub fn advance_to(&self, to: Timestamp) {
        if let Source::Virtual(nanos) = &self.0 {
            nanos.fetch_max(to.nanos(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn virtual_time_never_goes_back() {
        let clock = Clock::virtual_time();
        clock.advance_to(VIRTUAL_START + Duration::from_millis(5));
        clock.advance_to(VIRTUAL_START + Duration::from_millis(2));
        assert_eq!(clock.now(), VIRTUAL_START + Duration::from_millis(5));
    }

    #[test]
    fn real_time_is_anchored_to_the_unix_epoch() {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, duration_nanos);
        let now = Clock::real().now().nanos();
        assert!(now >= unix && now - unix < 60_000_000_000);
    }
}
