//! `sidetone plugin new`: lays down a plugin that builds at once, anywhere. It begins
//! as a copy of a sample plugin, and brings the kit or the header along, since they
//! are on no registry.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::command::{FAILED, FINE, WRONG, note, say};

/// Lays down a new plugin that builds at once.
#[derive(Args)]
pub(super) struct New {
    /// Its name, in snake_case: the folder, the library and the effect are called so.
    name: String,
    /// In which language.
    #[arg(long, value_enum, default_value_t = Lang::Rust)]
    lang: Lang,
    /// The first word of its kinds in graph files: yours, the same for all your plugins.
    #[arg(long, default_value = "my", value_name = "WORD")]
    id: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Lang {
    Rust,
    C,
}

/// Files by their paths in the new folder.
type Files = Vec<(PathBuf, String)>;

/// Files of the repository that every new plugin in Rust gets, by their paths below
/// `plugins/`.
macro_rules! carried {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../plugins/", $path)))),*]
    };
}

const KIT: &[(&str, &str)] = carried![
    "abi/Cargo.toml",
    "abi/src/draft.rs",
    "abi/src/lib.rs",
    "sdk/Cargo.toml",
    "sdk/src/call.rs",
    "sdk/src/effect.rs",
    "sdk/src/error.rs",
    "sdk/src/frame.rs",
    "sdk/src/harness.rs",
    "sdk/src/harness/host.rs",
    "sdk/src/harness/media.rs",
    "sdk/src/lib.rs",
    "sdk/src/macros.rs",
    "sdk/src/media.rs",
    "sdk/src/packet.rs",
    "sdk/src/picture.rs",
    "sdk/src/shapes.rs",
    "sdk/src/sound.rs",
    "sdk/src/spec.rs",
    "sdk/src/state.rs",
    "sdk/src/table.rs",
];
const LICENSES: &[(&str, &str)] = &[
    ("LICENSE-APACHE", include_str!("../../../LICENSE-APACHE")),
    ("LICENSE-MIT", include_str!("../../../LICENSE-MIT")),
];
const HEADER: &str = include_str!("../../../plugins/include/sidetone_plugin.h");
const WORKSPACE: &str = include_str!("../../../Cargo.toml");

const RUST_SAMPLE: &str = include_str!("../../../plugins/vignette/src/lib.rs");
const RUST_TESTS: &str = include_str!("../../../plugins/vignette/src/tests.rs");
const RUST_MANIFEST: &str = include_str!("../../../plugins/vignette/vignette.sidetone.toml");
const C_SAMPLE: &str = include_str!("../../../plugins/sepia_c/sepia_c.c");
const C_MANIFEST: &str = include_str!("../../../plugins/sepia_c/sepia_c.sidetone.toml");

/// What neither language lets one call a thing, beside what its sample uses.
const KEYWORDS: &str = "abstract alignas alloc as asm async auto await become bool box break case char const \
    continue crate default deps do double dyn else enum err examples extern false final float for goto if \
    impl in inline int let long loop macro main match mod move mut none ok option override priv proc_macro pub \
    ref register restrict result return self short signed sizeof some static std string struct super switch \
    test thread_local trait true try type typedef typeof union unsafe unsigned unsized use vec virtual void \
    volatile where while yield";

/// First words of kinds that are the framework's own.
const TAKEN: &str = "audio codec device effect file host net room rtp sidetone test";

impl New {
    pub(super) fn run(self) -> u8 {
        let files = match self.files() {
            Ok(files) => files,
            Err(why) => {
                note(&format!("error: {why}\n"));
                return WRONG;
            }
        };
        let folder = Path::new(&self.name);
        if let Err(why) = lay_down(folder, &files) {
            if why.kind() == io::ErrorKind::AlreadyExists {
                note(&format!("error: {0} is there already: give another name, or remove it\n", self.name));
                return WRONG;
            }
            note(&format!("error: cannot write {}: {why}\n", folder.display()));
            return FAILED;
        }
        say(&self.next_steps());
        FINE
    }

    /// All that the new folder holds.
    fn files(&self) -> Result<Files, String> {
        let (name, id) = (self.name.as_str(), self.id.as_str());
        if !is_word(name) {
            return Err(format!(
                "\"{name}\" is no name for a plugin: give a word of small letters, digits and _, such as soft_glow"
            ));
        }
        if !is_word(id) || has(TAKEN, id) {
            return Err(format!(
                "--id {id}: give a word of small letters, digits and _ that is not the framework's own ({TAKEN})"
            ));
        }
        let (sample, kit) = match self.lang {
            Lang::Rust => (RUST_SAMPLE, kit_names()),
            Lang::C => (C_SAMPLE, ""),
        };
        let taken = |word: &str| has(sample, word) || has(kit, word) || has(KEYWORDS, word);
        if taken(name) || taken(&camel(name)) {
            return Err(format!("\"{name}\" means something else in a plugin's source: give another name"));
        }
        Ok(match self.lang {
            Lang::Rust => self.rust(),
            Lang::C => self.c(),
        })
    }

    fn rust(&self) -> Files {
        let name = &self.name;
        let named =
            |text: &str| self.adapted(text).replace("vignette", name).replace("Vignette", &camel(name));
        let mut files = vec![
            ("Cargo.toml".into(), cargo_manifest(name)),
            ("src/lib.rs".into(), named(RUST_SAMPLE)),
            ("src/tests.rs".into(), format!("{}\n{}", ALLOW_UNWRAP, named(RUST_TESTS))),
            (format!("{name}.sidetone.toml").into(), named(RUST_MANIFEST)),
            ("README.md".into(), self.readme("cargo build --release", "cargo test")),
            (".gitignore".into(), "/target\n".into()),
        ];
        files.extend(KIT.iter().map(|(path, text)| {
            let text = if path.ends_with("Cargo.toml") { standing_alone(text) } else { (*text).to_owned() };
            (Path::new("sidetone").join(path), text)
        }));
        files.extend(
            LICENSES.iter().map(|(path, text)| (Path::new("sidetone").join(path), (*text).to_owned())),
        );
        files
    }

    fn c(&self) -> Files {
        let name = &self.name;
        let named = |text: &str| self.adapted(text).replace("sepia", name);
        let compile = format!("cc -shared -fPIC -O2 -Wall -Wextra -o lib{name}.so {name}.c");
        let makefile = format!(
            "lib{name}.so: {name}.c sidetone_plugin.h\n\t{compile}\n\nclean:\n\trm -f lib{name}.so\n"
        );
        vec![
            (format!("{name}.c").into(), named(C_SAMPLE)),
            ("sidetone_plugin.h".into(), HEADER.into()),
            (format!("{name}.sidetone.toml").into(), named(C_MANIFEST)),
            ("Makefile".into(), makefile),
            ("README.md".into(), self.readme("make", "")),
            (".gitignore".into(), "*.so\n".into()),
        ]
    }

    /// A sample's text with this plugin's id, and nobody's name.
    fn adapted(&self, text: &str) -> String {
        text.replace("\"sample", &format!("\"{}", self.id)).replace("The Sidetone authors", "")
    }

    fn library(&self) -> String {
        match self.lang {
            Lang::Rust => format!("target/release/lib{}.so", self.name),
            Lang::C => format!("lib{}.so", self.name),
        }
    }

    fn readme(&self, build: &str, test: &str) -> String {
        let Self { name, id, .. } = self;
        let library = self.library();
        let test = if test.is_empty() { String::new() } else { format!("{test}\n") };
        format!(
            "# {id}.{name}\n\nA plugin for Sidetone.\n\n```sh\n{build}\n{test}sidetone plugin check {library}\n\
             sidetone run my_graph.toml --plugins .\n```\n\nIn a graph file:\n\n```toml\n\
             nodes.{name} = {{ kind = \"{id}.{name}\", strength = 0.7 }}\n```\n\n\
             `{name}.sidetone.toml` says the same as the source: change both together, or write it anew \
             with\n`sidetone plugin manifest {library}`.\n"
        )
    }

    fn next_steps(&self) -> String {
        let Self { name, id, lang } = self;
        let (build, source) = match lang {
            Lang::Rust => ("cargo build --release", "src/lib.rs".to_owned()),
            Lang::C => ("make", format!("{name}.c")),
        };
        format!(
            "{name}/ holds a plugin that works: {id}.{name}, in {source}.\n\nNext:\n  cd {name}\n  {build}\n  \
             sidetone plugin check {}\n",
            self.library()
        )
    }
}

const ALLOW_UNWRAP: &str = "#![allow(clippy::unwrap_used)] // all of it is test code";

fn lay_down(folder: &Path, files: &Files) -> io::Result<()> {
    fs::create_dir(folder)?;
    for (path, text) in files {
        let path = folder.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, text)?;
    }
    Ok(())
}

fn is_word(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Whether `word` is one of the words of `text`.
fn has(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|other| other == word)
}

fn camel(name: &str) -> String {
    let words = name.split('_').filter(|word| !word.is_empty());
    words.map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect()
}

/// The file of the kit that names all that it has.
fn kit_names() -> &'static str {
    KIT.iter().find(|(path, _)| *path == "sdk/src/lib.rs").map_or("", |(_, text)| text)
}

fn cargo_manifest(name: &str) -> String {
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\nlicense = \"MIT OR Apache-2.0\"\n\n\
         [lib]\ncrate-type = [\"cdylib\"]\n\n[dependencies]\nsidetone-plugin = {{ path = \"sidetone/sdk\" }}\n\n\
         # A workspace of its own, wherever it lies.\n[workspace]\n"
    )
}

/// A manifest of this repository without what it has from the workspace.
fn standing_alone(manifest: &str) -> String {
    let shared = WORKSPACE.split("[workspace.package]").nth(1).unwrap_or_default();
    let shared = |key: &str| {
        let mut lines = shared.lines().take_while(|line| !line.starts_with('['));
        lines.find(|line| line.split(' ').next() == Some(key)).unwrap_or_default().to_owned()
    };
    let sections = manifest.split("\n[").enumerate().filter_map(|(at, section)| {
        let wanted = ["package]", "dependencies]"]
            .iter()
            .any(|name| section.trim_start_matches('[').starts_with(name));
        let lines = section.trim_end().lines().map(|line| match line.strip_suffix(".workspace = true") {
            Some("sidetone-plugin-abi") => "sidetone-plugin-abi = { path = \"../abi\" }".to_owned(),
            Some(key) => shared(key),
            None => line.to_owned(),
        });
        let section = lines.collect::<Vec<_>>().join("\n");
        wanted.then(|| if at == 0 { section } else { format!("[{section}") })
    });
    sections.collect::<Vec<_>>().join("\n\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str, lang: Lang) -> New {
        New { name: name.into(), lang, id: "acme".into() }
    }

    #[test]
    fn every_file_of_the_kit_is_carried() {
        fn files(folder: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    files(&path, found);
                } else {
                    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins");
                    found.push(path.strip_prefix(plugins).unwrap().display().to_string());
                }
            }
        }
        let mut found = vec!["abi/Cargo.toml".to_owned(), "sdk/Cargo.toml".to_owned()];
        for folder in ["abi/src", "sdk/src"] {
            files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins").join(folder), &mut found);
        }
        found.sort();
        assert_eq!(found, KIT.iter().map(|(path, _)| (*path).to_owned()).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_of_the_sample_is_left_in_what_is_laid_down() {
        for lang in [Lang::Rust, Lang::C] {
            for (path, text) in new("soft_glow", lang).files().unwrap() {
                let path = path.display().to_string();
                let left = ["vignette", "Vignette", "sepia", "sample.", "\"sample\"", "workspace = true"];
                let left: Vec<_> = left.iter().filter(|word| text.contains(**word)).collect();
                assert!(
                    path.contains("/src/") || path.ends_with(".h") || left.is_empty(),
                    "{path}: {left:?}"
                );
            }
        }
    }

    #[test]
    fn manifests_name_what_the_source_does() {
        for lang in [Lang::Rust, Lang::C] {
            let files = new("soft_glow", lang).files().unwrap();
            let (_, text) = files.iter().find(|(path, _)| path.ends_with("soft_glow.sidetone.toml")).unwrap();
            let manifest = sidetone::plugins::Manifest::parse(text).unwrap();
            assert_eq!((manifest.id.as_str(), manifest.kinds[0].kind.as_str()), ("acme", "acme.soft_glow"));
        }
    }

    #[test]
    fn names_that_would_not_build_are_refused() {
        for name in
            ["", "Glow", "soft-glow", "9lives", "../glow", "fn", "picture_mut", "call", "std", "result"]
        {
            assert!(new(name, Lang::Rust).files().is_err(), "{name}");
        }
        for name in ["process", "kind", "int", "double", "strength", "size_t", "uint32_t", "main"] {
            assert!(new(name, Lang::C).files().is_err(), "{name}");
        }
        let framework = New { id: "effect".into(), ..new("glow", Lang::Rust) };
        assert!(framework.files().is_err());
    }
}
