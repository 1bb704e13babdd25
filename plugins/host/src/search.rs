//! Where plugins are looked for, and which there are. A plugin is found by its
//! manifest; its library is not opened.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::cache::Cache;
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

/// What is known of manifest files: those that can be used.
pub type Known = Cache<Option<Manifest>>;

/// Looks into `folders`, in order; what is not there is passed over. Of two plugins
/// that share a kind the first holds. Manifests that `known` has need not be read.
/// \[control\]
#[must_use]
pub fn find(folders: &[PathBuf], known: &mut Known) -> Index {
    // Of a Cargo target folder the manifest is that of its crate.
    let folders = folders.iter().flat_map(|folder| [Some(folder.as_path()), crate_of(folder)]).flatten();
    let files: Vec<PathBuf> = folders.flat_map(manifests).collect();
    let manifests = known.look_up("manifest", &files, &|file| Manifest::read(file).ok());
    let mut index = Index::default();
    let mut kinds = HashSet::new();
    for (file, manifest) in files.into_iter().zip(manifests) {
        // Another version of this program may have kept what this one refuses.
        let manifest = manifest.filter(|manifest| manifest.mistakes().is_empty());
        match manifest.map_or_else(|| Manifest::read(&file), Ok) {
            Ok(manifest) if manifest.kinds.iter().any(|kind| kinds.contains(&kind.kind)) => {}
            Ok(manifest) => {
                kinds.extend(manifest.kinds.iter().map(|kind| kind.kind.clone()));
                index.plugins.push(Found { library: library_of(&file, &manifest), file, manifest });
            }
            Err(why) => index.wrong.push(why),
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

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::{Duration, UNIX_EPOCH};

    use sidetone_core::scratch::Scratch;

    use super::*;

    const MANIFEST: &str = r#"
        sidetone_plugin = 1
        id = "acme"
        version = "1.0.0"
        abi = "1.0"
        [[kind]]
        kind = "acme.one"
        summary = "Something."
        inputs = [{ name = "in", media = "video" }]
    "#;

    #[test]
    fn a_manifest_is_read_once_until_it_changes_and_one_that_is_wrong_each_time() {
        let folder = Scratch::new();
        let (kept, file) = (folder.path("kept.json"), folder.path("acme.sidetone.toml"));
        let write = |text: &str, seconds: u64| {
            fs::write(&file, text).unwrap();
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        };
        let look = || {
            let mut known = Known::open(Path::new(&kept));
            let found = find(&[PathBuf::from(folder.path(""))], &mut known);
            known.save().unwrap();
            (found.plugins.len(), found.wrong.len())
        };
        write(MANIFEST, 1_000);
        assert_eq!((look(), look()), ((1, 0), (1, 0)));
        // It would be wrong, and looks the same from without.
        let wrong = MANIFEST.replace("acme.one", "acme one");
        write(&wrong, 1_000);
        assert_eq!(look(), (1, 0));
        write(&wrong, 1_001);
        assert_eq!((look(), look()), ((0, 1), (0, 1)));
        // Somebody kept what this program refuses.
        write(MANIFEST, 1_002);
        assert_eq!(look(), (1, 0));
        fs::write(&kept, fs::read_to_string(&kept).unwrap().replace("acme.one", "acme one")).unwrap();
        assert_eq!(look(), (1, 0));
    }
}
