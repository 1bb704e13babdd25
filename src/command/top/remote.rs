//! A run elsewhere, seen through what its `--metrics` serves.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::sight::Sight;

/// Bytes of an answer that are read at most.
const MOST: u64 = 64 << 20;
/// How long the other side may be silent.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Remote {
    address: SocketAddr,
}

impl Remote {
    /// For an address such as 9100, localhost:9100, 10.0.0.7:9100 or
    /// http://10.0.0.7:9100/metrics.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix("http://").unwrap_or(text);
        let bare = bare.split('/').next().unwrap_or(bare);
        let whole = if bare.parse::<u16>().is_ok() { format!("127.0.0.1:{bare}") } else { bare.to_owned() };
        let wrong =
            "this is neither a graph file nor an address; give FILE.toml, a port such as 9100, or HOST:PORT";
        let address = whole.to_socket_addrs().ok().and_then(|mut all| all.next()).ok_or(wrong)?;
        Ok(Self { address })
    }

    /// What the run shows now.
    pub(super) fn look(&self) -> Result<Sight, String> {
        let at = self.address;
        let answer = self.ask().map_err(|error| {
            format!("cannot read from {at}: {error}; is a run started with --metrics {at} there?")
        })?;
        let (head, body) =
            answer.split_once("\r\n\r\n").ok_or_else(|| format!("{at} does not speak HTTP"))?;
        let status = head.lines().next().unwrap_or("").to_owned();
        if status.split(' ').nth(1) != Some("200") {
            return Err(format!("{at} answers \"{}\"", printable(&status)));
        }
        serde_json::from_str(body)
            .map_err(|error| format!("{at} serves no report of a sidetone run: {error}"))
    }

    fn ask(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let request = format!("GET /report.json HTTP/1.0\r\nHost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.take(MOST).read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// Text from elsewhere, without what would move a terminal's cursor.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_written_as_people_do() {
        for text in ["9100", "127.0.0.1:9100", "http://127.0.0.1:9100", "http://127.0.0.1:9100/metrics"] {
            assert_eq!(Remote::new(text).unwrap().address, "127.0.0.1:9100".parse().unwrap(), "{text}");
        }
        assert!(Remote::new("nowhere").is_err());
    }
}
