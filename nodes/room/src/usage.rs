//! What processes have used, from `/proc`.

use std::fs;
use std::io;
use std::time::Duration;

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Processor time of all its threads.
    pub cpu: Duration,
    /// Resident memory, in bytes.
    pub rss: u64,
}

impl Usage {
    /// What process `pid` has used: a number, or "self". \[control\]
    ///
    /// # Errors
    /// There is no such process, or no `/proc`.
    pub fn of(pid: &str) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let none = || io::Error::new(io::ErrorKind::InvalidData, "what /proc says is not understood");
        Ok(Self { cpu: cpu(&stat).ok_or_else(none)?, rss: rss(&status).ok_or_else(none)? })
    }
}

/// proc_pid_stat(5): fields 14 and 15, in ticks of 10 ms. The second may have spaces
/// and parentheses in it.
fn cpu(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

fn rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_says_is_read() {
        let stat = "17 (a ) b) S 1 17 17 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 5 0 100 1000 200";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        assert_eq!(rss("Name:\tx\nVmRSS:\t    12 kB\n"), Some(12_288));
        assert_eq!((cpu("17 (a"), rss("")), (None, None));
        assert!(Usage::of("self").expect("it is there").rss > 0);
        assert!(Usage::of("0").is_err());
    }
}
