//! Whether state can be saved and taken over, and damaged state does no harm.

use sidetone_plugin_abi as abi;

use super::frames::difference;
use crate::check::feed::{inputs, usual};
use crate::check::rig::Rig;
use crate::check::test_frame::Layout;
use crate::check::trial::{Done, Stop, Trial, code_name};
use crate::manifest::Kind;

pub(crate) fn round_trip(trial: &mut Trial) -> Done {
    for index in with_state(trial)? {
        let kind = trial.library()?.table.kinds[index].clone();
        let mut first = trial.usual(index)?;
        run(trial, &mut first, &kind, 0..8)?;
        let state = saved(trial, &mut first)?;
        let mut second = trial.usual(index)?;
        trial.doing(format!("{}: loading its own state of {} bytes", kind.kind, state.len()));
        let code = second.load(&state);
        if code != abi::SIDETONE_OK {
            trial.found(format!(
                "{}: load gave {} for a state that save gave",
                kind.kind,
                code_name(code)
            ))?;
            return Err(Stop::Enough);
        }
        let one = run(trial, &mut first, &kind, 8..16)?;
        let other = run(trial, &mut second, &kind, 8..16)?;
        if kind.has("deterministic")
            && let Some(what) = difference(&kind, &one, &other)
        {
            trial.found(format!(
                "{}: {what} from the instance that was saved and from the one that took its state over",
                kind.kind
            ))?;
        }
    }
    Ok(())
}

pub(crate) fn garbage(trial: &mut Trial) -> Done {
    for index in with_state(trial)? {
        let kind = trial.library()?.table.kinds[index].clone();
        let mut random = fastrand::Rng::with_seed(trial.seed);
        let mut rig = trial.usual(index)?;
        run(trial, &mut rig, &kind, 0..4)?;
        let good = saved(trial, &mut rig)?;
        let mut states: Vec<(String, Vec<u8>)> = vec![("an empty state".into(), Vec::new())];
        for length in [1, 3, 4, 7, 8, 16, 64, 1_000, 4_096, 1 << 20] {
            let bytes = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
            states.push((format!("{length} random bytes"), bytes));
            states.push((format!("{length} bytes of 255"), vec![255; length]));
            states.push((format!("{length} bytes of 0"), vec![0; length]));
        }
        for cut in [1, 2, 3, 4, 7, 8, 9].into_iter().chain([good.len() / 2]).filter(|cut| *cut <= good.len())
        {
            states.push((
                format!("its own state without the last {cut} bytes"),
                good[..good.len() - cut].to_vec(),
            ));
        }
        let mut more = good.clone();
        more.extend_from_slice(&[0x5a; 64]);
        states.push(("its own state and 64 bytes".into(), more));
        for at in 0..good.len().min(32) {
            let mut changed = good.clone();
            changed[at] ^= 0xff;
            states.push((format!("its own state with byte {at} inverted"), changed));
        }
        for _ in 0..40 {
            let mut changed = good.clone();
            if changed.is_empty() {
                break;
            }
            for _ in 0..random.usize(1..8) {
                let at = random.usize(..changed.len());
                changed[at] = random.u8(..);
            }
            states.push(("its own state with random bytes in it".into(), changed));
        }
        for (what, state) in states {
            one(trial, index, &kind, &what, &state)?;
        }
    }
    Ok(())
}

/// Loads a damaged state, and looks whether the instance goes on, as it was where it
/// refused the state.
fn one(trial: &mut Trial, index: usize, kind: &Kind, what: &str, state: &[u8]) -> Done {
    let (mut rig, mut twin) = (trial.usual(index)?, trial.usual(index)?);
    run(trial, &mut rig, kind, 0..2)?;
    run(trial, &mut twin, kind, 0..2)?;
    trial.doing(format!("{}: loading {what}", kind.kind));
    let code = rig.load(state);
    if code != abi::SIDETONE_OK && code != abi::SIDETONE_ERROR_MEDIA {
        trial.found(format!(
            "{}: load gave {} for {what}; it must be SIDETONE_OK or SIDETONE_ERROR_MEDIA",
            kind.kind,
            code_name(code)
        ))?;
    }
    let after = run(trial, &mut rig, kind, 2..4)?;
    let untouched = run(trial, &mut twin, kind, 2..4)?;
    if code != abi::SIDETONE_OK
        && kind.has("deterministic")
        && let Some(where_) = difference(kind, &after, &untouched)
    {
        trial.found(format!(
            "{}: it refused {what}, and is not as it was: {where_} with and without",
            kind.kind
        ))?;
    }
    Ok(())
}

fn with_state(trial: &mut Trial) -> Result<Vec<usize>, Stop> {
    let library = trial.library()?;
    let all: Vec<usize> =
        (0..library.functions.len()).filter(|at| library.functions[*at].state.is_some()).collect();
    if all.is_empty() {
        Err(Stop::Skip("no kind has the extension sidetone.state/1".into()))
    } else {
        Ok(all)
    }
}

fn saved(trial: &mut Trial, rig: &mut Rig) -> Result<Vec<u8>, Stop> {
    let name = rig.kind().kind.clone();
    trial.doing(format!("{name}: saving its state"));
    match rig.save() {
        Some(Ok(state)) => Ok(state),
        Some(Err(why)) => {
            trial.found(format!("{name}: {why}"))?;
            Err(Stop::Enough)
        }
        None => Err(Stop::Enough),
    }
}

type Outputs = Vec<Vec<Option<crate::check::rig::Output>>>;

fn run(
    trial: &mut Trial,
    rig: &mut Rig,
    kind: &Kind,
    numbers: std::ops::Range<u64>,
) -> Result<Outputs, Stop> {
    let shape = usual(&kind.inputs[0]);
    let mut all = Vec::new();
    for number in numbers {
        let frames = inputs(kind, &shape, number, trial.seed, Layout::default());
        all.push(trial.call(rig, &frames)?.outputs);
    }
    Ok(all)
}
