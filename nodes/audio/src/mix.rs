//! `audio.mix`: adds any number of sounds into one, at a steady pace.
//!
//! Ports: `in` raw audio at `rate`, any number of links, which may come and go,
//! any channels, frames of any length → `out` raw audio, a frame of `frame_ms`
//! every `frame_ms` from the first frame that comes in.
//!
//! Parameters: `rate`, 8000 to 192000 Hz, default 48000; `channels`, 1 or 2,
//! default 1; `frame_ms`, 2.5 to 60 ms, default 10.
//!
//! Latency: at most `frame_ms`, the wait for the next frame out. A link whose
//! frames come unevenly waits as long as its latest frame was late, at most two
//! frames out more; beyond that its oldest frames are dropped as late. What a
//! link had to spare for every frame out of a second is dropped too, a frame at a
//! time, so that a wait which came of a stall does not stay.
//!
//! Method: every link has a queue; a frame out takes a frame's length from
//! each, and silence where a queue is empty. A queue that ran dry is heard again
//! once it fills a frame out, or a frame later, whichever comes first. Mono goes to both channels; more
//! channels than go out are averaged (even ones to the left, odd ones to the
//! right). The sum passes a peak limiter: its gain is 1 over the highest peak,
//! attack at once, release 60 ms, both channels alike; so what stays within
//! full scale passes bit for bit, and nothing exceeds it. A frame out has the
//! header of the oldest sound in it, with the mixer's own `pts`; silence has a
//! header that nobody follows.
//!
//! ```toml
//! sidetone = 1
//! links = ["tone -> mix -> file", "clicks -> mix"]
//! nodes.tone = { kind = "test.tone" }
//! nodes.clicks = { kind = "test.clicks" }
//! nodes.mix = { kind = "audio.mix", channels = 2 }
//! nodes.file = { kind = "file.wav_sink", path = "mixed.wav" }
//! ```

use sidetone_core::{
    AudioFormat, Context, DropReason, Fault, FaultKind, Finish, Flags, Frame, Header, LinkId, MediaType,
    Mismatch, Negotiated, Node, NodeSpec, Offer, ParamSpec, Params, Placement, PortSpec, Timestamp,
};

use crate::limiter::Limiter;
use crate::mix_queue::MixQueue;

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "audio.mix",
    summary: "Adds any number of sounds into one, at a steady pace.",
    sheet: sidetone_core::data_sheet!("mix.rs"),
    inputs: &[PortSpec::new("in", MediaType::AUDIO, "The sounds.").many()],
    outputs: &[PortSpec::new("out", MediaType::AUDIO, "Their sum.")],
    params: &[
        ParamSpec::int("rate", 48_000, 8_000, 192_000, "Samples per second, of all that comes and goes.")
            .unit("Hz"),
        ParamSpec::int("channels", 1, 1, 2, "Channels that go out."),
        ParamSpec::float("frame_ms", 10.0, 2.5, 60.0, "How much sound goes out at a time.").unit("ms"),
    ],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &negotiate,
    build: &|setup| Ok(Box::new(Mix::new(format(setup.params)))),
};

/// How long a link must have had sound to spare before it is dropped.
const SPARE_SECONDS: u64 = 1;
/// Links that have room from the start; more are given room as they come.
const LINKS: usize = 16;

struct Mix {
    /// One frame out.
    format: AudioFormat,
    queues: Vec<MixQueue>,
    /// Queues of links that went, to be used again.
    spare: Vec<MixQueue>,
    /// The links there are, looked up at every call.
    links: Vec<LinkId>,
    /// When the first frame is due, once anything came, and how many went out.
    begin: Option<Timestamp>,
    count: u64,
    limiter: Limiter,
}

impl Mix {
    fn new(format: AudioFormat) -> Self {
        Self {
            format,
            queues: Vec::with_capacity(LINKS),
            spare: (0..LINKS).map(|_| MixQueue::new()).collect(),
            links: Vec::with_capacity(LINKS),
            begin: None,
            count: 0,
            limiter: Limiter::new(format.rate),
        }
    }

    /// When frame `index` is due.
    fn due(&self, index: u64) -> Option<Timestamp> {
        let samples = index * u64::from(self.format.samples);
        self.begin.map(|begin| begin.after_units(samples, self.format.rate))
    }

    /// Takes what has come through every link.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        self.links.clear();
        self.links.extend(cx.links(0));
        for index in 0..self.links.len() {
            let link = self.links[index];
            while let Some(frame) = cx.pop_link(link) {
                self.accept(link, frame, cx)?;
            }
        }
        // A link that went is heard to its end first.
        while let Some(index) =
            self.queues.iter().position(|queue| queue.held == 0 && !self.links.contains(&queue.link))
        {
            let queue = self.queues.swap_remove(index);
            self.spare.push(queue);
        }
        Ok(())
    }

    fn accept(&mut self, link: LinkId, frame: Frame, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(audio) = frame.audio() else {
            return Err(Fault::new(FaultKind::WrongFormat, "audio.mix takes raw audio"));
        };
        if audio.rate != self.format.rate {
            let why = "audio.mix takes sound at its own rate alone; \
                 put { kind = \"audio.resample\" } with the same rate before it";
            return Err(Fault::new(FaultKind::WrongFormat, why));
        }
        if audio.samples == 0 || audio.channels == 0 {
            return Ok(());
        }
        // Late enough that frames which come evenly fill every frame out, and
        // half a step later, so that their arrival does not race the clock.
        let (now, out) = (cx.now(), self.format.samples);
        let wait = u64::from(out - gcd(audio.samples, out) / 2);
        let begin = *self.begin.get_or_insert_with(|| now.after_units(wait, audio.rate));
        // After a stall the frames due by now are still to be made.
        let next = self.due(self.count).unwrap_or(begin);
        let behind = now.since(next).as_nanos() * u128::from(audio.rate) / 1_000_000_000;
        let due = if now < next { 0 } else { out as usize };
        let backlog = usize::try_from(behind).unwrap_or(usize::MAX).saturating_add(due);

        let place = self.queues.iter().position(|queue| queue.link == link).unwrap_or_else(|| {
            let mut queue = self.spare.pop().unwrap_or_else(MixQueue::new);
            queue.link = link;
            self.queues.push(queue);
            self.queues.len() - 1
        });
        let late = self.queues[place].accept(frame, out as usize, backlog);
        (0..late).for_each(|_| cx.dropped(DropReason::Late));
        Ok(())
    }

    /// Puts out every frame that is due.
    fn put_out(&mut self, cx: &mut Context<'_>) {
        let before = self.count;
        while let Some(due) = self.due(self.count).filter(|due| *due <= cx.now()) {
            let mut sum = cx.audio(0, self.format, Header::default());
            let mut header = None;
            for channel in 0..usize::from(self.format.channels) {
                sum.channel_mut(channel).fill(0.0);
            }
            for queue in &mut self.queues {
                queue.add_to(&mut sum, &mut header);
            }
            self.limiter.apply(&mut sum);
            let duration = self.format.duration();
            let mut header = header.unwrap_or_else(|| Header::new(due - duration, duration));
            header.pts = due - duration;
            header.duration = duration;
            header.sequence = self.count;
            header.flags = Flags::default();
            sum.header = header;
            cx.push(0, sum);
            self.count += 1;
        }
        // What is left over while this node itself catches up says nothing.
        let window = match self.count - before {
            0 => return self.ask(cx),
            1 => SPARE_SECONDS * u64::from(self.format.rate) / u64::from(self.format.samples.max(1)),
            _ => u64::MAX,
        };
        for queue in &mut self.queues {
            let late = queue.drain(window);
            (0..late).for_each(|_| cx.dropped(DropReason::Late));
        }
        self.ask(cx);
    }

    /// Asks to be called for the next frame out.
    fn ask(&self, cx: &mut Context<'_>) {
        if let Some(next) = self.due(self.count) {
            cx.wake_at(next);
        }
    }
}

impl Node for Mix {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        self.gather(cx)?;
        self.put_out(cx);
        Ok(())
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        self.gather(cx)?;
        self.put_out(cx);
        let is_empty = self.queues.iter().all(|queue| queue.held == 0);
        Ok(if is_empty { Finish::Done } else { Finish::Later })
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn format(params: &Params) -> AudioFormat {
    let rate = u32::try_from(params.int("rate")).unwrap_or(48_000);
    let samples = (params.float("frame_ms") * f64::from(rate) / 1000.0).round() as u32;
    AudioFormat { rate, channels: u16::try_from(params.int("channels")).unwrap_or(1), samples }
}

fn negotiate(offer: &Offer<'_>) -> Result<Negotiated, Mismatch> {
    let AudioFormat { rate, channels, samples } = format(offer.params);
    if let Some(Some(MediaType::Audio { rate: Some(given), .. })) = offer.inputs.first()
        && *given != rate
    {
        return Err(Mismatch {
            port: 0,
            takes: format!("takes {rate} Hz"),
            help: format!("put {{ kind = \"audio.resample\", rate = {rate} }} between them"),
        });
    }
    let out = MediaType::Audio { rate: Some(rate), channels: Some(channels), samples: Some(samples) };
    Ok(Negotiated::new([out]).latency(format(offer.params).duration()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use sidetone_core::harness::Harness;

    const TEN: Duration = Duration::from_millis(10);

    fn mono(params: &[(&str, sidetone_core::Value)]) -> Harness {
        Harness::new(&SPEC, params)
    }

    fn noise(seed: u64, samples: usize) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..samples).map(|_| random.f32() - 0.5).collect()
    }

    fn joined(frames: &[Frame], channel: usize) -> Vec<f32> {
        frames.iter().flat_map(|frame| frame.channel(channel).to_vec()).collect()
    }

    fn late(node: &Harness) -> u64 {
        node.ledger().dropped[DropReason::Late as usize].get()
    }

    #[test]
    fn one_sound_below_full_scale_passes_bit_for_bit_whatever_its_frames() {
        let sound = noise(1, 48_000);
        for samples in [8, 120, 480, 960, 2_880, 5_000] {
            let mut node = mono(&[]);
            for (index, part) in sound.chunks(samples).enumerate() {
                node.advance_to(Duration::from_nanos((index * samples) as u64 * 1_000_000_000 / 48_000));
                node.push(0, node.audio(48_000, &[part]));
                node.run();
            }
            node.end(0);
            node.advance(Duration::from_millis(200));
            assert!(node.has_ended());
            let out = joined(&node.take(0), 0);
            assert!(out[..48_000] == sound, "frames of {samples}");
            assert!(out[48_000..].iter().all(|x| *x == 0.0) && out.len() < 48_000 + 480 + samples);
        }
    }

    #[test]
    fn links_add_up_as_they_come_and_go() {
        let mut node = mono(&[]);
        let second = node.add_link(0);
        node.push(0, node.audio(48_000, &[&[0.25; 480]]));
        node.push_link(second, node.audio(48_000, &[&[0.5; 480]]));
        node.advance(TEN);
        node.push_link(second, node.audio(48_000, &[&[0.5; 480]]));
        node.end_link(second);
        node.advance(TEN);
        let third = node.add_link(0);
        node.push_link(third, node.audio(48_000, &[&[0.125; 480]]));
        node.advance(TEN);
        let heard: Vec<f32> = node.take(0).iter().map(|frame| frame.channel(0)[0]).collect();
        assert_eq!(heard, [0.75, 0.5, 0.125]);
    }

    #[test]
    fn more_links_than_there_was_room_for_are_heard_too() {
        let mut node = mono(&[]);
        for _ in 0..40 {
            let link = node.add_link(0);
            node.push_link(link, node.audio(48_000, &[&[0.02; 480]]));
        }
        node.advance(TEN);
        assert!((node.take(0)[0].channel(0)[100] - 0.8).abs() < 1e-5);
    }

    #[test]
    fn the_pace_is_the_clocks_and_silence_fills_what_is_missing() {
        let mut node = mono(&[("frame_ms", 20.into())]);
        node.advance(Duration::from_secs(1));
        assert!(node.take(0).is_empty(), "nothing ever came");
        let start = node.now();
        node.push(0, node.audio(48_000, &[&[0.5; 480]]));
        node.advance(Duration::from_secs(1));
        let out = node.take(0);
        assert_eq!(out.len(), 50);
        let heard =
            [out[0].channel(0)[0], out[1].channel(0)[479], out[1].channel(0)[480], out[49].channel(0)[0]];
        assert_eq!(heard, [0.0, 0.5, 0.0, 0.0]);
        for (index, frame) in out.iter().enumerate() {
            let expected = start + Duration::from_millis(20 * index as u64) - TEN / 2;
            assert_eq!((frame.header.pts, frame.header.sequence), (expected, index as u64));
        }
    }

    #[test]
    fn a_queue_that_grows_too_long_loses_its_oldest() {
        let mut node = mono(&[]);
        for value in [0.1, 0.2, 0.3] {
            node.push(0, node.audio(48_000, &[&[value; 480]]));
        }
        node.run();
        assert_eq!(late(&node), 0, "two frames too many may wait");
        node.push(0, node.audio(48_000, &[&[0.4; 480]]));
        node.advance(TEN);
        assert_eq!((late(&node), node.take(0)[0].channel(0)[0]), (3, 0.4));
    }

    #[test]
    fn what_came_in_a_stall_does_not_keep_the_sound_late() {
        let mut node = mono(&[]);
        // Two frames too many once; then one every 10 ms, for two seconds.
        for _ in 0..3 {
            let mut frame = node.audio(48_000, &[&[0.1; 480]]);
            frame.header = node.header(TEN);
            node.push(0, frame);
        }
        for _ in 0..250 {
            node.advance(TEN);
            let mut frame = node.audio(48_000, &[&[0.1; 480]]);
            frame.header = node.header(TEN);
            node.push(0, frame);
        }
        node.advance(TEN);
        let out = node.take(0);
        let waited = |frame: &Frame| frame.header.pts.since(frame.header.captured);
        assert_eq!(waited(&out[20]), TEN + TEN / 2);
        assert_eq!(waited(&out[249]), Duration::ZERO);
        assert_eq!(late(&node), 2);
    }

    #[test]
    fn a_stalled_lane_catches_up_without_loss() {
        let mut node = mono(&[]);
        node.push(0, node.audio(48_000, &[&[0.1; 480]]));
        node.run();
        // All of a second's frames come at once, as after a second without a call.
        for index in 1..=100u16 {
            node.push(0, node.audio(48_000, &[&[f32::from(index) / 256.0; 480]]));
        }
        let before = node.now();
        node.skip(Duration::from_secs(1));
        node.run();
        assert_eq!((late(&node), node.now().since(before)), (0, Duration::from_secs(1)));
        let heard: Vec<f32> = node.take(0).iter().skip(1).map(|frame| frame.channel(0)[0] * 256.0).collect();
        assert!(heard.windows(2).all(|pair| pair[1] == pair[0] + 1.0) && heard.len() == 99);
    }

    #[test]
    fn sums_above_full_scale_are_held_at_it() {
        let mut node = mono(&[("channels", 2.into())]);
        let links: Vec<_> = (0..6).map(|_| node.add_link(0)).collect();
        for round in 0..100 {
            for (index, link) in links.iter().enumerate() {
                let sound = noise(round * 10 + index as u64, 480);
                let loud: Vec<f32> = sound.iter().map(|x| x * 2.0).collect();
                node.push_link(*link, node.audio(48_000, &[&loud, &sound]));
            }
            node.advance(TEN);
        }
        let out = node.take(0);
        for channel in 0..2 {
            let peak = joined(&out, channel).iter().fold(0.0f32, |peak, x| peak.max(x.abs()));
            assert!(peak <= 1.0, "{peak}");
        }
        // Long after, the sound is as it came.
        node.advance(Duration::from_secs(2));
        node.take(0);
        node.push(0, node.audio(48_000, &[&noise(7, 480)]));
        node.advance(TEN);
        assert!(node.take(0)[0].channel(1) == noise(7, 480));
    }

    #[test]
    fn a_broken_sample_does_not_silence_the_mix_for_good() {
        let mut node = mono(&[]);
        node.push(0, node.audio(48_000, &[&[f32::INFINITY, f32::NAN, 0.5]]));
        node.push(0, node.audio(48_000, &[&[0.5; 480]]));
        node.advance(TEN);
        assert_eq!(node.take(0)[0].channel(0)[..5], [0.0, 0.0, 0.5, 0.5, 0.5]);
    }

    #[test]
    fn channels_are_brought_in_line() {
        let cases: [(i64, &[f32], &[f32]); 5] = [
            (2, &[0.5], &[0.5, 0.5]),
            (1, &[0.5, 0.25], &[0.375]),
            (2, &[0.5, 0.25], &[0.5, 0.25]),
            (2, &[0.5, 0.25, 0.25], &[0.375, 0.25]),
            (1, &[0.5, 0.25, 0.5, 0.75], &[0.5]),
        ];
        for (channels, given, expected) in cases {
            let mut node = mono(&[("channels", channels.into())]);
            let sound: Vec<[f32; 480]> = given.iter().map(|value| [*value; 480]).collect();
            let sound: Vec<&[f32]> = sound.iter().map(<[f32; 480]>::as_slice).collect();
            node.push(0, node.audio(48_000, &sound));
            node.advance(TEN);
            let out = node.take(0);
            let heard: Vec<f32> = (0..expected.len()).map(|channel| out[0].channel(channel)[99]).collect();
            assert_eq!(heard, expected);
        }
    }

    #[test]
    fn the_oldest_sounds_header_goes_on() {
        let mut node = mono(&[]);
        let second = node.add_link(0);
        let mut young = node.audio(48_000, &[&[0.5; 480]]);
        young.header = node.header(TEN);
        let mut old = node.audio(48_000, &[&[0.5; 960]]);
        old.header = node.header(TEN * 2);
        old.header.captured = old.header.captured - TEN * 3;
        let captured = old.header.captured;
        node.push(0, young);
        node.push_link(second, old);
        node.advance(TEN * 2);
        let out = node.take(0);
        assert_eq!(out[0].header.captured, captured);
        assert_eq!(out[1].header.captured, captured + TEN, "its second half");
        assert_eq!(node.ledger().buffer().count, 2, "both are followed");
    }

    #[test]
    fn another_rate_is_refused_with_what_to_do() {
        let mut node = mono(&[]);
        node.push(0, node.audio(44_100, &[&[0.5; 441]]));
        node.run();
        assert!(node.fault().unwrap().why.contains("audio.resample"));
        let params = Params::new(SPEC.params, &[]).unwrap();
        let input = MediaType::Audio { rate: Some(44_100), channels: None, samples: None };
        let mismatch = negotiate(&Offer { params: &params, inputs: &[Some(input)] }).unwrap_err();
        assert!(mismatch.help.contains("{ kind = \"audio.resample\", rate = 48000 }"));
    }
}
