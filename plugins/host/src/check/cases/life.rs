//! How instances come and go, what they hold, and what they share.

use sidetone_plugin_abi as abi;

use crate::check::feed::{inputs, usual};
use crate::check::rig::Output;
use crate::check::test_frame::Layout;
use crate::check::trial::{Done, Trial};

/// Instances that come and go.
const TIMES: usize = 100;
/// Calls over which memory is watched, twice.
const CALLS: u64 = 64;
/// Bytes a time that count as a leak; the smallest that an allocator gives is 16.
const LEAK: usize = 16;

pub(crate) fn create_destroy(trial: &mut Trial) -> Done {
    for index in trial.kinds("", |_| true)? {
        let kind = trial.library()?.table.kinds[index].clone();
        let first = usual(&kind.inputs[0]);
        let settings = trial.settings(index)?;
        let frames = inputs(&kind, &first, 0, trial.seed, Layout::default());
        // The first hundred may fill what is kept for all; then two must both grow.
        let mut held = Vec::new();
        for time in 0..3 * TIMES {
            if time % TIMES == 0 && time > 0 {
                held.push(Held::now());
            }
            let mut rig = trial.make(index, &settings, Layout::default())?;
            if time % 2 == 0 {
                trial.call(&mut rig, &frames)?;
            }
            let (_, wrong) = rig.destroy();
            for why in wrong {
                trial.found(format!("{}: in destroy, {why}", kind.kind))?;
            }
        }
        held.push(Held::settled(&held[1]));
        let [start, before, after] = [0, 1, 2].map(|at| &held[at]);
        let name = &kind.kind;
        for (what, was, is) in
            [("open files", before.files, after.files), ("threads", before.threads, after.threads)]
        {
            if is > was {
                trial.found(format!(
                    "{name}: {TIMES} instances came and went, and left {} {what}",
                    is - was
                ))?;
            }
        }
        let more = grown(start, before).min(grown(before, after));
        if more >= TIMES * LEAK {
            trial.found(format!(
                "{name}: {TIMES} instances came and went, and left {more} bytes of memory ({} each)",
                more / TIMES
            ))?;
        }
    }
    Ok(())
}

pub(crate) fn many_at_once(trial: &mut Trial) -> Done {
    for index in trial.kinds("is declared deterministic, so that there is nothing to compare", |kind| {
        kind.has("deterministic")
    })? {
        let kind = trial.library()?.table.kinds[index].clone();
        let first = usual(&kind.inputs[0]);
        let mut alone = trial.usual(index)?;
        let mut expected: Vec<Vec<Option<Output>>> = Vec::new();
        for number in 0..8 {
            let frames = inputs(&kind, &first, number, trial.seed, Layout::default());
            expected.push(trial.call(&mut alone, &frames)?.outputs);
        }
        drop(alone);
        let (mut one, mut other) = (trial.usual(index)?, trial.usual(index)?);
        for number in 0..8 {
            let frames = inputs(&kind, &first, number, trial.seed, Layout::default());
            let others = inputs(&kind, &first, number + 50, trial.seed ^ 1, Layout::default());
            let answer = trial.call(&mut one, &frames)?;
            trial.call(&mut other, &others)?;
            if answer.outputs != expected[number as usize] {
                trial.found(format!(
                    "{}: frame {number} comes out otherwise when another instance runs beside",
                    kind.kind
                ))?;
                break;
            }
        }
    }
    Ok(())
}

pub(crate) fn memory(trial: &mut Trial) -> Done {
    for index in trial.kinds("", |_| true)? {
        let kind = trial.library()?.table.kinds[index].clone();
        let first = usual(&kind.inputs[0]);
        let mut rig = trial.usual(index)?;
        let mut held = Vec::new();
        for number in 0..3 * CALLS {
            // At first it may be growing to what it needs.
            if number % CALLS == 0 && number > 0 {
                held.push(Held::now());
            }
            let frames = inputs(&kind, &first, number, trial.seed, Layout::default());
            trial.call(&mut rig, &frames)?;
        }
        held.push(Held::now());
        let more = grown(&held[0], &held[1]).min(grown(&held[1], &held[2]));
        if more >= CALLS as usize * LEAK && rig.kept() == 0 {
            trial.found(format!(
                "{}: {CALLS} calls of process hold {more} bytes more than before ({} each)",
                kind.kind,
                more as u64 / CALLS
            ))?;
        }
    }
    Ok(())
}

pub(crate) fn kept_frames(trial: &mut Trial) -> Done {
    for index in trial.kinds("", |_| true)? {
        let kind = trial.library()?.table.kinds[index].clone();
        let first = usual(&kind.inputs[0]);
        let mut rig = trial.usual(index)?;
        // An input in place is the host's own output, and cannot be kept.
        rig.shared = false;
        // Frames that are gone: they are there still, so that a late use faults.
        let mut gone = Vec::new();
        for number in 0..100 {
            let mut frames = inputs(&kind, &first, number, trial.seed, Layout::default());
            let answer = trial.call(&mut rig, &frames)?;
            frames.iter_mut().flatten().for_each(|frame| frame.revoke());
            gone.push(frames);
            if answer.code == abi::SIDETONE_END {
                break;
            }
        }
        let name = &kind.kind;
        if rig.kept() >= 64 {
            trial.found(format!(
                "{name}: it keeps more and more frames: 64 after 100 calls, and gets no more"
            ))?;
        }
        trial.doing(format!("{name}: destroying an instance"));
        let (kept, wrong) = rig.destroy();
        for why in wrong {
            trial.found(format!("{name}: in destroy, {why}"))?;
        }
        if kept > 0 {
            trial.found(format!("{name}: it is destroyed, and still keeps {kept} frames"))?;
        }
    }
    Ok(())
}

/// Bytes of memory by which what is held has grown.
fn grown(before: &Held, after: &Held) -> usize {
    after.bytes.saturating_sub(before.bytes)
}

/// What this process holds.
struct Held {
    /// Of the C library's heap, Rust's too.
    bytes: usize,
    files: usize,
    threads: usize,
}

impl Held {
    fn now() -> Self {
        let count = |folder: &str| std::fs::read_dir(folder).map_or(0, Iterator::count);
        Self { bytes: heap(), files: count("/proc/self/fd"), threads: count("/proc/self/task") }
    }

    /// The same, once threads that were joined are gone from the kernel's list.
    fn settled(before: &Self) -> Self {
        for _ in 0..1_000 {
            let now = Self::now();
            if now.threads <= before.threads {
                return now;
            }
            std::thread::yield_now();
        }
        Self::now()
    }
}

#[cfg(target_env = "gnu")]
fn heap() -> usize {
    // SAFETY: it only reads the allocator's counts.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

#[cfg(not(target_env = "gnu"))]
fn heap() -> usize {
    // Pages that are in memory: the allocator of this C library does not count.
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4_096
}
