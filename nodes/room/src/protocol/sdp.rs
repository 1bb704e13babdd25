//! What WHIP and WHEP need to know of session descriptions (RFC 8866): the media
//! sections of an offer, and the fragments (RFC 8840) by which ICE goes on.
//!
//! It reads what concerns who sends what to whom, and passes over all else: the text
//! as a whole is for whoever answers it.

use std::fmt::Write;

use super::{Kind, Layer};

/// The longest description or fragment, in bytes.
pub const MOST_BYTES: usize = 64 << 10;
/// Lines of one.
const MOST_LINES: usize = 4_096;
/// Media sections, candidates, and codecs and layers of a section.
const MOST_SECTIONS: usize = 16;
const MOST_CANDIDATES: usize = 64;
const MOST_CODECS: usize = 128;
const MOST_LAYERS: usize = 3;
/// The longest user name and password of ICE (RFC 8839 § 5.4).
const MOST_CREDENTIAL: usize = 256;

/// Why a text is no description that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongSdp {
    /// It is longer than any.
    #[error("a session description has at most {MOST_BYTES} bytes in {MOST_LINES} lines")]
    TooLong,
    /// A line is none of a description.
    #[error("line {0} is no line of a session description (RFC 8866 § 5)")]
    Line(usize),
    /// A section has no name, or a name twice.
    #[error("each media section must have an a=mid of its own (RFC 9143)")]
    Mid,
    /// There is more of something than is looked at.
    #[error(
        "at most {MOST_SECTIONS} media sections, {MOST_CODECS} codecs in each, and {MOST_CANDIDATES} candidates are taken"
    )]
    TooMany,
    /// ICE has a user name without a password, or one that is none.
    #[error("a=ice-ufrag and a=ice-pwd must come together, with 4 and 22 to 256 characters (RFC 8839 § 5.4)")]
    Credentials,
}

/// A media section of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its `a=mid`.
    pub mid: String,
    /// Whether it is of sound or pictures; none of others, such as data channels.
    pub kind: Option<Kind>,
    /// Whether the offering side is ready to send in it.
    pub sends: bool,
    /// … and to receive.
    pub receives: bool,
    /// The names of its codecs, in lower case, the best first.
    pub codecs: Vec<String>,
    /// The sizes in which it is sent at once (RFC 8853), as they are listed.
    pub layers: Vec<Layer>,
}

/// The media sections of an offer. \[any\]
///
/// # Errors
/// The text is no offer that can be used.
pub fn sections(sdp: &str) -> Result<Vec<Section>, WrongSdp> {
    let mut sections: Vec<Section> = Vec::new();
    // RFC 8866 § 6.7: what the session says holds for sections that say nothing.
    let (mut sends, mut receives) = (true, true);
    for line in lines(sdp)? {
        if let Some(media) = line.strip_prefix("m=") {
            if sections.len() == MOST_SECTIONS {
                return Err(WrongSdp::TooMany);
            }
            let kind = match media.split(' ').next() {
                Some("audio") => Some(Kind::Audio),
                Some("video") => Some(Kind::Video),
                _ => None,
            };
            let (mid, codecs, layers) = (String::new(), Vec::new(), Vec::new());
            sections.push(Section { mid, kind, sends, receives, codecs, layers });
            continue;
        }
        let Some(attribute) = line.strip_prefix("a=") else { continue };
        let last = sections.last_mut();
        if let Some(way) = direction(attribute) {
            match last {
                Some(section) => (section.sends, section.receives) = way,
                None => (sends, receives) = way,
            }
        } else if let Some(section) = last {
            section.learn(attribute)?;
        }
    }
    for (place, section) in sections.iter().enumerate() {
        if section.mid.is_empty() || sections[..place].iter().any(|other| other.mid == section.mid) {
            return Err(WrongSdp::Mid);
        }
    }
    Ok(sections)
}

/// The offer in which all that is sound or pictures is only sent, or only received. \[any\]
///
/// # Errors
/// The text is no description.
pub fn one_way(sdp: &str, sends: bool) -> Result<String, WrongSdp> {
    let way = if sends { "sendonly" } else { "recvonly" };
    let mut text = String::with_capacity(sdp.len() + 64);
    let mut is_media = false;
    for line in lines(sdp)? {
        if line.starts_with("m=") {
            is_media = line.starts_with("m=audio ") || line.starts_with("m=video ");
        }
        if line.strip_prefix("a=").is_none_or(|attribute| direction(attribute).is_none()) {
            put(&mut text, line);
        }
        if line.starts_with("a=mid:") && is_media {
            put(&mut text, &format!("a={way}"));
        }
    }
    Ok(text)
}

/// The description as it is after a restart of ICE: with the credentials and the
/// candidates that `ice` has, instead of its own. \[any\]
///
/// # Errors
/// The text is no description, or `ice` has no credentials.
pub fn restarted(sdp: &str, ice: &Ice) -> Result<String, WrongSdp> {
    let (ufrag, pwd) = ice.credentials.as_ref().ok_or(WrongSdp::Credentials)?;
    let mut text = String::with_capacity(sdp.len());
    // All media are in one bundle, so they stand under the first section alone.
    let mut candidates = ice.candidates.iter();
    for line in lines(sdp)? {
        if line.starts_with("a=ice-ufrag:") {
            put(&mut text, &format!("a=ice-ufrag:{ufrag}"));
        } else if line.starts_with("a=ice-pwd:") {
            put(&mut text, &format!("a=ice-pwd:{pwd}"));
        } else if !line.starts_with("a=candidate:") && line != "a=end-of-candidates" {
            put(&mut text, line);
        }
        if line.starts_with("a=mid:") {
            candidates.by_ref().for_each(|candidate| put(&mut text, &format!("a={candidate}")));
        }
    }
    Ok(text)
}

/// What a description or a fragment of one says of ICE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ice {
    /// The user name and the password.
    pub credentials: Option<(String, String)>,
    /// Candidates, each as `candidate:…`.
    pub candidates: Vec<String>,
    /// Whether the side is reached and does not reach out (RFC 8445 § 2.5).
    pub is_lite: bool,
    /// Whether no more candidates come.
    pub is_complete: bool,
    /// The `m=` and `a=mid` lines of the first section, which candidates stand under.
    section: Option<(String, String)>,
}

impl Ice {
    /// Reads it from a description, or from a fragment. \[any\]
    ///
    /// # Errors
    /// The text is neither.
    pub fn read(text: &str) -> Result<Self, WrongSdp> {
        let mut ice = Self::default();
        let (mut ufrag, mut pwd) = (None, None);
        let mut media = None;
        for line in lines(text)? {
            if line.starts_with("m=") {
                media = Some(line);
                continue;
            }
            let Some(attribute) = line.strip_prefix("a=") else { continue };
            match attribute.split_once(':') {
                Some(("ice-ufrag", value)) => ufrag = ufrag.or(Some(value)),
                Some(("ice-pwd", value)) => pwd = pwd.or(Some(value)),
                Some(("mid", mid)) => {
                    let section = media.map(|media| (media.into(), mid.into()));
                    ice.section = ice.section.or(section);
                }
                Some(("candidate", _)) if ice.candidates.len() == MOST_CANDIDATES => {
                    return Err(WrongSdp::TooMany);
                }
                Some(("candidate", _)) => ice.candidates.push(attribute.into()),
                None if attribute == "ice-lite" => ice.is_lite = true,
                None if attribute == "end-of-candidates" => ice.is_complete = true,
                _ => {}
            }
        }
        let is_credential = |text: &str, least| {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_');
            (least..=MOST_CREDENTIAL).contains(&text.len()) && text.chars().all(fits)
        };
        ice.credentials = match (ufrag, pwd) {
            (None, None) => None,
            (Some(ufrag), Some(pwd)) if is_credential(ufrag, 4) && is_credential(pwd, 22) => {
                Some((ufrag.into(), pwd.into()))
            }
            _ => return Err(WrongSdp::Credentials),
        };
        Ok(ice)
    }

    /// The fragment that says it (RFC 8840 § 9). \[any\]
    #[must_use]
    pub fn fragment(&self) -> String {
        let mut text = String::new();
        if self.is_lite {
            put(&mut text, "a=ice-lite");
        }
        if let Some((ufrag, pwd)) = &self.credentials {
            put(&mut text, &format!("a=ice-ufrag:{ufrag}"));
            put(&mut text, &format!("a=ice-pwd:{pwd}"));
        }
        if let Some((media, mid)) = &self.section {
            put(&mut text, media);
            put(&mut text, &format!("a=mid:{mid}"));
            for candidate in &self.candidates {
                put(&mut text, &format!("a={candidate}"));
            }
            if self.is_complete {
                put(&mut text, "a=end-of-candidates");
            }
        }
        text
    }
}

impl Section {
    fn learn(&mut self, attribute: &str) -> Result<(), WrongSdp> {
        match attribute.split_once(':') {
            Some(("mid", mid)) if self.mid.is_empty() => self.mid = mid.into(),
            Some(("mid", _)) => return Err(WrongSdp::Mid),
            Some(("rtpmap", map)) => {
                let codec = map.split_once(' ').and_then(|(_, codec)| codec.split('/').next());
                if self.codecs.len() == MOST_CODECS {
                    return Err(WrongSdp::TooMany);
                }
                self.codecs.extend(codec.map(str::to_ascii_lowercase));
            }
            Some(("rid", rid)) => self.layers.extend(layer(rid).filter(|_| self.layers.len() < MOST_LAYERS)),
            _ => {}
        }
        Ok(())
    }
}

/// A size that is sent (RFC 8851 § 5).
fn layer(rid: &str) -> Option<Layer> {
    let mut words = rid.split(' ');
    let (rid, way) = (words.next()?, words.next()?);
    if way != "send" {
        return None;
    }
    let mut layer = Layer { rid: rid.into(), width: 0, height: 0, max_bps: 0 };
    for (name, value) in words.next().unwrap_or_default().split(';').filter_map(|one| one.split_once('=')) {
        let value = value.parse().unwrap_or(0);
        match name {
            "max-width" => layer.width = value,
            "max-height" => layer.height = value,
            "max-br" => layer.max_bps = value,
            _ => {}
        }
    }
    Some(layer)
}

/// Whether it sends, and whether it receives.
fn direction(attribute: &str) -> Option<(bool, bool)> {
    match attribute {
        "sendrecv" => Some((true, true)),
        "sendonly" => Some((true, false)),
        "recvonly" => Some((false, true)),
        "inactive" => Some((false, false)),
        _ => None,
    }
}

/// The lines of a description, or of a fragment: each a letter, "=" and more.
fn lines(text: &str) -> Result<impl Iterator<Item = &str>, WrongSdp> {
    if text.len() > MOST_BYTES || text.lines().count() > MOST_LINES {
        return Err(WrongSdp::TooLong);
    }
    let is_line = |line: &str| {
        line.is_empty() || matches!(line.as_bytes(), [kind, b'=', ..] if kind.is_ascii_lowercase())
    };
    match text.lines().position(|line| !is_line(line)) {
        Some(place) => Err(WrongSdp::Line(place + 1)),
        None => Ok(text.lines().filter(|line| !line.is_empty())),
    }
}

fn put(text: &mut String, line: &str) {
    // Writing to a string does not fail.
    let _ = write!(text, "{line}\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 d\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:abcd\r\n\
        a=ice-pwd:0123456789012345678901\r\na=sendrecv\r\na=rtpmap:111 opus/48000/2\r\n\
        a=rtpmap:0 PCMU/8000\r\na=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\na=end-of-candidates\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=rtpmap:96 VP8/90000\r\na=inactive\r\n\
        a=rid:q send max-width=320;max-br=150000\r\na=rid:x recv\r\na=rid:h send\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d\r\n";

    #[test]
    fn an_offer_says_who_sends_what_in_which_section() {
        let [audio, video, data] = &sections(OFFER).expect("an offer")[..] else { panic!("three sections") };
        let Section { mid, kind, sends, receives, codecs, .. } = audio;
        assert_eq!((&**mid, *kind, *sends, *receives), ("0", Some(Kind::Audio), true, true));
        assert_eq!(codecs[..], ["opus", "pcmu"]);
        assert_eq!((video.sends, video.receives), (false, false));
        let layers = video.layers.iter().map(|layer| (&*layer.rid, layer.width, layer.max_bps));
        assert_eq!(layers.collect::<Vec<_>>(), [("q", 320, 150_000), ("h", 0, 0)]);
        assert_eq!((data.kind, data.sends), (None, true));
        let session = OFFER.replace("t=0 0\r\n", "t=0 0\r\na=recvonly\r\n");
        assert!(!sections(&session).expect("an offer")[2].sends, "what the session says");
    }

    #[test]
    fn an_offer_goes_one_way_where_it_may_only_go_that_way() {
        for sends in [true, false] {
            let offer = one_way(OFFER, sends).expect("an offer");
            for section in &sections(&offer).expect("an offer")[..2] {
                assert_eq!((section.sends, section.receives), (sends, !sends), "{offer}");
            }
            assert_eq!(offer.lines().count(), OFFER.lines().count(), "nothing else changes");
        }
    }

    #[test]
    fn a_restart_changes_what_ice_goes_by_and_nothing_else() {
        let newer = Ice::read("a=ice-ufrag:wxyz\r\na=ice-pwd:9876543210987654321098\r\na=candidate:2\r\n");
        let newer = newer.expect("a fragment");
        let offer = restarted(OFFER, &newer).expect("an offer");
        let ice = Ice::read(&offer).expect("an offer");
        assert_eq!((ice.credentials, &ice.candidates), (newer.credentials, &newer.candidates));
        assert_eq!(restarted(OFFER, &Ice::default()), Err(WrongSdp::Credentials));
        assert_eq!(sections(&offer), sections(OFFER));
    }

    #[test]
    fn a_fragment_says_what_the_description_did() {
        let ice = Ice::read(OFFER).expect("an offer");
        assert_eq!(ice.candidates, ["candidate:1 1 udp 1 192.0.2.1 1 typ host"]);
        assert!(ice.is_complete && !ice.is_lite);
        assert_eq!(Ice::read(&ice.fragment()), Ok(ice));
        let empty = Ice::read("").expect("a fragment");
        assert_eq!((empty.clone(), empty.fragment().as_str()), (Ice::default(), ""));
    }

    #[test]
    fn what_is_no_description_is_refused_by_its_line() {
        let wrong = |text: &str| sections(text).expect_err("no description");
        assert_eq!(wrong("v=0\r\nhello"), WrongSdp::Line(2));
        assert_eq!(wrong(&"a=x\r\n".repeat(5_000)), WrongSdp::TooLong);
        assert_eq!(wrong(&"x".repeat(70_000)), WrongSdp::TooLong);
        assert_eq!(wrong("m=audio 9 x 0\r\n"), WrongSdp::Mid);
        assert_eq!(wrong("m=audio 9 x 0\r\na=mid:0\r\nm=video 9 x 0\r\na=mid:0\r\n"), WrongSdp::Mid);
        assert_eq!(wrong(&"m=audio 9 x 0\r\n".repeat(17)), WrongSdp::TooMany);
        let wrong = |text: &str| Ice::read(text).expect_err("no fragment");
        assert_eq!(wrong("a=ice-ufrag:abcd\r\n"), WrongSdp::Credentials);
        assert_eq!(wrong("a=ice-ufrag:a:cd\r\na=ice-pwd:0123456789012345678901\r\n"), WrongSdp::Credentials);
        assert_eq!(wrong(&"a=candidate:1\r\n".repeat(65)), WrongSdp::TooMany);
    }
}
