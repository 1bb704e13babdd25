//! A running graph is edited a thousand times, at random, in virtual time: on
//! paths that no edit touches every sample is where it was, on those that are
//! edited nothing is missing, repeated or out of place, sound steps no further
//! than its ramps, lanes free nothing, allocate nothing but buffers while they get
//! used to a new graph and nothing at all after that, and memory stays flat.

#![allow(clippy::unwrap_used)] // all of it is test code, helpers included
#![allow(unsafe_code)] // an allocator that counts is unsafe by its trait

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::LocalKey;
use std::time::Duration;

use sidetone::engine::on_real_time_lane;
use sidetone::registry::{declared, same};
use sidetone::{
    Clock, Context, Engine, EventKind, Fault, Finish, Frame, Graph, LoadOptions, MediaType, Node, NodeSpec,
    Options, ParamSpec, Placement, PortSpec, Registry, Update,
};

/// Counts what lanes allocate and free, and the bytes that there are.
struct Counting;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
    static FREED: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

fn count(what: &'static LocalKey<Cell<u64>>) {
    if WATCHED.try_with(Cell::get).unwrap_or(false) && on_real_time_lane() {
        let _ = what.try_with(|count| count.set(count.get() + 1));
    }
}

fn live(bytes: i64) {
    let _ = LIVE.try_with(|live| live.set(live.get() + bytes));
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCATED);
        live(layout.size() as i64);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(&FREED);
        live(-(layout.size() as i64));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const SOUND: PortSpec = PortSpec::new("in", MediaType::AUDIO, "The sound.");
const OUT: PortSpec = PortSpec::new("out", MediaType::AUDIO, "The sound.");

/// What a `check.ear` heard: samples, and the numbers of the frames.
struct Heard {
    samples: Vec<f32>,
    numbers: Vec<u64>,
}

type Ears = Mutex<Vec<(String, Arc<Mutex<Heard>>)>>;
static EARS: Ears = Mutex::new(Vec::new());

struct Ear(Arc<Mutex<Heard>>);

impl Node for Ear {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(frame) = cx.pop(0) {
            let mut heard = self.0.lock().unwrap();
            heard.samples.extend_from_slice(frame.channel(0));
            heard.numbers.push(frame.header.sequence);
            cx.rendered(frame);
        }
        Ok(())
    }
}

static EAR: NodeSpec = NodeSpec {
    kind: "check.ear",
    summary: "Notes what it hears.",
    sheet: "",
    inputs: &[SOUND],
    outputs: &[],
    params: &[ParamSpec::text("run", "", "Whose run.")],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &declared,
    build: &|setup| {
        // Room for minutes, so that noting allocates nothing.
        let heard = Heard { samples: Vec::with_capacity(10_000_000), numbers: Vec::with_capacity(30_000) };
        let heard = Arc::new(Mutex::new(heard));
        let name = format!("{}/{}", setup.params.text("run"), setup.name);
        EARS.lock().unwrap().push((name, Arc::clone(&heard)));
        Ok(Box::new(Ear(heard)))
    },
};

/// Keeps the last three frames back until the end.
struct Hold(std::collections::VecDeque<Frame>);

impl Node for Hold {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(frame) = cx.pop(0) {
            self.0.push_back(frame);
            if self.0.len() > 3
                && let Some(first) = self.0.pop_front()
            {
                cx.push(0, first);
            }
        }
        Ok(())
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        self.0.drain(..).for_each(|frame| cx.push(0, frame));
        Ok(Finish::Done)
    }
}

static HOLD: NodeSpec = NodeSpec {
    kind: "check.hold",
    summary: "Keeps three frames back.",
    sheet: "",
    inputs: &[SOUND],
    outputs: &[OUT],
    params: &[],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &same,
    build: &|_| Ok(Box::new(Hold(std::collections::VecDeque::with_capacity(32)))),
};

fn kinds() -> Registry {
    let mut registry = sidetone::registry();
    registry.add(&EAR);
    registry.add(&HOLD);
    registry
}

fn load(text: &str) -> Graph {
    let voice = "sidetone = 1\nlinks = [\"jitter -> unpack -> opus\"]\n\
                 ports = { in = \"jitter.in\", out = \"opus.out\" }\n[nodes]\n\
                 jitter = { kind = \"rtp.jitter_buffer\" }\nunpack = { kind = \"rtp.unpack_opus\" }\n\
                 opus = { kind = \"codec.opus_decode\" }\n";
    let read = |path: &Path| Ok(if path.ends_with("voice.toml") { voice } else { text }.as_bytes().to_vec());
    let options = LoadOptions { read: &read, ..LoadOptions::default() };
    Graph::load(Path::new("edited.toml"), &kinds(), &options).unwrap_or_else(|why| panic!("{why}\n{text}")).0
}

/// A graph as the test thinks of it.
#[derive(Clone, Default)]
struct Draft {
    run: String,
    /// Effects between the tone and the ear, and between another tone and the
    /// mixer: number, kind with parameters, lane.
    chains: [Vec<(usize, String, Option<&'static str>)>; 2],
    /// Room in the first link.
    capacity: usize,
    /// Who is in the room.
    people: Vec<usize>,
    /// Whether another tone is mixed in.
    second: bool,
}

impl Draft {
    fn text(&self) -> String {
        let mut nodes = String::new();
        let mut chain = |index: usize| {
            let mut path = String::new();
            for (number, kind, lane) in &self.chains[index] {
                let lane = lane.map_or_else(String::new, |lane| format!(", lane = \"{lane}\""));
                nodes.push_str(&format!("x{number} = {{ kind = {kind}{lane} }}\n"));
                path.push_str(&format!("x{number} -> "));
            }
            path
        };
        let (first, second) = (chain(0), chain(1));
        let mut links = format!(
            "\"steady -> beat -> keep\", {{ path = \"tone -> {first}ear\", capacity = {} }}, \
             \"other -> {second}mix -> sum\", ",
            self.capacity
        );
        if self.second {
            links.push_str("\"third -> mix\", ");
            nodes.push_str("third = { kind = \"test.tone\", frequency_hz = 700, level_db = -60 }\n");
        }
        for who in &self.people {
            links.push_str(&format!("\"mic{who} -> opus{who} -> pack{who} -> p{who}.audio_in\", "));
            nodes.push_str(&format!(
                "mic{who} = {{ kind = \"test.tone\", frequency_hz = {} }}\nopus{who} = {{ kind = \
                 \"codec.opus_encode\", complexity = 0 }}\npack{who} = {{ kind = \"rtp.pack_opus\" }}\n\
                 p{who} = {{ kind = \"room.join\", url = \"mem://r\", user = \"p{who}\" }}\n",
                200 + 100 * who
            ));
        }
        let run = &self.run;
        format!(
            "# A draft.\nsidetone = 1\nlinks = [{links}]\n[nodes]\n{nodes}\
             steady = {{ kind = \"test.tone\", frequency_hz = 333 }}\n\
             beat = {{ kind = \"audio.level\", interval_ms = 40 }}\n\
             keep = {{ kind = \"check.ear\", run = \"{run}\" }}\n\
             tone = {{ kind = \"test.tone\" }}\nother = {{ kind = \"test.tone\", frequency_hz = 250 }}\n\
             ear = {{ kind = \"check.ear\", run = \"{run}\" }}\n\
             mix = {{ kind = \"audio.mix\" }}\nsum = {{ kind = \"check.ear\", run = \"{run}\" }}\n\
             host = {{ kind = \"room.join\", url = \"mem://r\", user = \"host\" }}\n\
             voices = {{ kind = \"audio.mix\" }}\nheard = {{ kind = \"check.ear\", run = \"{run}\" }}\n\
             quiet = {{ kind = \"audio.gain\" }}\n\
             [each.guest]\nof = \"host.participant\"\nparts = [\"voice.toml\"]\n\
             links = [\"guest.audio -> voice -> voices\"]\n"
        )
        .replace("\"other -> ", "\"voices -> quiet -> heard\", \"other -> ")
    }

    /// Changes something.
    fn change(&mut self, random: &mut fastrand::Rng) {
        let which = random.usize(0..2);
        // What holds sound back makes a mixer, which keeps the time, run dry.
        let kinds = if which == 0 { 5 } else { 4 };
        let effect = |random: &mut fastrand::Rng| match random.u8(0..kinds) {
            0 | 1 => format!("\"audio.gain\", gain_db = {}", random.i8(-18..=0)),
            2 => "\"audio.level\"".to_owned(),
            3 => "\"audio.resample\"".to_owned(),
            _ => "\"check.hold\"".to_owned(),
        };
        let lane =
            |random: &mut fastrand::Rng| *random.choice(&[None, None, Some("side"), Some("far")]).unwrap();
        let used: Vec<_> = self.chains.iter().flatten().map(|(number, ..)| *number).collect();
        let chain = &mut self.chains[which];
        match random.u8(0..12) {
            0..=3 if chain.len() < 5 => {
                let number = (0..12).find(|number| !used.contains(number)).unwrap();
                chain.insert(random.usize(0..=chain.len()), (number, effect(random), lane(random)));
            }
            4..=6 if !chain.is_empty() => {
                chain.remove(random.usize(0..chain.len()));
            }
            7 if !chain.is_empty() => {
                let at = random.usize(0..chain.len());
                chain[at].1 = effect(random);
            }
            8 if chain.len() > 1 => {
                let at = random.usize(1..chain.len());
                chain.swap(at - 1, at);
            }
            9 => self.capacity = random.usize(4..20),
            10 => self.second = !self.second,
            _ => {
                let who = random.usize(0..4);
                match self.people.iter().position(|there| *there == who) {
                    Some(at) => drop(self.people.remove(at)),
                    None => self.people.push(who),
                }
            }
        }
    }
}

/// What is done at a beat, every 40 ms.
enum Beat {
    /// The draft goes back to what it was in the beginning.
    Reset,
    Change,
    /// Nothing, so that what was edited settles.
    Rest,
}

/// Beats from one return to the beginning to the next; a hundred of them edit.
const CYCLE: usize = 166;
/// When the first rest is over, of the graph that it began with, and the second,
/// of whatever it has become: a second and a half, since rooms keep a second of
/// sound for those who may yet want to hear it.
const RESTED: [usize; 2] = [25, 115];
/// Beats before those in which lanes must have settled.
const SETTLED: usize = 10;

const fn beat(beat: usize) -> Beat {
    match beat % CYCLE {
        0 => Beat::Reset,
        26..=74 | 116.. => Beat::Change,
        _ => Beat::Rest,
    }
}

struct Outcome {
    edits: usize,
    refused: Vec<String>,
    /// Bytes at the end of each cycle's first rest.
    live: Vec<i64>,
    /// What lanes allocated at the end of each rest.
    settled: u64,
    allocated: u64,
    report: sidetone::Report,
}

/// Runs a draft and edits it in so many cycles.
fn run(mut draft: Draft, cycles: usize, seed: u64) -> Outcome {
    let options = Options {
        clock: Clock::virtual_time(),
        limit: Some(Duration::from_millis((40 * cycles * CYCLE) as u64 + 2_000)),
        ..Options::default()
    };
    let base = draft.clone();
    let engine = Engine::new(load(&draft.text()), options).unwrap_or_else(|why| panic!("{why}"));
    let handle = engine.handle();
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut made, mut beats, mut refused, mut bytes) = (0, 0, Vec::new(), Vec::new());
    let (mut before, mut settled) = (0, 0);
    ALLOCATED.set(0);
    WATCHED.set(true);
    let report = engine.run(|update| match update {
        Update::Event { node: "beat", kind: EventKind::Level { .. }, .. } if beats < cycles * CYCLE => {
            let at = beats % CYCLE;
            match beat(beats) {
                Beat::Reset => draft = base.clone(),
                Beat::Change => draft.change(&mut random),
                Beat::Rest => {}
            }
            if !matches!(beat(beats), Beat::Rest) {
                let _ = handle.edit(load(&draft.text()));
            }
            if at == RESTED[0] {
                bytes.push(LIVE.get());
            }
            if RESTED.contains(&(at + SETTLED)) {
                before = ALLOCATED.get();
            }
            if RESTED.contains(&at) {
                settled += ALLOCATED.get() - before;
            }
            beats += 1;
        }
        Update::Edited { outcome, at } => {
            made += 1;
            if let Err(why) = outcome {
                refused.push(format!("{at:.3} {why}"));
            }
        }
        _ => {}
    });
    WATCHED.set(false);
    Outcome { edits: made, refused, live: bytes, settled, allocated: ALLOCATED.get(), report }
}

fn heard(run: &str, ear: &str) -> (Vec<f32>, Vec<u64>) {
    let ears = EARS.lock().unwrap();
    let of: Vec<_> = ears.iter().filter(|(name, _)| *name == format!("{run}/{ear}")).collect();
    assert_eq!(of.len(), 1, "{run}/{ear} was made once");
    let heard = of[0].1.lock().unwrap();
    (heard.samples.clone(), heard.numbers.clone())
}

fn steepest(samples: &[f32]) -> f32 {
    samples.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max)
}

#[test]
fn a_thousand_random_edits_lose_no_sample() {
    let draft = |run: &str| Draft { run: run.to_owned(), capacity: 16, ..Draft::default() };
    run(draft("alone"), 0, 0);
    let (alone, _) = heard("alone", "keep");
    for seed in [7, 110, 160, 161] {
        let name = format!("seed {seed}");
        let outcome = run(draft(&name), 10, seed);
        assert_eq!((outcome.edits, outcome.refused.len()), (1_000, 0), "{name}: {:#?}", outcome.refused);
        assert!(outcome.report.faults.is_empty(), "{name}: {:?}", outcome.report.faults);

        // What no edit touches is what it is without them.
        let (kept, numbers) = heard(&name, "keep");
        assert!(kept.len() > 40 * 48_000 && alone == kept[..alone.len()], "{name}");
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{name}");

        // Where effects come and go, every frame comes once and in its place.
        let (samples, numbers) = heard(&name, "ear");
        let wrong: Vec<_> = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
        assert!(wrong.is_empty(), "{name}: frames are out of place: {wrong:?}");
        assert!(numbers.len() > 4_000, "{name}: {} frames came", numbers.len());
        assert_eq!(samples.len(), numbers.len() * 480);
        // The tone moves by 0.0058 from one sample to the next, and while a gain of
        // 18 dB turns in 10 ms by 0.0002 more. Put in or taken out without a ramp,
        // that gain would have it jump by up to 0.087.
        assert!(steepest(&samples) < 0.0065, "{name}: a step of {}", steepest(&samples));
        // Another tone is mixed with one that comes and goes, 40 dB below it.
        let (mixed, numbers) = heard(&name, "sum");
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{name}");
        let mixed = &mixed[480..];
        assert!(steepest(mixed) < 0.0045, "{name}: a step of {} in the mix", steepest(mixed));

        assert_eq!(FREED.get(), 0, "{name}: lanes that keep the real-time rules free nothing");
        // New buffers, of two allocations each, when more sound is under way than
        // ever before on its path; and once a graph is settled not even those.
        assert_eq!(outcome.settled, 0, "{name}: settled lanes allocate nothing");
        assert!(outcome.allocated < 2_000, "{name}: lanes allocated {} times", outcome.allocated);
        // The same graph is there each time. What grows, by less and less, is the
        // report's memory of nodes and links that are gone: 1.5 KB for each that was
        // never there before, 256 of either at most.
        let more = outcome.live[9] - outcome.live[1];
        assert!(more < 120_000, "{name}: {more} bytes more: {:?}", outcome.live);
    }
}
