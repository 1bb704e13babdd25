//! Plugins: where they are looked for, and their kinds among Sidetone's own.

use std::path::{Path, PathBuf};

use sidetone_core::Registry;
pub use sidetone_plugin_host::apart::{ARGUMENT, process};
pub use sidetone_plugin_host::search::{Found, Index, VARIABLE};
pub use sidetone_plugin_host::world::families as describe;
use sidetone_plugin_host::world::families::families;
pub use sidetone_plugin_host::{
    Library, LoadError, Manifest, ManifestError, Reload, Shelf, check, manifest, search,
};

/// Installed effects of other formats, tried.
pub mod survey {
    pub use sidetone_plugin_host::world::installed::Format;
    pub use sidetone_plugin_host::world::survey::{PICTURES, SOUNDS, Trial, trial};
}

/// Which plugins may be used, and how.
#[derive(Clone, Debug, Default)]
pub struct PluginOptions {
    /// Folders to look in before those of `SIDETONE_PLUGINS` and that of the graph
    /// file.
    pub folders: Vec<PathBuf>,
    /// Whether every plugin runs in a process of its own, whatever graphs and
    /// manifests say.
    pub isolate_all: bool,
    /// The program that describes installed effects of other formats, called with
    /// [`describe::ARGUMENT`]; without one such effects are not looked for.
    pub program: Option<PathBuf>,
}

/// Every kind of node that Sidetone ships, and those of the plugins that are found
/// for a graph in `file`; runs no code of theirs. Gives the manifests that cannot
/// be used, too. \[control\]
#[must_use]
pub fn registry_for(file: Option<&Path>, options: &PluginOptions) -> (Registry, Vec<ManifestError>) {
    let mut registry = crate::registry();
    let named = std::env::var(VARIABLE).ok();
    let beside = file.map(|file| match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    });
    let folders = search::folders(&options.folders, named.as_deref(), beside.as_deref());
    let mut known = search::Known::of_user("plugins.json");
    let index = search::find(&folders, &mut known);
    // What cannot be kept is read again next time.
    let _ = known.save();
    for spec in Shelf::get().kinds(&index, options.isolate_all) {
        registry.add(spec);
    }
    if let Some(program) = &options.program {
        for family in families(program, options.isolate_all) {
            registry.add_family(family);
        }
    }
    (registry, index.wrong)
}
