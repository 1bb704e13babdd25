//! What it does to the memory of frames.

use super::params::ends;
use crate::check::feed::{inputs, range, usual};
use crate::check::guard::Edge;
use crate::check::rig::{Output, Rig};
use crate::check::test_frame::{Layout, Shape};
use crate::check::trial::{Done, Stop, Trial};
use crate::manifest::Kind;

/// Why a kind is not looked at where two of its outputs are compared.
const NOT_COMPARED: &str = "is declared deterministic, so that there is nothing to compare";

pub(crate) fn bounds_after(trial: &mut Trial) -> Done {
    bounds(trial, Edge::After)
}

pub(crate) fn bounds_before(trial: &mut Trial) -> Done {
    bounds(trial, Edge::Before)
}

fn bounds(trial: &mut Trial, edge: Edge) -> Done {
    for index in trial.kinds("", |_| true)? {
        let kind = trial.library()?.table.kinds[index].clone();
        let mut number = 0;
        for group in groups(range(&kind.inputs[0])) {
            let mut rig = trial.usual(index)?;
            // One stream whose pictures change their size, or frames their length.
            for shape in group {
                for loose in [0, 64] {
                    let layout = Layout { edge, loose, ..Layout::default() };
                    rig.layout = layout;
                    let frames = inputs(&kind, &shape, number, trial.seed, layout);
                    trial.call(&mut rig, &frames)?;
                    number += 1;
                }
            }
        }
    }
    Ok(())
}

/// Shapes that may follow one another in a stream.
fn groups(shapes: Vec<Shape>) -> Vec<Vec<Shape>> {
    let stream = |shape: &Shape| match *shape {
        Shape::Audio { rate, channels, .. } => (rate, channels),
        _ => (0, 0),
    };
    let mut groups: Vec<Vec<Shape>> = Vec::new();
    for shape in shapes {
        match groups.last_mut() {
            Some(group) if stream(&group[0]) == stream(&shape) => group.push(shape),
            _ => groups.push(vec![shape]),
        }
    }
    groups
}

pub(crate) fn padding(trial: &mut Trial) -> Done {
    let tight = Layout { leftover: 0, ..Layout::default() };
    let loose = Layout { loose: 192, leftover: 0xff, ..Layout::default() };
    alike(
        trial,
        "with other bytes between its rows, and rows further apart",
        false,
        |kind| kind.has("deterministic"),
        |_, loosely| {
            let layout = if loosely { loose } else { tight };
            // Outputs begin alike: what is left over in them is another case.
            (layout, Layout { leftover: 0x5a, ..layout })
        },
    )
}

pub(crate) fn later_host(trial: &mut Trial) -> Done {
    alike(
        trial,
        "when planes, events and parameters lie further apart than it knows them",
        true,
        |kind| kind.has("deterministic"),
        |_, later| {
            let layout = Layout { later, ..Layout::default() };
            (layout, layout)
        },
    )
}

pub(crate) fn all_written(trial: &mut Trial) -> Done {
    alike(
        trial,
        "when other bytes are left over in the output: it is not written whole",
        false,
        |kind| kind.has("deterministic"),
        |_, other| {
            (Layout::default(), Layout { leftover: if other { 0xff } else { 0 }, ..Layout::default() })
        },
    )
}

pub(crate) fn in_place(trial: &mut Trial) -> Done {
    alike(
        trial,
        "when the output is a copy of the input, and not its memory",
        false,
        |kind| kind.has("in_place") && kind.has("deterministic"),
        |rig, shared| {
            rig.shared = shared;
            (Layout::default(), Layout::default())
        },
    )
}

/// Has two instances work on the same frames, which `differ` in what must not
/// matter, and with parameters at the ends of their ranges if `at_ends`: it gives the
/// layouts of inputs and of outputs.
fn alike(
    trial: &mut Trial,
    how: &str,
    at_ends: bool,
    is_wanted: impl Fn(&Kind) -> bool,
    differ: impl Fn(&mut Rig, bool) -> (Layout, Layout),
) -> Done {
    for index in trial.kinds(NOT_COMPARED, is_wanted)? {
        let kind = trial.library()?.table.kinds[index].clone();
        let mut settings = trial.settings(index)?;
        // Not the defaults: a parameter that is not read must show.
        for (id, value) in &mut settings {
            let param = kind.params.iter().find(|param| param.id == *id);
            if let Some(end) = param.filter(|_| at_ends).and_then(|param| ends(param).pop()) {
                *value = end;
            }
        }
        let audio = [usual(&kind.inputs[0])];
        let pictures = [(127, 65), (16, 16), (3, 5)].map(|(width, height)| Shape::Video { width, height });
        let shapes: &[Shape] = if matches!(audio[0], Shape::Video { .. }) { &pictures } else { &audio };
        for shape in shapes {
            let mut run = |second: bool| -> Result<Vec<Vec<Option<Output>>>, Stop> {
                let mut rig = trial.make(index, &settings, Layout::default())?;
                let (inside, outside) = differ(&mut rig, second);
                if outside.later {
                    rig = trial.make(index, &settings, outside)?;
                }
                rig.layout = outside;
                let mut all = Vec::new();
                for number in 0..4 {
                    let frames = inputs(&kind, shape, number, trial.seed, inside);
                    all.push(trial.call(&mut rig, &frames)?.outputs);
                }
                Ok(all)
            };
            let (one, other) = (run(false)?, run(true)?);
            if let Some(what) = difference(&kind, &one, &other) {
                trial.found(format!("{}: {shape}: {what} {how}", kind.kind))?;
                break;
            }
        }
    }
    Ok(())
}

/// Where two runs differ first.
pub(crate) fn difference(
    kind: &Kind,
    one: &[Vec<Option<Output>>],
    other: &[Vec<Option<Output>>],
) -> Option<String> {
    let number = one.iter().zip(other).position(|(one, other)| one != other)?;
    let (one, other) = (&one[number], &other[number]);
    let port = one.iter().zip(other).position(|(one, other)| one != other)?;
    let name = &kind.outputs[port].name;
    let (Some(one), Some(other)) = (&one[port], &other[port]) else {
        return Some(format!("frame {number} comes out at {name} once and not the other time,"));
    };
    let at = one.content.iter().zip(&other.content).position(|(one, other)| one != other);
    Some(match at {
        Some(at) => format!(
            "byte {at} of frame {number} at {name} ({}) is {} once and {} the other time,",
            place_of(&one.shape, at),
            one.content[at],
            other.content[at]
        ),
        None => format!("frame {number} at {name} has another format, length, time or flags"),
    })
}

/// Which sample a byte of a frame's content is.
fn place_of(shape: &Shape, at: usize) -> String {
    match *shape {
        Shape::Video { width, height } => {
            let (luma, half) = ((width * height) as usize, (width.div_ceil(2), height.div_ceil(2)));
            let chroma = (half.0 * half.1) as usize;
            let (plane, at, width) = match at {
                at if at < luma => ("Y", at, width),
                at if at < luma + chroma => ("Cb", at - luma, half.0),
                at => ("Cr", at - luma - chroma, half.0),
            };
            format!("{plane}, column {}, row {}", at % width as usize, at / width as usize)
        }
        Shape::Audio { samples, .. } => {
            format!("channel {}, sample {}", at / 4 / samples as usize, at / 4 % samples as usize)
        }
        Shape::Bytes { .. } => "as it is".into(),
    }
}

pub(crate) fn input_untouched(trial: &mut Trial) -> Done {
    for index in trial.kinds("", |_| true)? {
        let kind = trial.library()?.table.kinds[index].clone();
        let shape = usual(&kind.inputs[0]);
        let mut rig = trial.usual(index)?;
        rig.shared = false;
        for number in 0..4 {
            let frames = inputs(&kind, &shape, number, trial.seed, Layout::default());
            frames.iter().flatten().for_each(|frame| frame.seal(true));
            trial.call(&mut rig, &frames)?;
        }
    }
    Ok(())
}
