//! `sidetone run --watch`: saved changes of the graph file, and of the parts it
//! names, go into the running engine.
//!
//! The files are looked at five times a second, rather than waited for: they are
//! a handful, editors save by renaming as well as by writing, and folders that
//! come over a network tell nobody. A file is read once it has looked the same
//! twice, so that half of it is not taken for all.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

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

/// What a file looks like from outside; `None` while there is none.
type Look = Option<(SystemTime, u64)>;

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
        let (_, mut known) = read(&file, &overrides);
        let mut seen = looks(&known);
        note(&format!(
            "watching {} and {} parts: save to change what runs\n",
            file.display(),
            known.len() - 1
        ));
        std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
            // What was saved since the graph was loaded is found at the first look.
            let mut settled = false;
            while !over.load(Ordering::Relaxed) {
                std::thread::park_timeout(LOOK);
                let now = looks(&known);
                if now != seen || !file.exists() {
                    seen = now;
                    settled = false;
                    continue;
                }
                if std::mem::replace(&mut settled, true) || !has_changed(&known) {
                    continue;
                }
                let (loaded, texts) = read(&file, &overrides);
                match loaded {
                    Ok((graph, warnings)) => {
                        known = texts;
                        if !warnings.list.is_empty() && !json {
                            note(&warnings.to_string());
                        }
                        // The run tells what became of it.
                        drop(handle.edit(graph));
                    }
                    Err(mistakes) => {
                        // What a mistake keeps from being read is watched as before.
                        known.extend(texts);
                        complain(&mistakes, json);
                        note("edit: not made; what runs goes on as it was\n");
                    }
                }
                // Something may have been saved while this was read.
                seen = looks(&known);
                settled = false;
            }
        })?;
        Ok(watcher)
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

fn looks(files: &Texts) -> Vec<Look> {
    let look = |path: &PathBuf| {
        let about = std::fs::metadata(path).ok()?;
        Some((about.modified().ok()?, about.len()))
    };
    files.keys().map(look).collect()
}

fn has_changed(files: &Texts) -> bool {
    let plain = LoadOptions::default();
    files.iter().any(|(path, text)| (plain.read)(path).ok() != *text)
}
