//! Where effects of other formats are found.

use std::collections::HashSet;
use std::env;
use std::path::{Path, PathBuf};

/// More folders than any search path has: where links go in circles, the search
/// ends here.
const MOST_FOLDERS: usize = 4096;

/// `$FREI0R_PATH`, or where the specification says, the user's own first. \[control\]
#[must_use]
pub fn frei0r() -> Vec<PathBuf> {
    instead("FREI0R_PATH", ".frei0r-1/lib", &["/usr/local/lib/frei0r-1", "/usr/lib/frei0r-1"])
}

/// `$LADSPA_PATH`, or where hosts look by custom. \[control\]
#[must_use]
pub fn ladspa() -> Vec<PathBuf> {
    instead("LADSPA_PATH", ".ladspa", &["/usr/local/lib/ladspa", "/usr/lib/ladspa"])
}

/// `$CLAP_PATH` first, then where the specification says. \[control\]
#[must_use]
pub fn clap() -> Vec<PathBuf> {
    let mut folders = listed("CLAP_PATH").unwrap_or_default();
    folders.extend(home(".clap"));
    folders.push("/usr/lib/clap".into());
    folders
}

/// The files ending with `.ENDING` in `folders` and `depth` folders down, sorted in
/// each folder; of two with one file name the first holds. What cannot be read is
/// passed over. \[control\]
#[must_use]
pub fn libraries(folders: &[PathBuf], ending: &str, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut names = HashSet::new();
    let mut looked = 0;
    for folder in folders {
        look(folder, ending, depth, &mut looked, &mut |path| {
            if path.file_name().is_some_and(|name| names.insert(name.to_owned())) {
                found.push(path);
            }
        });
    }
    found
}

fn look(folder: &Path, ending: &str, depth: usize, looked: &mut usize, found: &mut dyn FnMut(PathBuf)) {
    *looked += 1;
    if *looked > MOST_FOLDERS {
        return;
    }
    let Ok(entries) = folder.read_dir() else { return };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if depth > 0 {
                look(&path, ending, depth - 1, looked, found);
            }
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found(path);
        }
    }
}

fn instead(variable: &str, in_home: &str, folders: &[&str]) -> Vec<PathBuf> {
    listed(variable)
        .unwrap_or_else(|| home(in_home).into_iter().chain(folders.iter().map(PathBuf::from)).collect())
}

/// The folders that a variable lists; an empty one lists none.
fn listed(variable: &str) -> Option<Vec<PathBuf>> {
    let folders = env::var_os(variable).filter(|value| !value.is_empty())?;
    Some(env::split_paths(&folders).filter(|folder| !folder.as_os_str().is_empty()).collect())
}

fn home(folder: &str) -> Option<PathBuf> {
    env::var_os("HOME").filter(|home| !home.is_empty()).map(|home| Path::new(&home).join(folder))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sidetone_core::scratch::Scratch;

    use super::*;

    #[test]
    fn the_first_of_one_name_holds_and_depth_is_kept_to() {
        let scratch = Scratch::new();
        let root = PathBuf::from(scratch.path("root"));
        for file in ["mine/a.so", "theirs/a.so", "theirs/b.so", "theirs/vendor/c.so", "theirs/b.txt"] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let folders = [root.join("mine"), root.join("none"), root.join("theirs")];
        assert_eq!(libraries(&folders, "so", 0), [root.join("mine/a.so"), root.join("theirs/b.so")]);
        assert_eq!(libraries(&folders, "so", 1).len(), 3);
    }
}
