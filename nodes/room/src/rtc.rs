//! What both ends of a participant's media do alike with str0m: each touch of an `Rtc`
//! is guarded, so that whatever happens in there ends that one alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::config::{CryptoProvider, DtlsCert};
use str0m::net::Transmit;
use str0m::rtp::Extension;
use str0m::{Event, Input, Output, PacerReason, Reason, Rtc, RtcConfig, RtcError};

/// Steps that settling one input takes at most; it takes some ten, and more with a
/// burst of packets to send.
const MOST_STEPS: usize = 20_000;
/// Steps in a row that bring nothing: its estimation of bandwidth wants one each time that
/// a packet could go there and back, and where that takes no time there is no end of
/// them. After so many it rests for so long.
const MOST_IDLE: usize = 16;
const LULL: Duration = Duration::from_millis(1);

/// What is due so soon is done at once.
const MOMENT: Duration = Duration::from_micros(100);
/// How late what only looks back at what was sent may be done: with the next packet it
/// is done, too.
const LOOK_BACK: Duration = Duration::from_millis(50);

/// Media are of no more use.
#[derive(Debug, thiserror::Error)]
pub enum Gone {
    /// str0m panicked.
    #[error("it panicked")]
    Panicked,
    /// str0m gave up.
    #[error(transparent)]
    Failed(#[from] RtcError),
    /// It wants ever more done.
    #[error("it does not settle")]
    Restless,
    /// It is closed, by the other side or by this one.
    #[error("it is closed")]
    Closed,
    /// No media came through in time.
    #[error("its media did not come up")]
    Slow,
    /// It sends from more sources than anybody needs.
    #[error("it sends from more than {0} sources")]
    Flood(usize),
}

/// There is no certificate for DTLS.
#[derive(Debug, thiserror::Error)]
#[error("this machine's cryptography makes no certificate for DTLS")]
pub struct NoCertificate;

/// What the connections of a program, or of a server, prove themselves by: one
/// certificate for all, since making one takes longer than all else of a connection.
pub(crate) struct Identity {
    crypto: Arc<CryptoProvider>,
    certificate: DtlsCert,
}

impl Identity {
    /// A new one. \[control\]
    ///
    /// # Errors
    /// This machine's cryptography makes none.
    pub(crate) fn new() -> Result<Self, NoCertificate> {
        let crypto = Arc::new(str0m::crypto::from_feature_flags());
        let certificate = crypto.dtls_provider.generate_certificate().ok_or(NoCertificate)?;
        Ok(Self { crypto, certificate })
    }
}

/// What every `Rtc` of ours is like: RTP as it is, reports every second, and the capture
/// time of each packet told.
pub(crate) fn config(identity: &Identity) -> RtcConfig {
    Rtc::builder()
        .set_crypto_provider(Arc::clone(&identity.crypto))
        .set_dtls_cert(identity.certificate.clone())
        .set_rtp_mode(true)
        .set_rtcp_report_interval_audio(Duration::from_secs(1))
        .set_extension(5, Extension::AbsoluteCaptureTime)
        .clear_codecs()
        .enable_opus(true, false)
        .enable_av1(true)
}

/// Does something with an `Rtc`; after an error nothing of it is to be looked at again.
pub(crate) fn guarded<T>(
    rtc: &mut Rtc,
    touch: impl FnOnce(&mut Rtc) -> Result<T, RtcError>,
) -> Result<T, Gone> {
    match catch_unwind(AssertUnwindSafe(|| touch(rtc))) {
        Ok(done) => Ok(done?),
        Err(_) => Err(Gone::Panicked),
    }
}

/// Does all that is due by `now`: what is to be sent and what happened. When it is to
/// be settled again. `paces` is whether it estimates bandwidth: then it lets go of one
/// packet for each look at the time.
pub(crate) fn settle(
    rtc: &mut Rtc,
    now: Instant,
    paces: bool,
    mut send: impl FnMut(Transmit),
    events: &mut Vec<Event>,
) -> Result<Instant, Gone> {
    let due = guarded(rtc, |rtc| {
        let (mut at, mut idle) = (now, 0);
        for _ in 0..MOST_STEPS {
            let output = rtc.poll_output()?;
            idle = if matches!(output, Output::Timeout(_)) { idle + 1 } else { 0 };
            match output {
                Output::Timeout(due) if due > now + MOMENT => {
                    return Ok(Some(due.max(now + patience(rtc.last_timeout_reason()))));
                }
                Output::Timeout(_) if idle > MOST_IDLE => return Ok(Some(now + LULL)),
                // Between two packets the pacer has the time go on a little.
                Output::Timeout(due) => {
                    at = at.max(due);
                    rtc.handle_input(Input::Timeout(at))?;
                }
                Output::Event(event) => events.push(event),
                Output::Transmit(transmit) => {
                    let is_media = is_rtp(&transmit.contents);
                    send(transmit);
                    if paces && is_media {
                        rtc.handle_input(Input::Timeout(at))?;
                    }
                }
            }
        }
        Ok(None)
    });
    let due = due?;
    if rtc.is_alive() { due.ok_or(Gone::Restless) } else { Err(Gone::Closed) }
}

/// Whether a datagram is RTP, and not RTCP (RFC 7983 § 7, RFC 5761 § 4).
pub(crate) fn is_rtp(datagram: &[u8]) -> bool {
    matches!(datagram, [128..=191, second, ..] if !(192..=223).contains(second))
}

/// Whether it is RTCP.
pub(crate) fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [128..=191, 192..=223, ..])
}

/// How late what it is to be settled for may be done.
const fn patience(reason: Reason) -> Duration {
    match reason {
        Reason::BweDelayControl | Reason::Pacer(PacerReason::Handle) => LOOK_BACK,
        _ => Duration::ZERO,
    }
}
