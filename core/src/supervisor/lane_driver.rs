//! How lanes are driven: each by a thread of its own, or in turn by the thread
//! that supervises.

use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::Clock;
use crate::lane::Lane;
use crate::lane_thread::LaneSettings;

/// How lanes are driven.
pub(crate) enum LaneDriver {
    Threads(Vec<JoinHandle<()>>),
    InTurn(Vec<Lane>),
}

impl LaneDriver {
    /// Starts a lane; tells what the system did not grant to its thread.
    pub(super) fn add(
        &mut self,
        name: &str,
        settings: LaneSettings,
        lane: Lane,
    ) -> Result<Vec<String>, std::io::Error> {
        let threads = match self {
            Self::InTurn(lanes) => {
                lanes.push(lane);
                return Ok(Vec::new());
            }
            Self::Threads(threads) => threads,
        };
        threads.retain(|thread| !thread.is_finished());
        let (tell, told) = crossbeam_channel::bounded(1);
        threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Whoever asked may be gone; the lane then quits by itself.
            let _ = tell.send(settings.apply());
            lane.run(settings.spin);
        })?);
        Ok(told.recv().unwrap_or_default())
    }

    /// Waits for lanes to end. One that is stuck inside a node's call is left
    /// behind after `limit`: there is no safe way to end it.
    pub(crate) fn join(&mut self, clock: &Clock, limit: Duration) {
        let Self::Threads(threads) = self else { return };
        let until = clock.now() + limit;
        while threads.iter().any(|thread| !thread.is_finished()) && clock.now() < until {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        for thread in threads.drain(..).filter(JoinHandle::is_finished) {
            // A lane catches its nodes' panics; were it to panic itself, the
            // ledgers are still worth reporting.
            let _ = thread.join();
        }
    }
}
