//! `file.contact_sheet_sink`: shows at a glance what went by: small pictures at
//! even times, in one PNG.
//!
//! Ports: `in` raw video, I420, any number of links, any sizes.
//!
//! Parameters: `path`, the PNG; its folders are made. `every_s`, seconds of a
//! link's own time from one tile to the next, 0.04 to 3600, default 1.
//! `columns`, the most tiles of one link, 1 to 100, default 10; what comes later
//! is not shown. `tile_width`, pixels, 16 to 640, default 320; the height
//! follows from the link's first picture.
//!
//! Latency: none. It only observes: its pictures have viewers of their own, or
//! none, so they are not counted as rendered, which would enter each of them
//! twice in the ledger. On a lane of its own, since writing the PNG takes a
//! while.
//!
//! Method: one row a link, in the order in which the graph made the links, at
//! most 64; one column a step of time, counted from the link's first picture.
//! A tile is the average of the pixels it covers, with black bars where the
//! picture's shape has changed, and plain grey where no picture came.
//! Colours by ITU-R BT.601, limited range. The PNG is written at the end.
//!
//! ```toml
//! sidetone = 1
//! links = ["a -> sheet", "b -> sheet"]
//! nodes.a = { kind = "test.scene", figure = "alice" }
//! nodes.b = { kind = "test.scene", figure = "bob" }
//! nodes.sheet = { kind = "file.contact_sheet_sink", path = "out/sheet.png" }
//! ```

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Duration;

use sidetone_core::registry::declared;
use sidetone_core::{
    Context, Fault, FaultKind, Finish, Frame, LinkId, MediaType, Node, NodeError, NodeSpec, ParamSpec,
    Placement, Plane, PortSpec, Setup, Timestamp, VideoFormat,
};

use crate::new_file::{create, write_fault};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "file.contact_sheet_sink",
    summary: "Shows at a glance what went by: small pictures at even times, in one PNG.",
    sheet: sidetone_core::data_sheet!("contact_sheet_sink.rs"),
    inputs: &[PortSpec::new("in", MediaType::i420(None, None), "The pictures; each link has a row.").many()],
    outputs: &[],
    params: &[
        ParamSpec::path("path", "The PNG; its folders are made."),
        ParamSpec::float("every_s", 1.0, 0.04, 3600.0, "Time from one tile to the next.").unit("s"),
        ParamSpec::int("columns", 10, 1, 100, "The most tiles of one link."),
        ParamSpec::int("tile_width", 320, 16, 640, "Width of a tile.").unit("pixels"),
    ],
    placement: Placement::Own,
    real_time: false, // it writes a file
    negotiate: &declared,
    build: &|setup| Ok(Box::new(ContactSheetSink::new(&setup)?)),
};

/// The most rows, so that a long call's comings and goings stay bounded.
const MOST_ROWS: usize = 64;
/// What stands where no picture came.
const GREY: u8 = 0x30;

struct ContactSheetSink {
    file: Option<File>,
    every: Duration,
    columns: usize,
    tile_width: usize,
    rows: Vec<Row>,
}

struct Row {
    link: LinkId,
    /// When the link's first picture stands; `None` before it came.
    first: Option<Timestamp>,
    height: usize,
    /// RGB, `tile_width * height` pixels each.
    tiles: Vec<Option<Vec<u8>>>,
}

impl ContactSheetSink {
    fn new(setup: &Setup<'_>) -> Result<Self, NodeError> {
        let whole = |name| usize::try_from(setup.params.int(name)).unwrap_or(1);
        let tile_width = whole("tile_width");
        Ok(Self {
            file: Some(create(setup)?),
            every: Duration::from_secs_f64(setup.params.float("every_s")),
            columns: whole("columns"),
            tile_width,
            rows: Vec::new(),
        })
    }

    /// Gives links not met before their rows.
    fn add_rows(&mut self, cx: &Context<'_>) {
        let height = self.tile_width.div_ceil(16) * 9;
        for link in cx.links(0) {
            if self.rows.len() < MOST_ROWS && self.rows.iter().all(|row| row.link != link) {
                self.rows.push(Row { link, first: None, height, tiles: Vec::new() });
            }
        }
    }

    fn write(&self, file: File) -> Result<(), png::EncodingError> {
        let columns = self.rows.iter().map(|row| row.tiles.len()).max().unwrap_or(0).max(1);
        let width = columns * self.tile_width;
        // A sheet without rows is one empty row, since a PNG has some pixels.
        let height = self.rows.iter().map(|row| row.height).sum::<usize>().max(1);
        let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
        let mut encoder = png::Encoder::new(BufWriter::new(file), side(width), side(height));
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        let mut writer = encoder.write_header()?;
        let mut lines = writer.stream_writer()?;
        let empty = vec![GREY; self.tile_width * 3];
        if self.rows.is_empty() {
            lines.write_all(&empty)?;
        }
        for row in &self.rows {
            for y in 0..row.height {
                for column in 0..columns {
                    let tile = row.tiles.get(column).and_then(Option::as_ref);
                    let line = tile.and_then(|tile| tile.chunks_exact(empty.len()).nth(y));
                    lines.write_all(line.unwrap_or(&empty))?;
                }
            }
        }
        lines.finish()?;
        writer.finish()
    }
}

impl Row {
    /// Keeps a tile of `frame` if its time has come; whether it did.
    fn observe(&mut self, frame: &Frame, video: VideoFormat, sheet: (Duration, usize, usize)) -> bool {
        let (every, columns, tile_width) = sheet;
        let pts = frame.header.pts;
        let is_first = self.first.is_none();
        let since = pts.since(*self.first.get_or_insert(pts));
        let column = usize::try_from(since.as_nanos() / every.as_nanos().max(1)).unwrap_or(usize::MAX);
        if column >= columns || self.tiles.get(column).is_some_and(Option::is_some) {
            return false;
        }
        if is_first {
            let (width, height) = (video.size.width as usize, video.size.height as usize);
            // At most twice as high as wide: a sliver must not fill the sheet.
            self.height = ((tile_width * height + width / 2) / width.max(1)).clamp(1, 2 * tile_width);
        }
        self.tiles.resize_with(self.tiles.len().max(column + 1), || None);
        self.tiles[column] = Some(tile(frame, tile_width, self.height));
        true
    }
}

impl Node for ContactSheetSink {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        self.add_rows(cx);
        let sheet = (self.every, self.columns, self.tile_width);
        for row in &mut self.rows {
            while let Some(frame) = cx.pop_link(row.link) {
                let Some(video) = frame.video() else {
                    return Err(Fault::new(
                        FaultKind::WrongFormat,
                        "file.contact_sheet_sink takes raw video",
                    ));
                };
                if row.observe(&frame, video, sheet) {
                    // One tile is enough for one call.
                    return Ok(());
                }
            }
        }
        // Links that have no row any more must not fill up.
        while cx.pop(0).is_some() {}
        Ok(())
    }

    fn finish(&mut self, _: &mut Context<'_>) -> Result<Finish, Fault> {
        if let Some(file) = self.file.take() {
            self.write(file).map_err(|error| match error {
                png::EncodingError::IoError(error) => write_fault(&error),
                _ => Fault::new(FaultKind::Library, "the PNG could not be made"),
            })?;
        }
        Ok(Finish::Done)
    }
}

/// `frame` as RGB, as large as fits into `width` by `height`, on black.
fn tile(frame: &Frame, width: usize, height: usize) -> Vec<u8> {
    let planes = [frame.plane(0), frame.plane(1), frame.plane(2)];
    let (from_width, from_height) = (planes[0].width, planes[0].height);
    let mut rgb = vec![0; width * height * 3];
    if from_width == 0 || from_height == 0 {
        return rgb;
    }
    // The side that fits more tightly decides; the tile's own shape, rounded,
    // counts as fitting.
    let (to_width, to_height) = if from_height * width <= height * from_width + from_width / 2 {
        (width, ((from_height * width + from_width / 2) / from_width).clamp(1, height))
    } else {
        (((from_width * height + from_height / 2) / from_height).clamp(1, width), height)
    };
    let (left, top) = ((width - to_width) / 2, (height - to_height) / 2);
    for y in 0..to_height {
        let rows = span(y, to_height, from_height);
        let line = &mut rgb[((top + y) * width + left) * 3..][..to_width * 3];
        for (x, pixel) in line.chunks_exact_mut(3).enumerate() {
            let columns = span(x, to_width, from_width);
            let luma = average(&planes[0], columns, rows);
            let half = |(from, to): (usize, usize)| (from / 2, to.div_ceil(2));
            let cb = average(&planes[1], half(columns), half(rows));
            let cr = average(&planes[2], half(columns), half(rows));
            pixel.copy_from_slice(&rgb_of(luma, cb, cr));
        }
    }
    rgb
}

/// The samples from which sample `index` of `to` is made, of `from`.
const fn span(index: usize, to: usize, from: usize) -> (usize, usize) {
    let (start, end) = (index * from / to, (index + 1) * from / to);
    (start, if end > start { end } else { start + 1 })
}

fn average(plane: &Plane<'_>, columns: (usize, usize), rows: (usize, usize)) -> i32 {
    let count = (columns.1 - columns.0) * (rows.1 - rows.0);
    let sum: usize = (rows.0..rows.1)
        .map(|y| plane.row(y)[columns.0..columns.1].iter().map(|sample| usize::from(*sample)).sum::<usize>())
        .sum();
    i32::try_from((sum + count / 2) / count).unwrap_or(255)
}

/// ITU-R BT.601-7 § 2.5 with 16 to 235 for black to white, in 8 binary places.
fn rgb_of(luma: i32, cb: i32, cr: i32) -> [u8; 3] {
    let (y, u, v) = (298 * (luma - 16) + 128, cb - 128, cr - 128);
    [y + 409 * v, y - 100 * u - 208 * v, y + 516 * u].map(|sum| (sum >> 8).clamp(0, 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidetone_core::harness::Harness;
    use sidetone_core::scratch::Scratch;

    struct Sheet {
        width: usize,
        height: usize,
        rgb: Vec<u8>,
    }

    impl Sheet {
        fn read(folder: &Scratch) -> Self {
            let file = folder.read("a/sheet.png");
            let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
            assert_eq!(reader.info().color_type, png::ColorType::Rgb);
            let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
            let info = reader.next_frame(&mut rgb).unwrap();
            Self { width: info.width as usize, height: info.height as usize, rgb }
        }

        fn at(&self, x: usize, y: usize) -> [u8; 3] {
            let at = (y * self.width + x) * 3;
            [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
        }
    }

    fn sheet(folder: &Scratch, every_s: f64, columns: i64, tile_width: i64) -> Harness {
        let params = [
            ("path", folder.param("a/sheet.png")),
            ("every_s", every_s.into()),
            ("columns", columns.into()),
            ("tile_width", tile_width.into()),
        ];
        Harness::new(&SPEC, &params)
    }

    /// The grey that luma `16 + 2 * step` shows.
    fn shade(step: u8) -> [u8; 3] {
        rgb_of(16 + 2 * i32::from(step), 128, 128)
    }

    fn plain(luma: u8) -> impl Fn(usize, usize, usize) -> u8 {
        move |plane, _, _| if plane == 0 { luma } else { 128 }
    }

    #[test]
    fn colours_follow_bt_601_in_limited_range() {
        assert_eq!(rgb_of(16, 128, 128), [0, 0, 0]);
        assert_eq!(rgb_of(235, 128, 128), [255, 255, 255]);
        for (yuv, rgb) in [
            ([81, 90, 240], [255, 0, 0]),
            ([145, 54, 34], [0, 255, 0]),
            ([41, 240, 110], [0, 0, 255]),
            ([126, 128, 128], [128, 128, 128]),
        ] {
            let got = rgb_of(yuv[0], yuv[1], yuv[2]);
            assert!(got.iter().zip(rgb).all(|(a, b): (&u8, u8)| a.abs_diff(b) <= 1), "{got:?} for {rgb:?}");
        }
    }

    #[test]
    fn each_link_has_a_row_and_each_step_of_time_a_column() {
        let folder = Scratch::new();
        let mut node = sheet(&folder, 0.5, 4, 16);
        let second = node.add_link(0);
        for tick in 0..30u8 {
            node.push(0, node.picture(32, 16, plain(16 + 2 * tick)));
            node.push_link(second, node.picture(17, 17, plain(116 + 2 * tick)));
            node.advance(Duration::from_millis(100));
        }
        node.end(0);
        node.end_link(second);
        node.run();
        assert!(node.has_ended() && node.fault().is_none());
        assert_eq!((node.ledger().taken.get(), node.ledger().frames.get()), (60, 0), "it only observes");
        let sheet = Sheet::read(&folder);
        assert_eq!((sheet.width, sheet.height), (4 * 16, 8 + 16));
        for column in 0..4u8 {
            assert_eq!(sheet.at(usize::from(column) * 16 + 7, 3), shade(5 * column));
            assert_eq!(sheet.at(usize::from(column) * 16 + 7, 8 + 3), shade(50 + 5 * column));
        }
    }

    #[test]
    fn where_no_picture_came_it_is_grey() {
        let folder = Scratch::new();
        let mut node = sheet(&folder, 1.0, 10, 16);
        let silent = node.add_link(0);
        node.push(0, node.picture(16, 16, plain(235)));
        node.advance(Duration::from_secs(2));
        node.push(0, node.picture(16, 16, plain(235)));
        node.end(0);
        node.end_link(silent);
        node.run();
        let sheet = Sheet::read(&folder);
        assert_eq!((sheet.width, sheet.height), (3 * 16, 16 + 9));
        assert_eq!([0, 16, 32].map(|x| sheet.at(x, 5)[0]), [255, GREY, 255]);
        assert_eq!(sheet.at(0, 20), [GREY; 3]);
    }

    #[test]
    fn a_picture_of_another_shape_keeps_its_own_between_bars() {
        let folder = Scratch::new();
        let mut node = sheet(&folder, 1.0, 10, 32);
        node.push(0, node.picture(64, 32, plain(235)));
        node.advance(Duration::from_secs(1));
        node.push(0, node.picture(33, 33, plain(235)));
        node.end(0);
        node.run();
        let sheet = Sheet::read(&folder);
        assert_eq!((sheet.width, sheet.height), (64, 16));
        assert_eq!([33, 38, 41, 55, 58].map(|x| sheet.at(x, 8)[0]), [0, 0, 255, 255, 0]);
    }

    #[test]
    fn every_pixel_counts_in_its_tile() {
        let folder = Scratch::new();
        let mut node = sheet(&folder, 1.0, 1, 16);
        // Columns of black and white alternate: each tile pixel is half of both.
        node.push(0, node.picture(64, 64, |plane, x, _| if plane > 0 { 128 } else { [16, 235][x % 2] }));
        node.end(0);
        node.run();
        let sheet = Sheet::read(&folder);
        assert!((0..16).all(|x| sheet.at(x, x)[0].abs_diff(128) <= 1));
    }

    #[test]
    fn odd_and_extreme_shapes_make_tiles() {
        for (width, height) in [(1, 1), (3, 5), (1, 700), (700, 1), (321, 181), (16, 9)] {
            let folder = Scratch::new();
            let mut node = sheet(&folder, 1.0, 2, 20);
            node.push(0, node.picture(width, height, plain(235)));
            node.end(0);
            node.run();
            assert!(node.fault().is_none());
            let sheet = Sheet::read(&folder);
            assert!(sheet.width == 20 && (1..=40).contains(&sheet.height));
            assert_eq!(sheet.at(9, sheet.height / 2), [255; 3], "{width}x{height}");
        }
    }

    #[test]
    fn without_pictures_or_links_there_is_still_a_png() {
        let folder = Scratch::new();
        let mut node = sheet(&folder, 1.0, 10, 16);
        node.end(0);
        node.run();
        assert_eq!(Sheet::read(&folder).at(0, 0), [GREY; 3]);
        let mut node = sheet(&folder, 1.0, 10, 16);
        node.unlink(0);
        node.stop();
        node.run();
        assert!(node.has_ended());
        assert_eq!(Sheet::read(&folder).at(0, 0), [GREY; 3]);
    }

    #[test]
    fn links_beyond_the_last_row_do_not_fill_up() {
        let folder = Scratch::new();
        let mut node = sheet(&folder, 1.0, 1, 16);
        let links: Vec<LinkId> = (0..MOST_ROWS + 3).map(|_| node.add_link(0)).collect();
        for link in &links {
            node.push_link(*link, node.picture(16, 16, plain(235)));
        }
        node.run();
        assert_eq!(node.ledger().taken.get(), links.len() as u64);
    }
}
