//! The committed C headers are those that this crate's types give.
//! `SIDETONE_WRITE_HEADERS=1 cargo test -p sidetone-plugin-abi` writes them anew.

#![allow(clippy::unwrap_used)] // all of it is test code, helpers included

#[path = "header/layout.rs"]
mod layout;

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use cbindgen::{Builder, Config, DocumentationStyle, Language, Style};

/// Names in C, by names in Rust.
const NAMES: &[(&str, &str)] = &[
    ("Bundle", "sidetone_bundle"),
    ("Call", "sidetone_call"),
    ("DraftDeadline", "sidetone_draft_deadline"),
    ("Entry", "sidetone_entry_fn"),
    ("Event", "sidetone_event"),
    ("Face", "sidetone_face"),
    ("FaceLandmarks", "sidetone_face_landmarks"),
    ("Format", "sidetone_format"),
    ("Frame", "sidetone_frame"),
    ("Host", "sidetone_host"),
    ("Kind", "sidetone_kind"),
    ("Mask", "sidetone_mask"),
    ("Param", "sidetone_param"),
    ("Plane", "sidetone_plane"),
    ("Port", "sidetone_port"),
    ("Setup", "sidetone_setup"),
    ("State", "sidetone_state"),
    ("Value", "sidetone_value"),
];

const ENTRY: &str = "
#if defined(_WIN32)
#define SIDETONE_EXPORT __declspec(dllexport)
#else
#define SIDETONE_EXPORT __attribute__((visibility(\"default\")))
#endif

#ifdef __cplusplus
extern \"C\" {
#endif

/* The one symbol that a plugin exports: see sidetone_entry_fn. */
SIDETONE_EXPORT const sidetone_bundle *sidetone_plugin_entry(uint32_t host_abi, const sidetone_host *host);

#ifdef __cplusplus
}
#endif
";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The constants of a module that are text, which cbindgen leaves out.
fn texts(source: &str) -> String {
    let lines: Vec<_> = source.lines().collect();
    let mut found = String::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((name, value)) =
            line.strip_prefix("pub const ").and_then(|line| line.split_once(": &str = "))
        else {
            continue;
        };
        let first = lines[..at].iter().rposition(|line| !line.starts_with("///")).unwrap() + 1;
        found.push('\n');
        for doc in &lines[first..at] {
            found.push_str(&format!("{}\n", doc[1..].replace("[`", "`").replace("`]", "`")));
        }
        found.push_str(&format!("#define {name} {}\n", value.trim_end_matches(';')));
    }
    assert!(!found.is_empty(), "the names of extensions were not found");
    found
}

/// The header that the module `source` gives, under its name in C.
fn header(source: &str, guard: &str, includes: &[&str], only: &[&str], trailer: &str) -> String {
    let path = folder().join("src").join(source);
    let text = fs::read_to_string(&path).unwrap();
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    let about: String = lines.map(|line| format!(" *{line}\n")).collect();
    let mut config = Config {
        language: Language::C,
        style: Style::Both,
        cpp_compat: true,
        usize_is_size_t: true,
        no_includes: true,
        sys_includes: vec!["stddef.h".into(), "stdint.h".into()],
        includes: includes.iter().map(|name| (*name).into()).collect(),
        include_guard: Some(guard.into()),
        documentation_style: DocumentationStyle::C99,
        header: Some(format!("/*\n{about} *\n * Written by cbindgen from plugins/abi/src/{source}.\n */")),
        after_includes: Some(texts(&text)),
        line_length: 110,
        ..Config::default()
    };
    config.export.include = only.iter().map(|name| (*name).to_owned()).collect();
    config.export.rename =
        NAMES.iter().map(|(rust, c)| ((*rust).to_owned(), (*c).to_owned())).collect::<HashMap<_, _>>();
    let mut written = Vec::new();
    Builder::new().with_config(config).with_src(path).generate().unwrap().write(&mut written);
    let mut text = String::from_utf8(written).unwrap();
    let end = text.rfind("\n#endif").unwrap();
    text.insert_str(end, trailer);
    [("\\[", "["), ("\\]", "]"), ("[`", "`"), ("`]", "`")]
        .iter()
        .fold(text, |text, (from, to)| text.replace(from, to))
}

fn agrees(name: &str, wanted: &str) {
    let path = folder().join("../include").join(name);
    if std::env::var_os("SIDETONE_WRITE_HEADERS").is_some() {
        fs::write(&path, wanted).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap();
    let differs = there.lines().zip(wanted.lines()).position(|(a, b)| a != b);
    assert!(
        there == wanted,
        "plugins/include/{name} is not what the types give (line {:?}): SIDETONE_WRITE_HEADERS=1 cargo test -p \
         sidetone-plugin-abi writes it anew, and CONTRIBUTING.md says what may change",
        differs.map(|line| line + 1)
    );
}

#[test]
fn the_header_is_what_the_types_give() {
    let types: Vec<_> =
        NAMES.iter().map(|(rust, _)| *rust).filter(|rust| !rust.starts_with("Draft")).collect();
    agrees("sidetone_plugin.h", &header("lib.rs", "SIDETONE_PLUGIN_H", &[], &types, ENTRY));
}

#[test]
fn the_drafts_header_is_what_the_types_give() {
    let types = ["DraftDeadline"];
    agrees(
        "sidetone_plugin_draft.h",
        &header("draft.rs", "SIDETONE_PLUGIN_DRAFT_H", &["sidetone_plugin.h"], &types, ""),
    );
}
