//! Makes faces unrecognisable.

use sidetone_plugin::*;

effect! {
    /// Makes faces unrecognisable: shows each as a few large blocks.
    ///
    /// Where no news of faces come, those last seen stay hidden for `hold_ms`; whatever
    /// is not known to be a face is shown, so this protects nobody by itself.
    pub struct PixelateFaces: VideoInPlace = "sample.pixelate_faces", real_time, deterministic, identity_at_zero {
        /// Where the faces are.
        input landmarks: face_landmarks, optional;
        /// The width and height of a block; 0 hides nothing.
        param 1 block_px: usize = 16, range(0..=256), unit("pixels"), live;
        /// How far beyond its box a face is hidden on each side, in parts of the box.
        param 2 margin: f32 = 0.2, range(0.0..=1.0), step(0.05), live;
        /// How long faces stay hidden after the last news of them.
        param 3 hold_ms: u32 = 500, range(0..=10000), unit("ms"), live;
        state faces: Vec<Area> = Vec::with_capacity(64);
        state news: Option<u64> = None;
        state told_ns: u64 = 0;
    }
}

/// Part of a picture, in parts of its width and height.
#[derive(Clone, Copy)]
struct Area {
    left: f32,
    top: f32,
    right: f32,
    bottom: f32,
}

impl VideoInPlace for PixelateFaces {
    fn process(&mut self, picture: &mut PictureMut<'_>, call: &Call<'_>) -> Result<Done, Error> {
        self.listen(call)?;
        if self.block_px == 0 {
            return Ok(Done::Out);
        }
        for (mut plane, block) in picture.planes_mut().into_iter().zip([2, 1, 1]) {
            // Chroma has half the resolution; blocks of both cover the same places.
            let block = (self.block_px.div_ceil(2) * block).max(1);
            for area in &self.faces {
                pixelate(&mut plane, *area, self.margin, block);
            }
        }
        Ok(Done::Out)
    }
}

impl PixelateFaces {
    /// Takes over news of faces, and forgets those that are too old.
    fn listen(&mut self, call: &Call<'_>) -> Result<(), Error> {
        if let Some(faces) = call.input(Self::landmarks)? {
            let news = call.header(Self::landmarks).map(|header| header.sequence);
            if news != self.news {
                self.news = news;
                self.told_ns = call.now_ns();
                self.faces.clear();
                self.faces.extend(faces.iter().map(|face| Area {
                    left: face.left,
                    top: face.top,
                    right: face.left + face.width,
                    bottom: face.top + face.height,
                }));
                call.emit(c"faces", self.faces.len() as f64);
            }
        }
        let age_ns = call.now_ns().saturating_sub(self.told_ns);
        if age_ns > u64::from(self.hold_ms) * 1_000_000 && !self.faces.is_empty() {
            self.faces.clear();
            call.emit(c"faces", 0.0);
        }
        Ok(())
    }
}

/// Shows an area as blocks of one colour each, their mean. The blocks lie on a grid of
/// the picture's, so that they stand still while a face moves.
fn pixelate(plane: &mut PlaneMut<'_>, area: Area, margin: f32, block: usize) {
    let span = |from: f32, to: f32, length: usize| {
        let more = (to - from).max(0.0) * margin;
        // A number that is too large or negative ends at the picture's edge.
        let (from, to) = ((from - more) * length as f32, (to + more) * length as f32);
        let (from, to) =
            (from.floor() as usize / block * block, (to.ceil() as usize).next_multiple_of(block));
        (from.min(length), to.min(length))
    };
    let (left, right) = span(area.left.min(2.0), area.right.min(2.0), plane.width());
    let (top, bottom) = span(area.top.min(2.0), area.bottom.min(2.0), plane.height());
    for y in (top..bottom).step_by(block) {
        let rows = y..(y + block).min(bottom);
        for x in (left..right).step_by(block) {
            let columns = x..(x + block).min(right);
            let sum: u64 = rows
                .clone()
                .flat_map(|y| &plane.row(y)[columns.clone()])
                .map(|sample| u64::from(*sample))
                .sum();
            let count = (rows.len() * columns.len()) as u64;
            let mean = ((sum + count / 2) / count) as u8;
            rows.clone().for_each(|y| plane.row_mut(y)[columns.clone()].fill(mean));
        }
    }
}

plugin!("sample", PixelateFaces);

#[cfg(test)]
mod tests;
