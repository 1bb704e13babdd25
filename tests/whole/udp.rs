//! A call between two processes over plain RTP.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};

use crate::{pictures, scratch, shipped, sound};

/// Two UDP ports of the loopback interface that nobody uses now.
fn free_ports() -> [String; 2] {
    let sockets = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    sockets.map(|socket| socket.local_addr().unwrap().port().to_string())
}

fn side(graph: &str, ports: [&str; 2], out: &str, seconds: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_sidetone"))
        .args(["run", &shipped(graph).display().to_string()])
        .args(["--set", &format!("port={}", ports[0]), "--set", &format!("peer_port={}", ports[1])])
        .args(["--set", "cam.size=[320, 180]", "--out", out, "--seconds", seconds])
        .args(["--report", &format!("{out}/{}.json", ports[0])])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads a child's events until one contains `wanted`; gives the rest of them.
fn wait_for(child: &mut Child, wanted: &str) -> impl Iterator<Item = String> + use<> {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut seen = Vec::new();
    for line in lines.by_ref() {
        if line.contains(wanted) {
            return lines;
        }
        seen.push(line);
    }
    panic!("no {wanted:?} among {seen:#?}");
}

#[test]
fn two_processes_hold_a_call_and_each_notes_the_other_leave() {
    let folder = scratch();
    let [a, b] = free_ports();
    let mut alice = side("graphs/udp_a.toml", [&a, &b], &folder.path(""), "4");
    let mut bob = side("graphs/udp_b.toml", [&b, &a], &folder.path(""), "3");
    let mut alices = wait_for(&mut alice, "participant bob joined");
    let bobs = wait_for(&mut bob, "participant alice joined");
    assert!(alices.any(|line| line.contains("participant bob left: left by choice")));
    drop((alices, bobs));
    for (name, port, child) in [("alice", &a, alice), ("bob", &b, bob)] {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{name}: {}", output.status);
        let seen = pictures(&folder.path(&format!("{name}_sees.y4m")));
        assert!(seen.len() >= 30, "{name} saw {} pictures", seen.len());
        let (heard, rate) = sound(&folder.path(&format!("{name}_hears.wav")));
        assert!(heard.len() as u32 >= rate, "{name} heard {} samples", heard.len());
        assert!(heard.iter().any(|sample| sample.abs() > 0.05), "{name} heard silence");
        let report = std::fs::read(folder.path(&format!("{port}.json"))).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        assert!(report["end_to_end_ms"]["audio"]["p50"].as_f64().is_some_and(|ms| ms > 0.0 && ms < 2_000.0));
    }
}

#[test]
fn a_peer_that_is_killed_is_an_event_and_no_error() {
    let folder = scratch();
    let [a, b] = free_ports();
    let mut alice = side("graphs/udp_a.toml", [&a, &b], &folder.path(""), "60");
    let mut bob = side("graphs/udp_b.toml", [&b, &a], &folder.path(""), "60");
    let mut alices = wait_for(&mut alice, "bob sends video");
    bob.kill().unwrap();
    bob.wait().unwrap();
    assert!(alices.any(|line| line.contains("participant bob left: timed out")));
    // Ctrl-C ends the run and completes its files.
    let interrupt = Command::new("kill").args(["-INT", &alice.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    drop(alices);
    let output = alice.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    // However little came before the kill, the file is whole.
    let (_, rate) = sound(&folder.path("alice_hears.wav"));
    assert_eq!(rate, 48_000);
}
