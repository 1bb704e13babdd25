//! What stands behind the figure: a wall with plenty of detail, wider than the
//! picture, so that the camera may pan over it.

use sidetone_core::{Plane, PlaneMut, Size};

use crate::cutout::{PARTS, pan};
use crate::noise::{cloud, hump, mix, speck};

/// Which wall it is.
#[derive(Clone, Copy)]
pub(crate) enum Wall {
    /// Shelves of books.
    Books,
    /// Painted bricks.
    Bricks,
    /// Upright boards.
    Boards,
}

/// A drawn wall.
pub(crate) struct Backdrop {
    planes: [Drawn; 3],
    reach: usize,
}

struct Drawn {
    width: usize,
    values: Vec<u8>,
}

impl Backdrop {
    /// The wall for pictures of `size`, from `start` of their heights along it;
    /// `tint` moves its chroma. \[control\]
    pub(crate) fn new(wall: Wall, start: f32, tint: [f32; 2], size: Size) -> Self {
        let half = VideoSizes::of(size);
        let reach = (size.width as usize / 8).max(4);
        let unit = 1.0 / size.height.max(size.width * 9 / 16) as f32;
        let draw = |plane: usize, width: usize, height: usize, scale: f32| {
            let mut values = Vec::with_capacity(width * height);
            for y in 0..height {
                for x in 0..width {
                    let (u, v) = ((x as f32 + 0.5) * scale * unit, (y as f32 + 0.5) * scale * unit);
                    let mut colour = colour(wall, start + u, v);
                    // Light from a window on the left.
                    colour[0] = 16.0 + (colour[0] - 16.0) * (1.12 - 0.28 * u) + speck_at(x, y) * 3.0;
                    let tint = if plane == 0 { 0.0 } else { tint[plane - 1] };
                    values.push((colour[plane] + tint).clamp(16.0, 235.0) as u8);
                }
            }
            Drawn { width, values }
        };
        let planes = [
            draw(0, size.width as usize + reach + 2, size.height as usize, 1.0),
            draw(1, half.width + reach / 2 + 3, half.height, 2.0),
            draw(2, half.width + reach / 2 + 3, half.height, 2.0),
        ];
        Self { planes, reach }
    }

    /// Fills `planes` with the wall, seen from `place`: 0 at the left end of
    /// the pan, 1 at the right. \[real-time\]
    pub(crate) fn show(&self, planes: &mut [PlaneMut<'_>; 3], place: f64) {
        let left = (place.clamp(0.0, 1.0) * (self.reach * PARTS as usize) as f64) as usize;
        for (index, (drawn, plane)) in self.planes.iter().zip(planes).enumerate() {
            let from =
                Plane { data: &drawn.values, stride: drawn.width, width: drawn.width, height: plane.height };
            pan(from, plane, if index == 0 { left } else { left / 2 });
        }
    }
}

struct VideoSizes {
    width: usize,
    height: usize,
}

impl VideoSizes {
    const fn of(size: Size) -> Self {
        Self { width: size.width.div_ceil(2) as usize, height: size.height.div_ceil(2) as usize }
    }
}

fn speck_at(x: usize, y: usize) -> f32 {
    speck(x as i32, y as i32, 0x51) * 2.0 - 1.0
}

/// The wall's colour at a point, in units of the picture's height.
fn colour(wall: Wall, u: f32, v: f32) -> [f32; 3] {
    match wall {
        Wall::Books => books(u, v),
        Wall::Bricks => bricks(u, v),
        Wall::Boards => boards(u, v),
    }
}

fn books(u: f32, v: f32) -> [f32; 3] {
    const SHELF: f32 = 0.27;
    const BOOK: f32 = 0.034;
    let shelf = (v / SHELF).floor();
    let down = v / SHELF - shelf;
    let row = shelf as i32;
    if down > 0.91 {
        // The board, lighter on its front edge.
        let grain = cloud(u * 9.0, v * 160.0, 5) * 8.0;
        return [mix(96.0, 60.0, (down - 0.91) / 0.09) + grain, 122.0, 131.0];
    }
    // Books of uneven width: each edge is moved a little from its place.
    let slot = u / BOOK;
    let edge = |index: i32| index as f32 + speck(index, row, 1) * 0.6;
    let mut index = slot.floor() as i32;
    if slot < edge(index) {
        index -= 1;
    }
    let width = edge(index + 1) - edge(index);
    let across = (slot - edge(index)) / width;
    let height = 0.10 + speck(index, row, 2) * 0.22;
    let empty = speck(index, row, 3) < 0.06;
    if down < height || empty {
        let deep = 34.0 + 12.0 * down;
        return [deep + cloud(u * 14.0, v * 14.0, 6) * 4.0, 126.0, 129.0];
    }
    let round = 0.62 + 0.45 * hump((across - 0.4) / 0.75);
    let paint = 50.0 + speck(index, row, 4) * 130.0;
    let hue = speck(index, row, 7);
    // Blues, greens, greys and whites: nothing a skin detector would take.
    let (cb, cr) = match (hue * 5.0) as u32 {
        0 => (148.0, 118.0),
        1 => (138.0, 112.0),
        2 => (116.0, 116.0),
        3 => (128.0, 127.0),
        _ => (134.0, 124.0),
    };
    let band = |at: f32, wide: f32| (down - at).abs() < wide;
    let (title, lettering) = (band(0.5, 0.14), cloud(u * 260.0, v * 90.0, 8) > 0.1);
    let luma = if band(height + 0.07, 0.012) || band(0.84, 0.012) {
        paint + 40.0
    } else if title && lettering && (0.3..0.7).contains(&across) {
        if paint > 110.0 { paint - 60.0 } else { paint + 70.0 }
    } else {
        paint + cloud(u * 120.0, v * 30.0, 9) * 7.0
    };
    [luma * round, cb, cr]
}

fn bricks(u: f32, v: f32) -> [f32; 3] {
    const TALL: f32 = 0.062;
    const WIDE: f32 = 0.17;
    let row = (v / TALL).floor();
    let down = v / TALL - row;
    let shifted = u / WIDE + if row as i32 & 1 == 0 { 0.0 } else { 0.5 };
    let column = shifted.floor();
    let across = shifted - column;
    let rough = cloud(u * 60.0, v * 60.0, 11) * 7.0 + cloud(u * 190.0, v * 190.0, 12) * 6.0;
    let wobble = cloud(u * 40.0, v * 40.0, 13) * 0.02;
    let joint = (down.min(1.0 - down) * TALL).min(across.min(1.0 - across) * WIDE) + wobble * TALL;
    if joint < 0.0042 {
        return [96.0 + rough, 128.0, 128.0];
    }
    let brick = speck(column as i32, row as i32, 14);
    // Painted: lit above, shaded below, chipped here and there.
    let lit = 10.0 * hump((down - 0.1) / 0.3) - 14.0 * hump((down - 1.0) / 0.3);
    let chip = if cloud(u * 22.0, v * 22.0, 15) > 0.72 { -26.0 } else { 0.0 };
    [140.0 + brick * 22.0 + lit + chip + rough, 129.0 + brick * 5.0, 125.0 - brick * 3.0]
}

fn boards(u: f32, v: f32) -> [f32; 3] {
    const WIDE: f32 = 0.155;
    let board = (u / WIDE).floor();
    let across = u / WIDE - board;
    let index = board as i32;
    let gap = across.min(1.0 - across) * WIDE;
    if gap < 0.003 {
        return [48.0, 130.0, 124.0];
    }
    // Grain: stripes bent by slow noise, with a knot now and then.
    let bend = cloud(u * 7.0, v * 2.2 + board * 9.0, 21) * 0.9;
    let knot_v = speck(index, 0, 22);
    let (dx, dy) = ((across - 0.5) * WIDE / 0.05, (v - knot_v) / 0.09);
    let knot = hump((dx * dx + dy * dy).sqrt().min(1.0));
    let grain = cloud(across * 26.0 + bend * 3.0 + knot * 6.0, v * 3.0 + board * 31.0, 23) * 13.0
        + cloud(u * 420.0, v * 26.0, 24) * 7.0;
    let base = 112.0 + speck(index, 1, 25) * 38.0;
    [base + grain - knot * 30.0, 132.0 + speck(index, 2, 26) * 4.0, 121.0]
}
