//! `sidetone run --watch`: saved changes of the graph file, and of the parts it
//! names, go into the running engine, and so do plugins that were rebuilt.
//!
//! The files are looked at five times a second, rather than waited for: they are
//! a handful, editors save by renaming as well as by writing, and folders that
//! come over a network tell nobody. A file is read once it has looked the same
//! twice, so that half of it is not taken for all.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use sidetone::plugins::{LoadError, Reload, Shelf, search};
use sidetone::{Diagnostics, Graph, Handle, LoadOptions};

use super::{complain, kinds, note};

/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Watches until it is dropped.
pub(super) struct Watcher {
    over: Arc<AtomicBool>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Files, and what was last read of each.
type Texts = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// What files look like from outside: when they were written, how long they are,
/// and which they are; `None` where there is none.
type Looks = BTreeMap<PathBuf, Option<(SystemTime, u64, u64)>>;

/// What libraries and their manifests looked like when they were last tried.
type Libraries = BTreeMap<PathBuf, Looks>;

impl Watcher {
    /// Watches `file` and its parts for the engine behind `handle`.
    pub(super) fn start(
        file: &Path,
        overrides: &[(String, String)],
        json: bool,
        handle: Handle,
    ) -> Result<Self, std::io::Error> {
        let over = Arc::new(AtomicBool::new(false));
        let watcher = Self { over: Arc::clone(&over) };
        let (file, overrides) = (file.to_owned(), overrides.to_vec());
        let (_, texts) = read(&file, &overrides);
        note(&format!(
            "watching {} and {} parts: save to change what runs\n",
            file.display(),
            texts.len() - 1
        ));
        let mut watch =
            Watch { file, overrides, json, handle, texts, tried: Libraries::new(), seen: Looks::new() };
        std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
            // What was saved since the graph was loaded is found at the first look.
            let mut settled = false;
            while !over.load(Ordering::Relaxed) {
                std::thread::park_timeout(LOOK);
                if watch.is_moving() {
                    settled = false;
                } else if !std::mem::replace(&mut settled, true) && watch.take_changes() {
                    // Something may have been saved while this was read.
                    watch.is_moving();
                    settled = false;
                }
            }
        })?;
        Ok(watcher)
    }
}

/// What is watched, and for whom.
struct Watch {
    file: PathBuf,
    overrides: Vec<(String, String)>,
    json: bool,
    handle: Handle,
    texts: Texts,
    tried: Libraries,
    seen: Looks,
}

impl Watch {
    /// Whether any of the files looks otherwise than at the last look.
    fn is_moving(&mut self) -> bool {
        let libraries = Shelf::get().paths();
        let parts = libraries.iter().flat_map(|library| [library.clone(), search::manifest_of(library)]);
        let now = looks(self.texts.keys().cloned().chain(parts));
        let is_moving = now != self.seen || !self.file.exists();
        self.seen = now;
        is_moving
    }

    /// Has what was saved go into the engine; tells whether there was anything.
    fn take_changes(&mut self) -> bool {
        let reloads = self.reload();
        let is_saved = has_changed(&self.texts);
        if is_saved || reloads.iter().any(|reload| !reload.changed.is_empty()) {
            self.edit();
        }
        let same: Vec<_> = reloads.iter().flat_map(|reload| &reload.same).map(String::as_str).collect();
        if !same.is_empty() {
            self.handle.renew(&same);
        }
        is_saved || !reloads.is_empty()
    }

    /// Loads the graph anew.
    fn edit(&mut self) {
        let (loaded, texts) = read(&self.file, &self.overrides);
        match loaded {
            Ok((graph, warnings)) => {
                self.texts = texts;
                if !warnings.list.is_empty() && !self.json {
                    note(&warnings.to_string());
                }
                // The run tells what became of it.
                drop(self.handle.edit(graph));
            }
            Err(mistakes) => {
                // What a mistake keeps from being read is watched as before.
                self.texts.extend(texts);
                complain(&mistakes, self.json);
                note("edit: not made; what runs goes on as it was\n");
            }
        }
    }

    /// Loads the libraries anew that look otherwise than when that was last tried.
    fn reload(&mut self) -> Vec<Reload> {
        let mut reloads = Vec::new();
        for path in Shelf::get().paths() {
            let now = looks([path.clone(), search::manifest_of(&path)]);
            if self.tried.insert(path.clone(), now.clone()) == Some(now) {
                continue;
            }
            match Shelf::get().reload(&path) {
                Ok(Some(reload)) => {
                    self.tell(&path, Ok(&reload));
                    reloads.push(reload);
                }
                // One that came with the last edit, or was touched.
                Ok(None) => {}
                Err(why) => self.tell(&path, Err(&why)),
            }
        }
        reloads
    }

    /// Says which generation of a library runs now, or why it is still that.
    fn tell(&self, library: &Path, outcome: Result<&Reload, &LoadError>) {
        let generation = Shelf::get().generation_of(library);
        if self.json {
            let error = outcome.err().map(ToString::to_string);
            let said = serde_json::json!({ "library": library, "generation": generation, "error": error });
            note(&format!("{said}\n"));
            return;
        }
        let name = library.file_name().unwrap_or_default().display();
        note(&match outcome {
            Ok(reload) => format!("plugin {}: generation {generation} of {name}\n", reload.plugin),
            Err(why) => {
                format!("error: {why}\nplugin: not loaded anew; generation {generation} of {name} goes on\n")
            }
        });
    }
}

/// Loads the graph; gives the files that took, with what was read of each.
fn read(file: &Path, overrides: &[(String, String)]) -> (Result<(Graph, Diagnostics), Diagnostics>, Texts) {
    let texts = RefCell::new(Texts::from([(file.to_owned(), None)]));
    let plain = LoadOptions::default();
    let read = |path: &Path| {
        let text = (plain.read)(path);
        texts.borrow_mut().insert(path.to_owned(), text.as_ref().ok().cloned());
        text
    };
    let loaded = Graph::load(
        file,
        &kinds(Some(file)),
        &LoadOptions { overrides, read: &read, ..LoadOptions::default() },
    );
    (loaded, texts.into_inner())
}

fn looks(paths: impl IntoIterator<Item = PathBuf>) -> Looks {
    let look = |path: &PathBuf| {
        let about = std::fs::metadata(path).ok()?;
        Some((about.modified().ok()?, about.len(), about.ino()))
    };
    let pair = |path: PathBuf| {
        let look = look(&path);
        (path, look)
    };
    paths.into_iter().map(pair).collect()
}

fn has_changed(files: &Texts) -> bool {
    let plain = LoadOptions::default();
    files.iter().any(|(path, text)| (plain.read)(path).ok() != *text)
}
