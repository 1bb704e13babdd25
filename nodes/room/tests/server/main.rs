//! The whole server in one process: participants of a kind that nobody ships meet in it
//! over loopback.

#![allow(clippy::unwrap_used)] // all of it is test code, helpers included

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_util::StreamExt;
use sidetone_room::protocol::{Ask, Code, News, Quality, QualityOf, Receive, Request, Told};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

mod client;
mod hostile;
mod load;
mod serving;
mod whip;

use client::{Client, PATIENCE, get, join, refused, runtime, server, token};

#[test]
fn two_participants_see_each_other_through_the_server() {
    let server = server();
    runtime().block_on(async {
        let mut alice = Client::join(server.address, "alice").await;
        alice.publish().await;
        let mut bob = Client::join(server.address, "bob").await;
        let Told::Joined(joined) = &bob.told[0] else { panic!("bob was told {:?}", bob.told) };
        assert_eq!(joined.people.len(), 1);
        let no = joined.people[0].streams[0].no;
        assert_eq!(joined.people[0].streams[0].codec, "av1");
        bob.publish().await;
        bob.until("which stream comes where", |it| {
            it.told.iter().any(|told| matches!(told, Told::Slots { slots, .. } if slots[0].no == no))
        })
        .await;
        alice
            .until("bob's stream is there", |it| {
                it.told.iter().any(|told| {
                    matches!(told, Told::Event { e: News::StreamAdded { stream }, .. } if stream.id.user() == "bob")
                })
            })
            .await;
        alice.until("a key frame is asked for", |it| it.key_frames_wanted > 0).await;
        // Both send, to each other, far apart in their numbers.
        let mut seq = 0;
        while alice.packets.len() < 50 || bob.packets.len() < 50 {
            assert!(seq < 2_000, "{} and {} packets came", alice.packets.len(), bob.packets.len());
            seq += 1;
            alice.send(40_000 + seq, seq == 3);
            bob.send(seq, seq == 3);
            for client in [&mut alice, &mut bob] {
                client.step().await;
            }
        }
        for (to, from, first) in [(&alice, "bob", 3), (&bob, "alice", 40_003_u64)] {
            let payloads = to.packets.iter().map(|packet| {
                let (head, number) = packet.payload.split_at(2 + from.len());
                assert_eq!(&head[2..], from.as_bytes());
                u64::from_be_bytes(number.try_into().unwrap())
            });
            let expected: Vec<u64> = (first..).take(to.packets.len()).collect();
            assert_eq!(payloads.collect::<Vec<_>>(), expected, "all from the key frame on, in order");
            let numbers: Vec<u64> = to.packets.iter().map(|packet| *packet.seq_no).collect();
            assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1) && numbers[0] < 65_536);
        }
        let header = &bob.packets[0].header;
        assert_eq!(header.csrc[..header.csrc_count], [no]);
        // Media that are closed did not fail.
        alice.close_media();
        alice
            .until("her media are over", |it| {
                it.told.iter().any(|told| matches!(told, Told::MediaFailed { .. }))
            })
            .await;
        alice.ask(Ask::Leave).await;
        bob.until("alice left", |it| {
            it.told.iter().any(|told| matches!(told, Told::Event { e: News::UserLeft { .. }, .. }))
        })
        .await;
    });
    let counts = server.end(Duration::ZERO, &AtomicBool::new(false));
    assert_eq!((counts.joins, counts.panics, counts.peers_failed), (2, 0, 0));
    assert!(counts.packets_out() >= 100, "{counts:?}");
}

#[test]
fn how_well_each_ones_network_does_is_told_to_everyone() {
    let server = server();
    runtime().block_on(async {
        let mut alice = Client::join(server.address, "alice").await;
        alice.publish().await;
        let mut bob = Client::join(server.address, "bob").await;
        bob.publish().await;
        let Told::Joined(joined) = &bob.told[0] else { panic!("bob was told {:?}", bob.told) };
        let no = joined.people[0].streams[0].no;
        let of = |it: &Client| -> Vec<QualityOf> {
            let last = it.told.iter().rev().find_map(|told| match told {
                Told::Quality { list } => Some(list.clone()),
                _ => None,
            });
            last.unwrap_or_default()
        };
        // Alice says nothing of what she gets, which her reports do; bob says he gets half.
        let is_so = |list: &[QualityOf]| {
            let [alice, bob] = list else { return false };
            (alice.up, alice.down, bob.up, bob.down)
                == (Quality::Excellent, Quality::Excellent, Quality::Excellent, Quality::VeryBad)
        };
        let told = timeout(PATIENCE, async {
            let mut seq = 0;
            while !is_so(&of(&alice)) || of(&alice) != of(&bob) {
                seq += 1;
                for client in [&mut alice, &mut bob] {
                    client.send(seq, true);
                    client.step().await;
                }
                // Often enough to stay, and not as often as is refused.
                if seq % 500 == 0 {
                    alice.ask(Ask::Ping { at: 0 }).await;
                    let half = Receive { no, expected: 100, lost: 50, jitter_ms: 1.0 };
                    bob.ask(Ask::Received { streams: vec![half], rtt_ms: Some(20) }).await;
                }
            }
        });
        assert!(told.await.is_ok(), "{:?}", of(&alice));
    });
    let _ = server.end(Duration::ZERO, &AtomicBool::new(false));
}

#[test]
fn a_server_that_ends_says_so_and_puts_everyone_out() {
    let server = server();
    let at = server.address;
    let runtime = runtime();
    let mut alice = runtime.block_on(Client::join(at, "alice"));
    let ending = std::thread::spawn(move || server.end(Duration::from_secs(60), &AtomicBool::new(false)));
    runtime.block_on(async {
        alice.until("it closes", |it| matches!(it.told.last(), Some(Told::Closing { in_s: 60 }))).await;
        let bob = Message::text(
            serde_json::to_string(&Request { n: 1, ask: join(token("bob", PATIENCE)) }).unwrap(),
        );
        assert_eq!(refused(at, &[bob]).await.0, Some(Code::ShuttingDown));
        assert!(get(at, "/healthz").await.starts_with("HTTP/1.1 503"));
        alice.ask(Ask::Leave).await;
        while !matches!(alice.socket.next().await, None | Some(Err(_))) {}
    });
    assert_eq!(ending.join().unwrap().joins, 1);
}
