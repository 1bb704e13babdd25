//! A trace as a file that Perfetto (ui.perfetto.dev) and Chrome's tracing page
//! open: the Trace Event Format, JSON. A track per lane, a slice per call, and
//! an arrow from call to call for every frame.
//!
//! The file is written while the run goes on, on a thread of its own. After each
//! batch the end of the JSON is written too, and the next batch goes over it, so
//! that whenever the run is cut off a whole file is there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use sidetone::trace::{Phase, TraceReader, Traced};
use sidetone::{NodeId, Timestamp};

/// How often the lanes' rings are emptied: they hold some tenths of a second.
const PAUSE: Duration = Duration::from_millis(20);

/// A trace that is being written.
pub(crate) struct TraceFile {
    over: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Written>>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Calls in the file.
    pub(crate) calls: u64,
    /// Calls, and steps of frames, that came faster than they could be written.
    pub(crate) lost: u64,
}

impl TraceFile {
    /// Makes the file and writes to it until `finish`.
    pub(crate) fn create(path: &Path, reader: TraceReader) -> io::Result<Self> {
        let mut writer = Writer::new(File::create(path)?)?;
        let over = Arc::<AtomicBool>::default();
        let told = Arc::clone(&over);
        let body = move || {
            let mut reader = reader;
            loop {
                // Looked at first: what was noted before it was set is read after.
                let last = told.load(Ordering::Acquire);
                let some = reader.read(|traced| writer.add(traced));
                if some > 0 || last {
                    writer.lost = reader.lost();
                    writer.write()?;
                }
                if some == 0 {
                    if last {
                        return Ok(Written { calls: writer.calls, lost: writer.lost });
                    }
                    std::thread::park_timeout(PAUSE);
                }
            }
        };
        let thread = std::thread::Builder::new().name("trace file".into()).spawn(body)?;
        Ok(Self { over, thread })
    }

    /// Writes what is left and closes the file.
    pub(crate) fn finish(self) -> io::Result<Written> {
        self.over.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("its writer panicked")))
    }
}

/// Turns what was traced into JSON, batch by batch.
struct Writer<W> {
    file: W,
    /// Where the next batch goes, over the end of the JSON; 0 before the first.
    place: u64,
    batch: Vec<u8>,
    began: Timestamp,
    /// The graph's name, in JSON.
    graph: String,
    /// By node: the beginning of each of its slices, in JSON.
    slices: BTreeMap<NodeId, String>,
    any: bool,
    calls: u64,
    lost: u64,
}

impl<W: Write + Seek> Writer<W> {
    fn new(file: W) -> io::Result<Self> {
        let mut writer = Self {
            file,
            place: 0,
            batch: Vec::with_capacity(1 << 16),
            began: Timestamp::ZERO,
            graph: "\"\"".into(),
            slices: BTreeMap::new(),
            any: false,
            calls: 0,
            lost: 0,
        };
        writer.batch.extend_from_slice(b"{\"traceEvents\":[\n");
        writer.write()?;
        Ok(writer)
    }

    fn add(&mut self, traced: Traced) {
        match traced {
            Traced::Began { at, graph } => {
                self.began = at;
                self.graph = json(&graph);
                self.meta("process_name", 0, &json(&format!("sidetone {graph}")));
            }
            Traced::Lane { lane, name } => {
                self.meta("thread_name", lane, &json(&name));
                self.separate();
                let order = format!(
                    r#"{{"ph":"M","name":"thread_sort_index","pid":1,"tid":{},"args":{{"sort_index":{lane}}}}}"#,
                    lane + 1
                );
                self.batch.extend_from_slice(order.as_bytes());
            }
            Traced::Node { node, name, kind } => {
                let slice =
                    format!(r#"{{"ph":"X","pid":1,"name":{},"cat":{},"tid":"#, json(&name), json(kind));
                self.slices.insert(node, slice);
            }
            Traced::Call { lane, node, start, length } => {
                self.calls += 1;
                self.separate();
                let slice =
                    self.slices.get(&node).map_or(r#"{"ph":"X","pid":1,"name":"?","cat":"?","tid":"#, |s| s);
                self.batch.extend_from_slice(slice.as_bytes());
                number(&mut self.batch, lane as u64 + 1);
                self.batch.extend_from_slice(b",\"ts\":");
                micros(&mut self.batch, start.since(self.began));
                self.batch.extend_from_slice(b",\"dur\":");
                micros(&mut self.batch, length);
                self.batch.push(b'}');
            }
            Traced::Flow { lane, flow, phase, at } => {
                self.separate();
                let event: &[u8] = match phase {
                    Phase::Born => br#"{"ph":"s","#,
                    Phase::Passed => br#"{"ph":"t","#,
                    // Of the slice that it lies in, not of the one that follows.
                    Phase::Rendered => br#"{"ph":"f","bp":"e","#,
                };
                self.batch.extend_from_slice(event);
                self.batch.extend_from_slice(br#""pid":1,"name":"frame","cat":"frame","id":"#);
                number(&mut self.batch, flow);
                self.batch.extend_from_slice(b",\"tid\":");
                number(&mut self.batch, lane as u64 + 1);
                self.batch.extend_from_slice(b",\"ts\":");
                micros(&mut self.batch, at.since(self.began));
                self.batch.push(b'}');
            }
        }
    }

    fn meta(&mut self, what: &str, lane: usize, name: &str) {
        self.separate();
        let tid = lane + 1;
        let event = format!(r#"{{"ph":"M","name":"{what}","pid":1,"tid":{tid},"args":{{"name":{name}}}}}"#);
        self.batch.extend_from_slice(event.as_bytes());
    }

    fn separate(&mut self) {
        if std::mem::replace(&mut self.any, true) {
            self.batch.extend_from_slice(b",\n");
        }
    }

    /// Writes the batch, and the end of the file after it.
    fn write(&mut self) -> io::Result<()> {
        let events = self.batch.len() as u64;
        let end = format!(
            "\n],\"displayTimeUnit\":\"ns\",\"otherData\":{{\"graph\":{},\"lost\":{}}}}}\n",
            self.graph, self.lost
        );
        self.batch.extend_from_slice(end.as_bytes());
        self.file.seek(SeekFrom::Start(self.place))?;
        self.file.write_all(&self.batch)?;
        self.file.flush()?;
        self.place += events;
        self.batch.clear();
        Ok(())
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Microseconds with the nanoseconds as decimals. By hand, because a busy graph
/// has a hundred thousand of them a second.
fn micros(to: &mut Vec<u8>, duration: Duration) {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    number(to, nanos / 1_000);
    to.push(b'.');
    for place in [100, 10, 1] {
        to.push(b'0' + u8::try_from(nanos % 1_000 / place % 10).unwrap_or(0));
    }
}

fn number(to: &mut Vec<u8>, mut number: u64) {
    let from = to.len();
    loop {
        to.push(b'0' + u8::try_from(number % 10).unwrap_or(0));
        number /= 10;
        if number == 0 {
            break;
        }
    }
    to[from..].reverse();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn value(writer: &Writer<Cursor<Vec<u8>>>) -> serde_json::Value {
        serde_json::from_slice(writer.file.get_ref()).unwrap()
    }

    #[test]
    fn the_file_is_whole_after_every_batch_and_names_are_escaped() {
        let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
        assert_eq!(value(&writer)["traceEvents"].as_array().unwrap().len(), 0);
        let at = |nanos: u64| Timestamp::from_nanos(5_000 + nanos);
        writer.add(Traced::Began { at: at(0), graph: "a \"graph\"\n".into() });
        writer.add(Traced::Lane { lane: 2, name: "of[\\me]".into() });
        writer.write().unwrap();
        assert_eq!(value(&writer)["otherData"]["graph"], "a \"graph\"\n");
        writer.add(Traced::Node { node: NodeId(4), name: "of[\"me\"]/gain".into(), kind: "audio.gain" });
        let (start, length) = (at(1_234_567), Duration::from_nanos(1_002));
        writer.add(Traced::Call { lane: 2, node: NodeId(4), start, length });
        writer.add(Traced::Flow { lane: 2, flow: 9, phase: Phase::Born, at: at(1_235_568) });
        writer.lost = 3;
        writer.write().unwrap();
        writer.write().unwrap();
        let value = value(&writer);
        let events = value["traceEvents"].as_array().unwrap();
        assert_eq!(events.len(), 5);
        assert_eq!(events[1]["args"]["name"], "of[\\me]");
        let slice = &events[3];
        assert_eq!(
            (slice["name"].as_str(), slice["cat"].as_str()),
            (Some("of[\"me\"]/gain"), Some("audio.gain"))
        );
        assert_eq!((slice["ts"].as_f64(), slice["dur"].as_f64()), (Some(1_234.567), Some(1.002)));
        assert_eq!((slice["tid"].as_u64(), events[4]["tid"].as_u64()), (Some(3), Some(3)));
        assert_eq!((events[4]["ph"].as_str(), events[4]["id"].as_u64()), (Some("s"), Some(9)));
        assert_eq!(value["otherData"]["lost"], 3);
    }
}
