//! The world's effects, unchanged: those of frei0r, LADSPA and CLAP that are
//! installed, as kinds of node.
//!
//! An [`Installed`](installed::Installed) effect is what is known of one, as data;
//! `frei0r`, `ladspa` and `clap` read it from a library and run effects; `video`
//! and `sound` make an [`Effect`] of them. What was read is kept in a [`Cache`].

pub mod child;
pub mod clap;
pub mod denormals;
pub mod families;
mod foreign;
pub mod frei0r;
pub mod installed;
pub mod ladspa;
pub mod names;
pub mod rgba;
pub mod search;
mod sound;
pub mod survey;
mod video;

use std::collections::BTreeMap;
use std::path::Path;

use crate::cache::Cache;
use crate::effect::Effect;
use crate::manifest::Given;
use crate::world::installed::{Format, Installed};

/// Makes an effect in this process, with `values` by the places of its parameters:
/// runs foreign code. \[control\]
///
/// # Errors
/// Why it cannot be made, for a person.
pub fn make(effect: &Installed, values: &[(u32, Given)]) -> Result<Box<dyn Effect>, String> {
    Ok(match effect.format {
        Format::Frei0r => Box::new(video::Video::new(effect, values)?),
        Format::Ladspa | Format::Clap => Box::new(sound::Sound::new(effect, values)?),
    })
}

/// What came of describing a library: its effects, or why there are none, which is
/// kept, too.
pub type Described = Result<Vec<Installed>, String>;

/// What is installed of one format.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    /// Effects that graphs can use, by the names that they use.
    pub effects: BTreeMap<String, Installed>,
    /// What they cannot use, by name, and why: libraries and effects.
    pub unusable: BTreeMap<String, String>,
}

impl Catalogue {
    /// What is on the search path of `format`; what `cache` does not know is described
    /// by `describe`, which runs foreign code and so should do it in a child process,
    /// and is kept. \[control\]
    pub fn read(
        format: Format,
        cache: &mut Cache<Described>,
        describe: &(dyn Fn(Format, &Path) -> Described + Sync),
    ) -> Self {
        let libraries = format.libraries();
        let described = cache.look_up(format.word(), &libraries, &|path| describe(format, path));
        // What cannot be kept is described again next time.
        let _ = cache.save();
        let mut catalogue = Self::default();
        let mut effects = Vec::new();
        for (library, described) in libraries.iter().zip(described) {
            match described {
                Ok(list) => effects.extend(list),
                Err(why) => {
                    let name = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    catalogue.unusable.insert(name, why);
                }
            }
        }
        let shorts: Vec<String> = effects.iter().map(short).collect();
        for (effect, name) in effects.iter().zip(&shorts) {
            let is_one = shorts.iter().filter(|other| *other == name).count() == 1;
            let name = if is_one { name.clone() } else { long(effect) };
            match &effect.unusable {
                Some(why) => {
                    catalogue.unusable.insert(name, why.clone());
                }
                None => {
                    catalogue.effects.entry(name).or_insert_with(|| effect.clone());
                }
            }
        }
        catalogue
    }

    /// The effect of this name, short or in full, and the name that it goes by here. \[any\]
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(&str, &Installed)> {
        let is_it = |(known, effect): &(&String, &Installed)| *known == name || long(effect) == name;
        self.effects.iter().find(is_it).map(|(known, effect)| (known.as_str(), effect))
    }
}

/// A frei0r library's name; LADSPA's label; the last part of a CLAP identifier.
fn short(effect: &Installed) -> String {
    match effect.format {
        Format::Frei0r => effect.stem(),
        Format::Ladspa => effect.key.clone(),
        Format::Clap => effect.key.rsplit('.').next().unwrap_or_default().to_owned(),
    }
}

/// The name that no other effect has: `library:label`, or the whole CLAP identifier.
fn long(effect: &Installed) -> String {
    match effect.format {
        Format::Frei0r => effect.stem(),
        Format::Ladspa => format!("{}:{}", effect.stem(), effect.key),
        Format::Clap => effect.key.clone(),
    }
}
