//! What a room reads: datagrams, and its URL.

use sidetone::rtp::Ssrc;
use sidetone_room::rtcp::{self, MOST_GOODBYES, Sent};
use sidetone_room::rtp_header::{RtpHeader, is_rtcp};
use sidetone_room::url::Url;

use crate::Target;
use crate::target::rtp::packets;

/// A datagram from a socket, RTP or RTCP.
pub(crate) const DATAGRAM: Target = Target {
    name: "datagram",
    run: |bytes| {
        if !is_rtcp(bytes) {
            return RtpHeader::read(bytes).is_some();
        }
        let Some(told) = rtcp::read(bytes) else { return false };
        assert!(told.goodbyes().len() <= MOST_GOODBYES);
        assert!(told.name.is_none_or(rtcp::is_name), "{:?} is no name", told.name);
        true
    },
    seeds: || {
        let (ours, theirs) = (Ssrc(0x0102_0304), Ssrc(0xf1f2_f3f4));
        let (mut report, mut goodbye) = (Vec::new(), Vec::new());
        rtcp::write_sender_report(
            &mut report,
            &Sent { ssrc: ours, packets: 9, octets: 900 },
            1 << 63,
            90_000,
        );
        rtcp::write_receiver_report(&mut report, ours);
        rtcp::write_name(&mut report, &[ours, theirs], "Zoë");
        rtcp::write_picture_loss(&mut report, ours, theirs);
        rtcp::write_bitrate(&mut report, ours, theirs, 700_000);
        rtcp::write_receiver_report(&mut goodbye, ours);
        rtcp::write_goodbye(&mut goodbye, &[ours; MOST_GOODBYES]);
        let mut seeds = packets();
        seeds.extend([report, goodbye]);
        seeds
    },
    words: &["REMB"],
    most_mib: 1,
};

pub(crate) const URL: Target = Target {
    name: "room_url",
    run: |bytes| match std::str::from_utf8(bytes).map(|text| (text, Url::parse(text))) {
        Ok((text, Err(why))) => {
            assert!(why.len() <= 2 * text.len() + 300, "a complaint of {} bytes", why.len());
            false
        }
        Ok((_, Ok(_))) => true,
        Err(_) => false,
    },
    seeds: || {
        ["mem://demo", "udp://127.0.0.1:5000?remote=127.0.0.1:5002", "udp://[::1]:9?remote=[fe80::1%1]:65535"]
            .map(|url| url.as_bytes().to_vec())
            .into()
    },
    words: &["mem://", "udp://", "wss://", "?remote=", ":", "[", "]", "%", "65536", "ß", "\u{202e}", "&"],
    most_mib: 1,
};
