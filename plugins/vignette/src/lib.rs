//! Darkens pictures towards their corners.
use sidetone_plugin::*;

effect! {
    /// Darkens pictures towards their corners.
    pub struct Vignette: VideoInPlace = "sample.vignette", real_time, deterministic, identity_at_zero {
        /// How dark the corners get.
        param 1 strength: f32 = 0.5, range(0.0..=1.0), step(0.01), live;
    }
}

impl VideoInPlace for Vignette {
    fn process(&mut self, picture: &mut PictureMut<'_>, _: &Call<'_>) -> Result<Done, Error> {
        for (mut plane, dark) in picture.planes_mut().into_iter().zip([16.0, 128.0, 128.0]) {
            let far = |at: usize, of: usize| ((2.0 * at as f32 + 1.0) / of as f32 - 1.0).powi(2) / 2.0;
            let (width, height) = (plane.width(), plane.height());
            for (y, row) in plane.rows_mut().enumerate() {
                for (x, sample) in row.iter_mut().enumerate() {
                    let keep = 1.0 - self.strength * (far(x, width) + far(y, height));
                    *sample = (dark + (f32::from(*sample) - dark) * keep).round() as u8;
                }
            }
        }
        Ok(Done::Out)
    }
}

plugin!("sample", Vignette);
#[cfg(test)]
mod tests;
