//! `test.slow`: a stage that takes its time, for seeing what becomes of a budget.
//!
//! Ports: `in` anything → `out` the same.
//!
//! Parameters: `work_ms`, 0 to 10,000 ms, default 100, how long it takes over a
//! frame; may change while running. `from_s` and `to_s`, 0 to 1,000,000 s since
//! its first frame, default 0 and 1,000,000: it is slow between them, and hands
//! frames on at once before and after. `degrade`, 0 to 3, default 0, each level
//! halves `work_ms`; may change while running.
//!
//! Latency: `work_ms` while it is slow, and the wait of frames behind one
//! another. None of it is declared, since it stands for what nobody planned.
//!
//! Method: it takes one frame and the next only when `work_ms` have passed by
//! the clock, so that it is as slow in virtual time as in real time, and burns
//! nothing. In the ledger this is time held, and frames wait before it.
//!
//! ```toml
//! sidetone = 1
//! budget_ms = 150
//! budget_remedy = "drop_late"
//! links = ["scene -> slow -> file"]
//! nodes.scene = { kind = "test.scene" }
//! nodes.slow = { kind = "test.slow", work_ms = 60, from_s = 5, to_s = 10 }
//! nodes.file = { kind = "file.y4m_sink", path = "slow.y4m" }
//! ```

use std::time::Duration;

use sidetone_core::param::DEGRADE;
use sidetone_core::registry::same;
use sidetone_core::{
    Context, Control, Fault, Finish, Frame, MediaType, Node, NodeSpec, ParamSpec, Params, Placement,
    PortSpec, Through, Timestamp,
};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "test.slow",
    summary: "A stage that takes its time, for seeing what becomes of a budget.",
    sheet: sidetone_core::data_sheet!("slow.rs"),
    inputs: &[PortSpec::new("in", MediaType::Any, "What is to be slowed.")],
    outputs: &[PortSpec::new("out", MediaType::Any, "The same, later.")],
    params: &[
        ParamSpec::int("work_ms", 100, 0, 10_000, "How long it takes over a frame.").unit("ms").live(),
        ParamSpec::float("from_s", 0.0, 0.0, 1e6, "When it gets slow, after its first frame.").unit("s"),
        ParamSpec::float("to_s", 1e6, 0.0, 1e6, "When it is quick again.").unit("s"),
        DEGRADE,
    ],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &same,
    build: &|setup| Ok(Box::new(Slow::new(setup.params))),
};

struct Slow {
    work: Duration,
    slow: (Duration, Duration),
    degrade: u32,
    /// When the first frame came.
    start: Option<Timestamp>,
    /// What it is busy with, and until when.
    busy: Option<(Frame, Timestamp)>,
}

impl Slow {
    fn new(params: &Params) -> Self {
        let seconds = |name| Duration::from_secs_f64(params.float(name));
        Self {
            work: Duration::from_millis(params.int("work_ms").unsigned_abs()),
            slow: (seconds("from_s"), seconds("to_s")),
            degrade: level(params.int(DEGRADE.name)),
            start: None,
            busy: None,
        }
    }

    /// How long a frame that is taken at `now` takes.
    fn work(&mut self, now: Timestamp) -> Duration {
        let since = now.since(*self.start.get_or_insert(now));
        let is_slow = (self.slow.0..self.slow.1).contains(&since);
        if is_slow { self.work / (1 << self.degrade) } else { Duration::ZERO }
    }
}

impl Node for Slow {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        loop {
            match self.busy.take() {
                Some((frame, until)) if until > cx.now() => {
                    self.busy = Some((frame, until));
                    cx.wake_at(until);
                    return Ok(());
                }
                Some((frame, _)) => cx.push(0, frame),
                None => {}
            }
            let Some(frame) = cx.pop(0) else { return Ok(()) };
            self.busy = Some((frame, cx.now() + self.work(cx.now())));
        }
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        self.process(cx)?;
        Ok(if self.busy.is_some() { Finish::Later } else { Finish::Done })
    }

    fn control(
        &mut self,
        control: &Control,
        from: Option<Through>,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        match control {
            Control::Set { param: "work_ms", value } => {
                self.work = Duration::from_secs_f64(value.as_float().clamp(0.0, 10_000.0) / 1e3);
            }
            Control::Set { param: "degrade", value } => self.degrade = level(value.as_float() as i64),
            _ if from.is_some() => cx.forward(control),
            _ => {}
        }
        Ok(())
    }
}

fn level(level: i64) -> u32 {
    u32::try_from(level.clamp(0, 3)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidetone_core::harness::Harness;

    const TEN: Duration = Duration::from_millis(10);

    fn feed(node: &mut Harness, count: usize) {
        for _ in 0..count {
            let mut frame = node.audio(48_000, &[&[0.5; 480]]);
            frame.header = node.header(TEN);
            node.push(0, frame);
        }
    }

    #[test]
    fn it_works_on_one_frame_at_a_time_while_it_is_slow() {
        let params = [("work_ms", 40.into()), ("from_s", 1.0.into()), ("to_s", 2.0.into())];
        let mut node = Harness::new(&SPEC, &params);
        feed(&mut node, 3);
        node.run();
        assert_eq!(node.take(0).len(), 3, "not slow yet");
        node.advance(Duration::from_secs(1));
        feed(&mut node, 3);
        for _ in 0..3 {
            node.advance(Duration::from_millis(39));
            assert!(node.take(0).is_empty());
            node.advance(Duration::from_millis(1));
            assert_eq!(node.take(0).len(), 1);
        }
        let ledger = node.ledger();
        assert!((ledger.buffer().max - 40.0).abs() < 1.0);
        assert!((ledger.wait().max - 80.0).abs() < 1.0);
        node.advance(Duration::from_secs(1));
        feed(&mut node, 3);
        node.run();
        assert_eq!(node.take(0).len(), 3, "quick again");
    }

    #[test]
    fn each_level_halves_the_work_and_the_end_waits_for_it() {
        let mut node = Harness::new(&SPEC, &[("work_ms", 80.into())]);
        node.control(Control::Set { param: "degrade", value: 2.into() }, None);
        feed(&mut node, 2);
        node.end(0);
        node.advance(Duration::from_millis(20));
        assert!(node.take(0).len() == 1 && !node.has_ended());
        node.advance(Duration::from_millis(20));
        assert!(node.take(0).len() == 1 && node.has_ended());
    }
}
