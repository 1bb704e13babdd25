//! `Login`: where the room is, and who enters it, as `room.join`'s parameters say.

use jsonwebtoken::dangerous;
use serde::Deserialize;
use sidetone_core::{NodeError, Params};

use crate::protocol::UserName;
use crate::rtcp::is_name;
use crate::url::Url;

/// Where the room is, and who enters it.
pub(crate) struct Login<'a> {
    pub(crate) url: Url,
    /// Who; of a room server whom the token names.
    pub(crate) user: String,
    /// What a room server is shown; empty for others.
    pub(crate) token: &'a str,
}

impl<'a> Login<'a> {
    /// What a node's parameters say; a graph can be checked before anybody has a token
    /// for it. \[control\]
    ///
    /// # Errors
    /// A parameter does not do; of the token nothing is said.
    pub(crate) fn of(params: &'a Params, needs_token: bool) -> Result<Self, NodeError> {
        let (user, token) = (params.text("user"), params.text("token"));
        let url = Url::parse(params.text("url")).map_err(|why| NodeError::Param { name: "url", why })?;
        let beyond = match &url {
            Url::Mem { .. } => None,
            Url::Udp { local, remote } => {
                let stays = local.ip().is_loopback() && remote.ip().is_loopback();
                (!stays).then(|| format!("({local} to {remote})"))
            }
            Url::Server(server) => {
                let stays = server.secure || server.is_loopback();
                (!stays).then(|| format!("(to {})", server.host))
            }
        };
        if let Some(beyond) = beyond.filter(|_| !params.bool("allow_remote")) {
            let why = format!(
                "leaves this machine {beyond} and not all is encrypted: use addresses such as 127.0.0.1, \
                 wss:// for a room server, or set allow_remote = true"
            );
            return Err(NodeError::Param { name: "url", why });
        }
        let Url::Server(_) = url else {
            if !is_name(user) {
                let user = user.escape_debug();
                let why =
                    format!("must be 1 to 64 characters on one line, at most 255 bytes, not \"{user}\"");
                return Err(NodeError::Param { name: "user", why });
            }
            return Ok(Self { url, user: user.to_owned(), token: "" });
        };
        if token.is_empty() && !needs_token {
            return Ok(Self { url, user: user.to_owned(), token });
        }
        let named = named(token).map_err(|why| NodeError::Param { name: "token", why: why.into() })?;
        if !user.is_empty() && user != named.as_str() {
            let why = format!("is \"{}\", but the token is {named}'s: leave it out", user.escape_debug());
            return Err(NodeError::Param { name: "user", why });
        }
        Ok(Self { url, user: named.to_string(), token })
    }
}

/// Whose a token says it is; whether it holds is for the server to say. \[control\]
///
/// # Errors
/// It is none, in words that go on from "token ".
pub fn named(token: &str) -> Result<UserName, &'static str> {
    #[derive(Deserialize)]
    struct Subject {
        sub: String,
    }
    if token.is_empty() {
        return Err("is needed to join a room server: `sidetone token --room ROOM --user NAME` makes one");
    }
    dangerous::insecure_decode::<Subject>(token)
        .ok()
        .and_then(|token| UserName::new(&token.claims.sub).ok())
        .ok_or("is none, or is cut off: `sidetone token --room ROOM --user NAME` makes one")
}
