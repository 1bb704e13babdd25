//! What is done to a server by those who mean no good.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sidetone_room::protocol::{Ask, Code, MOST_BYTES, Request};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, connect, get, join, refused, runtime, server, token};

#[test]
fn who_does_not_keep_to_the_protocol_is_refused_and_counted() {
    let server = server();
    let at = server.address;
    runtime().block_on(async {
        let text = |ask: Ask| Message::text(serde_json::to_string(&Request { n: 1, ask }).unwrap());
        let cases = [
            (text(join(String::new())), Code::TokenInvalid),
            (text(join("x".repeat(5_000))), Code::TooLarge),
            (text(join(token("alice", Duration::ZERO))), Code::TokenExpired),
            (text(Ask::Leave), Code::BadMessage),
            (Message::text("{"), Code::BadMessage),
            (Message::text("[".repeat(10_000)), Code::BadMessage),
            (Message::text("{\"n\":1,\"t\":\"dance\"}"), Code::UnknownMessage),
        ];
        for (message, code) in cases {
            let expected = (Some(code), Some(code.close_code()));
            assert_eq!(refused(at, &[message]).await, expected);
        }
        let long = Message::text("x".repeat(MOST_BYTES + 1));
        assert!(refused(at, &[long]).await.0.is_none(), "it is not even read");
        assert_eq!(refused(at, &[Message::binary(vec![1])]).await, (None, Some(1_003)));
        let many = vec![text(Ask::Ping { at: 0 }); 2];
        assert_eq!(refused(at, &many).await.0, Some(Code::BadMessage));
        assert!(connect(at, "chat").await.is_none(), "another subprotocol");
        // None of that disturbs anybody.
        let alice = Client::join(at, "alice").await;
        let page = get(at, "/metrics").await;
        for line in [
            "sidetone_room_joins_total 1",
            "sidetone_room_rooms 1",
            "refused_total{code=\"unknown_message\"} 1",
        ] {
            assert!(page.contains(line), "{line} is not in {page}");
        }
        assert!(get(at, "/healthz").await.ends_with("\r\n\r\nok\n"));
        drop(alice);
    });
    let counts = server.end(Duration::ZERO, &AtomicBool::new(false));
    assert_eq!(counts.joins, 1);
    assert_eq!(counts.refused[&Code::BadMessage], 4);
}
