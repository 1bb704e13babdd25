//! `Harness`: runs one node in virtual time without a graph, for its tests.
//!
//! ```
//! # use sidetone_core::harness::Harness;
//! # fn example(spec: &'static sidetone_core::NodeSpec) {
//! let mut node = Harness::new(spec, &[("gain_db", (-6.0).into())]);
//! node.push(0, node.audio(48_000, &[&[0.5; 480]]));
//! node.run();
//! let out = node.take(0);
//! # }
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::cell::{Cell, OnFault, State};
use crate::clock::{Clock, VIRTUAL_START};
use crate::context::{Outbox, Wiring};
use crate::control::{Control, Through};
use crate::event::{EventKind, Key};
use crate::fault::{Fault, NodeError};
use crate::frame::{AudioFormat, Format, Frame, FrameBody, FramePool, Header, VideoFormat};
use crate::ledger::{NodeId, NodeLedger, Trail, TrailRecord, trail_pool};
use crate::link::{self, Inlet, Item, LinkId, Outlet, Overflow, Receiver, Taker};
use crate::media_type::{Codec, MediaType, Size};
use crate::node::{Setup, Shared};
use crate::param::{Params, Value};
use crate::pool::{Places, Pool, places};
use crate::registry::NodeSpec;
use crate::ring::{Producer, ring};
use crate::timestamp::Timestamp;
use crate::waker::NodeWaker;

/// The most calls [`Harness::run`] makes before it takes the node to spin.
const MOST_CALLS: usize = 100_000;
/// Frames that may wait in a link.
const ROOM: usize = 1 << 16;

/// One node, its inputs and outputs in the test's hands, in virtual time.
pub struct Harness {
    cell: Cell,
    feeds: Vec<(LinkId, Producer<Item>)>,
    out: Outbox,
    clock: Clock,
    trails: Arc<Pool<TrailRecord>>,
    bodies: Arc<Places<FrameBody>>,
    outputs: Vec<VecDeque<(Option<Key>, Frame)>>,
    ended: Vec<Key>,
    events: Vec<EventKind>,
    upstream: Vec<(LinkId, Control)>,
    sequence: u64,
}

impl Harness {
    /// A node of kind `spec` with one link to every input.
    ///
    /// # Panics
    /// If the parameters do not fit or the node cannot be made.
    #[must_use]
    pub fn new(spec: &'static NodeSpec, params: &[(&str, Value)]) -> Self {
        Self::try_new(spec, params, &Shared::default()).unwrap_or_else(|why| panic!("{}: {why}", spec.kind))
    }

    /// The same, sharing `shared` with other nodes, or why it cannot be made.
    ///
    /// # Errors
    /// What the kind's `build` gives, and parameters that do not fit as
    /// `NodeError::Unavailable`.
    pub fn try_new(
        spec: &'static NodeSpec,
        params: &[(&str, Value)],
        shared: &Shared,
    ) -> Result<Self, NodeError> {
        Self::make(spec, params, shared, Clock::virtual_time())
    }

    /// The same in real time, for nodes that need the world outside. Use `run`
    /// alone then: it calls the node at the real time, and cannot advance it.
    ///
    /// # Errors
    /// As for [`Harness::try_new`].
    pub fn in_real_time(
        spec: &'static NodeSpec,
        params: &[(&str, Value)],
        shared: &Shared,
    ) -> Result<Self, NodeError> {
        Self::make(spec, params, shared, Clock::real())
    }

    fn make(
        spec: &'static NodeSpec,
        params: &[(&str, Value)],
        shared: &Shared,
        clock: Clock,
    ) -> Result<Self, NodeError> {
        let params = Params::new(spec.params, params).map_err(NodeError::Unavailable)?;
        let inputs: Vec<Option<MediaType>> = spec.inputs.iter().map(|port| Some(port.media)).collect();
        let waker = NodeWaker::default();
        let node = (spec.build)(Setup {
            name: "node",
            params: &params,
            inputs: &inputs,
            seed: 1,
            run_seed: 1,
            waker: waker.clone(),
            virtual_time: clock.is_virtual(),
            deadline: None,
            shared,
        })?;
        let trails = Arc::new(trail_pool(256, 256));
        let bodies = Arc::new(places(1024));
        let pools = spec.outputs.iter().map(|_| FramePool::in_bodies(64, Arc::clone(&bodies))).collect();
        let mut wiring = Wiring::new(NodeId(0), pools, Arc::clone(&trails), Arc::default());
        let mut feeds = Vec::new();
        wiring.inlets = (0..spec.inputs.len()).map(|port| inlet(port, port, &mut feeds)).collect();
        let mut cell = Cell::new(NodeId(0), spec, node, wiring, waker, OnFault::Stop);
        cell.fed = !spec.inputs.is_empty();
        Ok(Self {
            cell,
            feeds,
            out: Outbox::default(),
            clock,
            trails,
            bodies,
            outputs: spec.outputs.iter().map(|_| VecDeque::with_capacity(1024)).collect(),
            ended: Vec::new(),
            events: Vec::with_capacity(1024),
            upstream: Vec::with_capacity(64),
            sequence: 0,
        })
    }

    /// The same, with what the graph would want done when the node fails: that
    /// it is bypassed, or its frames blanked. Nobody here makes it anew.
    #[must_use]
    pub const fn on_fault(mut self, policy: OnFault) -> Self {
        self.cell.on_fault = policy;
        self
    }

    /// Links input `port` once more; links are numbered on from the inputs.
    pub fn add_link(&mut self, port: usize) -> LinkId {
        let link = LinkId(u32::try_from(self.cell.wiring.inlets.len()).unwrap_or(u32::MAX));
        self.cell.wiring.inlets.push(inlet(port, link.0 as usize, &mut self.feeds));
        link
    }

    /// Takes away every link of input `port`, as where a graph links nothing.
    pub fn unlink(&mut self, port: usize) {
        self.cell.wiring.inlets.retain(|inlet| inlet.port != port);
    }

    /// Links output `port`, or its member `key`, so that the node finds it
    /// linked; what it puts out is collected whether or not it is.
    pub fn link_output(&mut self, port: usize, key: Option<Key>) {
        self.cell.wiring.outlets.push(Outlet {
            port,
            key,
            link: LinkId(u32::MAX),
            // `run` collects what is put out; nothing is sent.
            sender: link::path(0, Overflow::Wait).0,
            taker: Taker::Cell { node: NodeId(0), cell: 0 },
            capacity: 0,
            room: 0,
            overflow: Overflow::Wait,
            spill: VecDeque::new(),
            closing: false,
            untold: false,
            ledger: Arc::default(),
            shell: None,
        });
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A header of a frame captured now, numbered on, with a trail.
    pub fn header(&mut self, duration: Duration) -> Header {
        let mut header = Header::new(self.now(), duration);
        header.sequence = self.sequence;
        header.trail = Some(Trail::begin(&self.trails, self.now(), self.sequence));
        self.sequence += 1;
        header
    }

    /// A sound frame with these channels, all of one length, captured now.
    ///
    /// # Panics
    /// If the channels differ in length.
    #[must_use]
    pub fn audio(&self, rate: u32, channels: &[&[f32]]) -> Frame {
        let samples = channels.first().map_or(0, |channel| channel.len());
        let format = AudioFormat {
            rate,
            channels: u16::try_from(channels.len()).unwrap_or(u16::MAX),
            samples: u32::try_from(samples).unwrap_or(u32::MAX),
        };
        let mut frame =
            Frame::placed(&self.bodies, Header::new(self.now(), format.duration()), Format::Audio(format));
        for (index, channel) in channels.iter().enumerate() {
            frame.channel_mut(index).copy_from_slice(channel);
        }
        frame
    }

    /// An I420 picture whose sample at (`x`, `y`) of `plane` is `pixel(plane,
    /// x, y)`, captured now.
    #[must_use]
    pub fn picture(&self, width: u32, height: u32, pixel: impl Fn(usize, usize, usize) -> u8) -> Frame {
        let format = Format::Video(VideoFormat::i420(Size::new(width, height)));
        let mut frame = Frame::placed(&self.bodies, Header::new(self.now(), Duration::ZERO), format);
        for (index, mut plane) in frame.planes_mut().into_iter().enumerate() {
            for y in 0..plane.height {
                for (x, sample) in plane.row_mut(y).iter_mut().enumerate() {
                    *sample = pixel(index, x, y);
                }
            }
        }
        frame
    }

    /// A packet of `codec`, captured now.
    #[must_use]
    pub fn packet(&self, codec: Codec, payload: &[u8]) -> Frame {
        let format = Format::Packet { codec, len: payload.len() };
        let mut frame = Frame::placed(&self.bodies, Header::new(self.now(), Duration::ZERO), format);
        frame.bytes_mut().copy_from_slice(payload);
        frame
    }

    /// An RTP packet of `codec`, captured now.
    #[must_use]
    pub fn rtp(&self, codec: Codec, bytes: &[u8]) -> Frame {
        let format = Format::Rtp { codec, len: bytes.len() };
        let mut frame = Frame::placed(&self.bodies, Header::new(self.now(), Duration::ZERO), format);
        frame.bytes_mut().copy_from_slice(bytes);
        frame
    }

    /// Data of `shape`, captured now.
    #[must_use]
    pub fn data(&self, shape: &'static str, bytes: &[u8]) -> Frame {
        let format = Format::Data { shape, len: bytes.len() };
        let mut frame = Frame::placed(&self.bodies, Header::new(self.now(), Duration::ZERO), format);
        frame.bytes_mut().copy_from_slice(bytes);
        frame
    }

    /// Puts a frame on the first link of input `port`.
    ///
    /// # Panics
    /// If the port is not linked.
    pub fn push(&mut self, port: usize, frame: Frame) {
        let link = self.link_of(port);
        self.push_link(link, frame);
    }

    /// Puts a frame on one link.
    ///
    /// # Panics
    /// If there is no such link.
    pub fn push_link(&mut self, link: LinkId, frame: Frame) {
        self.put(link, Item::Frame(frame));
    }

    /// Ends the first link of input `port`.
    ///
    /// # Panics
    /// If the port is not linked.
    pub fn end(&mut self, port: usize) {
        let link = self.link_of(port);
        self.end_link(link);
    }

    /// Ends one link.
    ///
    /// # Panics
    /// If there is no such link.
    pub fn end_link(&mut self, link: LinkId) {
        self.put(link, Item::End);
    }

    fn link_of(&self, port: usize) -> LinkId {
        let inlet = self.cell.wiring.inlets.iter().find(|inlet| inlet.port == port);
        inlet.unwrap_or_else(|| panic!("input {port} is not linked")).link
    }

    fn put(&mut self, link: LinkId, item: Item) {
        let feed = self.feeds.iter_mut().find(|(fed, _)| *fed == link);
        let (_, feed) = feed.unwrap_or_else(|| panic!("there is no link {link:?}"));
        assert!(feed.push(item).is_ok(), "more than {ROOM} frames wait in link {link:?}");
    }

    /// Sends a message; `from` names the output it came up through.
    pub fn control(&mut self, control: Control, from: Option<Through>) {
        self.cell.controls.push_back((control, from));
    }

    /// Tells the node to stop, as the graph does to its sources.
    pub fn stop(&mut self) {
        self.cell.stopping = true;
    }

    /// Calls the node while a call is due at the present time.
    ///
    /// # Panics
    /// If the node never comes to rest.
    pub fn run(&mut self) {
        for _ in 0..MOST_CALLS {
            let now = self.clock.now();
            if !self.cell.is_due(now, &mut self.out) {
                return;
            }
            self.cell.call(now, false, &mut self.out);
            self.cell.enter(now, self.clock.now(), &mut self.out);
            self.out.staged.drain(..).for_each(|staged| match staged.item {
                Item::Frame(frame) => self.outputs[staged.port].push_back((staged.key, frame)),
                Item::End | Item::Cut => self.ended.extend(staged.key),
            });
            self.events.append(&mut self.out.events);
            self.upstream.append(&mut self.out.upstream);
        }
        panic!("{} is called again and again and takes nothing", self.cell.spec.kind);
    }

    /// Runs, then lets `duration` pass, calling the node at every instant it
    /// asks for.
    ///
    /// # Panics
    /// In real time, which cannot be advanced.
    pub fn advance(&mut self, duration: Duration) {
        assert!(self.clock.is_virtual(), "real time cannot be advanced; use run");
        let until = self.now() + duration;
        self.run();
        while let Some(at) = self.cell.wiring.wake_at.filter(|at| *at <= until) {
            self.clock.advance_to(at);
            self.run();
        }
        self.clock.advance_to(until);
        self.run();
    }

    /// Lets `duration` pass without a call, as on a lane that is held up. In
    /// virtual time.
    pub fn skip(&mut self, duration: Duration) {
        self.clock.advance_to(self.now() + duration);
    }

    /// Runs to `offset` after the harness began.
    pub fn advance_to(&mut self, offset: Duration) {
        self.advance((VIRTUAL_START + offset).since(self.now()));
    }

    /// Takes what came out of output `port`.
    pub fn take(&mut self, port: usize) -> Vec<Frame> {
        self.outputs[port].drain(..).map(|(_, frame)| frame).collect()
    }

    /// Takes what came out of output `port` with the key it was put out to.
    pub fn take_keyed(&mut self, port: usize) -> Vec<(Option<Key>, Frame)> {
        self.outputs[port].drain(..).collect()
    }

    /// Lets go what came out so far, without allocating.
    pub fn clear(&mut self) {
        self.outputs.iter_mut().for_each(VecDeque::clear);
        self.events.clear();
        self.upstream.clear();
    }

    /// Takes the node's events.
    pub fn events(&mut self) -> Vec<EventKind> {
        std::mem::take(&mut self.events)
    }

    /// Takes what the node sent upstream, with the link it went through.
    pub fn upstream(&mut self) -> Vec<(LinkId, Control)> {
        std::mem::take(&mut self.upstream)
    }

    /// Keys whose outputs the node ended.
    #[must_use]
    pub fn ended_keys(&self) -> &[Key] {
        &self.ended
    }

    /// Whether the node has ended (or failed).
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.cell.state == State::Ended
    }

    /// The fault the node gave, if it did.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.events.iter().find_map(|event| match event {
            EventKind::Fault { fault, .. } => Some(*fault),
            _ => None,
        })
    }

    /// When the node asked to be called.
    #[must_use]
    pub const fn wake_at(&self) -> Option<Timestamp> {
        self.cell.wiring.wake_at
    }

    /// What the node has done so far.
    #[must_use]
    pub fn ledger(&self) -> &NodeLedger {
        &self.cell.wiring.ledger
    }
}

fn inlet(port: usize, link: usize, feeds: &mut Vec<(LinkId, Producer<Item>)>) -> Inlet {
    let link = LinkId(u32::try_from(link).unwrap_or(u32::MAX));
    let (feed, taken) = ring(ROOM);
    feeds.push((link, feed));
    Inlet::new(port, link, Receiver::Ring(taken))
}
