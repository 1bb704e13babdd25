//! `Shelf`: the libraries that are loaded, each once; effects are made from here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use sidetone_core::NodeSpec;

use crate::apart::Apart;
use crate::effect::Effect;
use crate::image::Image;
use crate::instance::Instance;
use crate::library::{Library, LoadError};
use crate::manifest::{Kind, Manifest};
use crate::search::{self, Index};
use crate::source::{Origin, Source};
use crate::{spec, world};

/// The libraries that are loaded, by the path that they are known by. One that was
/// rebuilt is loaded beside the one before, as its next generation, of which
/// effects are made from then on; those that run stay with theirs.
#[derive(Default)]
pub struct Shelf {
    libraries: Mutex<HashMap<PathBuf, Generation>>,
    /// Kinds that were made, so that one that did not change stays the same.
    kinds: Mutex<Vec<Known>>,
    /// Whether libraries are loaded from copies.
    copies: AtomicBool,
}

/// A library as it is at present.
#[derive(Clone)]
struct Generation {
    /// 1 at first.
    number: u32,
    /// What it is known to be.
    manifest: Arc<Manifest>,
    /// What it is loaded from, where not its file.
    image: Option<Arc<Image>>,
    /// Once it is loaded in this process.
    library: Option<Arc<Library>>,
    /// Whether processes of their own have loaded it.
    is_apart: bool,
}

/// A library that was loaded anew: the nodes of its kinds can be made anew, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// The plugin's id.
    pub plugin: String,
    /// Which generation of it this is; the first was 1.
    pub generation: u32,
    /// Kinds that are described as before: see `Handle::renew`.
    pub same: Vec<String>,
    /// Kinds that are described otherwise, are new or gone: nodes of these take a
    /// graph that is checked anew, and `Handle::edit`.
    pub changed: Vec<String>,
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
    /// A library that is loaded is what it was then until it is loaded anew,
    /// whatever its manifest file says meanwhile. \[control\]
    pub fn kinds(&'static self, index: &Index, isolate_all: bool) -> Vec<&'static NodeSpec> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for plugin in &index.plugins {
            let loaded = self.libraries().get(&plugin.library).map(|loaded| Arc::clone(&loaded.manifest));
            for kind in &loaded.as_deref().unwrap_or(&plugin.manifest).kinds {
                let is_it = |known: &&Known| {
                    known.kind == *kind && known.library == plugin.library && known.isolate_all == isolate_all
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
        let Origin::Plugin { library, .. } = &source.origin else {
            return Ok(Box::new(Apart::new(source, None)?));
        };
        let generation = self.generation(&self.libraries(), library).map_err(|why| why.to_string())?;
        let copy = generation.image.as_deref().map(|image| (image, &*generation.manifest));
        let effect = Apart::new(source, copy)?;
        self.libraries().entry(library.clone()).or_insert(generation).is_apart = true;
        Ok(Box::new(effect))
    }

    /// The library known by `path`, loaded and found to be what its manifest says.
    /// \[control\]
    ///
    /// # Errors
    /// It cannot be loaded, or is not that.
    pub fn library(&self, path: &Path) -> Result<Arc<Library>, LoadError> {
        let mut libraries = self.libraries();
        let mut generation = self.generation(&libraries, path)?;
        let library = generation.load(path)?;
        libraries.insert(path.to_owned(), generation);
        Ok(library)
    }

    /// Has libraries loaded from copies of their own from now on, so that their
    /// files may be written over while they run. What a library looks for beside
    /// itself it does not find then. \[control\]
    pub fn load_copies(&self) {
        self.copies.store(true, Ordering::Relaxed);
    }

    /// The libraries of which effects were made, in no order. \[any\]
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.libraries().keys().cloned().collect()
    }

    /// Which generation of the library known by `path` effects are made of; 0 where
    /// none has been made. \[any\]
    #[must_use]
    pub fn generation_of(&self, path: &Path) -> u32 {
        self.libraries().get(path).map_or(0, |generation| generation.number)
    }

    /// Loads what is now at `path` as the next generation of a library that is
    /// loaded, from a copy: runs foreign code, and for a library that runs in
    /// processes of its own a process that only loads it. Nothing is done where
    /// neither it nor its manifest have changed, as far as that is known; what
    /// cannot be used leaves the generation before in its place. \[control\]
    ///
    /// # Errors
    /// It cannot be loaded, or is not what its manifest says.
    pub fn reload(&self, path: &Path) -> Result<Option<Reload>, LoadError> {
        let Some(old) = self.libraries().get(path).cloned() else { return Ok(None) };
        let manifest = Manifest::read(&search::manifest_of(path))?;
        let not_loaded = |why| LoadError::not_loaded(path, &why);
        let image = Image::of(path).map_err(not_loaded)?;
        let is_same = old.image.as_deref().map_or(Ok(false), |old| old.is_same(&image));
        if is_same.map_err(not_loaded)? && *old.manifest == manifest {
            return Ok(None);
        }
        let number = old.number + 1;
        let is_apart = old.is_apart;
        let mut new = Generation { number, image: Some(image.into()), ..Generation::new(manifest, is_apart) };
        if old.library.is_some() {
            new.load(path)?;
        }
        if let Some(image) = new.image.as_deref().filter(|_| is_apart) {
            Apart::check(path, image, &new.manifest).map_err(LoadError::Apart)?;
        }
        let (same, changed) = compared(&old.manifest, &new.manifest);
        let reload = Reload { plugin: new.manifest.id.clone(), generation: number, same, changed };
        let mut libraries = self.libraries();
        // It may be so since.
        new.is_apart |= libraries.get(path).is_some_and(|old| old.is_apart);
        libraries.insert(path.to_owned(), new);
        drop(libraries);
        Ok(Some(reload))
    }

    /// Has the library known by `path` loaded from this copy, as what `manifest`
    /// says. \[control\]
    pub(crate) fn put(&self, path: &Path, image: Image, manifest: Manifest) {
        let generation = Generation { image: Some(image.into()), ..Generation::new(manifest, false) };
        self.libraries().insert(path.to_owned(), generation);
    }

    /// Whether nodes can be made of `kind` as it was described when their graph was
    /// checked. \[control\]
    ///
    /// # Errors
    /// Its library was loaded anew and describes it otherwise; for a person.
    pub(crate) fn is_still(&self, origin: &Origin, kind: &Kind) -> Result<(), String> {
        match self.libraries().get(origin.library()) {
            Some(loaded) if !loaded.manifest.kinds.contains(kind) => Err(format!(
                "{} was loaded anew, and {} is another now; check the graph anew to use it",
                origin.library().display(),
                kind.kind
            )),
            _ => Ok(()),
        }
    }

    /// The library at `path` as it is at present, or as it would be.
    fn generation(
        &self,
        libraries: &HashMap<PathBuf, Generation>,
        path: &Path,
    ) -> Result<Generation, LoadError> {
        if let Some(known) = libraries.get(path) {
            return Ok(known.clone());
        }
        let manifest = Manifest::read(&search::manifest_of(path))?;
        let copy = self.copies.load(Ordering::Relaxed).then(|| Image::of(path).map(Arc::new)).transpose();
        let image = copy.map_err(|why| LoadError::not_loaded(path, &why))?;
        Ok(Generation { image, ..Generation::new(manifest, false) })
    }

    fn libraries(&self) -> MutexGuard<'_, HashMap<PathBuf, Generation>> {
        self.libraries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generation {
    fn new(manifest: Manifest, is_apart: bool) -> Self {
        Self { number: 1, manifest: manifest.into(), image: None, library: None, is_apart }
    }

    /// The library of this process, which is loaded if it is not yet.
    fn load(&mut self, path: &Path) -> Result<Arc<Library>, LoadError> {
        if let Some(library) = &self.library {
            return Ok(Arc::clone(library));
        }
        let library = Arc::new(match &self.image {
            Some(image) => Library::load_image(image, path, &self.manifest)?,
            None => Library::load_as(path, &self.manifest)?,
        });
        self.library = Some(Arc::clone(&library));
        Ok(library)
    }
}

/// The kinds that two manifests describe alike, and those that they do not.
fn compared(old: &Manifest, new: &Manifest) -> (Vec<String>, Vec<String>) {
    let gone = old.kinds.iter().filter(|kind| new.kinds.iter().all(|other| other.kind != kind.kind));
    let (same, changed): (Vec<_>, Vec<_>) =
        new.kinds.iter().chain(gone).partition(|kind| old.kinds.contains(kind) && new.kinds.contains(kind));
    let names = |kinds: Vec<&Kind>| kinds.into_iter().map(|kind| kind.kind.clone()).collect();
    (names(same), names(changed))
}
