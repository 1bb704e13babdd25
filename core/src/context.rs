//! `Context`: what a node sees and can do during one call.

use crate::control::Control;
use crate::event::{EventKind, Key};
use crate::frame::{AudioFormat, Flags, Format, Frame, FramePool, Header, PACKET_ROOM, VideoFormat};
use crate::ledger::{DropReason, NodeId, NodeLedger, Trail, TrailRecord};
use crate::link::{Inlet, Item, LinkId, Outlet, Shell};
use crate::media_type::{Codec, Medium};
use crate::pool::Pool;
use crate::timestamp::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// Over how much sound a live parameter is spread that would click otherwise.
pub const RAMP: Duration = Duration::from_millis(10);

/// The ends of a node's links, and what it has beside its state.
pub(crate) struct Wiring {
    pub(crate) node: NodeId,
    pub(crate) inlets: Vec<Inlet>,
    pub(crate) outlets: Vec<Outlet>,
    pub(crate) pools: Vec<FramePool>,
    pub(crate) trails: Arc<Pool<TrailRecord>>,
    pub(crate) ledger: Arc<NodeLedger>,
    pub(crate) wake_at: Option<Timestamp>,
    /// Tells frames that are born here from all others; counts up from the node's
    /// own first.
    pub(crate) flow: u64,
    pub(crate) sequence: u64,
    pub(crate) ended: bool,
    pub(crate) taken: u64,
}

/// What one call leaves behind for its lane, which lends it to each of its nodes
/// in turn.
pub(crate) struct Outbox {
    pub(crate) staged: Vec<Staged>,
    pub(crate) rendered: Vec<(Header, Medium)>,
    pub(crate) upstream: Vec<(LinkId, Control)>,
    pub(crate) events: Vec<EventKind>,
    /// Ends of links that are done with.
    #[allow(clippy::vec_box)] // the boxes are what they leave in
    pub(crate) parted: Vec<Box<Shell>>,
}

impl Outbox {
    /// Whether it holds nothing. \[real-time\]
    pub(crate) const fn is_empty(&self) -> bool {
        !self.holds_frames() && self.upstream.is_empty() && self.events.is_empty() && self.parted.is_empty()
    }

    /// Whether it holds frames that were put out or rendered. \[real-time\]
    pub(crate) const fn holds_frames(&self) -> bool {
        !self.staged.is_empty() || !self.rendered.is_empty()
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            staged: Vec::with_capacity(64),
            rendered: Vec::with_capacity(16),
            upstream: Vec::with_capacity(16),
            events: Vec::with_capacity(16),
            parted: Vec::with_capacity(64),
        }
    }
}

pub(crate) struct Staged {
    pub(crate) item: Item,
    pub(crate) port: usize,
    pub(crate) key: Option<Key>,
}

impl Wiring {
    /// For the node `node`, without links. \[control\]
    pub(crate) fn new(
        node: NodeId,
        pools: Vec<FramePool>,
        trails: Arc<Pool<TrailRecord>>,
        ledger: Arc<NodeLedger>,
    ) -> Self {
        Self {
            node,
            inlets: Vec::new(),
            outlets: Vec::new(),
            pools,
            trails,
            ledger,
            flow: u64::from(node.0) << 40,
            wake_at: None,
            sequence: 0,
            ended: false,
            taken: 0,
        }
    }

    /// Enters in the ledger that a frame, by its header, leaves at the `end` of a
    /// call that began at `start`. \[real-time\]
    #[inline]
    pub(crate) fn leave(&self, header: &mut Header, start: Timestamp, end: Timestamp, begins: bool) {
        self.ledger.frames.add(1);
        if let Some(trail) = &mut header.trail {
            self.ledger.step(trail.leave(self.node, start, end, begins).as_ref());
        }
    }

    /// Puts an item out through every link of a port, counted where there is more
    /// than one. \[real-time\]
    #[inline]
    pub(crate) fn put(&mut self, port: usize, key: Option<Key>, item: Item) {
        match &mut self.outlets[..] {
            [only] if only.port == port && only.key == key && !matches!(item, Item::End) => only.send(item),
            _ => self.put_to_each(port, key, item),
        }
    }

    fn put_to_each(&mut self, port: usize, key: Option<Key>, item: Item) {
        let fits = |outlet: &Outlet| outlet.port == port && outlet.key == key;
        let Some(last) = self.outlets.iter().rposition(fits) else {
            if matches!(item, Item::Frame(_)) {
                self.ledger.dropped[DropReason::Unlinked as usize].add(1);
            }
            return;
        };
        for outlet in self.outlets[..last].iter_mut().filter(|outlet| fits(outlet)) {
            outlet.send(match &item {
                Item::Frame(frame) => Item::Frame(frame.clone()),
                Item::End => Item::End,
                Item::Cut => Item::Cut,
            });
        }
        let is_end = matches!(item, Item::End);
        self.outlets[last].send(item);
        if is_end {
            let outlets = self.outlets.iter_mut();
            outlets.filter(|outlet| fits(outlet)).for_each(|outlet| outlet.closing = true);
        }
    }

    /// Parts with the receiving ends that have ended and are to go, and opens
    /// those that were held for them. \[real-time\]
    #[allow(clippy::vec_box)] // the boxes are what they leave in
    pub(crate) fn part(&mut self, parted: &mut Vec<Box<Shell>>) {
        while let Some(at) = self.inlets.iter().position(|inlet| inlet.leaving && inlet.ended) {
            let inlet = self.inlets.remove(at);
            for held in self.inlets.iter_mut().filter(|held| held.after == Some(inlet.link)) {
                held.after = None;
            }
            parted.extend(Shell::of_inlet(inlet));
        }
    }
}

/// Takes the next of what the present call is offered.
fn take(inlet: &mut Inlet, now: Timestamp, taken: &mut u64, ledger: &NodeLedger) -> Option<Frame> {
    inlet.offered -= 1;
    match inlet.pop()? {
        Item::Frame(mut frame) => {
            if let Some(trail) = &mut frame.header.trail {
                trail.take(now);
            }
            if std::mem::take(&mut inlet.gap) {
                frame.header.flags = frame.header.flags.with(Flags::DISCONTINUITY);
            }
            *taken += 1;
            ledger.taken.add(1);
            Some(frame)
        }
        Item::End => {
            inlet.ended = true;
            None
        }
        Item::Cut => {
            inlet.note_cut();
            None
        }
    }
}

/// What a node sees and can do during one call. Ports are given by their place
/// in the kind's `inputs` or `outputs`. \[real-time\], unless a method says
/// otherwise.
pub struct Context<'a> {
    pub(crate) now: Timestamp,
    pub(crate) wiring: &'a mut Wiring,
    pub(crate) out: &'a mut Outbox,
    /// Whether frames leave at `now`; else, when the call's end is known.
    pub(crate) at_once: bool,
}

impl Context<'_> {
    /// The time at which this call began.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Takes the next frame of input `port`; where several links feed it, of
    /// the first that has one. A call is offered what waited when it began;
    /// frames that come meanwhile are for the next.
    #[inline]
    pub fn pop(&mut self, port: usize) -> Option<Frame> {
        let Wiring { inlets, taken, ledger, .. } = &mut *self.wiring;
        for inlet in inlets {
            if inlet.port == port
                && inlet.offered > 0
                && let Some(frame) = take(inlet, self.now, taken, ledger)
            {
                return Some(frame);
            }
        }
        None
    }

    /// The links that feed input `port`, in a fixed order. Links come and go
    /// while the graph runs; a link's id stays its own.
    pub fn links(&self, port: usize) -> impl Iterator<Item = LinkId> + '_ {
        let open = move |inlet: &&Inlet| inlet.port == port && inlet.after.is_none();
        self.wiring.inlets.iter().filter(open).map(|inlet| inlet.stream)
    }

    /// Takes the next frame of one link.
    pub fn pop_link(&mut self, link: LinkId) -> Option<Frame> {
        let Wiring { inlets, taken, ledger, .. } = &mut *self.wiring;
        let inlet = inlets.iter_mut().find(|inlet| inlet.is(link) && inlet.offered > 0)?;
        take(inlet, self.now, taken, ledger)
    }

    /// Looks at the next frame of one link without taking it.
    pub fn peek_link(&mut self, link: LinkId) -> Option<&Frame> {
        let inlet = self.wiring.inlets.iter_mut().find(|inlet| inlet.is(link) && inlet.offered > 0)?;
        match inlet.peek() {
            Some(Item::Frame(frame)) => Some(frame),
            _ => None,
        }
    }

    /// How many frames this call may still take from one link (its end may
    /// count as one).
    #[must_use]
    pub fn waiting(&self, link: LinkId) -> usize {
        self.wiring.inlets.iter().find(|inlet| inlet.is(link)).map_or(0, |inlet| inlet.offered)
    }

    /// Whether every link that feeds input `port` has ended and is empty. True
    /// for a port that nothing feeds.
    #[must_use]
    pub fn has_ended(&self, port: usize) -> bool {
        self.wiring.inlets.iter().filter(|inlet| inlet.port == port).all(|inlet| inlet.ended)
    }

    /// Whether one link has ended and is empty, or is gone.
    #[must_use]
    pub fn link_has_ended(&self, link: LinkId) -> bool {
        self.wiring.inlets.iter().find(|inlet| inlet.is(link)).is_none_or(|inlet| inlet.ended)
    }

    /// Puts a frame out through `port`, to every link there.
    #[inline]
    pub fn push(&mut self, port: usize, frame: Frame) {
        self.put(port, None, frame);
    }

    /// Puts a frame out through the member `key` of a port that its kind
    /// declares `each`.
    pub fn push_to(&mut self, port: usize, key: Key, frame: Frame) {
        self.put(port, Some(key), frame);
    }

    fn put(&mut self, port: usize, key: Option<Key>, mut frame: Frame) {
        if frame.is_spare() {
            self.dropped(DropReason::PoolDry);
        } else if self.at_once {
            self.wiring.leave(&mut frame.header, self.now, self.now, false);
            self.wiring.put(port, key, Item::Frame(frame));
        } else {
            self.out.staged.push(Staged { port, key, item: Item::Frame(frame) });
        }
    }

    /// Says that nothing more comes through any output. The node is not called
    /// again.
    pub fn end(&mut self) {
        self.wiring.ended = true;
    }

    /// Says that nothing more comes through the member `key` of any port.
    pub fn end_key(&mut self, port: usize, key: Key) {
        if self.at_once {
            self.wiring.put(port, Some(key), Item::End);
        } else {
            self.out.staged.push(Staged { port, key: Some(key), item: Item::End });
        }
    }

    /// Whether anything is linked to output `port`, or to its member `key`.
    #[must_use]
    pub fn is_linked(&self, port: usize, key: Option<Key>) -> bool {
        self.wiring.outlets.iter().any(|outlet| outlet.port == port && outlet.key == key)
    }

    /// Asks to be called at `when` (at once, if that is past), instead of any
    /// instant asked for before.
    pub fn wake_at(&mut self, when: Timestamp) {
        self.wiring.wake_at = Some(when);
    }

    /// The header of a frame that is captured here: its first sample at
    /// `captured`, numbered on from the node's last.
    pub fn born(&mut self, captured: Timestamp, duration: Duration) -> Header {
        let sequence = self.wiring.sequence;
        self.wiring.sequence += 1;
        self.wiring.flow += 1;
        let trail = Some(Trail::begin(&self.wiring.trails, captured, self.wiring.flow));
        Header { pts: captured, captured, duration, sequence, trail, ..Header::default() }
    }

    /// A sound frame from the pool of output `port`; its samples are left over
    /// from its last user.
    pub fn audio(&mut self, port: usize, audio: AudioFormat, header: Header) -> Frame {
        self.wiring.pools[port].frame(header, Format::Audio(audio), 0)
    }

    /// A picture from the pool of output `port`; its pixels are left over from
    /// its last user.
    pub fn video(&mut self, port: usize, video: VideoFormat, header: Header) -> Frame {
        self.wiring.pools[port].frame(header, Format::Video(video), 0)
    }

    /// A packet that holds a copy of `payload`, from the pool of output `port`.
    pub fn packet(&mut self, port: usize, codec: Codec, payload: &[u8], header: Header) -> Frame {
        let format = Format::Packet { codec, len: payload.len() };
        let mut frame =
            self.wiring.pools[port].frame(header, format, payload.len().next_power_of_two().max(PACKET_ROOM));
        frame.bytes_mut().copy_from_slice(payload);
        frame
    }

    /// A packet with room for `capacity` bytes and none in use; write to
    /// `storage_mut`, then `set_len`.
    pub fn empty_packet(&mut self, port: usize, codec: Codec, capacity: usize, header: Header) -> Frame {
        self.wiring.pools[port].frame(header, Format::Packet { codec, len: 0 }, capacity.max(PACKET_ROOM))
    }

    /// An RTP packet with room for `capacity` bytes and none in use; write to
    /// `storage_mut`, then `set_len`.
    pub fn rtp(&mut self, port: usize, codec: Codec, capacity: usize, header: Header) -> Frame {
        self.wiring.pools[port].frame(header, Format::Rtp { codec, len: 0 }, capacity.max(PACKET_ROOM))
    }

    /// Data of `shape` that holds a copy of `bytes`, from the pool of output
    /// `port`; see [`data_shape`](crate::data_shape) for what the bytes may be.
    pub fn data(&mut self, port: usize, shape: &'static str, bytes: &[u8], header: Header) -> Frame {
        let format = Format::Data { shape, len: bytes.len() };
        let mut frame = self.wiring.pools[port].frame(header, format, bytes.len().next_power_of_two());
        frame.bytes_mut().copy_from_slice(bytes);
        frame
    }

    /// Data of a shape with room for `capacity` bytes and none in use; write to
    /// `storage_mut`, then `set_len`.
    pub fn empty_data(&mut self, port: usize, shape: &'static str, capacity: usize, header: Header) -> Frame {
        self.wiring.pools[port].frame(header, Format::Data { shape, len: 0 }, capacity)
    }

    /// Says that a frame has reached its listener or viewer (or their file):
    /// its time is entered in the ledger, up to the end of this call.
    pub fn rendered(&mut self, frame: Frame) {
        let medium = frame.format().medium();
        self.out.rendered.push((frame.into_header(), medium));
    }

    /// Counts a frame that goes no further.
    pub fn dropped(&mut self, reason: DropReason) {
        self.wiring.ledger.dropped[reason as usize].add(1);
    }

    /// Tells whoever runs the engine. Allocate no text on a real-time node.
    pub fn emit(&mut self, event: EventKind) {
        self.out.events.push(event);
    }

    /// Sends a message upstream through every link of input `port`.
    pub fn request(&mut self, port: usize, control: &Control) {
        for index in 0..self.wiring.inlets.len() {
            if self.wiring.inlets[index].port == port {
                self.out.upstream.push((self.wiring.inlets[index].link, control.clone()));
            }
        }
    }

    /// Sends a message upstream through one link.
    pub fn request_link(&mut self, link: LinkId, control: &Control) {
        self.out.upstream.push((link, control.clone()));
    }

    /// Sends a message upstream through every link of every input.
    pub fn forward(&mut self, control: &Control) {
        for index in 0..self.wiring.inlets.len() {
            self.out.upstream.push((self.wiring.inlets[index].link, control.clone()));
        }
    }
}
