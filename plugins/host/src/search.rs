//! Where plugins are looked for, and which there are. A plugin is found by its
//! manifest; its library is not opened.

use std::path::{Path, PathBuf};

use crate::manifest::{ENDING, Manifest, ManifestError};

/// The environment's list of folders, with colons between them.
pub const VARIABLE: &str = "SIDETONE_PLUGINS";
/// Folders below a crate in which Cargo leaves libraries, the preferred first.
const BUILT: &[&str] = &["target/release", "target/debug"];

/// A plugin that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its library, which may not be there.
    pub library: PathBuf,
    /// Its manifest file.
    pub file: PathBuf,
    /// What that says.
    pub manifest: Manifest,
}

/// What is in some folders.
#[derive(Debug, Default)]
pub struct Index {
    /// Plugins, the first found of each kind.
    pub plugins: Vec<Found>,
    /// Manifests that cannot be used.
    pub wrong: Vec<ManifestError>,
}

/// The folders of `variable` (the value of `SIDETONE_PLUGINS`), after `first` and
/// before `last`, each once. \[any\]
#[must_use]
pub fn folders(first: &[PathBuf], variable: Option<&str>, last: Option<&Path>) -> Vec<PathBuf> {
    let named = variable.unwrap_or_default().split(':').filter(|name| !name.is_empty()).map(PathBuf::from);
    let mut all: Vec<PathBuf> = Vec::new();
    for folder in first.iter().cloned().chain(named).chain(last.map(Path::to_owned)) {
        if !all.contains(&folder) {
            all.push(folder);
        }
    }
    all
}

/// Looks into `folders`, in order; what is not there is passed over. Of two plugins
/// that share a kind the first holds. \[control\]
#[must_use]
pub fn find(folders: &[PathBuf]) -> Index {
    let mut index = Index::default();
    for folder in folders {
        // Of a Cargo target folder the manifest is that of its crate.
        for folder in [Some(folder.as_path()), crate_of(folder)].into_iter().flatten() {
            for file in manifests(folder) {
                match Manifest::read(&file) {
                    Ok(manifest)
                        if index.plugins.iter().any(|known| known.manifest.shares_a_kind(&manifest)) => {}
                    Ok(manifest) => {
                        index.plugins.push(Found { library: library_of(&file, &manifest), file, manifest });
                    }
                    Err(why) => index.wrong.push(why),
                }
            }
        }
    }
    index
}

/// The library that a manifest file is of: the one that it names, or `libNAME.so`
/// or `NAME.so`; beside it, or where Cargo leaves it. \[control\]
#[must_use]
pub fn library_of(file: &Path, manifest: &Manifest) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new("."));
    let names = match &manifest.library {
        Some(name) => vec![name.clone()],
        None => {
            let stem = stem(file);
            vec![format!("lib{stem}.so"), format!("{stem}.so")]
        }
    };
    let folders = std::iter::once(folder.to_owned()).chain(BUILT.iter().map(|built| folder.join(built)));
    let mut all = folders.flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    all.clone().find(|path| path.is_file()).or_else(|| all.next()).unwrap_or_default()
}

/// The manifest file of a library: `NAME.sidetone.toml` or `libNAME.sidetone.toml`
/// beside it, or in the crate whose target folder it is in. \[control\]
#[must_use]
pub fn manifest_of(library: &Path) -> PathBuf {
    let folder = library.parent().unwrap_or(Path::new("."));
    let name = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stem = name.split('.').next().unwrap_or_default();
    let short = stem.strip_prefix("lib").unwrap_or(stem);
    let folders = [Some(folder), crate_of(folder)];
    let likely = folders
        .into_iter()
        .flatten()
        .flat_map(|folder| [short, stem].map(|stem| folder.join(format!("{stem}{ENDING}"))));
    let usual = folder.join(format!("{short}{ENDING}"));
    let named = || {
        let all = folders.into_iter().flatten().flat_map(manifests);
        let is_its = |file: &PathBuf| {
            Manifest::read(file).is_ok_and(|manifest| manifest.library.as_deref() == Some(name.as_str()))
        };
        all.into_iter().find(is_its)
    };
    likely.clone().find(|path| path.is_file()).or_else(named).unwrap_or(usual)
}

/// Where the manifest of a library is, or is to be: in its crate if it is where Cargo
/// leaves it, else beside it. \[control\]
#[must_use]
pub fn manifest_for(library: &Path) -> PathBuf {
    let found = manifest_of(library);
    let folder = library.parent().unwrap_or(Path::new("."));
    match crate_of(folder) {
        Some(home) if !found.is_file() => home.join(found.file_name().unwrap_or_default()),
        _ => found,
    }
}

/// The crate of which `folder` is a target folder.
fn crate_of(folder: &Path) -> Option<&Path> {
    BUILT.iter().find(|built| folder.ends_with(built)).and_then(|_| folder.parent()?.parent())
}

fn stem(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix(ENDING).unwrap_or(&name).to_owned()
}

fn manifests(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut found: Vec<_> = paths.filter(|path| path.to_string_lossy().ends_with(ENDING)).collect();
    found.sort();
    found
}
