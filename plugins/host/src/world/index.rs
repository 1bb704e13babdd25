//! `Index`: what is known of the effects of other formats that are installed, kept
//! in a file between runs.
//!
//! Describing an effect runs its library's code, which may crash or never return.
//! So each library is described in a child process with a time limit, once, and
//! again when its size or time of change is another. A library that could not be
//! described is kept too, with the reason.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::world::installed::{Format, Installed};

/// How long a library may take to describe its effects.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Which form the file has; one of another form is not read.
const VERSION: u32 = 1;

/// The most that is read of an index.
const MOST_BYTES: u64 = 64 << 20;

/// What came of describing a library: its effects, or why there are none.
pub type Described = Result<Vec<Installed>, String>;

/// What is known of the libraries that were described. \[control\]
#[derive(Debug, Default)]
pub struct Index {
    /// Where it is kept; nowhere where no folder is to be had.
    file: Option<PathBuf>,
    entries: BTreeMap<String, Entry>,
    is_changed: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    version: u32,
    entries: BTreeMap<String, Entry>,
}

/// A library as it was when it was described.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    bytes: u64,
    /// Nanoseconds since 1970.
    changed: u64,
    described: Described,
}

impl Index {
    /// The index in `$XDG_CACHE_HOME/sidetone` or `~/.cache/sidetone`. \[control\]
    #[must_use]
    pub fn of_user() -> Self {
        let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
        cache.map_or_else(Self::default, |cache| Self::open(&cache.join("sidetone/effects.json")))
    }

    /// The index in `file`; empty where that is missing, damaged or of another form,
    /// since all in it can be had again. \[control\]
    #[must_use]
    pub fn open(file: &Path) -> Self {
        let contents = fs::File::open(file).ok().and_then(|opened| {
            let mut text = Vec::new();
            opened.take(MOST_BYTES).read_to_end(&mut text).ok()?;
            serde_json::from_slice::<Contents>(&text).ok()
        });
        let entries = contents.filter(|contents| contents.version == VERSION);
        let entries = entries.map(|contents| contents.entries).unwrap_or_default();
        Self { file: Some(file.to_owned()), entries, is_changed: false }
    }

    /// What is known of each of `libraries`, in their order; those that are new or
    /// changed are described by `describe`, several at a time. \[control\]
    pub fn look_up(
        &mut self,
        format: Format,
        libraries: &[PathBuf],
        describe: &(dyn Fn(Format, &Path) -> Described + Sync),
    ) -> Vec<Described> {
        let stamps: Vec<_> = libraries.iter().map(|path| stamp(path)).collect();
        let fresh = |entry: &Entry, stamp: &Option<(u64, u64)>| *stamp == Some((entry.bytes, entry.changed));
        let missing: Vec<_> = (0..libraries.len())
            .filter(|at| {
                !self
                    .entries
                    .get(&key(format, &libraries[*at]))
                    .is_some_and(|entry| fresh(entry, &stamps[*at]))
            })
            .collect();
        for (at, described) in in_parallel(&missing, |at| describe(format, &libraries[at])) {
            let (bytes, changed) = stamps[at].unwrap_or_default();
            self.entries.insert(key(format, &libraries[at]), Entry { bytes, changed, described });
            self.is_changed = true;
        }
        let known =
            |path: &PathBuf| self.entries.get(&key(format, path)).map(|entry| entry.described.clone());
        libraries.iter().map(|path| known(path).unwrap_or_else(|| Ok(Vec::new()))).collect()
    }

    /// Forgets all. \[control\]
    pub fn clear(&mut self) {
        self.is_changed = !self.entries.is_empty();
        self.entries.clear();
    }

    /// Writes the file, if anything is new; what is in it is another's whole or this
    /// one's whole, never half. \[control\]
    ///
    /// # Errors
    /// If it cannot be written: then effects are described again next time, and
    /// nothing else is lost.
    pub fn save(&mut self) -> std::io::Result<()> {
        let Some(file) = self.file.as_ref().filter(|_| self.is_changed) else { return Ok(()) };
        // Libraries that are gone are forgotten.
        self.entries.retain(|key, _| key.split_once(':').is_some_and(|(_, path)| Path::new(path).exists()));
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let contents = Contents { version: VERSION, entries: std::mem::take(&mut self.entries) };
        let text = serde_json::to_vec(&contents);
        self.entries = contents.entries;
        let other = file.with_extension(format!("{}.tmp", std::process::id()));
        fs::write(&other, text?)?;
        fs::rename(&other, file)?;
        self.is_changed = false;
        Ok(())
    }
}

fn key(format: Format, path: &Path) -> String {
    format!("{}:{}", format.word(), path.display())
}

/// Size and time of change; none where there is no such file.
fn stamp(path: &Path) -> Option<(u64, u64)> {
    let data = fs::metadata(path).ok()?;
    let changed = data.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((data.len(), u64::try_from(changed.as_nanos()).unwrap_or(u64::MAX)))
}

/// What `work` makes of each of `items`, by as many threads as there are processors.
fn in_parallel<T: Send>(items: &[usize], work: impl Fn(usize) -> T + Sync) -> Vec<(usize, T)> {
    let next = Mutex::new(items.iter());
    let done = Mutex::new(Vec::new());
    let threads = thread::available_parallelism().map_or(1, usize::from).min(items.len());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let item = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(item) = item else { break };
                    let made = work(*item);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((*item, made));
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use sidetone_core::scratch::Scratch;

    use super::*;

    fn effect(path: &Path) -> Installed {
        Installed {
            format: Format::Ladspa,
            path: path.to_owned(),
            key: "amp".into(),
            name: "Amplifier".into(),
            author: String::new(),
            version: String::new(),
            doc: String::new(),
            inputs: 1,
            outputs: 1,
            latency_samples: 0,
            params: Vec::new(),
            unusable: None,
        }
    }

    #[test]
    fn a_library_is_described_once_and_again_when_it_changes() {
        let folder = Scratch::new();
        let (file, library) =
            (PathBuf::from(folder.path("cache/effects.json")), PathBuf::from(folder.path("amp.so")));
        fs::write(&library, "one").unwrap();
        let count = AtomicUsize::new(0);
        let describe = |_: Format, path: &Path| -> Described {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(vec![effect(path)])
        };
        let look =
            |index: &mut Index| index.look_up(Format::Ladspa, std::slice::from_ref(&library), &describe);
        let mut index = Index::open(&file);
        assert_eq!(look(&mut index), [Ok(vec![effect(&library)])]);
        index.save().unwrap();
        let mut index = Index::open(&file);
        assert_eq!(look(&mut index), [Ok(vec![effect(&library)])]);
        assert_eq!(count.load(Ordering::Relaxed), 1);
        fs::write(&library, "another").unwrap();
        look(&mut index);
        assert_eq!(count.load(Ordering::Relaxed), 2);
        index.clear();
        look(&mut index);
        assert_eq!(count.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn why_a_library_cannot_be_described_is_kept_too() {
        let folder = Scratch::new();
        let (file, library) =
            (PathBuf::from(folder.path("effects.json")), PathBuf::from(folder.path("bad.so")));
        fs::write(&library, "").unwrap();
        let mut index = Index::open(&file);
        let libraries = [library];
        index.look_up(Format::Frei0r, &libraries, &|_, _| Err("it aborted".into()));
        index.save().unwrap();
        let again = Index::open(&file).look_up(Format::Frei0r, &libraries, &|_, _| panic!("described again"));
        assert_eq!(again, [Err("it aborted".into())]);
    }

    #[test]
    fn a_damaged_or_unwritable_index_costs_describing_again_and_nothing_else() {
        let folder = Scratch::new();
        let file = PathBuf::from(folder.path("effects.json"));
        for damage in [
            "",
            "{",
            "[]",
            "{\"version\":0,\"entries\":{}}",
            "\0\0\0",
            "{\"version\":1,\"entries\":{\"a\":1}}",
        ] {
            fs::write(&file, damage).unwrap();
            assert!(Index::open(&file).entries.is_empty(), "{damage}");
        }
        // A file stands where the folder would be.
        let mut index = Index::open(&file.join("below/effects.json"));
        let libraries = [file.clone()];
        let found = index.look_up(Format::Ladspa, &libraries, &|_, path| Ok(vec![effect(path)]));
        assert_eq!(found, [Ok(vec![effect(&file)])]);
        assert!(index.save().is_err());
    }
}
