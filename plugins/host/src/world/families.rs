//! `host.frei0r`, `host.ladspa`, `host.clap`: one family of kinds for each format,
//! with a kind for each effect that is installed.
//!
//! What is installed is looked at when a graph or a listing first names the family,
//! and once in a process; libraries that are not known yet are described in child
//! processes, which are this program again, told to be [`main`], and confined as the
//! processes of plugins are.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use sidetone_core::{Family, NodeSpec};

use crate::apart::confine;
use crate::cache::Cache;
use crate::shelf::Shelf;
use crate::source::{Origin, Source};
use crate::spec::{Isolation, node_spec};
use crate::world::installed::{Format, Installed};
use crate::world::{Catalogue, Described, child};

/// The first argument of a child process that describes a library; a format and a
/// path follow.
pub const ARGUMENT: &str = "describe-effects";

/// How long a library may take to describe its effects.
const LIMIT: Duration = Duration::from_secs(10);

/// What a child process does, called with [`ARGUMENT`]: describes a library and prints
/// what it says. Runs foreign code.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(2).collect();
    let [format, path] = arguments.as_slice() else { return ExitCode::from(2) };
    let Some(format) = format.to_str().and_then(Format::from_word) else { return ExitCode::from(2) };
    let path = Path::new(path);
    let described = confine(path).and_then(|()| format.describe(path));
    child::answer(&described);
    ExitCode::SUCCESS
}

/// Gives up what describing a library does not need.
fn confine(path: &Path) -> Result<(), String> {
    let origin = Origin::Plugin { library: path.to_owned(), kind: String::new() };
    confine::confine(&Source::bare(origin))
}

/// The families of all formats. `program` answers to [`ARGUMENT`]; with `isolate_all`
/// all nodes run in processes of their own, whatever graphs say. They last as long
/// as the process: those of the same arguments are the same. \[control\]
#[must_use]
pub fn families(program: &Path, isolate_all: bool) -> [&'static Family; 3] {
    type Known = HashMap<(PathBuf, bool), [&'static Family; 3]>;
    static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || Format::ALL.map(|format| family(format, program, isolate_all));
    *known.get_or_insert_default().entry((program.to_owned(), isolate_all)).or_insert_with(make)
}

/// What is installed of `format`, with what cannot be used; known for as long as the
/// process lasts. \[control\]
#[must_use]
pub fn catalogue(format: Format, program: &Path) -> &'static Catalogue {
    static KNOWN: [OnceLock<Catalogue>; 3] = [const { OnceLock::new() }; 3];
    KNOWN[format as usize].get_or_init(|| {
        let describe = |format: Format, path: &Path| -> Described {
            let mut command = Command::new(program);
            command.arg(ARGUMENT).arg(format.word()).arg(path);
            child::ask::<Described>(command, LIMIT).and_then(|described| described)
        };
        Catalogue::read(format, &mut Cache::of_user("effects.json"), &describe)
    })
}

/// What the families are called, in the order of [`Format::ALL`], what they are, and
/// their sheets.
const ABOUT: [(&str, &str, &str); 3] = [
    ("host.frei0r", "Runs a frei0r video effect that is installed here, unchanged.", FREI0R),
    ("host.ladspa", "Runs a LADSPA audio effect that is installed here, unchanged.", LADSPA),
    ("host.clap", "Runs a CLAP audio effect that is installed here, unchanged.", CLAP),
];

const FREI0R: &str = "//! `host.frei0r`: runs a frei0r 1.2 video effect that is installed here, unchanged.
//!
//! `effect` is the name of its library in `$FREI0R_PATH`, or `~/.frei0r-1/lib`,
//! `/usr/local/lib/frei0r-1` and `/usr/lib/frei0r-1`: `cartoon` for `cartoon.so`.
//! Filters take one picture, mixers two or three of one size, of which the first
//! sets the pace and the latest of the others are mixed in. Sources are no members.
//!
//! Parameters are the effect's own, in snake_case. frei0r has no units: numbers run
//! from 0 to 1. A position is two of them, `NAME_x` and `NAME_y`; a colour is written
//! `\"#rrggbb\"`.
//!
//! Pictures are converted to RGBA or BGRA and back (BT.601, limited range; a picture
//! of smooth colour comes back within 2), their sides padded to multiples of 8;
//! 2048x2048 pixels at most. Transparency that an effect makes is not seen.
//!
//! Some effects never return, so they run in a process of their own, unless
//! `isolate = \"none\"`.
//!
//! Latency: none.
";

const LADSPA: &str = "//! `host.ladspa`: runs a LADSPA 1.1 audio effect that is installed here, unchanged.
//!
//! `effect` is its label, or `library:label` where several libraries have one, in
//! `$LADSPA_PATH`, or `~/.ladspa`, `/usr/local/lib/ladspa` and `/usr/lib/ladspa`.
//! An effect of one channel takes any sound, and runs once for each channel; others
//! take as many channels as they have. Those that take or give no sound are no
//! members.
//!
//! Parameters are the effect's control ports, in snake_case, with the unit that the
//! effect names: `Delay time (ms)` is `delay_time_ms`. Ranges that depend on the
//! sample rate are those at 48 kHz; elsewhere values are brought into range.
//!
//! Latency: what the effect says with its defaults.
";

const CLAP: &str = "//! `host.clap`: runs a CLAP audio effect that is installed here, unchanged.
//!
//! `effect` is the last part of its identifier, or all of it where several end alike,
//! in `$CLAP_PATH`, `~/.clap` and `/usr/lib/clap`. It takes as many channels as its
//! main input has; an effect of one channel takes any sound, and runs once for each.
//! Other inputs hear silence. Instruments are no members.
//!
//! Parameters are the effect's own, in snake_case, in its own units.
//!
//! Latency: what the effect says with its defaults.
";

fn family(format: Format, program: &Path, isolate_all: bool) -> &'static Family {
    let (kind, summary, sheet) = ABOUT[format as usize];
    let program: &'static Path = Box::leak(program.to_owned().into_boxed_path());
    let made: &'static Made = Box::leak(Box::new(Made { format, isolate_all, specs: Mutex::default() }));
    Box::leak(Box::new(Family {
        kind,
        summary,
        sheet,
        chosen_by: "effect",
        find: Box::leak(Box::new(move |name: &str| {
            let (name, effect) = catalogue(format, program).find(name)?;
            Some(made.spec(kind, name, effect))
        })),
        all: Box::leak(Box::new(move || {
            let effects = catalogue(format, program).effects.iter();
            effects.map(|(name, effect)| made.spec(kind, name, effect)).collect()
        })),
    }))
}

/// The kinds that were made of a family.
struct Made {
    format: Format,
    isolate_all: bool,
    specs: Mutex<HashMap<String, &'static NodeSpec>>,
}

impl Made {
    fn spec(&self, family: &str, name: &str, effect: &Installed) -> &'static NodeSpec {
        let mut specs = self.specs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spec) = specs.get(name) {
            return spec;
        }
        let by_default = self.isolate_all || self.format == Format::Frei0r;
        let origin = Origin::Installed(Box::new(effect.clone()));
        let kind = effect.kind(&format!("{family}/{name}"), name);
        let spec = node_spec(origin, &kind, Isolation::new(by_default, self.isolate_all), Shelf::get());
        specs.insert(name.to_owned(), spec);
        spec
    }
}
