//! Plugins that are rebuilt while graphs run.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use sidetone::plugins::{Reload, Shelf, search};
use sidetone::scratch::Scratch;
use sidetone::{
    Clock, Engine, EventKind, Graph, Handle, LoadOptions, Options, Registry, Renewal, Report, Update,
    registry,
};

use crate::{built, scratch, sidetone};

const MANIFEST: &str = r#"
sidetone_plugin = 1
id = "acme"
version = "1.0.0"
abi = "1.0"
[[kind]]
kind = "acme.count"
summary = "Counts."
flags = ["in_place"]
inputs = [{ name = "in", media = "audio", format = "f32" }]
outputs = [{ name = "out", media = "audio", format = "f32" }]
"#;
const GAIN: &str = r#"params = [{ id = 1, name = "gain", type = "int", max = 9, default = 0 }]"#;

/// A folder with a plugin `acme` and a graph, and a shelf of its own.
struct Bench {
    folder: Scratch,
    library: PathBuf,
    shelf: &'static Shelf,
}

impl Bench {
    /// The library has the name `name`, to be found again among what is open.
    fn new(name: &str, defines: &[&str]) -> Self {
        let folder = scratch();
        let library = PathBuf::from(folder.path(name));
        let shelf = Box::leak(Box::new(Shelf::default()));
        shelf.load_copies();
        let bench = Self { folder, library, shelf };
        bench.describe(&format!("library = \"{name}\"\n{MANIFEST}"));
        bench.rebuild(&built("count.c", defines));
        bench
    }

    fn describe(&self, manifest: &str) {
        std::fs::write(self.folder.path("acme.sidetone.toml"), manifest).unwrap();
    }

    /// Writes over the very file that was loaded, as `cp` does.
    fn rebuild(&self, library: &[u8]) {
        std::fs::write(&self.library, library).unwrap();
    }

    fn kinds(&self) -> Registry {
        let mut kinds = registry();
        let found = search::find(&[PathBuf::from(self.folder.path(""))], &mut search::Known::default());
        assert!(found.wrong.is_empty(), "{:?}", found.wrong);
        for spec in self.shelf.kinds(&found, false) {
            kinds.add(spec);
        }
        kinds
    }

    /// A tone that is counted.
    fn graph(&self, params: &str) -> Graph {
        let file = self.folder.path("count.toml");
        std::fs::write(&file, text(params, &self.folder.path("out.wav"))).unwrap();
        let loaded = Graph::load(Path::new(&file), &self.kinds(), &LoadOptions::default());
        loaded.unwrap_or_else(|mistakes| panic!("{mistakes}")).0
    }

    /// Counts for so long in virtual time; `at` is called at each figure, with how
    /// often one of its name was told before.
    fn run(&self, seconds: u64, mut at: impl FnMut(&Handle, &str, usize)) -> Run {
        let limit = Some(Duration::from_secs(seconds));
        let options = Options { clock: Clock::virtual_time(), limit, ..Options::default() };
        let engine = Engine::new(self.graph(""), options).unwrap_or_else(|why| panic!("{why}"));
        let handle = engine.handle();
        let (mut totals, mut gains, mut renewals, mut edits) = (vec![], vec![], vec![], vec![]);
        let report = engine.run(|update| match update {
            Update::Event { kind: EventKind::Figure(figure), .. } => {
                let told = if figure.name == "total" { &mut totals } else { &mut gains };
                at(&handle, figure.name, told.len());
                told.push(figure.value);
            }
            Update::Event { kind: EventKind::Renewed(renewal), .. } => renewals.push(renewal.clone()),
            Update::Edited { outcome, .. } => edits.push(outcome.as_ref().unwrap().to_string()),
            _ => {}
        });
        assert!(report.faults.is_empty(), "{:?}", report.faults);
        assert!(report.links.iter().all(|link| link.dropped == 0));
        Run { report, totals, gains, renewals, edits }
    }
}

fn text(params: &str, out: &str) -> String {
    format!(
        "# Counts.\nsidetone = 1\nlinks = [\"tone -> count -> out\"]\n[nodes]\ntone = {{ kind = \"test.tone\" }}\n\
         count = {{ kind = \"acme.count\", deadline_ms = 10_000{params} }}\nout = {{ kind = \"file.wav_sink\", path = \"{out}\" }}\n"
    )
}

struct Run {
    report: Report,
    totals: Vec<f64>,
    gains: Vec<f64>,
    renewals: Vec<Renewal>,
    edits: Vec<String>,
}

impl Run {
    /// By how much the total grew with each frame.
    fn steps(&self) -> Vec<i64> {
        let before = std::iter::once(&0.0).chain(&self.totals);
        self.totals.iter().zip(before).map(|(total, before)| (total - before) as i64).collect()
    }

    fn rendered(&self) -> u64 {
        self.report.stages.iter().find(|stage| stage.node == "out").unwrap().frames
    }
}

fn number(generation: u32) -> Reload {
    Reload { plugin: "acme".into(), generation, same: vec!["acme.count".into()], changed: vec![] }
}

#[test]
fn a_rebuilt_library_takes_over_with_the_state_and_without_losing_a_frame() {
    let bench = Bench::new("libtakes_over.so", &["STEP=1"]);
    let second = built("count.c", &["STEP=2"]);
    let run = bench.run(2, |handle, _, count| {
        if count == 49 {
            bench.rebuild(&second);
            assert_eq!(bench.shelf.reload(&bench.library).unwrap(), Some(number(2)));
            assert_eq!(bench.shelf.reload(&bench.library).unwrap(), None, "it is that already");
            handle.renew(&["acme.count"]);
        }
    });
    assert_eq!(run.renewals, [Renewal::Continued]);
    assert_eq!((run.totals.len(), run.rendered()), (200, 200));
    // The total goes on, and once the new code counts the old one never does again.
    let steps = run.steps();
    let first = steps.iter().position(|step| *step == 2).unwrap();
    assert!((50..=52).contains(&first), "{first}");
    assert!(steps[..first].iter().all(|step| *step == 1) && steps[first..].iter().all(|step| *step == 2));
}

/// Descriptors of this process for what is called `name`, and bytes that are mapped
/// of that.
fn held(name: &str) -> (usize, u64) {
    let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let links = links.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let open = links.filter(|link| link.to_string_lossy().contains(name)).count();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mapped = maps.lines().filter(|line| line.contains(name)).map(|line| {
        let (from, to) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        u64::from_str_radix(to, 16).unwrap() - u64::from_str_radix(from, 16).unwrap()
    });
    (open, mapped.sum())
}

#[test]
fn fifty_reloads_leave_one_descriptor_no_file_and_no_more_memory_than_their_code() {
    let name = "libfifty.so";
    let bench = Bench::new(name, &["STEP=1"]);
    let builds = [built("count.c", &["STEP=1"]), built("count.c", &["STEP=2"])];
    let (mut open, mut mapped) = (vec![], vec![]);
    let run = bench.run(6, |handle, _, count| {
        if count % 10 == 9 && count < 510 {
            let generation = count / 10 + 1;
            bench.rebuild(&builds[generation % 2]);
            let reload = bench.shelf.reload(&bench.library).unwrap();
            assert_eq!(reload, Some(number(generation as u32 + 1)));
            handle.renew(&["acme.count"]);
            let held = held(name);
            open.push(held.0);
            mapped.push(held.1);
        }
    });
    assert_eq!(run.renewals, vec![Renewal::Continued; 51]);
    assert_eq!((run.totals.len(), run.rendered()), (600, 600));
    let steps = run.steps();
    assert_eq!(steps.windows(2).filter(|pair| pair[0] != pair[1]).count(), 51, "each build had its turn");
    assert_eq!(open, vec![1; 51]);
    // A generation is never unloaded: what stays of it is its code and data alone.
    let each = mapped[0] / 2;
    assert!(each <= 64 << 10, "{each} bytes a generation");
    assert!(mapped.iter().zip(2..).all(|(mapped, count)| *mapped == count * each), "{mapped:?}");
    for folder in [Path::new(&bench.folder.path("")), &std::env::temp_dir()] {
        let names = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.file_name());
        let copies =
            names.filter(|other| other.to_string_lossy().contains("libfifty") && other != name).count();
        assert_eq!(copies, 0, "{}", folder.display());
    }
}

#[test]
fn a_broken_rebuild_is_told_and_the_one_before_goes_on() {
    let bench = Bench::new("libbroken.so", &["STEP=1"]);
    let good = built("count.c", &["STEP=2"]);
    let broken = [
        (good[..good.len() / 2].to_vec(), "its end is missing"),
        (b"not a library".to_vec(), "no 64-bit ELF file"),
        (built("count.c", &["OTHER_MAJOR"]), "does not work with version"),
        (
            built("count.c", &["VERSION=\"2.0.0\""]),
            "version is 1.0.0 in the manifest and 2.0.0 in the library",
        ),
        (built("count.c", &["GAIN"]), "is not what its manifest says"),
    ];
    let run = bench.run(2, |handle, _, count| {
        if let Some((library, wanted)) = broken.get(count / 10).filter(|_| count % 10 == 0) {
            bench.rebuild(library);
            let why = bench.shelf.reload(&bench.library).unwrap_err().to_string();
            assert!(why.contains(wanted) && why.contains("libbroken.so"), "{why}");
            // Even if it is made anew for another reason, it is what it was.
            handle.renew(&["acme.count"]);
        }
        if count == 60 {
            std::fs::remove_file(&bench.library).unwrap();
            let why = bench.shelf.reload(&bench.library).unwrap_err().to_string();
            assert!(why.contains("libbroken.so") && why.contains("No such file"), "{why}");
            assert_eq!(bench.shelf.generation_of(&bench.library), 1);
        }
        if count == 99 {
            bench.rebuild(&good);
            assert_eq!(bench.shelf.reload(&bench.library).unwrap(), Some(number(2)));
            handle.renew(&["acme.count"]);
        }
    });
    assert_eq!(run.renewals, vec![Renewal::Continued; 6]);
    let steps = run.steps();
    assert_eq!((steps.len(), run.rendered()), (200, 200));
    assert!(steps[..100].iter().all(|step| *step == 1) && steps[102..].iter().all(|step| *step == 2));
}

#[test]
fn a_changed_manifest_replaces_the_node_and_its_new_parameters_arrive() {
    let library = "libchanged.so";
    let bench = Bench::new(library, &["STEP=1"]);
    let run = bench.run(2, |handle, name, count| {
        if name == "total" && count == 29 {
            // Until the library is that, too, its kinds are what they were.
            bench.describe(&format!("library = \"{library}\"\n{MANIFEST}{GAIN}"));
            assert!(bench.shelf.reload(&bench.library).unwrap_err().to_string().contains("params"));
            drop(handle.edit(bench.graph("")));
        }
        if name == "total" && count == 49 {
            bench.rebuild(&built("count.c", &["STEP=2", "GAIN"]));
            let reload = bench.shelf.reload(&bench.library).unwrap().unwrap();
            assert_eq!((reload.same, reload.changed), (vec![], vec!["acme.count".to_owned()]));
            // What was checked as another kind cannot be made of it.
            handle.renew(&["acme.count"]);
            drop(handle.edit(bench.graph(", gain = 7")));
        }
    });
    assert!(matches!(&run.renewals[..], [Renewal::Kept(why)] if why.contains("check the graph anew")));
    assert_eq!(run.edits, ["nothing changed", "~count"]);
    assert!(run.gains.len() > 140 && run.gains.iter().all(|gain| *gain == 7.0), "{:?}", run.gains);
    assert_eq!(run.rendered(), 200);
}

/// Ends the child however the test ends.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads on until each of `wanted` stood in a line.
fn wait_for(lines: &mut impl Iterator<Item = String>, wanted: &[&str]) {
    let (mut missing, mut seen) = (wanted.to_vec(), Vec::new());
    for line in lines {
        missing.retain(|wanted| !line.contains(wanted));
        if missing.is_empty() {
            return;
        }
        seen.push(line);
    }
    panic!("no {missing:?} among {seen:#?}");
}

#[test]
fn the_command_reloads_plugins_here_and_in_processes_of_their_own() {
    let bench = Bench::new("libacme.so", &["STEP=1"]);
    let file = bench.folder.path("count.toml");
    let out = bench.folder.path("out.wav");
    let text = text("", &out).replace("-> count ->", "-> count -> apart ->")
        + "apart = { kind = \"acme.count\", isolate = \"process\", deadline_ms = 10_000 }\n";
    std::fs::write(&file, text).unwrap();
    let child = sidetone(&bench.folder)
        .args(["run", &file, "--watch", "--seconds", "300"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Ended(child);
    let mut lines = BufReader::new(child.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    wait_for(&mut lines, &["watching"]);
    let anew = ["count: made anew; it goes on with its state", "apart: made anew; it goes on with its state"];

    bench.rebuild(&built("count.c", &["STEP=2"]));
    wait_for(&mut lines, &["plugin acme: generation 2 of libacme.so"]);
    wait_for(&mut lines, &anew);

    bench.rebuild(&built("count.c", &["VERSION=\"2.0.0\""]));
    wait_for(&mut lines, &["2.0.0 in the library"]);
    wait_for(&mut lines, &["generation 2 of libacme.so goes on"]);

    bench.describe(&format!("library = \"libacme.so\"\n{MANIFEST}{GAIN}"));
    bench.rebuild(&built("count.c", &["GAIN"]));
    wait_for(&mut lines, &["plugin acme: generation 3 of libacme.so"]);
    wait_for(&mut lines, &["edit: ~count ~apart"]);
    assert!(child.0.try_wait().unwrap().is_none(), "it goes on");
}
