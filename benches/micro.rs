//! What the smallest pieces cost, each alone.
//!
//! ```sh
//! cargo bench --bench micro
//! ```

use std::time::Duration;

use divan::{Bencher, black_box};
use sidetone::histogram::Histogram;
use sidetone::pool::Pool;
use sidetone::{AudioFormat, Clock, Format, Frame, Header, Timestamp};

fn main() {
    divan::main();
}

#[divan::bench]
fn pool_get_and_put(bencher: Bencher<'_, '_>) {
    let pool = Pool::new(64, || [0u8; 64]);
    pool.fill(64);
    bencher.bench_local(|| drop(black_box(pool.get())));
}

#[divan::bench]
fn frame_clone_and_drop(bencher: Bencher<'_, '_>) {
    let sound = Format::Audio(AudioFormat { rate: 48_000, channels: 1, samples: 480 });
    let frame = Frame::unpooled(Header::new(Timestamp::ZERO, Duration::from_millis(10)), sound);
    bencher.bench_local(|| drop(black_box(frame.clone())));
}

#[divan::bench]
fn histogram_record(bencher: Bencher<'_, '_>) {
    let histogram = Histogram::default();
    bencher.bench_local(|| histogram.record(black_box(Duration::from_nanos(1_234_567))));
}

#[divan::bench]
fn clock_now(bencher: Bencher<'_, '_>) {
    let clock = Clock::real();
    bencher.bench_local(|| black_box(clock.now()));
}
