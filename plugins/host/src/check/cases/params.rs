//! Whether parameters take what the table says they take.

use sidetone_plugin_abi as abi;

use crate::check::feed::{inputs, usual};
use crate::check::rig::event;
use crate::check::test_frame::{Layout, Shape};
use crate::check::trial::{Done, Trial};
use crate::manifest::{Given, Kind, Param};

/// Instances with random values.
const DRAWN: usize = 40;

pub(crate) fn values(trial: &mut Trial) -> Done {
    for index in trial.kinds("has parameters", |kind| !kind.params.is_empty())? {
        let kind = trial.library()?.table.kinds[index].clone();
        let usual_values = trial.settings(index)?;
        let mut all = vec![usual_values.clone()];
        for param in &kind.params {
            for value in ends(param) {
                let mut settings = usual_values.clone();
                settings.iter_mut().filter(|(id, _)| *id == param.id).for_each(|it| it.1 = value.clone());
                all.push(settings);
            }
        }
        let mut random = fastrand::Rng::with_seed(trial.seed);
        for _ in 0..DRAWN {
            let mut settings = usual_values.clone();
            for (id, value) in &mut settings {
                let param = kind.params.iter().find(|param| param.id == *id);
                if let Some(drawn) = param.and_then(|param| draw(param, &mut random)) {
                    *value = drawn;
                }
            }
            all.push(settings);
        }
        for settings in all {
            let mut rig = trial.make(index, &settings, Layout::default())?;
            for number in 0..3 {
                let frames = inputs(&kind, &small(&kind), number, trial.seed, Layout::default());
                trial.call(&mut rig, &frames)?;
            }
        }
    }
    Ok(())
}

pub(crate) fn live(trial: &mut Trial) -> Done {
    let is_live = |kind: &Kind| kind.params.iter().any(|param| param.has("live"));
    for index in trial.kinds("has live parameters", is_live)? {
        let kind = trial.library()?.table.kinds[index].clone();
        let mut rig = trial.usual(index)?;
        let mut random = fastrand::Rng::with_seed(trial.seed);
        let live: Vec<&Param> = kind.params.iter().filter(|param| param.has("live")).collect();
        for number in 0..100 {
            let mut events = Vec::new();
            for _ in 0..random.usize(0..4) {
                let param = live[random.usize(..live.len())];
                let mut values = ends(param);
                values.extend(draw(param, &mut random));
                if values.is_empty() {
                    continue;
                }
                let value = values.swap_remove(random.usize(..values.len()));
                let number = crate::instance::number(&kind, param.id, &value);
                events.push(event(abi::SIDETONE_EVENT_PARAM, param.id, number));
            }
            // What a later version may have, and is to be left alone.
            if number % 5 == 0 {
                events.push(event(0x7777, live[0].id, f64::NAN));
            }
            let frames = inputs(&kind, &small(&kind), number, trial.seed, Layout::default());
            trial.call_with(&mut rig, &frames, &events)?;
        }
    }
    Ok(())
}

/// A small frame: what is looked at does not depend on its size.
fn small(kind: &Kind) -> Shape {
    match usual(&kind.inputs[0]) {
        Shape::Video { .. } => Shape::Video { width: 65, height: 33 },
        other => other,
    }
}

/// The ends of a parameter's range, and what is special in it; every choice.
pub(super) fn ends(param: &Param) -> Vec<Given> {
    match param.kind.as_str() {
        "bool" => vec![Given::Bool(false), Given::Bool(true)],
        "int" | "float" => {
            let mut all = vec![param.min, param.max];
            all.extend([0.0, 1.0].into_iter().filter(|it| (param.min..=param.max).contains(it)));
            all.into_iter().map(Given::Number).collect()
        }
        "choice" => param.choices.iter().cloned().map(Given::Text).collect(),
        _ => Vec::new(),
    }
}

fn draw(param: &Param, random: &mut fastrand::Rng) -> Option<Given> {
    Some(match param.kind.as_str() {
        "bool" => Given::Bool(random.bool()),
        "int" => Given::Number((param.min + random.f64() * (param.max - param.min)).round()),
        "float" => Given::Number(param.min + random.f64() * (param.max - param.min)),
        "choice" => Given::Text(param.choices[random.usize(..param.choices.len())].clone()),
        _ => return None,
    })
}
