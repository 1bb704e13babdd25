//! Foreign code in a child process, with a time limit: what it says comes back as
//! data, and a crash or a hang as the reason.
//!
//! The child prints its answer on a line of its own behind a mark, because
//! libraries print what they like before it.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The most that is read of what a child prints.
const MOST_BYTES: u64 = 64 << 20;

/// Stands before the answer in what a child prints.
const MARK: &str = "sidetone-answer:";

/// Prints `answer` for [`ask`]: the last thing that a child does. \[control\]
pub fn answer(answer: &impl Serialize) {
    // Answers are data of ours, which can always be written.
    let text = serde_json::to_string(answer).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    // Nobody is left to be told where the parent is gone.
    let _ = writeln!(out, "\n{MARK}{text}");
    let _ = out.flush();
}

/// Runs `child`, which is to call [`answer`], and reads what it answers; after
/// `limit` it is killed. \[control\]
///
/// # Errors
/// Why there is no answer: its code crashed or did not return in time, in words that
/// go on "it cannot be used:".
pub fn ask<T: DeserializeOwned>(mut child: Command, limit: Duration) -> Result<T, String> {
    child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = child.spawn().map_err(|why| format!("there is no child process for its code: {why}"))?;
    let text = read(&mut child, limit);
    let answer = text.as_ref().ok().and_then(|text| find(text));
    if text.is_err() || answer.is_some() {
        // What still runs of it is of no use. Both fail only where it is gone already.
        let _ = child.kill();
    }
    let status = child.wait();
    text?;
    answer.ok_or_else(|| match status {
        Ok(status) => format!("its code ended the process: {}", shown(status)),
        Err(why) => format!("the child process is lost: {why}"),
    })
}

fn read(child: &mut Child, limit: Duration) -> Result<Vec<u8>, String> {
    let out = child.stdout.take().ok_or("the child process has no output")?;
    let (sender, receiver) = mpsc::channel();
    // Not joined: what a library leaves running may hold the other end for ever.
    let reader = thread::Builder::new().name("child".into()).spawn(move || {
        let mut text = Vec::new();
        let read = out.take(MOST_BYTES).read_to_end(&mut text);
        let _ = sender.send(read.map(|_| text));
    });
    reader.map_err(|why| format!("there is no thread to read its answer: {why}"))?;
    match receiver.recv_timeout(limit) {
        Ok(read) => read.map_err(|why| format!("its answer could not be read: {why}")),
        Err(_) => Err(format!("its code did not return within {} s", limit.as_secs_f64())),
    }
}

fn find<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    let text = String::from_utf8_lossy(text);
    serde_json::from_str(text.lines().rev().find_map(|line| line.strip_prefix(MARK))?).ok()
}

/// "a segmentation fault", or what the system says.
fn shown(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return match signal {
            4 => "an illegal instruction".into(),
            6 => "it aborted".into(),
            7 => "a bus error".into(),
            8 => "an arithmetic error".into(),
            11 => "a segmentation fault".into(),
            other => format!("signal {other}"),
        };
    }
    status.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_child_that_crashes_hangs_or_lies_is_said_to() {
        let ten = Duration::from_secs(10);
        let ask = ask::<Vec<u8>>;
        assert_eq!(
            ask(shell("kill -SEGV $$"), ten),
            Err("its code ended the process: a segmentation fault".into())
        );
        assert_eq!(
            ask(shell("exec sleep 1000"), Duration::ZERO),
            Err("its code did not return within 0 s".into())
        );
        assert_eq!(
            ask(shell("echo sidetone-answer:{}"), ten),
            Err("its code ended the process: exit status: 0".into())
        );
        assert!(ask(Command::new("/nowhere/at/all"), ten).unwrap_err().contains("no child process"));
    }

    #[test]
    fn what_a_library_prints_besides_does_no_harm() {
        let script = r#"printf 'loading...\nhalf a line'; printf '\nsidetone-answer:[7]\nbye'"#;
        assert_eq!(ask(shell(script), Duration::from_secs(10)), Ok(vec![7]));
    }
}
