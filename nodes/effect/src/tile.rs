//! `effect.tile`: puts several pictures side by side in one.
//!
//! Ports: `in` raw video, I420, any sizes, any number of links → `out` raw
//! video, I420, of `size` at `fps`.
//!
//! Parameters: `size`, [width, height] in pixels, default 1280x720; `fps`,
//! 1 to 120 pictures a second, default 30; `quality`, "good" (area average when
//! smaller, bicubic when larger; the default) or "fast" (bilinear).
//!
//! Latency: up to one frame period (1 / `fps`), which is declared in full: a
//! picture waits for the next tick of the output's clock.
//!
//! Method: each link has a cell from its first picture to its end; cells fill a
//! grid row by row (1; 2 side by side; 2x2; 3x2; 3x3 …), in the links' order, a
//! last row that is not full stands in the middle, and each picture is fitted
//! into its cell with its shape kept, on black. The first picture starts the
//! clock. At each tick the latest picture of every link is shown; one that was
//! replaced before it was shown counts as dropped, late. The output's time of
//! capture, and its trail in the ledger, are those of the newest picture in it;
//! its position and its numbers are its own. Cells without news are not drawn
//! again. It ends after showing the last picture of the last link.
//!
//! ```toml
//! sidetone = 1
//! links = ["left -> tile.in", "right -> tile.in", "tile -> file"]
//! nodes.left = { kind = "test.scene" }
//! nodes.right = { kind = "test.scene" }
//! nodes.tile = { kind = "effect.tile", size = [1280, 360], fps = 30 }
//! nodes.file = { kind = "file.y4m_sink", path = "both.y4m" }
//! ```

use std::time::Duration;

use sidetone_core::{
    Context, DropReason, Fault, FaultKind, Finish, Flags, Frame, FrameRate, Header, LinkId, MediaType,
    Mismatch, Negotiated, Node, NodeSpec, Offer, ParamSpec, Params, Placement, PlaneMut, PortSpec, Size,
    Timestamp, VideoFormat,
};

use crate::fit::{Fit, blacken, whole};
use crate::resample::{PictureScaler, Quality, Rect};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "effect.tile",
    summary: "Puts several pictures side by side in one.",
    sheet: sidetone_core::data_sheet!("tile.rs"),
    inputs: &[PortSpec::new("in", MediaType::i420(None, None), "The pictures, one cell a link.").many()],
    outputs: &[PortSpec::new("out", MediaType::i420(None, None), "All of them in one.")],
    params: &[
        ParamSpec::size("size", Size::new(1280, 720), "The size to come out.").unit("pixels"),
        ParamSpec::int("fps", 30, 1, 120, "Pictures a second to come out.").unit("fps"),
        ParamSpec::choice(
            "quality",
            "good",
            Quality::WORDS,
            "Bilinear, or area average (smaller) and bicubic (larger).",
        ),
    ],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &negotiate,
    build: &|setup| Ok(Box::new(Tile::new(setup.params))),
};

fn negotiate(offer: &Offer<'_>) -> Result<Negotiated, Mismatch> {
    let fps = rate(offer.params);
    let output = MediaType::i420(Some(offer.params.size("size")), Some(fps));
    Ok(Negotiated::new([output]).latency(Duration::from_nanos(fps.offset_nanos(1))))
}

fn rate(params: &Params) -> FrameRate {
    FrameRate::new(u32::try_from(params.int("fps")).unwrap_or(1), 1)
}

struct Tile {
    size: Size,
    fps: FrameRate,
    quality: Quality,
    cells: Vec<Cell>,
    /// What was put out last. It is drawn on in place where nobody holds it any
    /// more, and copied first where somebody does.
    canvas: Option<Frame>,
    /// When the first picture came, and the number of the next tick.
    clock: Option<(Timestamp, u64)>,
    sequence: u64,
    /// Whether cells came or went since they were last drawn.
    reflow: bool,
}

/// What one link shows.
struct Cell {
    link: LinkId,
    latest: Frame,
    /// Whether `latest` was not shown yet.
    fresh: bool,
    scaler: PictureScaler,
}

impl Tile {
    fn new(params: &Params) -> Self {
        Self {
            size: params.size("size"),
            fps: rate(params),
            quality: Quality::of(params.text("quality")),
            cells: Vec::with_capacity(16),
            canvas: None,
            clock: None,
            sequence: 0,
            reflow: false,
        }
    }

    /// Takes every picture that waits and keeps the latest of each link.
    fn collect(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let mut order = 0;
        loop {
            let Some(link) = cx.links(0).nth(order) else { return Ok(()) };
            order += 1;
            while let Some(frame) = cx.pop_link(link) {
                if frame.video().is_none() {
                    return Err(Fault::new(FaultKind::WrongFormat, "effect.tile takes raw video"));
                }
                if let Some(cell) = self.cells.iter_mut().find(|cell| cell.link == link) {
                    if std::mem::replace(&mut cell.fresh, true) {
                        cx.dropped(DropReason::Late);
                    }
                    cell.latest = frame;
                } else {
                    self.cells.push(Cell {
                        link,
                        latest: frame,
                        fresh: true,
                        scaler: PictureScaler::default(),
                    });
                    self.cells.sort_unstable_by_key(|cell| place(cx, cell.link));
                    self.reflow = true;
                }
            }
        }
    }

    /// Gives up the cells of links that are over and whose last picture was
    /// shown.
    fn give_up(&mut self, cx: &Context<'_>) {
        let before = self.cells.len();
        self.cells.retain(|cell| cell.fresh || !cx.link_has_ended(cell.link));
        self.reflow |= self.cells.len() != before;
    }

    /// Draws what is new and puts the whole out.
    fn show(&mut self, cx: &mut Context<'_>, at: Timestamp) {
        let Some(newest) = self.cells.iter().map(|cell| &cell.latest.header).max_by_key(|h| h.captured)
        else {
            return;
        };
        let mut header = newest.clone();
        header.pts = at;
        header.duration = Duration::from_nanos(self.fps.offset_nanos(1));
        header.sequence = self.sequence;
        header.flags = Flags::default();
        self.sequence += 1;
        let format = VideoFormat::i420(self.size);
        let is_new = self.canvas.is_none();
        let canvas = self.canvas.get_or_insert_with(|| cx.video(0, format, Header::default()));
        let all = whole(canvas);
        if self.reflow || is_new || self.cells.iter().any(|cell| cell.fresh) {
            let mut planes = canvas.planes_mut();
            if self.reflow || is_new {
                blacken(&mut planes, all);
            }
            let count = self.cells.len();
            for (index, cell) in self.cells.iter_mut().enumerate() {
                if self.reflow || cell.fresh {
                    cell.draw(grid(index, count, all), self.quality, &mut planes);
                }
            }
        }
        self.reflow = false;
        let mut out = canvas.clone();
        out.header = header;
        cx.push(0, out);
    }

    /// Shows what is due at or before now, and asks for the next tick.
    fn tick(&mut self, cx: &mut Context<'_>) {
        let Some((start, next)) = self.clock else { return };
        let tick = |index: u64| start + Duration::from_nanos(self.fps.offset_nanos(index));
        if tick(next) <= cx.now() {
            // Ticks that were missed are not made up for.
            let mut due = next;
            while tick(due + 1) <= cx.now() {
                due += 1;
            }
            let at = tick(due);
            let after = tick(due + 1);
            self.clock = Some((start, due + 1));
            self.give_up(cx);
            self.show(cx, at);
            cx.wake_at(after);
        }
    }
}

impl Cell {
    fn draw(&mut self, frame: Rect, quality: Quality, onto: &mut [PlaneMut<'_>; 3]) {
        self.fresh = false;
        let Some(video) = self.latest.video() else { return };
        if frame.width == 0 || frame.height == 0 {
            return; // more links than the picture has room for
        }
        let (window, rect) = Fit::Letterbox.place(video.size, frame);
        if rect != frame {
            blacken(onto, frame);
        }
        self.scaler.scale(&self.latest, window, onto, rect, quality);
    }
}

impl Node for Tile {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        self.collect(cx)?;
        if self.clock.is_none() && !self.cells.is_empty() {
            self.clock = Some((cx.now(), 0));
        }
        self.tick(cx);
        Ok(())
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        // Called at the tick after the last picture came: it is shown as it
        // would have been, unless there is nothing new to show.
        if self.cells.iter().any(|cell| cell.fresh) {
            self.tick(cx);
        }
        Ok(Finish::Done)
    }
}

fn place(cx: &Context<'_>, link: LinkId) -> usize {
    cx.links(0).position(|other| other == link).unwrap_or(usize::MAX)
}

/// Cell `index` of `count` in a grid over `all`; corners are even, as chroma
/// wants it.
fn grid(index: usize, count: usize, all: Rect) -> Rect {
    let columns = (1..).find(|columns| columns * columns >= count).unwrap_or(1);
    let rows = count.div_ceil(columns);
    let (row, column) = (index / columns, index % columns);
    // In half columns, so that a last row that is not full can be centred.
    let missing = if row + 1 == rows { rows * columns - count } else { 0 };
    let edge = |halves: usize| (all.width * halves / (2 * columns)) & !1;
    let x = edge(2 * column + missing);
    let right =
        if 2 * column + missing + 2 == 2 * columns { all.width } else { edge(2 * column + missing + 2) };
    let y = (all.height * row / rows) & !1;
    let bottom = if row + 1 == rows { all.height } else { (all.height * (row + 1) / rows) & !1 };
    Rect { x, y, width: right - x, height: bottom - y }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidetone_core::harness::Harness;

    const TICK: Duration = Duration::from_millis(40);

    fn node(width: u32, height: u32) -> Harness {
        Harness::new(&SPEC, &[("size", Size::new(width, height).into()), ("fps", 25_i64.into())])
    }

    fn flat(node: &mut Harness, luma: u8) -> Frame {
        let mut frame = node.picture(32, 32, |plane, _, _| if plane == 0 { luma } else { 128 });
        frame.header = node.header(TICK);
        frame
    }

    /// The luma in the middle of each of `columns` x `rows` fields.
    fn fields(frame: &Frame, columns: usize, rows: usize) -> Vec<u8> {
        let plane = frame.plane(0);
        let middle = |index: usize, count: usize, length: usize| (2 * index + 1) * length / (2 * count);
        (0..rows)
            .flat_map(|row| (0..columns).map(move |column| (row, column)))
            .map(|(row, column)| {
                plane.row(middle(row, rows, plane.height))[middle(column, columns, plane.width)]
            })
            .collect()
    }

    #[test]
    fn nothing_comes_before_the_first_picture_and_then_every_tick() {
        let mut node = node(64, 64);
        node.advance(10 * TICK);
        assert!(node.take(0).is_empty());
        let frame = flat(&mut node, 90);
        let first = node.now();
        node.push(0, frame);
        node.advance(10 * TICK);
        let out = node.take(0);
        assert_eq!(out.len(), 11);
        for (index, frame) in (0..).zip(&out) {
            assert_eq!((frame.header.pts, frame.header.sequence), (first + TICK * index, u64::from(index)));
            assert_eq!((frame.header.captured, frame.header.duration), (first, TICK));
            assert_eq!(fields(frame, 1, 1), [90]);
        }
    }

    #[test]
    fn the_grid_grows_with_the_links_and_shrinks_when_they_end() {
        let mut node = node(96, 96);
        let mut links = vec![LinkId(0)];
        let expected: [(usize, usize, &[u8]); 5] = [
            (1, 1, &[50]),
            (2, 1, &[50, 60]),
            (4, 2, &[50, 50, 60, 60, 16, 70, 70, 16]),
            (2, 2, &[50, 60, 70, 80]),
            (6, 2, &[50, 50, 60, 60, 70, 70, 16, 80, 80, 90, 90, 16]),
        ];
        for (count, (columns, rows, luma)) in expected.into_iter().enumerate() {
            if count > 0 {
                links.push(node.add_link(0));
            }
            let frame = flat(&mut node, 50 + 10 * count as u8);
            node.push_link(links[count], frame);
            node.advance(TICK);
            let out = node.take(0);
            assert_eq!(fields(out.last().unwrap(), columns, rows), luma, "{} links", count + 1);
        }
        node.end_link(links[1]);
        node.end_link(links[3]);
        node.end_link(links[4]);
        node.advance(2 * TICK);
        assert_eq!(fields(node.take(0).last().unwrap(), 2, 1), [50, 70]);
        assert!(!node.has_ended());
    }

    #[test]
    fn of_several_pictures_in_one_period_the_last_is_shown_and_the_others_are_late() {
        let mut node = node(64, 64);
        let frame = flat(&mut node, 20);
        node.push(0, frame);
        node.run();
        for luma in [30, 40, 50] {
            let frame = flat(&mut node, luma);
            node.push(0, frame);
            node.advance(Duration::from_millis(10));
        }
        node.advance(TICK);
        let shown: Vec<u8> = node.take(0).iter().flat_map(|frame| fields(frame, 1, 1)).collect();
        assert_eq!(shown, [20, 50]);
        assert_eq!(node.ledger().dropped[DropReason::Late as usize].get(), 2);
    }

    #[test]
    fn the_time_of_capture_is_that_of_the_newest_picture_shown() {
        let mut node = node(64, 64);
        let other = node.add_link(0);
        let old = flat(&mut node, 20);
        node.push(0, old);
        node.advance(Duration::from_millis(25));
        let new = flat(&mut node, 30);
        let captured = new.header.captured;
        node.push_link(other, new);
        node.advance(Duration::from_millis(20));
        assert_eq!(node.take(0).last().unwrap().header.captured, captured);
    }

    #[test]
    fn it_ends_with_its_inputs_and_shows_what_came_last() {
        let mut node = node(64, 64);
        let frame = flat(&mut node, 20);
        node.push(0, frame);
        node.advance(TICK / 2);
        let frame = flat(&mut node, 30);
        node.push(0, frame);
        node.end(0);
        node.run();
        assert!(!node.has_ended());
        node.advance(TICK);
        assert!(node.has_ended());
        let shown: Vec<u8> = node.take(0).iter().flat_map(|frame| fields(frame, 1, 1)).collect();
        assert_eq!(shown, [20, 30]);
    }

    #[test]
    fn what_was_put_out_stays_as_it_was_while_the_next_is_drawn() {
        let mut node = node(64, 64);
        for luma in [20, 30, 40] {
            let frame = flat(&mut node, luma);
            node.push(0, frame);
            node.advance(TICK);
        }
        let shown: Vec<u8> = node.take(0).iter().flat_map(|frame| fields(frame, 1, 1)).collect();
        assert_eq!(shown, [20, 20, 30, 40]);
    }

    #[test]
    fn odd_sizes_and_more_links_than_pixels_do_no_harm() {
        for (width, height) in [(1, 1), (3, 2), (37, 21)] {
            let mut node = node(width, height);
            for luma in 30..50 {
                let frame = flat(&mut node, luma);
                let link = node.add_link(0);
                node.push_link(link, frame);
            }
            node.advance(TICK);
            assert_eq!(node.take(0).len(), 2);
            assert_eq!(node.fault(), None);
        }
    }

    #[test]
    fn its_size_rate_and_delay_are_known_beforehand() {
        let params = Params::new(SPEC.params, &[("fps", 50_i64.into())]).unwrap();
        let answer = SPEC.negotiated(&Offer { params: &params, inputs: &[Some(MediaType::VIDEO)] }).unwrap();
        let output = MediaType::i420(Some(Size::new(1280, 720)), Some(FrameRate::new(50, 1)));
        assert_eq!(answer, Negotiated::new([output]).latency(Duration::from_millis(20)));
    }
}
