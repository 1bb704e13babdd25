//! `Fit`: how a picture of one shape goes into a frame of another.

use sidetone_core::{Frame, PlaneMut, Size};

use crate::resample::{Rect, Window};

/// How a picture of one shape goes into a frame of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Its shape is given up: all of it fills all of the frame.
    Stretch,
    /// All of it is shown, with black bars beside it.
    Letterbox,
    /// It fills the frame; what hangs over is cut off evenly at both sides.
    Crop,
}

impl Fit {
    /// The words of the graph file.
    pub(crate) const WORDS: &[&str] = &["stretch", "letterbox", "crop"];

    /// What `word` means; letterbox for an unknown one. \[any\]
    pub(crate) fn of(word: &str) -> Self {
        match word {
            "stretch" => Self::Stretch,
            "crop" => Self::Crop,
            _ => Self::Letterbox,
        }
    }

    /// What of a picture of size `from` is shown, and where inside `frame`. \[any\]
    pub(crate) fn place(self, from: Size, frame: Rect) -> (Window, Rect) {
        let (width, height) = (f64::from(from.width), f64::from(from.height));
        // Compares the two shapes without dividing: exact in 64 bits.
        let across = frame.width as u64 * u64::from(from.height);
        let down = frame.height as u64 * u64::from(from.width);
        match self {
            Self::Stretch => (Window::whole(from), frame),
            Self::Letterbox if across > down => {
                let shown = even((down / u64::from(from.height)) as usize, frame.width);
                let x = frame.x + (((frame.width - shown) / 2) & !1);
                (Window::whole(from), Rect { x, width: shown, ..frame })
            }
            Self::Letterbox => {
                let shown = even((across / u64::from(from.width)) as usize, frame.height);
                let y = frame.y + (((frame.height - shown) / 2) & !1);
                (Window::whole(from), Rect { y, height: shown, ..frame })
            }
            Self::Crop if across > down => {
                let shown = width * frame.height as f64 / frame.width as f64;
                (Window { x: 0.0, y: (height - shown) / 2.0, width, height: shown }, frame)
            }
            Self::Crop => {
                let shown = height * frame.width as f64 / frame.height as f64;
                (Window { x: (width - shown) / 2.0, y: 0.0, width: shown, height }, frame)
            }
        }
    }
}

/// `length` made even, so that chroma ends where luma does, unless it is all
/// there is; at least 1.
fn even(length: usize, most: usize) -> usize {
    if length >= most { most } else { (length & !1).max(2).min(most) }
}

/// Blackens `rect` of a picture. \[real-time\]
pub(crate) fn blacken(onto: &mut [PlaneMut<'_>; 3], rect: Rect) {
    for (index, plane) in onto.iter_mut().enumerate() {
        let rect = rect.in_plane(index);
        // BT.601 limited range: black is 16, no colour is 128.
        let black = if index == 0 { 16 } else { 128 };
        for y in rect.y..rect.y + rect.height {
            plane.row_mut(y)[rect.x..rect.x + rect.width].fill(black);
        }
    }
}

/// All of `frame`, or nothing if it is no picture. \[any\]
pub(crate) fn whole(frame: &Frame) -> Rect {
    let size = frame.video().map_or(Size::new(0, 0), |video| video.size);
    Rect { x: 0, y: 0, width: size.width as usize, height: size.height as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(width: usize, height: usize) -> Rect {
        Rect { x: 0, y: 0, width, height }
    }

    #[test]
    fn a_letterboxed_picture_keeps_its_shape_and_stands_in_the_middle() {
        let (_, rect) = Fit::Letterbox.place(Size::new(640, 480), frame(1280, 720));
        assert_eq!(rect, Rect { x: 160, y: 0, width: 960, height: 720 });
        let (_, rect) = Fit::Letterbox.place(Size::new(1280, 720), frame(640, 480));
        assert_eq!(rect, Rect { x: 0, y: 60, width: 640, height: 360 });
    }

    #[test]
    fn a_cropped_picture_fills_the_frame_and_loses_both_sides_alike() {
        let (window, rect) = Fit::Crop.place(Size::new(640, 480), frame(1280, 720));
        assert_eq!(rect, frame(1280, 720));
        assert_eq!(window, Window { x: 0.0, y: 60.0, width: 640.0, height: 360.0 });
        let (window, _) = Fit::Crop.place(Size::new(1280, 720), frame(360, 360));
        assert_eq!(window, Window { x: 280.0, y: 0.0, width: 720.0, height: 720.0 });
    }

    #[test]
    fn no_shape_leaves_the_frame_or_breaks_the_chroma_grid() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..2_000 {
            let from = Size::new(random.u32(1..=Size::MAX_SIDE), random.u32(1..=Size::MAX_SIDE));
            let frame = frame(random.usize(1..=2_000), random.usize(1..=2_000));
            for fit in [Fit::Stretch, Fit::Letterbox, Fit::Crop] {
                let (window, rect) = fit.place(from, frame);
                assert!(rect.x % 2 == 0 && rect.y % 2 == 0, "{rect:?}");
                assert!(rect.width > 0 && rect.x + rect.width <= frame.width, "{rect:?} in {frame:?}");
                assert!(rect.height > 0 && rect.y + rect.height <= frame.height, "{rect:?} in {frame:?}");
                assert!(window.x >= 0.0 && window.x + window.width <= f64::from(from.width) + 1e-6);
                assert!(window.y >= 0.0 && window.y + window.height <= f64::from(from.height) + 1e-6);
            }
        }
    }
}
