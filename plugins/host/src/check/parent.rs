//! The process that has others run the cases, and reads what they tell.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::trial::Line;
use super::{CASES, Case};

/// Bytes of what a plugin printed that are kept.
const PRINTED: usize = 2_048;

/// What is to be checked, and how.
pub struct Options<'a> {
    /// The library, for the report.
    pub library: PathBuf,
    /// These cases alone; all where empty.
    pub only: Vec<String>,
    /// What random values are drawn with.
    pub seed: u64,
    /// How long a case may take.
    pub limit: Duration,
    /// Cases that run at once.
    pub jobs: usize,
    /// The command that runs a case, by its name, in a process of its own.
    pub command: &'a (dyn Fn(&str) -> Command + Sync),
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "verdict", content = "why")]
pub enum Verdict {
    /// It is as it should be.
    Ok,
    /// What was seen, each.
    Failed(Vec<String>),
    /// There was nothing to look at, and why.
    Skipped(String),
}

/// A case and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct CaseReport {
    /// The case's name.
    pub name: &'static str,
    /// What it shows.
    pub shows: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What the author should do, if it failed.
    pub advice: Option<&'static str>,
    /// What to run to see it again, if it failed.
    pub again: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

/// All cases, and what came of them.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The library.
    pub library: PathBuf,
    /// What random values were drawn with.
    pub seed: u64,
    /// Each case.
    pub cases: Vec<CaseReport>,
}

impl Report {
    /// How many cases passed, failed and were skipped. \[any\]
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let count =
            |is_it: fn(&Verdict) -> bool| self.cases.iter().filter(|case| is_it(&case.verdict)).count();
        (
            count(|it| matches!(it, Verdict::Ok)),
            count(|it| matches!(it, Verdict::Failed(_))),
            count(|it| matches!(it, Verdict::Skipped(_))),
        )
    }
}

/// Runs cases, each in a process of its own; `tell` hears of each as it is done, in
/// the order of the table. Takes up to the limit for each. \[control\]
pub fn check(options: &Options<'_>, tell: &mut (dyn FnMut(&CaseReport) + Send)) -> Report {
    let is_wanted =
        |case: &&Case| options.only.is_empty() || options.only.iter().any(|name| name == case.name);
    let wanted: Vec<&Case> = CASES.iter().filter(is_wanted).collect();
    let open = Mutex::new((0..wanted.len()).collect::<VecDeque<_>>());
    let done = Mutex::new((vec![None; wanted.len()], 0_usize, tell));
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let next = open.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(at) = next else { break };
                    let report = one(options, wanted[at]);
                    let mut guard = done.lock().unwrap_or_else(PoisonError::into_inner);
                    let (reports, told, tell) = &mut *guard;
                    reports[at] = Some(report);
                    while let Some(Some(report)) = reports.get(*told) {
                        tell(report);
                        *told += 1;
                    }
                }
            });
        }
    });
    let (reports, ..) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    Report {
        library: options.library.clone(),
        seed: options.seed,
        cases: reports.into_iter().flatten().collect(),
    }
}

fn one(options: &Options<'_>, case: &Case) -> CaseReport {
    let began = Instant::now();
    let first = run(options, case);
    let mut verdict = first.verdict;
    if let (Verdict::Ok, Some(digest)) = (&verdict, first.digest) {
        // What is the same in one process must be the same in another.
        let second = run(options, case);
        if second.digest != Some(digest) {
            let why = "two processes gave different bytes for the same input, parameters and seed".to_owned();
            verdict = Verdict::Failed(vec![why]);
        }
    }
    let failed = matches!(verdict, Verdict::Failed(_));
    let again = || {
        let library = options.library.display();
        format!("sidetone plugin check {library} --only {} --seed {}", case.name, options.seed)
    };
    CaseReport {
        name: case.name,
        shows: case.shows,
        verdict,
        advice: failed.then_some(case.advice),
        again: failed.then(again),
        seconds: began.elapsed().as_secs_f64(),
    }
}

/// What a process said and how it ended.
struct Ran {
    verdict: Verdict,
    digest: Option<u64>,
}

fn run(options: &Options<'_>, case: &Case) -> Ran {
    let mut command = (options.command)(case.name);
    // Of the GNU C library: what a thread's cache holds counts as in use, so that
    // without one the heap tells exactly what is held.
    command.env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0");
    let heard = match in_child(command, options.limit) {
        Ok(heard) => heard,
        Err(why) => return Ran { verdict: Verdict::Failed(vec![why]), digest: None },
    };
    let (mut found, mut doing, mut skipped, mut digest, mut done) = (Vec::new(), None, None, None, false);
    let mut words = Vec::new();
    for line in &heard.lines {
        if let Some(word) = line.strip_prefix('!') {
            words.push(word.to_owned());
            continue;
        }
        match serde_json::from_str(line) {
            Ok(Line::Doing(what)) => doing = Some(what),
            Ok(Line::Found(what)) => found.push(what),
            Ok(Line::Skipped(why)) => skipped = Some(why),
            Ok(Line::Digest(it)) => digest = Some(it),
            Ok(Line::Done) => done = true,
            Err(_) => {}
        }
    }
    if let Some(end) = heard.bad_end(done) {
        let mut text = doing.map(|doing| format!("{doing}: {end}")).unwrap_or(end);
        for word in words {
            text.push_str(&format!("; {word}"));
        }
        if !heard.printed.trim().is_empty() {
            text.push_str(&format!("; it printed:\n{}", heard.printed.trim_end()));
        }
        found.push(text);
    }
    let verdict = match (found.is_empty(), skipped) {
        (false, _) => Verdict::Failed(found),
        (true, Some(why)) => Verdict::Skipped(why),
        (true, None) => Verdict::Ok,
    };
    Ran { verdict, digest }
}

/// What a process printed, and how it ended.
pub struct Heard {
    /// Its standard output.
    pub lines: Vec<String>,
    /// The end of its standard error.
    pub printed: String,
    /// How it ended; nothing if it had to be killed.
    pub status: Option<std::process::ExitStatus>,
    limit: Duration,
}

impl Heard {
    /// What was wrong with its end, if it should have come to one; `done` says
    /// whether it did all that it was to do. \[any\]
    #[must_use]
    pub fn bad_end(&self, done: bool) -> Option<String> {
        let Some(status) = self.status else {
            return Some(format!(
                "it did not come back within {} s, and was killed",
                self.limit.as_secs_f64()
            ));
        };
        match (status.signal(), status.code()) {
            (Some(signal), _) => Some(format!("the process died of {}", signal_name(signal))),
            (None, Some(code)) if !done => {
                Some(format!("the plugin ended the process, with exit code {code}"))
            }
            (None, Some(code)) if code != 0 => Some(format!("the process ended with exit code {code}")),
            _ => None,
        }
    }
}

/// Runs a command, kills it after `limit`, and gives what it printed. \[control\]
///
/// # Errors
/// It cannot be started.
pub fn in_child(mut command: Command, limit: Duration) -> Result<Heard, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|why| format!("cannot start a process: {why}"))?;
    let (send, receive) = channel();
    let lines = child.stdout.take();
    let printed = child.stderr.take();
    let (to_lines, to_printed) = (send.clone(), send);
    let reader = std::thread::spawn(move || {
        let Some(lines) = lines else { return };
        for line in BufReader::new(lines).lines().map_while(Result::ok) {
            if to_lines.send(Said::Line(line)).is_err() {
                break;
            }
        }
    });
    let other = std::thread::spawn(move || {
        let mut all = Vec::new();
        let mut part = [0; 4_096];
        let Some(mut printed) = printed else { return };
        while let Ok(count @ 1..) = printed.read(&mut part) {
            all.extend_from_slice(&part[..count]);
            let start = all.len().saturating_sub(PRINTED);
            all.drain(..start);
        }
        let _ = to_printed.send(Said::Printed(String::from_utf8_lossy(&all).into_owned()));
    });
    let heard = listen(&receive, &mut child, limit);
    // What a plugin left behind may hold the pipes open; its readers end with it.
    drop((reader, other));
    Ok(heard)
}

enum Said {
    Line(String),
    Printed(String),
}

/// Listens until both pipes are closed or the time is up.
fn listen(receive: &Receiver<Said>, child: &mut Child, limit: Duration) -> Heard {
    let until = Instant::now() + limit;
    let mut heard = Heard { lines: Vec::new(), printed: String::new(), status: None, limit };
    let mut killed = false;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match receive.recv_timeout(if killed { Duration::from_secs(1) } else { left }) {
            Ok(Said::Line(line)) => heard.lines.push(line),
            Ok(Said::Printed(text)) => heard.printed = text,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if killed => break,
            Err(RecvTimeoutError::Timeout) => {
                killed = true;
                // SAFETY: a group that this process made for its child, which is not
                // waited for yet, so that the number is still its own.
                unsafe { libc::kill(-(child.id() as i32), libc::SIGKILL) };
            }
        }
    }
    // One that closed its pipes need not have ended.
    while !killed && matches!(child.try_wait(), Ok(None)) {
        killed = Instant::now() > until;
        std::thread::park_timeout(Duration::from_millis(1));
    }
    if killed {
        // SAFETY: as above.
        unsafe { libc::kill(-(child.id() as i32), libc::SIGKILL) };
    }
    heard.status = child.wait().ok().filter(|_| !killed);
    heard
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGSEGV => "SIGSEGV: it used memory that it may not",
        libc::SIGBUS => "SIGBUS: it used memory that is not there",
        libc::SIGABRT => {
            "SIGABRT: it aborted (a panic that left a C function, a failed assertion, a damaged heap)"
        }
        libc::SIGILL => "SIGILL: an instruction that this machine does not have, or a trap",
        libc::SIGFPE => "SIGFPE: a division by zero",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGSYS => "SIGSYS",
        libc::SIGXCPU => "SIGXCPU: it used all the processor time that a case may",
        libc::SIGKILL => "SIGKILL",
        libc::SIGALRM => "SIGALRM",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
