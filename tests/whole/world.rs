//! Effects of other formats, from the command: found, described in child processes,
//! run apart, surveyed.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value as Json;
use sidetone::scratch::Scratch;

use crate::{pictures, scratch, shipped};

/// A folder of frei0r libraries of a test's own, and the command that finds those.
struct World {
    folder: Scratch,
}

impl World {
    /// With the library `NAME.so`, built with these flags, for each of `libraries`.
    fn new(libraries: &[(&str, &[&str])]) -> Self {
        let folder = scratch();
        for (name, flags) in libraries {
            let mut cc = Command::new("cc");
            cc.args(["-shared", "-fPIC", "-O1", "-w", "-o"]).arg(folder.path(&format!("{name}.so")));
            let built = cc.args(*flags).arg(shipped("plugins/host/tests/effects/frei0r.c")).output().unwrap();
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
            // What is described of a library is kept once that is a moment old.
            let library = File::options().write(true).open(folder.path(&format!("{name}.so"))).unwrap();
            library.set_modified(UNIX_EPOCH + Duration::from_secs(86_400)).unwrap();
        }
        Self { folder }
    }

    fn sidetone(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidetone"));
        command.env("FREI0R_PATH", self.folder.path("")).env("XDG_CACHE_HOME", self.folder.path("cache"));
        command.args(args).output().unwrap()
    }

    fn file(&self, name: &str, text: &str) -> String {
        self.folder.write(name, text.as_bytes());
        self.folder.path(name)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_graph_runs_an_installed_effect_apart_and_names_one_that_is_not_there() {
    let world = World::new(&[("turn", &[])]);
    let graph = |effect: &str| {
        let out = world.folder.path("out.y4m");
        format!(
            "sidetone = 1\nlinks = [\"cam -> it -> file\"]\n[nodes]\n\
             cam = {{ kind = \"test.scene\", size = [66, 50], frames = 3 }}\n\
             it = {{ kind = \"host.frei0r\", effect = \"{effect}\", amount_of_it = 1, tint = \"#ffffff\" }}\n\
             file = {{ kind = \"file.y4m_sink\", path = \"{out}\" }}\n"
        )
    };
    let right = world.file("right.toml", &graph("turn"));
    let ran = world.sidetone(&["run", "--virtual", &right]);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let pictures = pictures(&world.folder.path("out.y4m"));
    assert_eq!(pictures.len(), 3);
    assert!(
        pictures.iter().all(|picture| (0..50).all(|y| picture
            .plane(0)
            .row(y)
            .iter()
            .all(|luma| *luma == 235)))
    );

    let wrong = world.sidetone(&["check", &world.file("wrong.toml", &graph("trun"))]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("host.frei0r has no effect \"trun\""), "{}", text(&wrong.stderr));
    assert!(text(&wrong.stderr).contains("did you mean \"turn\"?"), "{}", text(&wrong.stderr));
}

#[test]
fn a_survey_tries_all_and_tells_why_some_cannot_be_used() {
    let crash = ["-DCRASH_WHEN_MADE"];
    let world = World::new(&[
        ("turn", &[]),
        ("mix", &["-DMIXER"]),
        ("source", &["-DTYPE=1"]),
        ("crash", &crash),
        ("fall", &["-DCRASH_AT=3"]),
    ]);
    world.file("text.so", "no library");
    let survey = |extra: &[&str]| {
        let ran = world.sidetone(&[&["plugin", "survey", "frei0r", "--json"], extra].concat());
        assert!(ran.status.success(), "{}", text(&ran.stderr));
        serde_json::from_slice::<Json>(&ran.stdout).unwrap()
    };
    let found = survey(&[]);
    let effects = found["effects"].as_array().unwrap();
    let names: Vec<_> = effects.iter().map(|effect| effect["effect"].as_str().unwrap()).collect();
    assert_eq!(names, ["fall", "mix", "turn"]);
    assert!(effects[0]["fault"].as_str().is_some_and(|why| !why.is_empty()), "{found:#}");
    assert_eq!((&effects[1]["frames"], &effects[2]["frames"]), (&30.into(), &30.into()));
    let unusable = found["unusable"].as_object().unwrap();
    assert!(unusable["source"].as_str().unwrap().contains("takes no picture"), "{found:#}");
    assert_eq!(unusable["crash.so"], "its code ended the process: it aborted");
    assert!(unusable["text.so"].as_str().unwrap().contains("is no frei0r library"), "{found:#}");
    assert_eq!(survey(&["tu"])["effects"].as_array().unwrap().len(), 1);
    assert!(Path::new(&world.folder.path("cache/sidetone/effects.json")).is_file());
}
