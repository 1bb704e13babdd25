//! Fixed noise for drawing: the same value at the same place on every machine.
//! Only sums, products and integer hashing, so that no library's rounding shows.

/// A value from 0 to 1 that belongs to a point of a lattice.
pub(crate) fn speck(x: i32, y: i32, salt: u32) -> f32 {
    let mut hash = (x as u32).wrapping_mul(0x85eb_ca6b) ^ (y as u32).wrapping_mul(0xc2b2_ae35) ^ salt;
    hash = (hash ^ (hash >> 15)).wrapping_mul(0x2c1b_3c6d);
    hash = (hash ^ (hash >> 12)).wrapping_mul(0x297a_2d39);
    hash ^= hash >> 15;
    (hash >> 8) as f32 / 16_777_216.0
}

/// Smooth noise from −1 to 1 whose features are about 1 across.
pub(crate) fn cloud(x: f32, y: f32, salt: u32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let (u, v) = (ease(x - left), ease(y - top));
    let (i, j) = (left as i32, top as i32);
    let upper = mix(speck(i, j, salt), speck(i + 1, j, salt), u);
    let lower = mix(speck(i, j + 1, salt), speck(i + 1, j + 1, salt), u);
    mix(upper, lower, v) * 2.0 - 1.0
}

/// `a` at 0, `b` at 1.
pub(crate) fn mix(a: f32, b: f32, part: f32) -> f32 {
    a + (b - a) * part
}

/// 1 at 0, falling smoothly to 0 at 1 and −1.
pub(crate) fn hump(t: f32) -> f32 {
    let rest = (1.0 - t * t).max(0.0);
    rest * rest
}

/// 0 below 0, 1 above 1, smooth between.
pub(crate) fn ease(t: f32) -> f32 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}
