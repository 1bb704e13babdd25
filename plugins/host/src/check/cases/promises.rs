//! Whether the flags and the latency that it declares are true.

use std::hash::{DefaultHasher, Hash, Hasher};

use sidetone_plugin_abi as abi;

use super::frames::difference;
use crate::check::feed::{content, frame, inputs, range, usual};
use crate::check::rig::{Output, event};
use crate::check::test_frame::{Layout, Shape, TestFrame};
use crate::check::trial::{Done, Line, Stop, Trial, samples};
use crate::check::watch::{Watch, whose};
use crate::manifest::{Given, Kind};

/// Calls in which a real-time kind may still allocate.
const FREE: u64 = 3;
/// Samples at the start and at the end of sizes are enough for an identity.
const SHAPES: usize = 12;

pub(crate) fn identity_at_zero(trial: &mut Trial) -> Done {
    for index in trial.kinds("is declared identity_at_zero", |kind| kind.has("identity_at_zero"))? {
        let kind = trial.library()?.table.kinds[index].clone();
        let mut settings = trial.settings(index)?;
        for (id, value) in &mut settings {
            let param = kind.params.iter().find(|param| param.id == *id);
            let Some(param) = param.filter(|param| matches!(param.kind.as_str(), "int" | "float")) else {
                continue;
            };
            if !(param.min..=param.max).contains(&0.0) {
                trial.found(format!(
                    "{}: parameter {} goes from {} to {}, and cannot be 0",
                    kind.kind, param.name, param.min, param.max
                ))?;
                return Err(Stop::Enough);
            }
            *value = Given::Number(0.0);
        }
        let shapes = range(&kind.inputs[0]);
        let step = shapes.len().div_ceil(SHAPES);
        for shape in shapes.iter().step_by(step) {
            let mut rig = trial.make(index, &settings, Layout::default())?;
            for number in 0..3 {
                let frames = inputs(&kind, shape, number, trial.seed, Layout::default());
                let given = frames[0].as_deref().map(TestFrame::content);
                let answer = trial.call(&mut rig, &frames)?;
                let out = answer.outputs.first().and_then(Option::as_ref);
                if out.map(|out| &out.content) != given.as_ref() {
                    let at = out.zip(given.as_ref()).and_then(|(out, given)| {
                        out.content.iter().zip(given).position(|(out, given)| out != given)
                    });
                    let what = match at {
                        Some(at) => format!("byte {at} is changed"),
                        None => "nothing, or another length, goes out".into(),
                    };
                    trial
                        .found(format!("{}: {shape}, frame {number}, all numbers at 0: {what}", kind.kind))?;
                    return Err(Stop::Enough);
                }
            }
        }
    }
    Ok(())
}

pub(crate) fn deterministic(trial: &mut Trial) -> Done {
    let mut digest = DefaultHasher::new();
    for index in trial.kinds("is declared deterministic", |kind| kind.has("deterministic"))? {
        let kind = trial.library()?.table.kinds[index].clone();
        let shape = usual(&kind.inputs[0]);
        let live = kind.params.iter().find(|param| param.has("live") && param.kind == "float");
        let changed =
            live.map(|param| event(abi::SIDETONE_EVENT_PARAM, param.id, (param.min + param.max) / 2.0));
        let mut runs: Vec<Vec<Vec<Option<Output>>>> = Vec::new();
        for filling in [0x55, 0xaa] {
            fill_new_memory(filling);
            let mut rig = trial.usual(index)?;
            let mut all = Vec::new();
            for number in 0..12 {
                let frames = inputs(&kind, &shape, number, trial.seed, Layout::default());
                let events: Vec<_> = changed.into_iter().filter(|_| number == 6).collect();
                all.push(trial.call_with(&mut rig, &frames, &events)?.outputs);
            }
            runs.push(all);
        }
        if let Some(what) = difference(&kind, &runs[0], &runs[1]) {
            trial.found(format!("{}: {what} from two instances with the same seed", kind.kind))?;
        }
        for output in runs[0].iter().flatten().flatten() {
            (&output.content, output.pts, output.flags).hash(&mut digest);
        }
    }
    trial.tell(&Line::Digest(digest.finish()));
    Ok(())
}

/// Has the C library's allocator fill what it gives with other bytes, so that what
/// was never written shows.
fn fill_new_memory(byte: i32) {
    #[cfg(target_env = "gnu")]
    {
        // malloc.h
        const M_PERTURB: i32 = -6;
        // SAFETY: a setting of the allocator.
        unsafe { libc::mallopt(M_PERTURB, byte) };
    }
    let _ = byte;
}

pub(crate) fn real_time(trial: &mut Trial) -> Done {
    let all = trial.kinds("is declared real_time", |kind| kind.has("real_time"))?;
    let mut watch = Some(Watch::new().map_err(Stop::Skip)?);
    for index in all {
        let kind = trial.library()?.table.kinds[index].clone();
        let shape = usual(&kind.inputs[0]);
        let live: Vec<_> = kind.params.iter().filter(|param| param.has("live")).collect();
        let mut rig = trial.usual(index)?;
        let mut seen: Vec<String> = Vec::new();
        for number in 0..40 {
            let frames = inputs(&kind, &shape, number, trial.seed, Layout::default());
            let events: Vec<_> = live
                .iter()
                .filter(|_| number % 4 == 3)
                .map(|param| {
                    let end = if number % 8 == 3 { param.max } else { param.min };
                    event(abi::SIDETONE_EVENT_PARAM, param.id, end)
                })
                .collect();
            if number >= FREE {
                rig.watch = watch.take();
            }
            let answer = trial.call_with(&mut rig, &frames, &events);
            watch = rig.watch.take().or(watch);
            answer?;
            let what = std::mem::take(&mut rig.seen);
            let calls = what.calls.iter().map(|(what, from)| format!("{what}, called from {}", whose(*from)));
            let system = what.system_call.map(|(number, from)| {
                format!("calls the system ({}), from {}", system_call_name(number), whose(from))
            });
            for what in calls.chain(system) {
                if !seen.contains(&what) && seen.len() < 4 {
                    trial.found(format!("{}: process {what}, in call {}", kind.kind, number + 1))?;
                    seen.push(what);
                }
            }
        }
    }
    Ok(())
}

/// The names of the system calls that plugins make most; the number of others.
fn system_call_name(number: i64) -> String {
    let known = [
        (libc::SYS_read, "read"),
        (libc::SYS_write, "write"),
        (libc::SYS_openat, "openat"),
        (libc::SYS_close, "close"),
        (libc::SYS_futex, "futex"),
        (libc::SYS_mmap, "mmap"),
        (libc::SYS_munmap, "munmap"),
        (libc::SYS_madvise, "madvise"),
        (libc::SYS_brk, "brk"),
        (libc::SYS_getpid, "getpid"),
        (libc::SYS_gettid, "gettid"),
        (libc::SYS_nanosleep, "nanosleep"),
        (libc::SYS_clock_nanosleep, "clock_nanosleep"),
        (libc::SYS_sched_yield, "sched_yield"),
        (libc::SYS_getrandom, "getrandom"),
        (libc::SYS_ioctl, "ioctl"),
        (libc::SYS_sendto, "sendto"),
        (libc::SYS_clone3, "clone3"),
    ];
    let name = known.iter().find(|(known, _)| *known == number).map(|(_, name)| (*name).to_owned());
    name.unwrap_or_else(|| format!("number {number}"))
}

pub(crate) fn latency(trial: &mut Trial) -> Done {
    let mut told = 0;
    let mut why_not = String::from("no kind has a first input and output whose frames can be told apart");
    let has_both = |kind: &Kind| {
        let media = kind.inputs[0].media.as_str();
        matches!(media, "video" | "audio") && kind.outputs.first().is_some_and(|output| output.media == media)
    };
    for index in trial.kinds("gives out what it takes in", has_both)? {
        let kind = trial.library()?.table.kinds[index].clone();
        let shape = usual(&kind.inputs[0]);
        let measured = if matches!(shape, Shape::Video { .. }) {
            step_of_pictures(trial, index, &kind, &shape)?
        } else {
            impulse(trial, index, &kind, &shape)?
        };
        let (least, most, how) = match measured {
            Ok(measured) => measured,
            Err(why) => {
                why_not = format!("{}: {why}", kind.kind);
                continue;
            }
        };
        told += 1;
        if !(least..=most).contains(&(kind.latency_ns as i64)) {
            trial.found(format!(
                "{}: {how}; it declares a latency of {} ms",
                kind.kind,
                kind.latency_ns as f64 / 1e6
            ))?;
        }
    }
    if told == 0 { Err(Stop::Skip(why_not)) } else { Ok(()) }
}

/// The least and the most that the latency may be in nanoseconds, and how that was
/// found; or why it cannot be told.
type Latency = Result<(i64, i64, String), String>;

/// Grey pictures, and then brighter ones: with which frame that is seen.
fn step_of_pictures(trial: &mut Trial, index: usize, kind: &Kind, shape: &Shape) -> Result<Latency, Stop> {
    const STEP: u64 = 40;
    const FRAMES: u64 = 80;
    let mut rig = trial.usual(index)?;
    rig.shared = false;
    let length = content(&kind.inputs[0], shape, 0, 0).len();
    let mut out: Vec<(u64, Vec<u8>)> = Vec::new();
    for number in 0..FRAMES {
        let mut frames = inputs(kind, shape, number, trial.seed, Layout::default());
        let grey = if number < STEP { 60 } else { 190 };
        frames[0] = Some(frame(&kind.inputs[0], shape, &vec![grey; length], number, Layout::default()));
        // What else comes in stays as it is.
        for (input, port) in frames.iter_mut().zip(&kind.inputs).skip(1) {
            if let Some(input) = input {
                let still = content(port, input.shape(), 0, trial.seed);
                input.fill(&still);
            }
        }
        let answer = trial.call(&mut rig, &frames)?;
        if let Some(Some(output)) = answer.outputs.into_iter().next() {
            out.push((number, output.content));
        }
    }
    let steady = |all: &[(u64, Vec<u8>)]| all.windows(2).all(|pair| pair[0].1 == pair[1].1);
    let before: Vec<_> =
        out.iter().filter(|(number, _)| (STEP / 2..STEP).contains(number)).cloned().collect();
    if before.len() < 2 || !steady(&before) {
        return Ok(Err("still pictures do not come out still".into()));
    }
    let Some((seen, _)) = out.iter().find(|(number, content)| *number >= STEP && *content != before[0].1)
    else {
        return Ok(Err("a step from dark to bright does not show".into()));
    };
    let frame_ns = shape.duration() as i64;
    let late = (seen - STEP) as i64;
    let how = format!(
        "a step from dark to bright comes out {late} frames later ({} ms)",
        late as f64 * frame_ns as f64 / 1e6
    );
    // Less than a frame more or less cannot be told.
    Ok(Ok(((late - 1).max(-1) * frame_ns + 1, (late + 1) * frame_ns - 1, how)))
}

/// Silence with one loud sample in it: how much later that comes out.
fn impulse(trial: &mut Trial, index: usize, kind: &Kind, shape: &Shape) -> Result<Latency, Stop> {
    const AT: usize = 10_000;
    let Shape::Audio { rate, channels, samples: length } = *shape else {
        return Ok(Err("it is no sound".into()));
    };
    let mut rig = trial.usual(index)?;
    rig.shared = false;
    let (mut heard, mut given) = (Vec::new(), 0_usize);
    for number in 0..200_u64 {
        let mut all = vec![0.0_f32; (length * channels) as usize];
        if (given..given + length as usize).contains(&AT) {
            (0..channels as usize).for_each(|channel| all[channel * length as usize + AT - given] = 0.9);
        }
        let bytes: Vec<u8> = all.iter().flat_map(|sample| sample.to_ne_bytes()).collect();
        let mut frames = inputs(kind, shape, number, trial.seed, Layout::default());
        frames[0] = Some(frame(&kind.inputs[0], shape, &bytes, number, Layout::default()));
        let answer = trial.call(&mut rig, &frames)?;
        given += length as usize;
        match answer.outputs.into_iter().next() {
            Some(Some(Output { shape: Shape::Audio { rate: out, samples: count, .. }, content, .. }))
                if out == rate =>
            {
                // What is not there yet is later by as much.
                heard.resize(given - length as usize, 0.0);
                heard.extend(samples(&content).take(count as usize));
            }
            Some(Some(_)) => return Ok(Err("it gives out another rate".into())),
            _ => {}
        }
    }
    let all: f32 = heard.iter().map(|it| it.abs()).sum();
    let peak = heard.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
    let Some((at, loudest)) = peak.filter(|(_, loudest)| loudest.abs() > 1e-4) else {
        return Ok(Err("an impulse in silence does not show".into()));
    };
    if loudest.abs() < all * 0.2 || at < AT {
        return Ok(Err("an impulse comes out spread over so much that no one place is its own".into()));
    }
    let late = ((at - AT) as i64) * 1_000_000_000 / i64::from(rate);
    let how = format!("an impulse comes out {} ms later", late as f64 / 1e6);
    Ok(Ok((late - 1_000_000, late + 1_000_000, how)))
}
