//! WHIP and WHEP as they come by TCP; what they mean is tried where the hall is.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sidetone_room::protocol::{Code, MOST_BYTES};
use str0m::Rtc;
use str0m::media::{Direction, MediaKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{PATIENCE, get, runtime, server, token};

/// What is answered to a request.
async fn ask(server: SocketAddr, what: &str, kind: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let token = token("Alice B.", PATIENCE);
    let request = format!(
        "{what} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // It may answer before it has read all.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

fn offer(direction: Direction) -> String {
    let mut rtc = Rtc::new(std::time::Instant::now());
    let mut changes = rtc.sdp_api();
    changes.add_media(MediaKind::Audio, direction, None, None, None);
    changes.apply().unwrap().0.to_sdp_string()
}

#[test]
fn encoders_and_players_come_and_go_by_http() {
    let server = server();
    let at = server.address;
    runtime().block_on(async {
        let sdp = "application/sdp; charset=utf-8";
        let sends = offer(Direction::SendOnly);
        let made = ask(at, "POST /whip/demo", sdp, &sends).await;
        assert!(made.starts_with("HTTP/1.1 201 Created\r\n"), "{made}");
        let (_, rest) = made.split_once("location: ").unwrap();
        let resource = rest.lines().next().unwrap();
        // Names are percent-encoded.
        for of in ["Alice%20B.", "Alice%20B./microphone", "Alice%20B.%2Fmicrophone"] {
            let what = format!("POST /whep/demo/{of}");
            let made = ask(at, &what, sdp, &offer(Direction::RecvOnly)).await;
            assert!(made.starts_with("HTTP/1.1 201"), "{of}: {made}");
        }
        let page = get(at, "/metrics").await;
        for line in ["people{way=\"whip\"} 1", "people{way=\"whep\"} 3"] {
            assert!(page.contains(line), "{line} is not in {page}");
        }
        for (what, kind, body, status) in [
            ("POST /whip/demo", sdp, "x".repeat(MOST_BYTES + 1), 413),
            ("POST /whip/demo?source=moon", sdp, sends.clone(), 400),
            ("POST /whip/demo?source=screen", sdp, sends.clone(), 201),
            ("POST /whip/demo", "text/plain", sends.clone(), 415),
            ("POST /whip/", sdp, sends.clone(), 404),
            ("POST /whep/demo/bob", sdp, offer(Direction::RecvOnly), 409),
            ("GET /whip/demo", sdp, String::new(), 405),
            ("OPTIONS /whip/demo", sdp, String::new(), 200),
        ] {
            let answer = ask(at, what, kind, &body).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{what}: {answer}");
        }
        // The screen was the same user's.
        let answer = ask(at, &format!("DELETE {resource}"), sdp, "").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    });
    let counts = server.end(Duration::ZERO, &AtomicBool::new(false));
    assert_eq!((counts.joins, counts.refused[&Code::TooLarge]), (5, 1));
}
