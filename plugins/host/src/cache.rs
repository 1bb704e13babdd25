//! `Cache`: what files were found to say, kept in a file between runs, so that each
//! is looked at once, and again when its size or time of change is another.
//!
//! Two are kept: of installed effects (`effects.json`), whose libraries' code runs to
//! describe them, in a child process each; and of manifests (`plugins.json`): with 200
//! of them `sidetone check` takes 9.5 ms instead of 12.6, with 10 it makes no
//! difference. They are two files so that nobody reads what they do not need.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Which form the file has; one of another form is not read.
const VERSION: u32 = 1;

/// The most that is read of a cache.
const MOST_BYTES: u64 = 64 << 20;

/// What changed so short a time ago is not kept: it may change again without another
/// time, which file systems count in steps of up to two seconds.
const SETTLED: Duration = Duration::from_secs(2);

/// What is known of files. \[control\]
#[derive(Debug)]
pub struct Cache<T> {
    /// Where it is kept; nowhere where no folder is to be had.
    file: Option<PathBuf>,
    /// None before they are needed: who has no plugins does not read about others'.
    entries: Option<BTreeMap<String, Entry<T>>>,
    is_changed: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Contents<T> {
    version: u32,
    entries: BTreeMap<String, Entry<T>>,
}

/// A file as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry<T> {
    bytes: u64,
    /// Nanoseconds since 1970.
    changed: u64,
    says: T,
}

impl<T> Default for Cache<T> {
    /// One that is kept nowhere. \[any\]
    fn default() -> Self {
        Self { file: None, entries: None, is_changed: false }
    }
}

impl<T: Clone + Send + Serialize + DeserializeOwned> Cache<T> {
    /// The cache `name` in `$XDG_CACHE_HOME/sidetone` or `~/.cache/sidetone`. \[control\]
    #[must_use]
    pub fn of_user(name: &str) -> Self {
        let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
        cache.map_or_else(Self::default, |cache| Self::open(&cache.join("sidetone").join(name)))
    }

    /// The cache in `file`; empty where that is missing, damaged or of another form,
    /// since all in it can be had again. \[control\]
    #[must_use]
    pub fn open(file: &Path) -> Self {
        Self { file: Some(file.to_owned()), ..Self::default() }
    }

    fn entries(&mut self) -> &mut BTreeMap<String, Entry<T>> {
        self.entries.get_or_insert_with(|| {
            let contents = self.file.as_ref().and_then(|file| {
                let mut text = Vec::new();
                fs::File::open(file).ok()?.take(MOST_BYTES).read_to_end(&mut text).ok()?;
                serde_json::from_slice::<Contents<T>>(&text).ok()
            });
            let contents = contents.filter(|contents| contents.version == VERSION);
            contents.map(|contents| contents.entries).unwrap_or_default()
        })
    }

    /// What each of `files`, all of the sort `sort` (a word), says, in their order;
    /// those that are new or changed are read by `read`, several at a time. \[control\]
    pub fn look_up(&mut self, sort: &str, files: &[PathBuf], read: &(dyn Fn(&Path) -> T + Sync)) -> Vec<T> {
        if files.is_empty() {
            return Vec::new();
        }
        let entries = self.entries();
        let stamps: Vec<_> = files.iter().map(|path| stamp(path)).collect();
        let key = |path: &Path| {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            format!("{sort}:{}", path.display())
        };
        let known = |(path, stamp): (&PathBuf, &Option<(u64, u64)>)| {
            let entry = entries.get(&key(path))?;
            (*stamp == Some((entry.bytes, entry.changed))).then(|| entry.says.clone())
        };
        let mut found: Vec<Option<T>> = files.iter().zip(&stamps).map(known).collect();
        let missing: Vec<_> = (0..files.len()).filter(|at| found[*at].is_none()).collect();
        let now = since_1970(SystemTime::now()).unwrap_or_default();
        let settled = now.saturating_sub(SETTLED.as_nanos() as u64);
        let mut is_changed = false;
        for (at, says) in in_parallel(&missing, |at| read(&files[at])) {
            if let Some((bytes, changed)) = stamps[at].filter(|(_, changed)| *changed <= settled) {
                entries.insert(key(&files[at]), Entry { bytes, changed, says: says.clone() });
                is_changed = true;
            }
            found[at] = Some(says);
        }
        self.is_changed |= is_changed;
        found.into_iter().flatten().collect()
    }

    /// Writes the file, if anything is new; what is in it is another's whole or this
    /// one's whole, never half. \[control\]
    ///
    /// # Errors
    /// If it cannot be written: then files are read again next time, and nothing else
    /// is lost.
    pub fn save(&mut self) -> std::io::Result<()> {
        let Some(file) = self.file.clone().filter(|_| self.is_changed) else { return Ok(()) };
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut entries = std::mem::take(self.entries());
        // Files that are gone are forgotten.
        entries.retain(|key, _| key.split_once(':').is_some_and(|(_, path)| Path::new(path).exists()));
        let contents = Contents { version: VERSION, entries };
        let text = serde_json::to_vec(&contents);
        self.entries = Some(contents.entries);
        let other = file.with_extension(format!("{}.tmp", std::process::id()));
        fs::write(&other, text?)?;
        fs::rename(&other, file)?;
        self.is_changed = false;
        Ok(())
    }
}

/// Size and time of change; none where there is no such file.
fn stamp(path: &Path) -> Option<(u64, u64)> {
    let data = fs::metadata(path).ok()?;
    Some((data.len(), since_1970(data.modified().ok()?)?))
}

/// Nanoseconds.
fn since_1970(time: SystemTime) -> Option<u64> {
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
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

    /// Writes a file as it was a day after 1970, and a bit later for each version.
    fn write(path: &Path, text: &str, version: u64) {
        fs::write(path, text).unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(86_400 + version);
        fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    /// What a file says, and how many were read.
    struct Readings(AtomicUsize);

    impl Readings {
        fn look(&self, cache: &mut Cache<String>, path: &Path) -> String {
            let read = |path: &Path| {
                self.0.fetch_add(1, Ordering::Relaxed);
                fs::read_to_string(path).unwrap_or_default()
            };
            let mut found = cache.look_up("text", &[path.to_owned()], &read);
            assert_eq!(found.len(), 1);
            found.remove(0)
        }

        fn count(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn a_file_is_read_once_and_again_when_its_size_or_time_changes() {
        let folder = Scratch::new();
        let (kept, file) =
            (PathBuf::from(folder.path("cache/kept.json")), PathBuf::from(folder.path("a.txt")));
        let readings = Readings(AtomicUsize::new(0));
        let look = |wanted: &str| {
            let mut cache = Cache::open(&kept);
            assert_eq!(readings.look(&mut cache, &file), wanted);
            cache.save().unwrap();
            readings.count()
        };
        write(&file, "one", 1);
        assert_eq!((look("one"), look("one")), (1, 1));
        write(&file, "other", 1);
        assert_eq!((look("other"), look("other")), (2, 2));
        write(&file, "third", 2);
        assert_eq!((look("third"), look("third")), (3, 3));
        fs::remove_file(&file).unwrap();
        assert_eq!((look(""), look("")), (4, 5), "of what is not there nothing is kept");
    }

    #[test]
    fn what_may_still_change_without_another_time_is_not_kept() {
        let folder = Scratch::new();
        let file = PathBuf::from(folder.path("a.txt"));
        let mut cache = Cache::default();
        let readings = Readings(AtomicUsize::new(0));
        // As a clock that is an hour ahead has it.
        let ahead = SystemTime::now() + Duration::from_secs(3_600);
        for text in ["one", "two"] {
            fs::write(&file, text).unwrap();
            fs::File::options().write(true).open(&file).unwrap().set_modified(ahead).unwrap();
            assert_eq!(readings.look(&mut cache, &file), text);
        }
        assert_eq!(readings.count(), 2);
    }

    #[test]
    fn a_damaged_or_unwritable_cache_costs_reading_again_and_nothing_else() {
        let folder = Scratch::new();
        let kept = PathBuf::from(folder.path("kept.json"));
        for damage in [
            "",
            "{",
            "[]",
            "{\"version\":0,\"entries\":{}}",
            "\0\0\0",
            "{\"version\":1,\"entries\":{\"a\":1}}",
        ] {
            fs::write(&kept, damage).unwrap();
            assert!(Cache::<String>::open(&kept).entries().is_empty(), "{damage}");
        }
        // A file stands where the folder would be.
        let file = PathBuf::from(folder.path("a.txt"));
        write(&file, "one", 1);
        let mut cache = Cache::open(&kept.join("below/kept.json"));
        assert_eq!(Readings(AtomicUsize::new(0)).look(&mut cache, &file), "one");
        assert!(cache.save().is_err());
    }
}
