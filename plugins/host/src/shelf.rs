//! `Shelf`: the libraries that are loaded, each once; effects are made from here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sidetone_core::NodeSpec;

use crate::apart::Apart;
use crate::effect::Effect;
use crate::instance::Instance;
use crate::library::{Library, LoadError};
use crate::manifest::{Kind, Manifest};
use crate::search::{self, Index};
use crate::source::{Origin, Source};
use crate::{spec, world};

/// The libraries that are loaded, by the path that they are known by.
#[derive(Default)]
pub struct Shelf {
    loaded: Mutex<HashMap<PathBuf, Arc<Library>>>,
    /// Kinds that were made, so that one that did not change stays the same.
    kinds: Mutex<Vec<Known>>,
}

/// A kind that was made of what a manifest said.
struct Known {
    library: PathBuf,
    kind: Kind,
    isolate_all: bool,
    spec: &'static NodeSpec,
}

impl Shelf {
    /// The one of this process. \[any\]
    pub fn get() -> &'static Self {
        static SHELF: OnceLock<Shelf> = OnceLock::new();
        SHELF.get_or_init(Self::default)
    }

    /// The kinds of the plugins in `index`; with `isolate_all` their nodes run in
    /// processes of their own, whatever graphs say. They last as long as the
    /// process; one of which the manifest says the same as before is the same.
    /// \[control\]
    pub fn kinds(&'static self, index: &Index, isolate_all: bool) -> Vec<&'static NodeSpec> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for plugin in &index.plugins {
            for kind in &plugin.manifest.kinds {
                let is_it = |known: &&Known| {
                    known.library == plugin.library && known.kind == *kind && known.isolate_all == isolate_all
                };
                if let Some(known) = kinds.iter().find(is_it) {
                    found.push(known.spec);
                    continue;
                }
                let (library, kind) = (plugin.library.clone(), kind.clone());
                let spec = spec::spec(&library, &kind, isolate_all, self);
                kinds.push(Known { library, kind, isolate_all, spec });
                found.push(spec);
            }
        }
        found
    }

    /// Makes an effect in this process: runs foreign code. \[control\]
    ///
    /// # Errors
    /// Why it cannot be made, for a person.
    pub fn make(&self, source: &Source) -> Result<Box<dyn Effect>, String> {
        match &source.origin {
            Origin::Plugin { library, kind } => {
                let library = self.library(library).map_err(|why| why.to_string())?;
                let known = library.table.kinds.iter().position(|known| known.kind == *kind);
                let index = known.ok_or_else(|| format!("{} has no kind {kind}", library.path.display()))?;
                let instance = Instance::new(&library, index, &source.params, source.seed, source.call_ns)?;
                Ok(Box::new(instance))
            }
            Origin::Installed(effect) => world::make(effect, &source.params),
        }
    }

    /// Makes an effect in a process of its own. \[control\]
    ///
    /// # Errors
    /// Why it cannot be made, for a person.
    pub fn apart(&self, source: &Source) -> Result<Box<dyn Effect>, String> {
        Ok(Box::new(Apart::new(source)?))
    }

    /// The library known by `path`, loaded and found to be what its manifest says.
    /// \[control\]
    ///
    /// # Errors
    /// It cannot be loaded, or is not that.
    pub fn library(&self, path: &Path) -> Result<Arc<Library>, LoadError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = loaded.get(path) {
            return Ok(Arc::clone(library));
        }
        let manifest = Manifest::read(&search::manifest_of(path))?;
        let library = Arc::new(Library::load_as(path, &manifest)?);
        loaded.insert(path.to_owned(), Arc::clone(&library));
        Ok(library)
    }
}
