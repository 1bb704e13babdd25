//! The kinds of nodes that only benches need: sources that give frames as fast
//! as they are taken or at a beat, nodes that pass them on or copy them, and
//! sinks that take the time. Being instruments, some of them read clocks.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use sidetone::registry::{Negotiated, declared, same};
use sidetone::{
    AudioFormat, Clock, Codec, Context, Fault, Finish, Flags, Frame, MediaType, Node, NodeSpec, ParamSpec,
    Params, Placement, PortSpec, Registry, Size, Timestamp, VideoFormat,
};

use crate::machine::{pin, thread_cpu};
use crate::reading::nanos;

/// Sidetone's own kinds and those of the benches.
pub(crate) fn registry() -> Registry {
    let mut registry = sidetone::registry();
    add(&mut registry);
    registry
}

/// Adds the kinds of the benches.
pub(crate) fn add(registry: &mut Registry) {
    let all =
        [&SOURCE, &PASS, &TURN_SOUND, &SINK, &METER, &RENDER, &SAMPLES, &COPY, &SAMPLES_SINK, &PICTURES];
    all.into_iter().for_each(|spec| registry.add(spec));
}

/// When a frame passed, by two clocks.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    /// The wall's.
    pub(crate) at: Instant,
    /// The passing thread's own.
    pub(crate) cpu: Duration,
}

impl Mark {
    fn now() -> Self {
        Self { at: Instant::now(), cpu: thread_cpu() }
    }
}

/// What the nodes of one measurement leave behind: a process measures once.
#[derive(Default)]
pub(crate) struct Found {
    /// At the source: the first frame after warming up, and the last.
    pub(crate) source: (Option<Mark>, Option<Mark>),
    /// At the sink: the same.
    pub(crate) sink: (Option<Mark>, Option<Mark>),
    /// Nanoseconds, one for each frame that a sink timed.
    pub(crate) delays: Vec<u64>,
}

static FOUND: Mutex<Found> =
    Mutex::new(Found { source: (None, None), sink: (None, None), delays: Vec::new() });
/// Whether sinks that time frames keep what they see.
pub(crate) static MEASURING: AtomicBool = AtomicBool::new(false);
/// The clock of the engine under measurement.
pub(crate) static CLOCK: OnceLock<Clock> = OnceLock::new();

fn found() -> std::sync::MutexGuard<'static, Found> {
    FOUND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was left behind so far.
pub(crate) fn take_found() -> Found {
    std::mem::take(&mut found())
}

fn since_start() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    nanos(START.get_or_init(Instant::now).elapsed())
}

const CODEC: Codec = Codec::Opus;
const PACKETS: MediaType = MediaType::rtp(CODEC);
const IN: PortSpec = PortSpec::new("in", PACKETS, "Packets.");
const OUT: PortSpec = PortSpec::new("out", PACKETS, "Packets.");
const FRAMES: ParamSpec = ParamSpec::int("frames", 1_000, 1, 1_000_000_000, "How many there are.");
const WARM: ParamSpec = ParamSpec::int("warm", 0, 0, 1_000_000_000, "The first that counts.");
const CPU: ParamSpec = ParamSpec::int("cpu", -1, -1, 1_023, "The processor to stay on; -1 is any.");

const fn spec(
    kind: &'static str,
    (inputs, outputs): (&'static [PortSpec], &'static [PortSpec]),
    params: &'static [ParamSpec],
    build: &'static sidetone::registry::Build,
) -> NodeSpec {
    NodeSpec {
        kind,
        summary: "For benches.",
        sheet: "",
        inputs,
        outputs,
        params,
        placement: Placement::Shared,
        real_time: true,
        negotiate: if inputs.is_empty() || outputs.is_empty() { &declared } else { &same },
        build,
    }
}

/// Pins its lane's thread when it is first called.
struct Pin(Option<usize>);

impl Pin {
    fn new(params: &Params) -> Self {
        Self(usize::try_from(params.int("cpu")).ok())
    }

    fn once(&mut self) {
        self.0.take().into_iter().for_each(pin);
    }
}

fn count(params: &Params, name: &str) -> u64 {
    u64::try_from(params.int(name)).unwrap_or(0)
}

static SOURCE: NodeSpec = spec(
    "bench.source",
    (&[], &[OUT]),
    &[
        FRAMES,
        WARM,
        CPU,
        ParamSpec::int("batch", 1, 1, 1_024, "Frames a call."),
        ParamSpec::int("bytes", 16, 16, 1 << 26, "Size of a frame."),
        ParamSpec::int("every_us", 0, 0, 1_000_000, "The time between calls; 0 is none.").unit("us"),
    ],
    &|setup| {
        Ok(Box::new(Source {
            next: 0,
            frames: count(setup.params, "frames"),
            warm: count(setup.params, "warm"),
            batch: count(setup.params, "batch"),
            bytes: usize::try_from(count(setup.params, "bytes")).unwrap_or(16),
            every: Duration::from_micros(count(setup.params, "every_us")),
            start: None,
            pin: Pin::new(setup.params),
        }))
    },
);

/// Gives frames whose first bytes say when they were pushed.
struct Source {
    next: u64,
    frames: u64,
    warm: u64,
    batch: u64,
    bytes: usize,
    every: Duration,
    start: Option<Timestamp>,
    pin: Pin,
}

impl Source {
    /// When the next frame is due, at `now`.
    fn due(&mut self, now: Timestamp) -> Timestamp {
        let start = *self.start.get_or_insert(now);
        if self.every.is_zero() {
            return now;
        }
        start + self.every.saturating_mul(u32::try_from(self.next + 1).unwrap_or(u32::MAX))
    }
}

impl Node for Source {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        self.pin.once();
        if cx.now() < self.due(cx.now()) {
            cx.wake_at(self.due(cx.now()));
            return Ok(());
        }
        for _ in 0..self.batch.min(self.frames - self.next) {
            if self.next == self.warm {
                found().source.0 = Some(Mark::now());
            }
            let header = cx.born(cx.now(), Duration::ZERO);
            let mut frame = cx.rtp(0, CODEC, self.bytes, header);
            frame.set_len(self.bytes);
            if !self.every.is_zero() {
                frame.bytes_mut()[..8].copy_from_slice(&since_start().to_le_bytes());
            }
            cx.push(0, frame);
            self.next += 1;
        }
        if self.next == self.frames {
            found().source.1 = Some(Mark::now());
            cx.end();
        } else {
            cx.wake_at(self.due(cx.now()));
        }
        Ok(())
    }
}

static PASS: NodeSpec = spec("bench.pass", (&[IN], &[OUT]), &[], &|_| Ok(Box::new(Pass)));

static TURN_SOUND: NodeSpec =
    spec("bench.turn_sound", (&[SOUND_IN], &[SOUND_OUT]), &[], &|_| Ok(Box::new(Turn)));

/// Hands frames on.
struct Pass;

impl Node for Pass {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(frame) = cx.pop(0) {
            cx.push(0, frame);
        }
        Ok(())
    }
}

/// Changes the sign of each sample.
struct Turn;

impl Node for Turn {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(mut frame) = cx.pop(0) {
            frame.channel_mut(0).iter_mut().for_each(|sample| *sample = -*sample);
            cx.push(0, frame);
        }
        Ok(())
    }
}

static SINK: NodeSpec = spec(
    "bench.sink",
    (&[IN], &[]),
    &[FRAMES, WARM, CPU, ParamSpec::bool("times", false, "Whether it times each frame's way.")],
    &|setup| {
        Ok(Box::new(Sink {
            last: count(setup.params, "frames") - 1,
            warm: count(setup.params, "warm"),
            times: setup.params.bool("times"),
            delays: Vec::with_capacity(100_000),
            pin: Pin::new(setup.params),
        }))
    },
);

/// Takes frames as a renderer does, and notes when.
struct Sink {
    last: u64,
    warm: u64,
    times: bool,
    delays: Vec<u64>,
    pin: Pin,
}

impl Node for Sink {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let called = if self.times { since_start() } else { 0 };
        self.pin.once();
        while let Some(frame) = cx.pop(0) {
            let number = frame.header.sequence;
            if self.times && number >= self.warm {
                let pushed = frame.bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                self.delays.push(called.saturating_sub(pushed));
            }
            cx.rendered(frame);
            if number == self.warm {
                found().sink.0 = Some(Mark::now());
            }
            if number == self.last {
                let mut found = found();
                found.sink.1 = Some(Mark::now());
                found.delays.append(&mut self.delays);
            }
        }
        Ok(())
    }
}

static METER: NodeSpec =
    spec("bench.meter", (&[PortSpec::new("in", MediaType::AUDIO, "Sound.")], &[]), &[], &|_| {
        Ok(Box::new(Meter { delays: Vec::with_capacity(256) }))
    });

/// Takes paced sound and notes how much later than its tick each frame came: a
/// frame's tick is the instant at which its last sample was captured.
struct Meter {
    /// Nanoseconds, up to 4 s: there are a thousand of these, whose memory counts.
    delays: Vec<u32>,
}

impl Node for Meter {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(frame) = cx.pop(0) {
            if MEASURING.load(Ordering::Relaxed)
                && let Some(clock) = CLOCK.get()
            {
                let tick = frame.header.captured + frame.header.duration;
                self.delays.push(u32::try_from(nanos(clock.now().since(tick))).unwrap_or(u32::MAX));
            }
            cx.rendered(frame);
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Context<'_>) -> Result<Finish, Fault> {
        self.hand_in();
        Ok(Finish::Done)
    }
}

impl Meter {
    /// Leaves behind what it has noted.
    fn hand_in(&mut self) {
        found().delays.extend(self.delays.drain(..).map(u64::from));
    }
}

// A graph that falls behind is cut off before its sinks have finished.
impl Drop for Meter {
    fn drop(&mut self) {
        self.hand_in();
    }
}

static RENDER: NodeSpec = NodeSpec {
    negotiate: &declared,
    ..spec(
        "bench.render",
        (
            &[
                PortSpec::new("audio", MediaType::AUDIO, "Sound.").optional(),
                PortSpec::new("video", MediaType::VIDEO, "Pictures.").optional(),
            ],
            &[],
        ),
        &[],
        &|_| Ok(Box::new(Render)),
    )
};

/// Takes sound or pictures as their listener or viewer does.
struct Render;

impl Node for Render {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        for port in 0..2 {
            while let Some(frame) = cx.pop(port) {
                // What the jitter buffer or decoder made up was never captured.
                if !frame.header.flags.has(Flags::LOST) {
                    cx.rendered(frame);
                }
            }
        }
        Ok(())
    }
}

const SOUND_IN: PortSpec = PortSpec::new("in", MediaType::AUDIO, "Samples.");
const SOUND_OUT: PortSpec = PortSpec::new("out", MediaType::AUDIO, "Samples.");

fn mono(samples: usize) -> AudioFormat {
    AudioFormat { rate: 48_000, channels: 1, samples: u32::try_from(samples).unwrap_or(0) }
}

static SAMPLES: NodeSpec = spec(
    "bench.samples",
    (&[], &[SOUND_OUT]),
    &[
        ParamSpec::int("samples", 1_000_000, 1, 1_000_000_000_000, "How many in all."),
        ParamSpec::int("chunk", 8_192, 1, 1 << 20, "How many in a frame."),
    ],
    &|setup| {
        Ok(Box::new(Samples {
            left: count(setup.params, "samples"),
            chunk: count(setup.params, "chunk"),
            begun: false,
        }))
    },
);

/// Gives samples as fast as they are taken.
struct Samples {
    left: u64,
    chunk: u64,
    begun: bool,
}

impl Node for Samples {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        if !std::mem::replace(&mut self.begun, true) {
            found().source.0.get_or_insert_with(Mark::now);
        }
        let many = self.left.min(self.chunk);
        let header = cx.born(cx.now(), Duration::ZERO);
        let mut frame = cx.audio(0, mono(usize::try_from(many).unwrap_or(0)), header);
        frame.channel_mut(0).fill(0.0);
        cx.push(0, frame);
        self.left -= many;
        if self.left == 0 {
            cx.end();
        } else {
            cx.wake_at(cx.now());
        }
        Ok(())
    }
}

static PICTURES: NodeSpec = NodeSpec {
    negotiate: &|_| Ok(Negotiated::new([MediaType::i420(Some(HD), None)])),
    ..spec(
        "bench.pictures",
        (&[], &[PortSpec::new("out", MediaType::VIDEO, "Pictures.")]),
        &[ParamSpec::int("every_us", 8_000, 1, 1_000_000, "How long from one to the next.")],
        &|setup| {
            Ok(Box::new(Pictures {
                every: Duration::from_micros(count(setup.params, "every_us")),
                next: None,
            }))
        },
    )
};

const HD: Size = Size::new(1_280, 720);

/// Gives pictures of 1280x720, each of one grey, at a beat.
struct Pictures {
    every: Duration,
    next: Option<Timestamp>,
}

impl Node for Pictures {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let due = *self.next.get_or_insert(cx.now());
        if cx.now() >= due {
            let header = cx.born(due, self.every);
            let grey = header.sequence as u8;
            let mut frame = cx.video(0, VideoFormat::i420(HD), header);
            frame.bytes_mut().fill(grey);
            cx.push(0, frame);
            self.next = Some(due + self.every);
        }
        cx.wake_at(self.next.unwrap_or(due));
        Ok(())
    }
}

static COPY: NodeSpec = spec(
    "bench.copy",
    (&[SOUND_IN], &[SOUND_OUT]),
    &[ParamSpec::int("max_copy", 512, 1, 1 << 20, "The most samples copied at a time.")],
    &|setup| {
        Ok(Box::new(Copy {
            random: fastrand::Rng::with_seed(setup.seed),
            most: usize::try_from(count(setup.params, "max_copy")).unwrap_or(1),
            waiting: VecDeque::with_capacity(64),
            done: 0,
        }))
    },
);

/// Copies a random number of samples at a time, evenly from 1 to the most that
/// it may or all that wait, into a new buffer, until none wait.
struct Copy {
    random: fastrand::Rng,
    most: usize,
    waiting: VecDeque<Frame>,
    /// Samples of the first waiting frame that are copied already.
    done: usize,
}

impl Node for Copy {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(frame) = cx.pop(0) {
            self.waiting.push_back(frame);
        }
        let mut available = self.waiting.iter().map(samples).sum::<usize>() - self.done;
        while available > 0 {
            let many = self.random.usize(1..=self.most.min(available));
            let header = self.waiting.front().map(|from| from.header.clone()).unwrap_or_default();
            let mut to = cx.audio(0, mono(many), header);
            self.fill(to.channel_mut(0));
            cx.push(0, to);
            available -= many;
        }
        Ok(())
    }
}

impl Copy {
    /// Fills `to` with the samples that waited longest; there are as many.
    fn fill(&mut self, mut to: &mut [f32]) {
        while let Some(from) = self.waiting.front().filter(|_| !to.is_empty()) {
            let rest = &from.channel(0)[self.done..];
            let many = rest.len().min(to.len());
            let (now, later) = to.split_at_mut(many);
            now.copy_from_slice(&rest[..many]);
            to = later;
            self.done += many;
            if many == rest.len() {
                self.waiting.pop_front();
                self.done = 0;
            }
        }
    }
}

fn samples(frame: &Frame) -> usize {
    frame.channel(0).len()
}

static SAMPLES_SINK: NodeSpec =
    spec("bench.samples_sink", (&[SOUND_IN], &[]), &[], &|_| Ok(Box::new(SamplesSink { taken: 0 })));

/// Counts samples and lets them go.
struct SamplesSink {
    taken: u64,
}

impl Node for SamplesSink {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(frame) = cx.pop(0) {
            self.taken += samples(&frame) as u64;
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Context<'_>) -> Result<Finish, Fault> {
        // As many delays as sinks: what each of them counted.
        let mut found = found();
        found.delays.push(self.taken);
        found.sink.1 = Some(Mark::now());
        Ok(Finish::Done)
    }
}
