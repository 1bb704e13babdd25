//! A person, head and shoulders, drawn from ellipses and noise: enough of a
//! face for detectors of skin, smoothing and encoders to have real work.
//!
//! Coordinates are in half head heights: (0, 0) is the middle of the head, its
//! crown is at y = −1, its chin at y = 1.

use crate::backdrop::Wall;
use crate::noise::{cloud, ease, hump, mix, speck};

/// Half the width of the drawing.
pub(crate) const HALF_WIDTH: f32 = 1.95;
/// Its top.
pub(crate) const TOP: f32 = -1.35;
/// The part that blinking changes: left, top, right, bottom.
pub(crate) const EYES: [f32; 4] = [-0.48, -0.24, 0.48, 0.04];
/// The part that speaking changes.
pub(crate) const MOUTH: [f32; 4] = [-0.32, 0.42, 0.32, 0.82];

/// The head: left, top, right, bottom.
pub(crate) const HEAD: [f32; 4] = [-0.73, -1.0, 0.73, 1.0];

/// Where features are drawn while the mouth is open so far, 0 to 1: left and right
/// eye, tip of the nose, left and right corner of the mouth. \[real-time\]
pub(crate) fn points(mouth: f32) -> [[f32; 2]; 5] {
    let (eye_x, eye_y) = (0.29, -0.108);
    let (corner_x, corner_y) = (0.265 - 0.055 * mouth, 0.565 + 0.02 * mouth);
    [[-eye_x, eye_y], [eye_x, eye_y], [-0.02, 0.25], [-corner_x, corner_y], [corner_x, corner_y]]
}

/// Y, Cb, Cr.
type Colour = [f32; 3];

/// What a figure looks like.
pub(crate) struct Look {
    skin: Colour,
    hair: Colour,
    long_hair: bool,
    cloth: Colour,
    stripes: bool,
    lips: Colour,
    iris: Colour,
    salt: u32,
    /// What stands behind it.
    pub(crate) wall: Wall,
    /// Where along the wall it sits, in heights of the picture.
    pub(crate) wall_at: f32,
    /// What is added to the wall's Cb and Cr.
    pub(crate) tint: [f32; 2],
    /// How much of each motion's period it is ahead, in hours of a clock face,
    /// so that two figures do not move in step.
    pub(crate) ahead: u64,
}

/// The figures by name, in order of the `figure` parameter's words.
pub(crate) const NAMES: &[&str] = &["alice", "bob", "carol", "dave"];

/// The looks, in the order of [`NAMES`].
const LOOKS: [Look; 4] = [
    Look {
        skin: [168.0, 110.0, 151.0],
        hair: [58.0, 123.0, 132.0],
        long_hair: true,
        cloth: [92.0, 142.0, 118.0],
        stripes: false,
        lips: [118.0, 116.0, 162.0],
        iris: [88.0, 128.0, 122.0],
        salt: 0x1000,
        wall: Wall::Books,
        wall_at: 0.0,
        tint: [0.0, 0.0],
        ahead: 0,
    },
    Look {
        skin: [138.0, 108.0, 152.0],
        hair: [30.0, 128.0, 129.0],
        long_hair: false,
        cloth: [170.0, 128.0, 126.0],
        stripes: true,
        lips: [104.0, 114.0, 157.0],
        iris: [48.0, 124.0, 132.0],
        salt: 0x2000,
        wall: Wall::Bricks,
        wall_at: 0.0,
        tint: [2.0, -2.0],
        ahead: 5,
    },
    Look {
        skin: [96.0, 112.0, 148.0],
        hair: [26.0, 128.0, 129.0],
        long_hair: true,
        cloth: [150.0, 96.0, 130.0],
        stripes: false,
        lips: [76.0, 116.0, 154.0],
        iris: [40.0, 125.0, 131.0],
        salt: 0x3000,
        wall: Wall::Boards,
        wall_at: 0.0,
        tint: [-6.0, 0.0],
        ahead: 2,
    },
    Look {
        skin: [178.0, 113.0, 147.0],
        hair: [120.0, 113.0, 137.0],
        long_hair: false,
        cloth: [52.0, 132.0, 122.0],
        stripes: false,
        lips: [134.0, 117.0, 156.0],
        iris: [104.0, 138.0, 118.0],
        salt: 0x4000,
        wall: Wall::Books,
        wall_at: 11.3,
        tint: [6.0, -4.0],
        ahead: 8,
    },
];

/// The look called `name`; the first one if there is none.
pub(crate) fn look(name: &str) -> &'static Look {
    let place = NAMES.iter().position(|known| *known == name).unwrap_or(0);
    &LOOKS[place]
}

/// What the face does: each from 0 to 1.
#[derive(Clone, Copy)]
pub(crate) struct Face {
    /// How far the eyes are open.
    pub(crate) eyes: f32,
    /// How far the mouth is open.
    pub(crate) mouth: f32,
}

impl Look {
    /// Colour at a point and how much of it is covered, 0 to 1; `pixel` is the
    /// size of a pixel. \[control\]
    pub(crate) fn paint(&self, x: f32, y: f32, pixel: f32, face: Face) -> (Colour, f32) {
        let mut paint = Paint { x, y, pixel, colour: [0.0; 3], cover: 0.0 };
        self.shoulders(&mut paint);
        if self.long_hair {
            self.hair_behind(&mut paint);
        }
        self.neck(&mut paint);
        self.head(&mut paint, face);
        self.hair_before(&mut paint);
        let cover = paint.cover;
        let whole = 1.0 / cover.max(1e-6);
        (paint.colour.map(|part| part * whole), cover)
    }

    fn shoulders(&self, p: &mut Paint) {
        let side = p.x.abs();
        let slope = 1.20 + 0.26 * (side - 0.3).max(0.0);
        let bend = ((side - 1.15) / 0.62).max(0.0);
        let edge = (slope + 0.9 * bend * bend * bend - p.y).max(side - HALF_WIDTH + 0.08);
        if p.y < 1.0 {
            return;
        }
        let folds = cloud(p.x * 2.4 + p.y * 0.8, p.y * 1.3 - p.x, self.salt) * 10.0
            + cloud(p.x * 7.0 + p.y * 3.0, p.y * 3.0, self.salt + 1) * 4.0;
        let weave = (p.grain(self.salt + 2) - 0.5) * 9.0;
        let light = 12.0 - 16.0 * (p.x + 0.4).abs() - 10.0 * (p.y - 1.3);
        let mut cloth = self.cloth;
        let stripe = (p.y + 0.06 * side * side) * 5.2;
        if self.stripes && stripe - stripe.floor() < 0.42 {
            cloth = [62.0, 144.0, 118.0];
        }
        cloth[0] += folds + weave + light;
        p.over(cloth, p.inside(edge));
        // A collar round the neck.
        let collar = ellipse(p.x, p.y - 1.16, 0.50, 0.40);
        p.over([cloth[0] * 0.8, cloth[1], cloth[2]], p.inside(collar.abs() - 0.035) * p.inside(edge));
    }

    fn hair_behind(&self, p: &mut Paint) {
        let wave = cloud(p.y * 2.6, p.x.signum(), self.salt + 3) * 0.05;
        let fall = ease((p.y + 0.2) / 1.6);
        let half = mix(0.86, 0.92, fall) + wave;
        let round = ellipse(p.x, p.y + 0.16, 0.88, 0.98);
        let curtain =
            (p.x.abs() - half).max(-0.1 - p.y).max(p.y - 1.62 - cloud(p.x * 9.0, 0.0, self.salt) * 0.1);
        // It falls to either side of the neck.
        let opening = 0.52 * ease((p.y - 1.08) / 0.22) - 0.02 - p.x.abs();
        let edge = round.min(curtain).max(opening);
        let mut hair = self.strands(p, p.x * 34.0 + wave * 60.0, p.y);
        hair[0] *= 0.80;
        p.over(hair, p.inside(edge));
    }

    fn neck(&self, p: &mut Paint) {
        let side = p.x.abs();
        if p.y < 0.4 || side > 0.6 {
            return;
        }
        let half = 0.35 + 0.22 * ((p.y - 1.0).max(0.0) / 0.5) * ((p.y - 1.0).max(0.0) / 0.5);
        let edge = (side - half).max(ellipse(p.x, p.y - 1.16, 0.48, 0.38).min(p.y - 1.1));
        let shade = 0.66 + 0.16 * ease((p.y - 0.95) / 0.35)
            - 0.25 * (side / 0.45) * (side / 0.45)
            - 0.12 * ease((p.x + 0.1) / 0.5);
        let mut skin = self.skin_grain(p);
        skin[0] *= shade;
        p.over(skin, p.inside(edge));
    }

    fn head(&self, p: &mut Paint, face: Face) {
        let side = p.x.abs();
        if !(-1.1..=1.1).contains(&p.y) || side > 0.95 {
            return;
        }
        // Ears first, where no hair hides them, the head over them.
        let ear = ellipse(side - 0.72, p.y - 0.03, 0.10, 0.20);
        let mut skin = self.skin_grain(p);
        let shell = 1.0 - 0.28 * hump((side - 0.74) / 0.06) * hump((p.y - 0.02) / 0.13);
        if !self.long_hair {
            p.over([skin[0] * 0.86 * shell, skin[1], skin[2] + 2.0], p.inside(ear));
        }

        // Below the eyes an ellipse would taper to an egg: keep the jaw wide.
        let low = p.y.max(0.0);
        let half = 0.73 * (1.0 - 0.13 * low * low);
        let tall = if p.y > 0.0 { p.y * low.sqrt().sqrt() } else { p.y };
        let edge = ellipse(p.x, tall, half, 1.0);
        let cover = p.inside(edge);
        if cover <= 0.0 {
            return;
        }
        let (nx, ny) = (p.x / half, p.y);
        let nz = (1.0 - nx * nx - ny * ny).max(0.0).sqrt();
        let light = -0.36 * nx - 0.34 * ny + 0.87 * nz;
        skin[0] *= 0.66 + 0.40 * light;
        self.blemishes(p, &mut skin);
        features(p, &mut skin);
        p.over(skin, cover);
        self.eyes(p, face.eyes);
        self.brows(p);
        self.mouth(p, face.mouth);
    }

    /// Skin with pores and slow unevenness, unlit.
    fn skin_grain(&self, p: &Paint) -> Colour {
        let mottle = cloud(p.x * 9.0, p.y * 9.0, self.salt + 4) * 3.5
            + cloud(p.x * 24.0, p.y * 24.0, self.salt + 5) * 3.0;
        let pores = (p.grain(self.salt + 6) - 0.5) * 9.0;
        let red = cloud(p.x * 6.0, p.y * 6.0, self.salt + 7) * 1.5;
        [self.skin[0] + mottle + pores, self.skin[1] - red * 0.5, self.skin[2] + red]
    }

    /// Freckles, spots and a mole: what a smoothing effect is there for.
    fn blemishes(&self, p: &Paint, skin: &mut Colour) {
        for spot in 0..26 {
            let at = |what: u32| speck(spot, 0, self.salt + what);
            let (x, y) = (at(8) * 1.1 - 0.55, at(9) * 1.25 - 0.55);
            let radius = 0.014 + 0.022 * at(10) * at(10);
            let deep = hump(((p.x - x) * (p.x - x) + (p.y - y) * (p.y - y)).sqrt().min(radius) / radius);
            skin[0] -= deep * (8.0 + 20.0 * at(11));
            skin[2] += deep * 4.0;
        }
    }

    fn eyes(&self, p: &mut Paint, open: f32) {
        let side = p.x.abs();
        let (dx, dy) = (side - 0.29, p.y + 0.10);
        let t = dx / 0.145;
        if t.abs() > 1.25 || dy.abs() > 0.15 {
            return;
        }
        let almond = (1.0 - t * t).max(0.0);
        let (upper, lower) = (-0.075 * almond * open + 0.028 * (1.0 - open), 0.052 * almond);
        let within = p.inside((upper - dy).max(dy - lower)) * p.inside((t.abs() - 1.0) * 0.145);
        // The same side of both eyes, so that they look one way.
        let gaze = p.x - 0.29 * p.x.signum();
        let white = 196.0 - 50.0 * t * t - 40.0 * hump((dy - upper) / 0.04);
        p.over([white, 126.0, 131.0], within);
        let from_iris = (gaze * gaze + (dy + 0.008) * (dy + 0.008)).sqrt();
        let ring = self.iris[0] * mix(1.15, 0.55, ease((from_iris - 0.035) / 0.03))
            + cloud(gaze * 90.0, dy * 90.0, self.salt) * 8.0;
        p.over([ring, self.iris[1], self.iris[2]], within * p.inside(from_iris - 0.062));
        p.over([22.0, 128.0, 128.0], within * p.inside(from_iris - 0.028));
        let glint = ((gaze + 0.02) * (gaze + 0.02) + (dy + 0.03) * (dy + 0.03)).sqrt();
        p.over([228.0, 128.0, 128.0], within * p.inside(glint - 0.014));
        // Lashes along the upper lid, a crease above it, a soft line below.
        let near = p.inside((t.abs() - 1.08) * 0.145);
        p.over([34.0, 126.0, 131.0], near * 0.9 * hump((dy - upper + 0.006) / 0.024));
        let shade = |amount: f32| [self.skin[0] * amount, self.skin[1], self.skin[2] + 2.0];
        p.over(shade(0.62), near * 0.5 * hump((dy - upper + 0.055) / 0.018) * open);
        p.over(shade(0.60), near * 0.5 * hump((dy - lower - 0.004) / 0.014));
    }

    fn brows(&self, p: &mut Paint) {
        let t = (p.x.abs() - 0.30) / 0.20;
        if t.abs() > 1.0 {
            return;
        }
        let arch = -0.335 - 0.045 * (1.0 - (t - 0.25) * (t - 0.25)) + 0.02 * t;
        let thick = 0.042 * (1.0 - t * t * t * t) * (1.0 - 0.3 * t);
        let hairs = 0.75 + 0.3 * cloud(p.x * 60.0 + p.y * 40.0, p.y * 12.0, self.salt + 12);
        let luma = self.hair[0].min(92.0) * 0.9;
        p.over([luma, self.hair[1], self.hair[2]], hump((p.y - arch) / (thick + 0.008)) * hairs.min(1.0));
    }

    fn mouth(&self, p: &mut Paint, open: f32) {
        let half = 0.265 - 0.055 * open;
        let t = p.x / half;
        if t.abs() > 1.15 || !(0.4..0.9).contains(&p.y) {
            return;
        }
        let bow = (1.0 - t * t).max(0.0);
        let arch = bow.sqrt();
        // A slight smile: the corners stand higher than the middle.
        let line = 0.565 + 0.032 * bow + 0.02 * open;
        let gap = 0.105 * open * arch;
        let dy = p.y - line;
        let dip = 0.018 * hump(p.x / 0.06);
        let upper = -gap * 0.7 - (0.058 * arch - dip) * (1.0 - 0.15 * open);
        let lower = gap + 0.072 * arch * (1.0 - 0.2 * open);
        let ends = p.inside((t.abs() - 1.0) * half);
        let crease = cloud(p.x * 70.0, 0.0, self.salt + 13) * 5.0;
        let shine = 22.0 * hump((dy - gap - 0.035) / 0.03) * hump((p.x + 0.05) / 0.16);
        let shaded = if dy < 0.0 { -14.0 } else { 4.0 };
        let lips = [self.lips[0] + crease + shine + shaded, self.lips[1], self.lips[2]];
        p.over(lips, p.inside((upper - dy).max(dy - lower)) * ends);
        let inside = p.inside((-gap * 0.7 - dy).max(dy - gap)) * ends;
        p.over([34.0, 122.0, 142.0], inside * ease(open * 12.0));
        let tongue = p.inside(ellipse(p.x, dy - gap, 0.14, 0.05 + 0.02 * open));
        p.over([92.0, 118.0, 158.0], inside * tongue * ease(open * 3.0));
        let teeth = p.inside(dy + gap * 0.7 - 0.05 * arch) * p.inside((t.abs() - 0.78) * half);
        p.over([196.0, 122.0, 131.0], inside * teeth * ease(open * 3.0 - 0.3));
        // Lips together: a dark line, darkest at the corners.
        let shut = 1.0 - ease(open * 10.0);
        let corner = 0.75 + 0.25 * t.abs();
        p.over([self.lips[0] * 0.42, 122.0, 144.0], shut * corner * hump(dy / 0.016) * hump(t / 1.12));
    }

    fn hair_before(&self, p: &mut Paint) {
        let side = p.x.abs();
        if p.y > 0.62 || side > 1.0 {
            return;
        }
        let fringe =
            cloud(p.x * 14.0, 0.0, self.salt + 14) * 0.04 + cloud(p.x * 40.0, 1.0, self.salt + 15) * 0.018;
        let part = p.x + 0.22;
        let fourth = (side / 0.70) * (side / 0.70) * (side / 0.70) * (side / 0.70);
        // From a parting, down the temples: to the ears or past them.
        let (rise, drop, reach) = if self.long_hair { (0.20, 0.62, 0.56) } else { (0.12, 0.44, 0.02) };
        let line = -0.66 + rise * hump(part / 0.28) * -0.6 + drop * fourth + fringe;
        let skull = if self.long_hair {
            ellipse(p.x, p.y + 0.13, 0.86, 1.02)
        } else {
            ellipse(p.x, p.y + 0.14, 0.79, 1.00)
        };
        let tufts = cloud(p.x * 26.0, p.y * 26.0, self.salt + 16) * 0.014;
        let edge = (skull + tufts).max(p.y - line).max(p.y - reach);
        // Strands run from the parting outwards and down.
        let fan = (p.x + 0.22) / ((p.y + 1.5).max(0.15) + 0.25);
        let mut hair = self.strands(p, fan * 46.0, p.y * 1.4 + side);
        hair[0] *= 1.0 - 0.35 * hump(part / 0.03) * ease((-0.6 - p.y) / 0.2);
        p.over(hair, p.inside(edge));
        // A soft shadow of the hair on the brow.
        let cast = hump((p.y - line) / 0.12)
            * f32::from(p.y > line)
            * p.inside(skull + 0.09)
            * f32::from(p.y < reach);
        p.over([self.skin[0] * 0.5, self.skin[1], self.skin[2]], cast * 0.4);
    }

    /// Hair at `across` strands and `along` them.
    fn strands(&self, p: &Paint, across: f32, along: f32) -> Colour {
        let locks = cloud(across * 0.35, along * 0.9, self.salt + 17);
        let strand = cloud(across, along * 1.6, self.salt + 18);
        let fine = cloud(across * 3.1, along * 3.0, self.salt + 19);
        let sheen = hump((p.y + 0.72 + p.x * 0.25 + locks * 0.12) / 0.30);
        let spread = 0.35 * self.hair[0] + 8.0;
        let luma = self.hair[0]
            + spread * (0.35 * locks + 0.45 * strand + 0.35 * fine)
            + sheen * (10.0 + 0.5 * spread * (1.0 + strand));
        [luma.max(18.0), self.hair[1], self.hair[2]]
    }
}

/// Nose, cheeks, sockets and folds: light and shade on the skin.
fn features(p: &Paint, skin: &mut Colour) {
    let side = p.x.abs();
    let cheek = hump(((side - 0.40) * (side - 0.40) + (p.y - 0.30) * (p.y - 0.30)).sqrt() / 0.28);
    skin[2] += 5.0 * cheek;
    skin[1] -= 1.5 * cheek;
    let shade = |amount: f32| 1.0 - amount;
    let socket = hump((side - 0.27) / 0.24) * hump((p.y + 0.13) / 0.17);
    let bridge = hump(p.x / 0.07) * hump((p.y - 0.02) / 0.34);
    let flank = hump((side - 0.10) / 0.08) * hump((p.y - 0.10) / 0.36) * if p.x > 0.0 { 1.3 } else { 0.6 };
    let tip = hump((p.x + 0.02) / 0.09) * hump((p.y - 0.25) / 0.09);
    let wing = hump((side - 0.145) / 0.03) * hump((p.y - 0.30) / 0.085);
    let nostril = hump((side - 0.07) / 0.05) * hump((p.y - 0.355) / 0.028);
    let under = hump(p.x / 0.17) * hump((p.y - 0.395) / 0.05);
    let groove = hump(p.x / 0.035) * hump((p.y - 0.46) / 0.07);
    let fold_x = 0.20 + 0.28 * (p.y - 0.32);
    let fold = hump((side - fold_x) / 0.035) * hump((p.y - 0.48) / 0.22);
    let chin = hump(p.x / 0.22) * hump((p.y - 0.735) / 0.06);
    let ball = hump(p.x / 0.2) * hump((p.y - 0.86) / 0.12);
    skin[0] *= shade(0.15 * socket)
        * shade(0.14 * flank)
        * shade(0.16 * wing)
        * shade(0.62 * nostril)
        * shade(0.20 * under)
        * shade(0.08 * groove)
        * shade(0.07 * fold)
        * shade(0.12 * chin)
        * (1.0 + 0.09 * bridge + 0.12 * tip + 0.05 * ball + 0.03 * cheek);
}

/// About how far a point is outside an ellipse round (0, 0); inside, below 0.
fn ellipse(x: f32, y: f32, half_width: f32, half_height: f32) -> f32 {
    let (u, v) = (x / half_width, y / half_height);
    ((u * u + v * v).sqrt() - 1.0) * half_width.min(half_height)
}

/// One point while layers are put on it.
struct Paint {
    x: f32,
    y: f32,
    pixel: f32,
    /// Multiplied by `cover`.
    colour: Colour,
    cover: f32,
}

impl Paint {
    /// How much of the pixel lies inside an edge that is `distance` away.
    fn inside(&self, distance: f32) -> f32 {
        (0.5 - distance / self.pixel).clamp(0.0, 1.0)
    }

    /// Noise of a fixed size in the picture: finer than pixels would be lost,
    /// coarser than a pore would be blotches.
    fn grain(&self, salt: u32) -> f32 {
        let size = self.pixel.max(0.008);
        speck((self.x / size).floor() as i32, (self.y / size).floor() as i32, salt)
    }

    fn over(&mut self, colour: Colour, cover: f32) {
        for (under, part) in self.colour.iter_mut().zip(colour) {
            *under = *under * (1.0 - cover) + part * cover;
        }
        self.cover = self.cover * (1.0 - cover) + cover;
    }
}
