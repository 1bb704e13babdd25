//! Kinds whose processor time is counted: as they are, with the clock of their
//! thread read around every call.

use std::sync::atomic::{AtomicU64, Ordering};

use sidetone::{Context, Control, Fault, Finish, MediaType, Node, NodeSpec, Registry, Through};

use crate::machine::thread_cpu;
use crate::reading::nanos;

/// What is counted apart.
#[derive(Clone, Copy)]
pub(crate) enum Count {
    /// Encoders and decoders.
    Codecs,
    /// Sources of test sounds and pictures.
    Sources,
}

static USED: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Nanoseconds of processor time so far: codecs, sources.
pub(crate) fn used() -> [u64; 2] {
    [&USED[0], &USED[1]].map(|used| used.load(Ordering::Relaxed))
}

/// Has the kind `name` counted from now on.
pub(crate) fn count(registry: &mut Registry, name: &str, as_one_of: Count) {
    let Some(kind) = registry.get(name) else { return };
    // One of each, for as long as the process lasts.
    let build = Box::leak(Box::new(move |setup: sidetone::Setup<'_>| {
        let node = (kind.build)(setup)?;
        Ok(Box::new(Timed { node, used: &USED[as_one_of as usize] }) as Box<dyn Node>)
    }));
    registry.add(Box::leak(Box::new(NodeSpec { build, ..*kind })));
}

struct Timed {
    node: Box<dyn Node>,
    used: &'static AtomicU64,
}

impl Timed {
    fn timed<T>(&mut self, call: impl FnOnce(&mut dyn Node) -> T) -> T {
        let before = thread_cpu();
        let outcome = call(&mut *self.node);
        self.used.fetch_add(nanos(thread_cpu().saturating_sub(before)), Ordering::Relaxed);
        outcome
    }
}

impl Node for Timed {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        self.timed(|node| node.process(cx))
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        self.timed(|node| node.finish(cx))
    }

    fn control(
        &mut self,
        control: &Control,
        from: Option<Through>,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        self.timed(|node| node.control(control, from, cx))
    }

    fn output_types(&self) -> Vec<Option<MediaType>> {
        self.node.output_types()
    }
}
