//! How a lane's thread runs: where, with what priority, and how long it spins
//! before it sleeps. What a graph file says of it is read in `lanes.rs`.

use std::time::Duration;

/// The real-time priority that lanes ask for, of 1 to 99: above everything
/// that has none, and below what systems give to their own devices' threads.
const FIFO: u8 = 10;

/// Whether a thread comes before others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// It shares the cores with all other threads.
    #[default]
    Normal,
    /// It runs as soon as it can, before every thread that has no such priority
    /// (`SCHED_FIFO`).
    Realtime,
}

impl Priority {
    /// The words of the graph file, in the order of the variants.
    pub const WORDS: [&'static str; 2] = ["normal", "realtime"];

    /// The word for it in graph files. \[any\]
    #[must_use]
    pub const fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

/// How a lane's thread runs. In virtual time there are no threads, and all of
/// it is without effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneSettings {
    /// The CPU that it stays on, as the system numbers them; any where `None`.
    pub cpu: Option<usize>,
    /// Whether it comes before others.
    pub priority: Priority,
    /// How long it looks for work before it sleeps: waking then costs nothing,
    /// and its CPU is busy meanwhile. 0 to 10 ms.
    pub spin: Duration,
}

impl LaneSettings {
    /// Makes the present thread run so; tells what the system did not grant. \[control\]
    pub(crate) fn apply(&self) -> Vec<String> {
        let mut refused = Vec::new();
        if let Some(cpu) = self.cpu
            && !core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
        {
            refused.push(format!("the system did not let it stay on CPU {cpu}; it runs on any"));
        }
        if self.priority == Priority::Realtime
            && let Err(why) = ask_for_real_time()
        {
            refused.push(format!(
                "the system did not grant real-time priority ({why}); it runs with normal priority. Allow {FIFO} \
                 with ulimit -r, or give the program CAP_SYS_NICE"
            ));
        }
        refused
    }
}

/// The CPUs that this process may use, as the system numbers them; none where
/// it does not say. \[control\]
pub(crate) fn cpus() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

#[cfg(unix)]
fn ask_for_real_time() -> Result<(), String> {
    use thread_priority::{
        Error, RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
        set_thread_priority_and_policy, thread_native_id,
    };
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let value = ThreadPriorityValue::try_from(FIFO)?;
    let asked =
        set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(value), policy);
    asked.map_err(|error| match error {
        Error::OS(code) => std::io::Error::from_raw_os_error(code).to_string(),
        other => other.to_string(),
    })
}

#[cfg(not(unix))]
fn ask_for_real_time() -> Result<(), String> {
    thread_priority::ThreadPriority::Max.set_for_current().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_on_the_cpu_that_it_is_given() {
        let Some(&cpu) = cpus().last() else { return };
        let settings = LaneSettings { cpu: Some(cpu), ..LaneSettings::default() };
        let seen = std::thread::spawn(move || (settings.apply(), cpus())).join().unwrap();
        assert_eq!(seen, (Vec::new(), vec![cpu]));
    }

    #[test]
    fn what_the_system_does_not_grant_is_told_and_the_thread_runs_on() {
        // No machine has as many.
        let settings = LaneSettings { cpu: Some(1_023), ..LaneSettings::default() };
        let refused = std::thread::spawn(move || settings.apply()).join().unwrap();
        assert_eq!(refused, ["the system did not let it stay on CPU 1023; it runs on any"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn real_time_priority_is_there_or_refused_in_words() {
        use thread_priority::{ThreadSchedulePolicy, thread_native_id, thread_schedule_policy_param};
        let settings = LaneSettings { priority: Priority::Realtime, ..LaneSettings::default() };
        let seen = std::thread::spawn(move || {
            let refused = settings.apply();
            (refused, thread_schedule_policy_param(thread_native_id()).unwrap().0)
        });
        let (refused, policy) = seen.join().unwrap();
        match refused.as_slice() {
            [] => assert!(matches!(policy, ThreadSchedulePolicy::Realtime(_)), "{policy:?}"),
            [why] => assert!(why.contains("did not grant") && why.contains("ulimit -r"), "{why}"),
            more => panic!("{more:?}"),
        }
    }
}
