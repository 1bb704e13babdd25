//! What comes in the course of a stream: missing inputs, damaged media, the end.

use sidetone_plugin_abi as abi;

use crate::check::feed::{bytes, content, frame, inputs, is_known, usual};
use crate::check::rig::{Answer, Rig};
use crate::check::test_frame::{Layout, Shape};
use crate::check::trial::{Done, Stop, Trial, code_name, described, not_finite as bad_output, samples};
use crate::manifest::Kind;

/// Calls that may be needed to give what is held back.
const LAST_CALLS: usize = 1_024;

pub(crate) fn optional_inputs(trial: &mut Trial) -> Done {
    for index in trial.kinds("has a second input", |kind| kind.inputs.len() > 1)? {
        let kind = trial.library()?.table.kinds[index].clone();
        let shape = usual(&kind.inputs[0]);
        let mut rig = trial.usual(index)?;
        // Each alone is missing, then all, then none, in one stream and in new ones.
        let mut missing: Vec<Vec<usize>> = (1..kind.inputs.len()).map(|at| vec![at]).collect();
        missing.push((1..kind.inputs.len()).collect());
        missing.push(Vec::new());
        for (number, without) in missing.iter().enumerate() {
            let mut fresh = trial.usual(index)?;
            for rig in [&mut rig, &mut fresh] {
                let mut frames = inputs(&kind, &shape, number as u64, trial.seed, Layout::default());
                without.iter().for_each(|at| frames[*at] = None);
                let names: Vec<_> = without.iter().map(|at| kind.inputs[*at].name.as_str()).collect();
                trial.doing(format!("{}: next without {}", kind.kind, names.join(", ")));
                trial.call(rig, &frames)?;
            }
        }
    }
    Ok(())
}

pub(crate) fn garbage_media(trial: &mut Trial) -> Done {
    let takes_bytes =
        |kind: &Kind| kind.inputs.iter().any(|port| matches!(port.media.as_str(), "packet" | "data"));
    for index in trial.kinds("takes packets or data", takes_bytes)? {
        let kind = trial.library()?.table.kinds[index].clone();
        let mut random = fastrand::Rng::with_seed(trial.seed);
        let mut rig = trial.usual(index)?;
        let shape = usual(&kind.inputs[0]);
        for (at, port) in kind
            .inputs
            .iter()
            .enumerate()
            .filter(|(_, port)| matches!(port.media.as_str(), "packet" | "data"))
        {
            let mut all: Vec<Vec<u8>> = Vec::new();
            for length in [1, 2, 3, 7, 19, 20, 21, 63, 64, 65, 128, 1_000, 1_024, 65_535] {
                all.push(std::iter::repeat_with(|| random.u8(..)).take(length).collect());
                all.push(vec![255; length]);
                all.push(vec![0; length]);
            }
            let good = content(port, &usual(port), 0, trial.seed);
            // Each word of what is good, made very large; and cut off at each length.
            for word in 0..good.len() / 4 {
                for value in [u32::MAX, 0x7fff_ffff, 1 << 20, 0] {
                    let mut changed = good.clone();
                    changed[word * 4..][..4].copy_from_slice(&value.to_le_bytes());
                    // The page after its end begins where the data end.
                    changed.resize(changed.len().next_multiple_of(64), 0);
                    all.push(changed);
                }
            }
            all.extend((1..good.len()).step_by(3).map(|length| good[..length].to_vec()));
            for (number, damaged) in all.into_iter().enumerate() {
                let mut frames = inputs(&kind, &shape, number as u64, trial.seed, Layout::default());
                let damaged_shape = bytes(port, damaged.len() as u32);
                frames[at] = Some(frame(port, &damaged_shape, &damaged, number as u64, Layout::default()));
                let what = format!(
                    "{}; {} bytes of damage number {number} at {}",
                    described(&rig, &frames, &[]),
                    damaged.len(),
                    port.name
                );
                trial.doing(what.clone());
                let answer = rig.call(&frames, &[]);
                trial.wrong(&mut rig)?;
                match answer.code {
                    abi::SIDETONE_OK | abi::SIDETONE_DROP | abi::SIDETONE_NEED_MORE => {}
                    // It is called no more, as by a host.
                    abi::SIDETONE_ERROR_MEDIA => rig = trial.usual(index)?,
                    code => {
                        trial.found(format!("{what}: process gave {}", code_name(code)))?;
                        rig = trial.usual(index)?;
                    }
                }
                if bad_output(&answer).is_some() {
                    trial.found(format!("{what}: samples come out that are not finite"))?;
                }
            }
        }
        if kind.inputs.iter().all(is_known) {
            let mut rig = trial.usual(index)?;
            let frames = inputs(&kind, &shape, 0, trial.seed, Layout::default());
            trial.call(&mut rig, &frames)?;
        }
    }
    Ok(())
}

pub(crate) fn not_finite(trial: &mut Trial) -> Done {
    let is_sound = |kind: &Kind| {
        kind.inputs[0].media == "audio" && kind.outputs.iter().any(|output| output.media == "audio")
    };
    for index in trial.kinds("takes sound in and gives sound out", is_sound)? {
        let kind = trial.library()?.table.kinds[index].clone();
        let shape = usual(&kind.inputs[0]);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            let (mut rig, mut twin) = (trial.usual(index)?, trial.usual(index)?);
            for number in 0..220 {
                let mut frames = inputs(&kind, &shape, number, trial.seed, Layout::default());
                let healthy = trial.call(&mut twin, &frames)?;
                let is_bad = (10..12).contains(&number);
                if is_bad {
                    let mut spoilt = content(&kind.inputs[0], &shape, number, trial.seed);
                    for sample in spoilt.chunks_exact_mut(4).step_by(7) {
                        sample.copy_from_slice(&bad.to_ne_bytes());
                    }
                    frames[0] = Some(frame(&kind.inputs[0], &shape, &spoilt, number, Layout::default()));
                }
                let what = format!("{}: frame {number}, {bad} in frames 10 and 11", kind.kind);
                trial.doing(what.clone());
                let answer = rig.call(&frames, &[]);
                if answer.code < 0 {
                    trial.found(format!("{what}: process gave {}", code_name(answer.code)))?;
                    break;
                }
                if number >= 211 && !is_back(&answer, &healthy) {
                    trial.found(format!(
                        "{what}: 2 s later the sound is still not finite, or more than 20 dB off what it would be"
                    ))?;
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Whether an output of sound is about as loud as the healthy one.
fn is_back(answer: &Answer, healthy: &Answer) -> bool {
    answer.outputs.iter().zip(&healthy.outputs).all(|(now, healthy)| match (now, healthy) {
        (Some(now), Some(healthy)) if matches!(healthy.shape, Shape::Audio { .. }) => {
            let power = |content: &[u8]| samples(content).map(|it| f64::from(it).powi(2)).sum::<f64>();
            let (now, healthy) = (power(&now.content), power(&healthy.content));
            now.is_finite() && (healthy < 1e-9 || (healthy / 100.0..healthy * 100.0).contains(&now))
        }
        (None, Some(_)) => false,
        _ => true,
    })
}

pub(crate) fn ends(trial: &mut Trial) -> Done {
    for index in trial.kinds("", |_| true)? {
        let kind = trial.library()?.table.kinds[index].clone();
        let shape = usual(&kind.inputs[0]);
        for before in [0, 1, 20] {
            let mut rig = trial.usual(index)?;
            for number in 0..before {
                let frames = inputs(&kind, &shape, number, trial.seed, Layout::default());
                trial.call(&mut rig, &frames)?;
            }
            let what = format!("{}: the last calls after {before} frames, without inputs", kind.kind);
            trial.doing(what.clone());
            end(trial, &mut rig, &what)?;
        }
    }
    Ok(())
}

fn end(trial: &mut Trial, rig: &mut Rig, what: &str) -> Done {
    for _ in 0..LAST_CALLS {
        let answer = rig.call_last();
        trial.wrong(rig)?;
        match answer.code {
            abi::SIDETONE_END => return Ok(()),
            abi::SIDETONE_OK | abi::SIDETONE_DROP | abi::SIDETONE_NEED_MORE => {}
            code => {
                trial.found(format!("{what}: process gave {}", code_name(code)))?;
                return Err(Stop::Enough);
            }
        }
    }
    trial.found(format!("{what}: {LAST_CALLS} of them, and no SIDETONE_END"))
}
