//! `sidetone run --watch`: saved changes of the graph file, and of the parts it
//! names, go into the running engine.
//!
//! The files are looked at five times a second, rather than waited for: they are
//! a handful, editors save by renaming as well as by writing, and folders that
//! come over a network tell nobody. A file is read once it has looked the same
//! twice, so that half of it is not taken for all.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use sidetone::{Diagnostics, Graph, Handle, LoadOptions, registry};

use super::{complain, note};

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
        let (_, mut files) = read(&file, &overrides);
        let mut known = texts(&files);
        let mut seen = looks(&files);
        note(&format!(
            "watching {} and {} parts: save to change what runs\n",
            file.display(),
            files.len() - 1
        ));
        std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
            let mut settled = true;
            while !over.load(Ordering::Relaxed) {
                std::thread::park_timeout(LOOK);
                let now = looks(&files);
                if now != seen || now.first().is_none_or(Option::is_none) {
                    seen = now;
                    settled = false;
                    continue;
                }
                if std::mem::replace(&mut settled, true) || texts(&files) == known {
                    continue;
                }
                let (loaded, named) = read(&file, &overrides);
                // What a mistake keeps from being read is watched as before.
                files.extend(named.iter().filter(|path| !files.contains(path)).cloned().collect::<Vec<_>>());
                match loaded {
                    Ok((graph, warnings)) => {
                        files = named;
                        if !warnings.list.is_empty() && !json {
                            note(&warnings.to_string());
                        }
                        // The run tells what became of it.
                        drop(handle.edit(graph));
                    }
                    Err(mistakes) => {
                        complain(&mistakes, json);
                        note("edit: not made; what runs goes on as it was\n");
                    }
                }
                (known, seen) = (texts(&files), looks(&files));
            }
        })?;
        Ok(watcher)
    }
}

/// Loads the graph, and tells which files that took, the graph's own first.
fn read(
    file: &Path,
    overrides: &[(String, String)],
) -> (Result<(Graph, Diagnostics), Diagnostics>, Vec<PathBuf>) {
    let files = RefCell::new(vec![file.to_owned()]);
    let plain = LoadOptions::default();
    let read = |path: &Path| {
        if !files.borrow().iter().any(|known| known == path) {
            files.borrow_mut().push(path.to_owned());
        }
        (plain.read)(path)
    };
    let loaded =
        Graph::load(file, &registry(), &LoadOptions { overrides, read: &read, ..LoadOptions::default() });
    (loaded, files.into_inner())
}

fn looks(files: &[PathBuf]) -> Vec<Look> {
    let look = |path: &PathBuf| {
        let about = std::fs::metadata(path).ok()?;
        Some((about.modified().ok()?, about.len()))
    };
    files.iter().map(look).collect()
}

fn texts(files: &[PathBuf]) -> Vec<Option<Vec<u8>>> {
    let plain = LoadOptions::default();
    files.iter().map(|path| (plain.read)(path).ok()).collect()
}
