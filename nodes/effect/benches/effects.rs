//! What the effect nodes cost on one core: `cargo bench -p sidetone-effect`.
//!
//! Each line is one node on one size: the middle and the 95th percentile of the
//! time for a picture, in milliseconds. The picture is skin all over with some
//! texture, which is the most that `effect.smooth_skin` can be given.

use std::time::Instant;

use sidetone_core::harness::Harness;
use sidetone_core::{NodeSpec, Size, Value};

const PICTURES: usize = 200;

fn main() {
    let size = |width, height| Value::Size(Size::new(width, height));
    let all = [("sharpen", 0.5.into())];
    println!("{:<44} {:>9} {:>9}", "", "p50 ms", "p95 ms");
    for (width, height) in [(640, 360), (1280, 720), (1920, 1080)] {
        run("effect.smooth_skin", "defaults", &[], (width, height));
        run("effect.smooth_skin", "and sharpen", &all, (width, height));
    }
    run("effect.smooth_skin", "parallel", &[("parallel", true.into())], (1920, 1080));
    run("effect.mirror", "horizontal", &[], (1280, 720));
    for quality in ["good", "fast"] {
        let to = |width, height| [("size", size(width, height)), ("quality", quality.into())];
        run("effect.scale", &format!("to 640x360, {quality}"), &to(640, 360), (1280, 720));
        run("effect.scale", &format!("to 480x270, {quality}"), &to(480, 270), (1280, 720));
        run("effect.scale", &format!("to 1280x720, {quality}"), &to(1280, 720), (640, 360));
    }
    run_tile(1);
    run_tile(4);
    run_tile(9);
}

fn spec(kind: &str) -> &'static NodeSpec {
    let found = sidetone_effect::KINDS.iter().find(|spec| spec.kind == kind);
    found.unwrap_or_else(|| panic!("there is no kind {kind}"))
}

fn skin(node: &Harness, (width, height): (u32, u32)) -> sidetone_core::Frame {
    node.picture(width, height, |plane, x, y| match plane {
        0 => (150 + (x * 7 + y * 13) % 9) as u8,
        1 => 110,
        _ => 152,
    })
}

fn run(kind: &str, what: &str, params: &[(&str, Value)], size: (u32, u32)) {
    let mut node = Harness::new(spec(kind), params);
    let frame = skin(&node, size);
    let times = (0..PICTURES).map(|_| {
        node.push(0, frame.clone());
        let start = Instant::now();
        node.run();
        let time = start.elapsed().as_secs_f64();
        node.clear();
        time
    });
    report(&format!("{kind}, {}x{}, {what}", size.0, size.1), times.collect());
}

fn run_tile(links: usize) {
    let mut node = Harness::new(spec("effect.tile"), &[]);
    let frame = skin(&node, (640, 360));
    let ids: Vec<_> = node_links(&mut node, links);
    let times = (0..PICTURES).map(|_| {
        ids.iter().for_each(|id| node.push_link(*id, frame.clone()));
        let start = Instant::now();
        node.advance(std::time::Duration::from_nanos(33_333_334));
        let time = start.elapsed().as_secs_f64();
        node.clear();
        time
    });
    report(&format!("effect.tile, {links} of 640x360 into 1280x720"), times.collect());
}

fn node_links(node: &mut Harness, links: usize) -> Vec<sidetone_core::LinkId> {
    node.unlink(0);
    (0..links).map(|_| node.add_link(0)).collect()
}

fn report(what: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times[times.len() * share / 100] * 1e3;
    println!("{what:<44} {:>9.2} {:>9.2}", at(50), at(95));
}
