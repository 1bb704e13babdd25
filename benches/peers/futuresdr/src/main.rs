//! The same work on FutureSDR.
//!
//! ```text
//! peers-futuresdr inline futuresdr_stream|futuresdr_message "N"|"N in batches" [--frames F]
//! peers-futuresdr copies futuresdr|futuresdr_flow PxS [--samples 5000000] [--max-copy 512]
//! peers-futuresdr --version
//! ```
//!
//! `inline`: a source, N blocks that pass frames on, a sink, all on one worker
//! thread (`SmolScheduler` with one executor). Prints the process' CPU time per
//! frame; the slope between two N is what a hop costs.
//! - `futuresdr_stream`: a frame is one item of 96 bytes in a stream, and a call of
//!   a block passes one on. `futuresdr_message`: a frame is a message (`Pmt::U64`)
//!   through `MessageCopy` blocks.
//! - `N`: the source gives a frame when the one before has reached the sink, which
//!   tells it so by a message; as in a live call, there is never another to go on
//!   with. `N in batches`: the source gives all that the links take, and every
//!   block goes on as long as there is something at its input.
//!
//! `copies`: the shape of FutureSDR's own benchmark `perf/null_rand`. Each of P
//! independent pipes is: a source of zeros (f32) → a head that ends the stream
//! after `samples` → S blocks → a sink that counts. Each call of a block copies a
//! random number of samples, evenly from 1 to the most that it may: `max-copy`,
//! bounded by what is at its input and what is free at its output; it is called
//! again at once as long as it can copy. Links are FutureSDR's default: circular
//! buffers of 32 KiB (8,192 samples). `futuresdr` has the default scheduler, with a
//! worker for every processor; `futuresdr_flow` the one that its benchmark has for
//! this, with each pipe on one processor. Timed is the run from its start to the
//! last block's end; every sink must have counted `samples`. An item is a sample
//! copied by a block.

use std::process::exit;
use std::str::FromStr;
use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
use futuresdr::blocks::{Head, MessageBurst, MessageCopy, MessageSink, NullSink, NullSource};
use futuresdr::prelude::*;
use futuresdr::runtime::dev::prelude::*;
use futuresdr::runtime::scheduler::{FlowScheduler, Scheduler, SmolScheduler};

/// What a handle to a frame with its header takes.
type Item = [u64; 12];

const USAGE: &str =
    "peers-futuresdr inline futuresdr_stream|futuresdr_message \"N\"|\"N in batches\" [--frames F]
       peers-futuresdr copies futuresdr|futuresdr_flow PxS [--samples N] [--max-copy M]";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["inline", who, case, ..] => inline(who, case, &words),
        ["copies", who, case, ..] => copies(who, case, &words),
        ["--version"] => {
            println!("FutureSDR {}", version());
            Ok(())
        }
        _ => refuse("what to measure is missing"),
    }
}

/// The release of FutureSDR that this is built with.
fn version() -> &'static str {
    let locked = include_str!("../Cargo.lock");
    let (_, rest) = locked.split_once("name = \"futuresdr\"\nversion = \"").unwrap_or_default();
    rest.split('"').next().unwrap_or_default()
}

fn refuse(why: &str) -> ! {
    eprintln!("error: {why}\nusage: {USAGE}");
    exit(1)
}

fn option<T: FromStr>(words: &[&str], name: &str, otherwise: T) -> T {
    match words.iter().position(|word| *word == name).map(|at| words.get(at + 1)) {
        None => otherwise,
        Some(value) => value
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| refuse(&format!("{name} takes a number"))),
    }
}

fn emit(row: &str, who: &str, case: &str, metric: &str, value: f64) {
    println!(
        "{{\"row\":\"{row}\",\"who\":\"{who}\",\"case\":\"{case}\",\"metric\":\"{metric}\",\"value\":{value:.3}}}"
    );
}

fn inline(who: &str, case: &str, words: &[&str]) -> Result<()> {
    let (nodes, batches) = match case.strip_suffix(" in batches") {
        Some(nodes) => (nodes, true),
        None => (case, false),
    };
    let nodes: usize = nodes.parse().unwrap_or_else(|_| refuse("N is a number of nodes"));
    let frames: u64 = option(words, "--frames", 3_000_000 / (nodes as u64 + 10));
    let cpu = match (who, batches) {
        ("futuresdr_stream", false) => {
            let mut graph = Flowgraph::new();
            let source = graph.add(Frames::new(frames, 1))?;
            let sink = graph.add(Arrival::new())?;
            graph.message(&sink, "arrived", &source, "next")?;
            stream(&mut graph, nodes, source.id(), sink.id())?;
            timed(graph, |ended| Ok(ended.block(&sink)?.count))
        }
        ("futuresdr_stream", true) => {
            let mut graph = Flowgraph::new();
            let source = graph.add(Frames::new(frames, u64::MAX))?;
            let sink = graph.add(NullSink::<Item>::new())?;
            stream(&mut graph, nodes, source.id(), sink.id())?;
            timed(graph, |ended| Ok(ended.block(&sink)?.n_received() as u64))
        }
        ("futuresdr_message", false) => {
            let mut graph = Flowgraph::new();
            let source = graph.add(Messages { left: frames })?;
            let sink = graph.add(MessageArrival { count: 0 })?;
            graph.message(&sink, "arrived", &source, "next")?;
            message(&mut graph, nodes, source.id(), sink.id())?;
            timed(graph, |ended| Ok(ended.block(&sink)?.count))
        }
        ("futuresdr_message", true) => {
            let mut graph = Flowgraph::new();
            let source = graph.add(MessageBurst::new(Pmt::U64(1), frames))?;
            let sink = graph.add(MessageSink::new())?;
            message(&mut graph, nodes, source.id(), sink.id())?;
            timed(graph, |ended| Ok(ended.block(&sink)?.received()))
        }
        _ => refuse("it is futuresdr_stream or futuresdr_message"),
    }?;
    if cpu.1 != frames {
        refuse(&format!("{} frames of {frames} came", cpu.1));
    }
    emit("inline", who, case, "cpu_ns_per_buffer", cpu.0.as_nanos() as f64 / frames as f64);
    Ok(())
}

/// Runs a graph on one thread: the processor time it took, and what came.
fn timed(
    graph: Flowgraph,
    came: impl FnOnce(&TerminatedFlowgraph) -> Result<u64>,
) -> Result<(Duration, u64)> {
    let runtime = Runtime::with_scheduler(SmolScheduler::with_config(1, false));
    let began = ProcessTime::now();
    let ended = runtime.run(graph)?;
    let took = began.elapsed();
    Ok((took, came(&ended)?))
}

/// Puts `nodes` blocks that copy between a source and a sink of frames.
fn stream(graph: &mut Flowgraph, nodes: usize, source: BlockId, sink: BlockId) -> Result<()> {
    let mut last = source;
    for _ in 0..nodes {
        let next = graph.add(Pass::<Item>::new(Count::One))?.id();
        graph.stream_dyn(last, "output", next, "input")?;
        last = next;
    }
    Ok(graph.stream_dyn(last, "output", sink, "input")?)
}

/// The same for messages.
fn message(graph: &mut Flowgraph, nodes: usize, source: BlockId, sink: BlockId) -> Result<()> {
    let mut last = source;
    for _ in 0..nodes {
        let next = graph.add(MessageCopy::new())?.id();
        graph.message(last, "out", next, "in")?;
        last = next;
    }
    Ok(graph.message(last, "out", sink, "in")?)
}

fn copies(who: &str, case: &str, words: &[&str]) -> Result<()> {
    let shape =
        case.split_once('x').and_then(|(pipes, stages)| Some((pipes.parse().ok()?, stages.parse().ok()?)));
    let Some((pipes, stages)): Option<(usize, usize)> = shape else {
        refuse("the case is pipes and stages, such as 5x6")
    };
    let samples: u64 = option(words, "--samples", 5_000_000);
    let most: usize = option(words, "--max-copy", 512);

    let mut graph = Flowgraph::new();
    let mut sinks = Vec::new();
    // For the `flow` scheduler: the blocks of each processor, pipe by pipe.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut placed = vec![Vec::new(); cores];
    for pipe in 0..pipes {
        let source = graph.add(NullSource::<f32>::new())?;
        let head = graph.add(Head::<f32>::new(samples))?;
        let sink = graph.add(NullSink::<f32>::new())?;
        graph.stream_dyn(source.id(), "output", head.id(), "input")?;
        let mut blocks = vec![source.id(), head.id()];
        let mut last = head.id();
        for _ in 0..stages {
            let next = graph.add(Pass::<f32>::new(Count::Random(most)))?.id();
            graph.stream_dyn(last, "output", next, "input")?;
            blocks.push(next);
            last = next;
        }
        graph.stream_dyn(last, "output", sink.id(), "input")?;
        blocks.push(sink.id());
        placed[pipe % cores].extend(blocks);
        sinks.push(sink);
    }
    let (ended, wall, cpu) = match who {
        "futuresdr" => raced(Runtime::new(), graph),
        "futuresdr_flow" => raced(Runtime::with_scheduler(FlowScheduler::with_pinned_blocks(placed)), graph),
        _ => refuse("it is futuresdr or futuresdr_flow"),
    }?;
    for sink in &sinks {
        let came = ended.block(sink)?.n_received() as u64;
        if came != samples {
            refuse(&format!("{came} samples of {samples} came"));
        }
    }
    let items = pipes as f64 * stages as f64 * samples as f64;
    emit("copies", who, case, "wall_ns_per_item", wall * 1e9 / items);
    emit("copies", who, case, "cpu_ns_per_item", cpu * 1e9 / items);
    emit("copies", who, case, "wall_s", wall);
    Ok(())
}

/// Runs a graph to its end: wall and processor time, in seconds.
fn raced<S: Scheduler + Send + Sync + 'static>(
    runtime: Runtime<S>,
    graph: Flowgraph,
) -> Result<(TerminatedFlowgraph, f64, f64)> {
    let (began, cpu) = (Instant::now(), ProcessTime::now());
    let ended = runtime.run(graph)?;
    Ok((ended, began.elapsed().as_secs_f64(), cpu.elapsed().as_secs_f64()))
}

/// Gives so many frames, of which so many may go before it is told that the next
/// may.
#[derive(Block)]
#[message_inputs(next)]
struct Frames<O: CpuBufferWriter<Item = Item> = DefaultCpuWriter<Item>> {
    left: u64,
    may_go: u64,
    #[output]
    output: O,
}

impl Frames {
    fn new(left: u64, may_go: u64) -> Self {
        Self { left, may_go, output: DefaultCpuWriter::default() }
    }
}

impl<O: CpuBufferWriter<Item = Item>> Frames<O> {
    async fn next(&mut self, _: &mut WorkIo, _: &mut MessageOutputs, _: &BlockMeta, _: Pmt) -> Result<Pmt> {
        self.may_go += 1;
        Ok(Pmt::Ok)
    }
}

impl<O: CpuBufferWriter<Item = Item>> Kernel for Frames<O> {
    async fn work(&mut self, io: &mut WorkIo, _: &mut MessageOutputs, _: &BlockMeta) -> Result<()> {
        let output = self.output.slice();
        let count = (output.len() as u64).min(self.may_go).min(self.left);
        for (item, number) in output.iter_mut().zip(0..count) {
            *item = [self.left - number; 12];
        }
        if count > 0 {
            self.output.produce(count as usize);
        }
        self.may_go -= count;
        self.left -= count;
        io.finished = self.left == 0;
        Ok(())
    }
}

/// Takes frames, and tells of each that it came.
#[derive(Block)]
#[message_outputs(arrived)]
struct Arrival<I: CpuBufferReader<Item = Item> = DefaultCpuReader<Item>> {
    count: u64,
    #[input]
    input: I,
}

impl Arrival {
    fn new() -> Self {
        Self { count: 0, input: DefaultCpuReader::default() }
    }
}

impl<I: CpuBufferReader<Item = Item>> Kernel for Arrival<I> {
    async fn work(&mut self, io: &mut WorkIo, mo: &mut MessageOutputs, _: &BlockMeta) -> Result<()> {
        let came = self.input.slice().len();
        if came > 0 {
            self.input.consume(came);
            self.count += came as u64;
            mo.post("arrived", Pmt::Null).await?;
        }
        io.finished = self.input.finished();
        Ok(())
    }
}

/// Gives so many messages, each when it is told that the one before came.
#[derive(Block)]
#[message_inputs(next)]
#[message_outputs(out)]
struct Messages {
    left: u64,
}

impl Messages {
    async fn give(&mut self, io: &mut WorkIo, mo: &mut MessageOutputs) -> Result<()> {
        if self.left == 0 {
            io.finished = true;
            return Ok(());
        }
        self.left -= 1;
        Ok(mo.post("out", Pmt::U64(self.left)).await?)
    }

    async fn next(&mut self, io: &mut WorkIo, mo: &mut MessageOutputs, _: &BlockMeta, _: Pmt) -> Result<Pmt> {
        self.give(io, mo).await?;
        Ok(Pmt::Ok)
    }
}

impl Kernel for Messages {
    async fn init(&mut self, mo: &mut MessageOutputs, _: &BlockMeta) -> Result<()> {
        self.give(&mut WorkIo { call_again: false, finished: false }, mo).await
    }
}

/// Takes messages, and tells of each that it came.
#[derive(Block)]
#[message_inputs(r#in)]
#[message_outputs(arrived)]
#[null_kernel]
struct MessageArrival {
    count: u64,
}

impl MessageArrival {
    async fn r#in(
        &mut self,
        io: &mut WorkIo,
        mo: &mut MessageOutputs,
        _: &BlockMeta,
        message: Pmt,
    ) -> Result<Pmt> {
        if message == Pmt::Finished {
            io.finished = true;
        } else {
            self.count += 1;
            mo.post("arrived", Pmt::Null).await?;
        }
        Ok(Pmt::Ok)
    }
}

/// How many items a call passes on.
enum Count {
    /// One, and at once another if there is one.
    One,
    /// A random number from 1 to what there is, up to so many.
    Random(usize),
}

/// Copies its input to its output.
#[derive(Block)]
struct Pass<
    T: CpuSample,
    I: CpuBufferReader<Item = T> = DefaultCpuReader<T>,
    O: CpuBufferWriter<Item = T> = DefaultCpuWriter<T>,
> {
    count: Count,
    #[input]
    input: I,
    #[output]
    output: O,
}

impl<T: CpuSample> Pass<T> {
    fn new(count: Count) -> Self {
        Self { count, input: DefaultCpuReader::default(), output: DefaultCpuWriter::default() }
    }
}

impl<T, I, O> Kernel for Pass<T, I, O>
where
    T: CpuSample,
    I: CpuBufferReader<Item = T>,
    O: CpuBufferWriter<Item = T>,
{
    async fn work(&mut self, io: &mut WorkIo, _: &mut MessageOutputs, _: &BlockMeta) -> Result<()> {
        let (input, output) = (self.input.slice(), self.output.slice());
        let (there, free) = (input.len(), output.len());
        let count = match self.count {
            Count::One => there.min(free).min(1),
            Count::Random(most) => match most.min(there).min(free) {
                0 => 0,
                most => fastrand::usize(1..=most),
            },
        };
        if count > 0 {
            output[..count].copy_from_slice(&input[..count]);
            self.input.consume(count);
            self.output.produce(count);
            io.call_again = count < there && count < free;
        }
        if count == there && self.input.finished() {
            io.finished = true;
        }
        Ok(())
    }
}
