use super::*;
use fastrand::Rng;

/// The 20 ms packet `n` of a stream, numbers near their wrap.
fn packet(n: u16) -> Vec<u8> {
    let payload = [&[0x78][..], &n.to_be_bytes(), &[n as u8; 20]].concat();
    rtp(65_500u16.wrapping_add(n), (u32::MAX - 9_000).wrapping_add(u32::from(n) * 960), 7, false, &payload)
}

fn number(sequence: u16) -> u16 {
    sequence.wrapping_sub(65_500)
}

/// When packet `n` is sent.
fn sent(n: u16) -> Duration {
    ms(u64::from(n) * 20)
}

fn link(params: &[(&str, Value)]) -> Link {
    Link::new(Codec::Opus, params)
}

/// Frames follow one another on the output's timeline, and by the clock unless
/// it was set: on by less than half a frame, or after a rest, or back by a
/// two-hundredth of a frame.
fn continuous(link: &Link) {
    for pair in link.out.windows(2) {
        let end = pair[0].pts + pair[0].duration;
        if pair[1].flags.has(Flags::DISCONTINUITY) {
            assert!(pair[1].pts >= end, "the timeline went back");
            continue;
        }
        assert_eq!(pair[1].pts, end);
        let interval = pair[1].at - pair[0].at;
        let sooner = pair[0].duration.saturating_sub(interval);
        assert!(sooner <= pair[0].duration / 200, "{sooner:?} too soon at {:?}", pair[1].at);
        let slide = interval.saturating_sub(pair[0].duration);
        assert!(slide < pair[0].duration / 2, "{slide:?} at {:?}", pair[1].at);
    }
}

#[test]
fn a_clean_link_adds_a_millisecond_and_wraps_unnoticed() {
    let mut link = link(&[]);
    link.arrive((0..300).map(|n| (sent(n) + ms(30), packet(n))).collect()).end();
    assert_eq!(link.sequences().iter().map(|s| number(*s)).collect::<Vec<_>>(), (0..300).collect::<Vec<_>>());
    for (n, out) in (0..).zip(&link.out) {
        assert_eq!(out.at, sent(n) + ms(31));
    }
    assert_eq!((link.lost(), link.node.ledger().drops()), (0, 0));
    assert!(link.node.has_ended());
    continuous(&link);
}

#[test]
fn a_first_packet_that_was_slow_says_nothing_of_the_others() {
    for (min_ms, least) in [(50, ms(50)), (0, ms(1))] {
        let mut link = link(&[("min_ms", min_ms.into())]);
        let slow = |n: u16| if n == 0 { ms(9) } else { ms(0) };
        link.arrive((0..1_500).map(|n| (sent(n) + ms(30) + slow(n), packet(n))).collect()).end();
        let delay = |n: u16| link.out[usize::from(n)].at - sent(n) - ms(30);
        if min_ms > 20 {
            assert_eq!(delay(0), least, "the second came in time to tell");
        }
        // Otherwise it is kept until the first packet is forgotten.
        assert_eq!((delay(1_499), link.lost(), link.node.ledger().drops()), (least, 0, 0));
        continuous(&link);
    }
}

#[test]
fn what_no_packet_needs_goes_without_a_frame_left_out() {
    let mut link = link(&[("min_ms", 20.into())]);
    // As long as the sender takes to begin, and then as quick as it can be.
    let slow = |n: u16| if n < 25 { ms(15) } else { ms(0) };
    link.arrive((0..400).map(|n| (sent(n) + slow(n), packet(n))).collect()).end();
    let delay = |n: u16| link.out[usize::from(n)].at - sent(n);
    assert_eq!((delay(0), delay(24)), (ms(35), ms(35)));
    // Three seconds for 15 ms, at a two-hundredth.
    assert!(delay(170) > ms(20) && delay(180) == ms(20), "{:?} {:?}", delay(170), delay(180));
    assert_eq!((link.lost(), link.node.ledger().drops()), (0, 0));
    continuous(&link);
}

#[test]
fn a_delay_that_some_packet_of_late_needed_stays() {
    let mut link = link(&[]);
    // One in a hundred is 15 ms late, as the first is: fewer than the quantile
    // waits for.
    let late = |n: u16| if n.is_multiple_of(100) { ms(15) } else { ms(0) };
    link.arrive((0..3_000).map(|n| (sent(n) + late(n), packet(n))).collect()).end();
    assert_eq!((link.lost(), link.node.ledger().drops()), (0, 0));
    assert_eq!(link.out[2_999].at - sent(2_999), ms(16));
    continuous(&link);
}

#[test]
fn packets_that_overtook_one_another_get_their_order_back() {
    let mut link = link(&[("min_ms", 50.into())]);
    let late = |n: u16| if n % 3 == 1 { ms(45) } else { ms(0) };
    link.arrive((0..90).map(|n| (sent(n) + late(n), packet(n))).collect()).end();
    assert_eq!(link.sequences().iter().map(|s| number(*s)).collect::<Vec<_>>(), (0..90).collect::<Vec<_>>());
    assert_eq!(link.lost(), 0);
    continuous(&link);
}

#[test]
fn a_loss_is_named_and_carries_its_successor() {
    let mut link = link(&[("min_ms", 30.into())]);
    let lost = [10, 20, 21, 22];
    link.arrive((0..40).filter(|n| !lost.contains(n)).map(|n| (sent(n), packet(n))).collect()).end();
    assert_eq!(link.out.len(), 40);
    for (n, out) in (0..).zip(&link.out) {
        let expected = match n {
            10 | 22 => packet(n + 1),
            20 | 21 => vec![],
            _ => packet(n),
        };
        assert_eq!((out.is_lost(), &out.bytes), (lost.contains(&n), &expected), "{n}");
        assert_eq!(out.duration, ms(20));
    }
    continuous(&link);
}

#[test]
fn a_loss_without_anything_buffered_is_named_in_time() {
    let mut link = link(&[]);
    link.arrive((0..40).filter(|n| *n != 10).map(|n| (sent(n), packet(n))).collect()).end();
    assert_eq!((link.out[10].at, link.out[10].is_lost()), (sent(10) + ms(1), true));
    assert_eq!((link.out.len(), link.lost()), (40, 1));
    continuous(&link);
}

#[test]
fn duplicates_are_counted_and_never_play_twice() {
    let mut link = link(&[]);
    let twice = (0..100).flat_map(|n| [(sent(n), packet(n)), (sent(n) + ms(3), packet(n))]).collect();
    link.arrive(twice).end();
    assert_eq!((link.out.len(), link.dropped(DropReason::Duplicate), link.lost()), (100, 100, 0));
    continuous(&link);
}

#[test]
fn the_share_that_comes_too_late_is_what_the_quantile_leaves() {
    // Exponential delays of 10 ms on average: their quantiles are 23, 35 and 69
    // ms. Frames of 5 ms, so that the delay can follow them closely.
    for (quantile, least, most, longest) in
        [(0.9, 0.04, 0.11, 35), (0.97, 0.012, 0.035, 50), (0.999, 0.0, 0.003, 120)]
    {
        let mut link = link(&[("quantile", quantile.into())]);
        let mut rng = Rng::with_seed(21);
        let sent = |n: u16| ms(u64::from(n) * 5);
        let packets = (0..8_000u16).map(|n| {
            let late = Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / 100.0);
            (sent(n) + late, rtp(n, u32::from(n) * 240, 7, false, &[17 << 3, 1, 2, 3]))
        });
        link.arrive(packets.collect()).end();
        let late = link.dropped(DropReason::Late) as f64 / 8_000.0;
        assert!((least..most).contains(&late), "{quantile}: {late} late");
        let delays = link.out.iter().skip(3_000).filter_map(|out| Some(out.at - sent(out.sequence()?)));
        let delay = delays.max().unwrap();
        assert!(delay < ms(longest), "{quantile}: {delay:?}");
        continuous(&link);
    }
}

#[test]
fn delay_follows_a_slower_path_at_once_and_comes_back_down() {
    let mut link = link(&[]);
    let path = |n: u16| if (200..600).contains(&n) { ms(100) } else { ms(0) };
    link.arrive((0..3_000).map(|n| (sent(n) + path(n), packet(n))).collect()).end();
    let delay = |out: &Out| out.sequence().map(|s| out.at - sent(number(s)));
    // Five frames of the longer path and three to be sure of it.
    let named = link.out.iter().filter(|out| out.is_lost() && out.at < ms(8_000)).count();
    assert!((5..=10).contains(&named), "{named}");
    let at_600 = link.out.iter().filter(|out| out.at < ms(12_000)).filter_map(delay).next_back().unwrap();
    assert!(at_600 >= ms(101) && at_600 < ms(130), "{at_600:?}");
    let last = link.out.iter().filter_map(delay).next_back().unwrap();
    assert!(last < ms(25), "{last:?}");
    let skips: Vec<_> = link
        .out
        .windows(2)
        .filter_map(|pair| Some((pair[1].at, pair[1].sequence()?.wrapping_sub(pair[0].sequence()?))))
        .filter(|(_, step)| *step > 1)
        .collect();
    assert!(skips.iter().all(|(_, step)| *step == 2));
    // Five times as often while the delay is a stall's, 100 ms and more too long.
    assert!(skips.windows(2).all(|pair| pair[1].0 - pair[0].0 >= ms(100)));
    let soon = skips.windows(2).filter(|pair| pair[1].0 - pair[0].0 < ms(500)).count();
    assert!(soon <= 2, "{soon} skips of 20 ms bring 120 ms below a stall's");
    assert_eq!(link.dropped(DropReason::Overflow), skips.len() as u64);
    continuous(&link);
}

#[test]
fn silence_is_filled_in_and_is_no_loss() {
    let mut link = link(&[]);
    // 20, 41 and 62 are packets of silence, after which nothing is sent.
    let silence = |n: u16| (20..83).contains(&n) && ![20, 41, 62].contains(&n);
    // Sequence numbers count what is sent.
    let packets = (100..).zip((0..120).filter(|n| !silence(*n))).map(|(sequence, n)| {
        let payload: &[u8] = if (20..83).contains(&n) { &[0x78] } else { &[0x78, 1, 2, 3] };
        (sent(n), rtp(sequence, u32::from(n) * 960, 7, false, payload))
    });
    link.arrive(packets.collect()).end();
    assert_eq!((link.out.len(), link.lost()), (120, 0));
    let filled = link.out.iter().filter(|out| out.flags.has(Flags::SILENCE)).count();
    assert_eq!(filled, (0..120).filter(|n| silence(*n)).count());
    continuous(&link);
}

#[test]
fn a_gap_in_timestamps_alone_is_silence_when_it_is_buffered() {
    let mut link = link(&[("min_ms", 100.into())]);
    let packets = [0, 1, 2, 5, 6]
        .iter()
        .zip(0..)
        .map(|(n, sequence)| (sent(*n), rtp(sequence, u32::from(*n) * 960, 7, false, &[0x78, 1, 2, 3])));
    link.arrive(packets.collect()).end();
    let flags: Vec<_> = link.out.iter().map(|out| out.flags.has(Flags::SILENCE)).collect();
    assert_eq!(flags, [false, false, false, true, true, false, false]);
    continuous(&link);
}

#[test]
fn a_sender_that_stops_is_concealed_for_a_second_and_welcomed_back() {
    let mut link = link(&[]);
    let back = 500;
    let packets = (0..50)
        .chain(back..550)
        .enumerate()
        .map(|(sequence, n)| (sent(n), rtp(sequence as u16, u32::from(n) * 960, 7, false, &[0x78, 1, 2, 3])));
    link.arrive(packets.collect()).end();
    assert_eq!(link.lost(), 50);
    let returned = &link.out[100];
    assert!(returned.flags.has(Flags::DISCONTINUITY));
    assert_eq!((returned.at, link.out.len()), (sent(back) + ms(1), 150));
    assert_eq!(returned.pts, link.out[0].pts + sent(back));
    continuous(&link);
}

#[test]
fn a_new_source_takes_over_without_a_gap_in_time() {
    let mut link = link(&[]);
    // It happens to count from the same number.
    let stream = |ssrc| move |n: u16| rtp(n % 50, u32::from(n) * 960 + ssrc, ssrc, false, &[0x78, 9, 9]);
    let first = (0..50).map(|n| (sent(n), stream(7)(n)));
    let second = (50..90).map(|n| (sent(n), stream(8)(n)));
    link.arrive(first.chain(second).collect()).end();
    let takes_over = link.out.iter().position(|out| out.flags.has(Flags::DISCONTINUITY)).unwrap();
    assert_eq!((takes_over, link.out.len(), link.lost()), (50, 90, 0));
    assert_eq!(link.out[50].pts, link.out[49].pts + ms(20));
    continuous(&link);
}

#[test]
fn a_jump_of_timestamps_under_one_source_is_survived() {
    for jump in [48_000 * 3_600, 0u32.wrapping_sub(48_000 * 3_600)] {
        let mut link = link(&[]);
        let shift = |n: u16| if n < 50 { 0 } else { jump };
        let packets = (0..200).map(|n| {
            (
                sent(n),
                rtp(
                    n,
                    (1u32 << 30).wrapping_add(shift(n)).wrapping_add(u32::from(n) * 960),
                    7,
                    false,
                    &[0x78, 1, 2],
                ),
            )
        });
        link.arrive(packets.collect()).end();
        assert!(link.sequences().len() >= 190, "{jump}: {}", link.sequences().len());
        assert!(link.out.len() <= 210, "{jump}: {}", link.out.len());
        continuous(&link);
    }
}

#[test]
fn a_sender_whose_clock_stands_still_in_a_pause_is_not_chased() {
    let mut link = link(&[]);
    let at = |n: u16| sent(n) + if n < 50 { ms(0) } else { ms(3_000) };
    let packets = (0..300).map(|n| (at(n), rtp(n, u32::from(n) * 960, 7, false, &[0x78, 1, 2, 3])));
    link.arrive(packets.collect()).end();
    assert_eq!((link.sequences().len(), link.lost()), (300, 50));
    assert_eq!(link.out.last().unwrap().at, at(299) + ms(1));
    continuous(&link);
}

#[test]
fn what_is_held_at_the_end_plays_out_in_time() {
    let mut link = link(&[("min_ms", 200.into())]);
    link.arrive((0..10).map(|n| (sent(n), packet(n))).collect()).end();
    assert_eq!(link.out.len(), 10);
    assert_eq!(link.out[9].at, sent(9) + ms(200));
    assert!(link.node.has_ended());
    continuous(&link);
}

#[test]
fn a_delay_set_while_running_takes_effect() {
    let mut link = link(&[]);
    link.arrive((0..50).map(|n| (sent(n), packet(n))).collect());
    link.node.control(sidetone_core::Control::Set { param: "min_ms", value: 60.into() }, None);
    link.arrive((50..200).map(|n| (sent(n), packet(n))).collect());
    let last = link.out.last().unwrap();
    let delay = last.at - sent(number(last.sequence().unwrap()));
    assert!(delay >= ms(60) && delay < ms(80), "{delay:?}");
    continuous(&link);
}

#[test]
fn no_packet_makes_it_panic_or_hold_without_bound() {
    let mut rng = Rng::with_seed(22);
    for round in 0..60 {
        let mut link = link(&[("min_ms", rng.i64(0..200).into())]);
        let mut packets = Vec::new();
        for n in 0..400 {
            let mut bytes = packet(n);
            for _ in 0..rng.usize(..3) {
                // The header's length is changed rarely, its fields often.
                let at = if round % 2 == 0 { rng.usize(..bytes.len()) } else { rng.usize(2..12) };
                bytes[at] = rng.u8(..);
            }
            if rng.u8(..8) == 0 {
                bytes.truncate(rng.usize(..=bytes.len()));
            }
            packets.push((Duration::from_micros(rng.u64(0..4_000_000)), bytes));
        }
        link.arrive(packets).end();
        assert!(link.node.has_ended(), "round {round}");
        assert!(link.out.len() < 4_000, "round {round}: {}", link.out.len());
    }
}
