//! Tokens: what says who somebody is and what they may do. A token is a JWT (RFC 7519)
//! that an application signed with its secret by HMAC-SHA-256 (`HS256`), and nothing else.
//!
//! The wall clock is given by whoever calls, so that tests and simulations turn it.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, dangerous};
use serde::{Deserialize, Serialize};
use sidetone_core::Timestamp;

use crate::protocol::{Code, RoomName, Source, UserName};
use crate::server::claims::{Claims, Grants};

/// The application that is there where none is configured.
pub const DEVELOPMENT_APP: &str = "dev";
/// Its secret, which everyone knows.
const DEVELOPMENT_SECRET: &[u8] = b"sidetone-development-key-not-for-public-use";
/// The longest token that is looked at, in bytes.
pub const MOST_BYTES: usize = 4 << 10;
/// The shortest secret, in bytes (RFC 7518 § 3.2: as long as the hash).
const LEAST_SECRET: usize = 32;
/// By how much the clocks of who signs and who checks may differ.
const LEEWAY: Duration = Duration::from_secs(30);
/// What stands for all rooms, in an administrator's token.
const ALL_ROOMS: &str = "*";

/// Why an application cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppError {
    /// Its id is no name.
    #[error("an application's id must be 1 to 64 letters, digits, \"-\", \"_\" and \".\"; \"{0}\" is not")]
    Id(String),
    /// Its secret is too easily guessed.
    #[error(
        "the secret of application \"{app}\" has {bytes} bytes, and {LEAST_SECRET} are the least: \
         make one with `openssl rand -hex 32`"
    )]
    Secret {
        /// Whose.
        app: String,
        /// How long it is.
        bytes: usize,
    },
}

/// An application: whose users have tokens that it signed.
pub struct App {
    id: RoomName,
    encoding: EncodingKey,
    decoding: DecodingKey,
    is_development: bool,
}

impl App {
    /// An application that signs with `secret`; white space around that is no part of
    /// it, since files end with a line's end. \[any\]
    ///
    /// # Errors
    /// The id is no name, or the secret is too short.
    pub fn new(id: &str, secret: &[u8]) -> Result<Self, AppError> {
        let name = RoomName::new(id).map_err(|_| AppError::Id(id.chars().take(80).collect()))?;
        let secret = secret.trim_ascii();
        if secret.len() < LEAST_SECRET {
            return Err(AppError::Secret { app: id.into(), bytes: secret.len() });
        }
        Ok(Self {
            id: name,
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            is_development: secret == DEVELOPMENT_SECRET,
        })
    }

    /// The application for trying things out on one's own machine. \[any\]
    #[must_use]
    #[allow(clippy::missing_panics_doc)] // both are constants, and a test makes it
    pub fn development() -> Self {
        Self::new(DEVELOPMENT_APP, DEVELOPMENT_SECRET).expect("a name and a secret")
    }

    /// Its id, the `iss` of its tokens. \[any\]
    #[must_use]
    pub fn id(&self) -> &str {
        self.id.as_str()
    }

    /// Whether everyone knows its secret. \[any\]
    #[must_use]
    pub const fn is_development(&self) -> bool {
        self.is_development
    }

    /// Signs a token; `wall` is the time since 1970 (UTC), `ttl` for how long it is
    /// to hold. \[any\]
    #[must_use]
    #[allow(clippy::missing_panics_doc)] // an HMAC of JSON made of plain structs
    pub fn mint(&self, pass: &Pass, wall: Duration, ttl: Duration) -> String {
        let body = Body {
            iss: self.id.to_string(),
            sub: pass.user.to_string(),
            room: pass.room.as_ref().map_or_else(|| ALL_ROOMS.into(), RoomName::to_string),
            exp: wall.saturating_add(ttl).as_secs(),
            nbf: None,
            iat: Some(wall.as_secs()),
            grants: GrantsBody {
                join: pass.grants.join,
                publish: pass.grants.publish.clone(),
                subscribe: pass.grants.subscribe,
                hidden: pass.grants.hidden,
                admin: pass.grants.admin,
            },
        };
        let header = Header { kid: Some(self.id.to_string()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &body, &self.encoding).expect("an HMAC")
    }
}

/// The token that the headers of a request have (RFC 6750 § 2.1). \[any\]
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What a token is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Whose it is.
    pub user: UserName,
    /// For which room; none for all, which only administrators have.
    pub room: Option<RoomName>,
    /// What it allows.
    pub grants: Grants,
}

/// What a token said that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Who signed it.
    pub app: String,
    /// For which room; none for all, which only administrators have.
    pub room: Option<RoomName>,
    /// Of whom, until when, and what for.
    pub claims: Claims,
}

/// Checks a token against the applications of a server. `now` and `wall` are the same
/// instant: on the server's clock, and since 1970 (UTC). \[any\]
///
/// # Errors
/// Why it does not hold: [`Code::TooLarge`], [`Code::TokenInvalid`] (no JWT, another
/// algorithm, a foreign signature, not yet valid), [`Code::TokenExpired`],
/// [`Code::AppInvalid`], [`Code::RoomInvalid`], [`Code::UserInvalid`].
pub fn check(apps: &[App], token: &str, now: Timestamp, wall: Duration) -> Result<Checked, Code> {
    if token.len() > MOST_BYTES {
        return Err(Code::TooLarge);
    }
    // Who says to have signed it: nothing else of it is looked at before it was checked.
    let said = dangerous::insecure_decode::<Issuer>(token).map_err(|_| Code::TokenInvalid)?;
    let app = apps.iter().find(|app| app.id() == said.claims.iss).ok_or(Code::AppInvalid)?;
    let mut rules = Validation::new(Algorithm::HS256);
    // The times are compared below, with the clock that was given.
    (rules.validate_exp, rules.validate_nbf) = (false, false);
    rules.required_spec_claims.clear();
    let data = jsonwebtoken::decode::<Body>(token, &app.decoding, &rules).map_err(|_| Code::TokenInvalid)?;
    let Body { sub, room, exp, nbf, grants, .. } = data.claims;
    if nbf.is_some_and(|nbf| Duration::from_secs(nbf) > wall + LEEWAY) {
        return Err(Code::TokenInvalid);
    }
    let left = Duration::from_secs(exp).checked_sub(wall).filter(|left| !left.is_zero());
    let left = left.ok_or(Code::TokenExpired)?;
    let room = match room.as_str() {
        ALL_ROOMS if grants.admin => None,
        name => Some(RoomName::new(name).map_err(|_| Code::RoomInvalid)?),
    };
    let user = UserName::new(&sub).map_err(|_| Code::UserInvalid)?;
    let GrantsBody { join, publish, subscribe, hidden, admin } = grants;
    let claims =
        Claims { user, until: now + left, grants: Grants { join, publish, subscribe, hidden, admin } };
    Ok(Checked { app: app.id().into(), room, claims })
}

/// The payload of a token.
#[derive(Serialize, Deserialize)]
struct Body {
    iss: String,
    sub: String,
    room: String,
    exp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<u64>,
    grants: GrantsBody,
}

/// What it allows; what it does not name it does not allow.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct GrantsBody {
    join: bool,
    publish: Vec<Source>,
    subscribe: bool,
    hidden: bool,
    admin: bool,
}

#[derive(Deserialize)]
struct Issuer {
    iss: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Duration = Duration::from_secs(1_800_000_000);
    const NOW: Timestamp = Timestamp::from_nanos(5_000_000_000);
    const HOUR: Duration = Duration::from_secs(3_600);
    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn alice() -> Pass {
        let grants =
            Grants { join: true, publish: vec![Source::Camera], subscribe: true, ..Grants::default() };
        Pass {
            user: UserName::new("alice").expect("a name"),
            room: Some(RoomName::new("demo").expect("a name")),
            grants,
        }
    }

    fn apps() -> Vec<App> {
        vec![App::development(), App::new("ours", SECRET).expect("an application")]
    }

    /// A token with this header and payload, signed with this secret.
    fn signed(header: &Header, body: &serde_json::Value, secret: &[u8]) -> String {
        jsonwebtoken::encode(header, body, &EncodingKey::from_secret(secret)).expect("a token")
    }

    fn body() -> serde_json::Value {
        serde_json::json!({
            "iss": "ours", "sub": "alice", "room": "demo", "exp": 1_800_000_060, "grants": {"join": true}
        })
    }

    #[test]
    fn what_is_minted_holds_until_its_time_is_up() {
        let apps = apps();
        let token = apps[1].mint(&alice(), WALL, HOUR);
        let checked = check(&apps, &token, NOW, WALL).expect("a token that holds");
        let Pass { user, room, grants } = alice();
        let claims = Claims { user, until: NOW + HOUR, grants };
        assert_eq!(checked, Checked { app: "ours".into(), room, claims });
        let last = WALL + HOUR - Duration::from_secs(1);
        assert!(check(&apps, &token, NOW, last).is_ok());
        assert_eq!(check(&apps, &token, NOW, WALL + HOUR), Err(Code::TokenExpired));
        assert_eq!(check(&apps, &token, NOW, WALL + HOUR * 9), Err(Code::TokenExpired));
    }

    #[test]
    fn only_what_an_application_signed_by_hmac_sha_256_is_let_through() {
        let apps = apps();
        let hs256 = Header::new(Algorithm::HS256);
        assert!(check(&apps, &signed(&hs256, &body(), SECRET), NOW, WALL).is_ok(), "the plain one holds");
        let checked = |token: &str| check(&apps, token, NOW, WALL).map(|_| ());
        let foreign = App::new("ours", b"another secret that is long enough").expect("an application");
        let good = apps[1].mint(&alice(), WALL, HOUR);
        let [head, middle, signature] = good.split('.').collect::<Vec<_>>()[..] else {
            panic!("three parts")
        };
        // {"alg":"none"}, and {"alg":"none","typ":"JWT"}
        for none in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"] {
            assert_eq!(checked(&format!("{none}.{middle}.")), Err(Code::TokenInvalid));
            assert_eq!(checked(&format!("{none}.{middle}.{signature}")), Err(Code::TokenInvalid));
        }
        assert_eq!(checked(&foreign.mint(&alice(), WALL, HOUR)), Err(Code::TokenInvalid));
        let stronger = signed(&Header::new(Algorithm::HS512), &body(), SECRET);
        assert_eq!(checked(&stronger), Err(Code::TokenInvalid), "another algorithm");
        for cut in ["", ".", "..", "a.b.c", "a.b.c.d", &good[..good.len() - 1], &good[1..], "\u{1f600}.x.y"] {
            assert_eq!(checked(cut), Err(Code::TokenInvalid), "{cut}");
        }
        assert_eq!(checked(&format!("{head}.{middle}.{}", "A".repeat(43))), Err(Code::TokenInvalid));
        assert_eq!(checked(&"x".repeat(MOST_BYTES + 1)), Err(Code::TooLarge));
    }

    #[test]
    fn what_a_signed_token_says_is_checked_too() {
        let apps = apps();
        let refused = |change: &[(&str, serde_json::Value)]| {
            let mut body = body();
            for (name, value) in change {
                body[*name] = value.clone();
            }
            check(&apps, &signed(&Header::new(Algorithm::HS256), &body, SECRET), NOW, WALL).err()
        };
        assert_eq!(refused(&[("iss", "nobody".into())]), Some(Code::AppInvalid));
        assert_eq!(refused(&[("iss", "dev".into())]), Some(Code::TokenInvalid), "not signed by that one");
        assert_eq!(refused(&[("room", "a/b".into())]), Some(Code::RoomInvalid));
        assert_eq!(refused(&[("room", "*".into())]), Some(Code::RoomInvalid), "that is for administrators");
        assert_eq!(refused(&[("sub", "a\nb".into())]), Some(Code::UserInvalid));
        assert_eq!(refused(&[("exp", 1_800_000_000.into())]), Some(Code::TokenExpired));
        assert_eq!(refused(&[("exp", "soon".into())]), Some(Code::TokenInvalid));
        assert_eq!(refused(&[("exp", u64::MAX.into())]), None, "for ever, as long as there are clocks");
        assert_eq!(refused(&[("nbf", 1_800_000_031.into())]), Some(Code::TokenInvalid));
        assert_eq!(refused(&[("nbf", 1_800_000_030.into())]), None, "clocks differ a little");
        assert_eq!(
            refused(&[("grants", serde_json::json!({"publish": ["printer"]}))]),
            Some(Code::TokenInvalid)
        );
        let admin = serde_json::json!({"admin": true});
        assert_eq!(refused(&[("room", "*".into()), ("grants", admin)]), None);
    }

    #[test]
    fn a_secret_that_can_be_guessed_is_refused() {
        let short = App::new("ours", b" 0123456789abcdef0123456789abcde\n").map(|_| ());
        assert_eq!(short, Err(AppError::Secret { app: "ours".into(), bytes: 31 }));
        assert_eq!(App::new("a b", SECRET).map(|_| ()), Err(AppError::Id("a b".into())));
        let padded = App::new("ours", &[SECRET, b"\n"].concat()).expect("an application");
        assert!(check(&apps(), &padded.mint(&alice(), WALL, HOUR), NOW, WALL).is_ok());
        assert!(App::development().is_development() && !padded.is_development());
    }
}
