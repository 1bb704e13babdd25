//! Every target, for about a second each. A failure tells the input and how to
//! replay it.

use std::path::Path;

use sidetone_fuzz::{TARGETS, smoke, target};

/// Tries `inputs` mutated seeds of the target called `name`.
fn survives(name: &str, inputs: u64) {
    let target = target(name).unwrap_or_else(|| panic!("there is no target {name}"));
    let report = smoke::run(target, 1, move |report| report.inputs == inputs);
    let (taken, refused) = (report.taken, inputs - report.taken);
    // Where all are refused at the door, nothing behind it was tried.
    assert!(taken >= inputs / 100 && refused > 0, "{name} took {taken} inputs and refused {refused}");
}

#[test]
fn graph_files_of_any_bytes_never_panic() {
    survives("graph_file", 20_000);
}

#[test]
fn wav_files_of_any_bytes_never_panic() {
    survives("wav", 300_000);
}

#[test]
fn y4m_files_of_any_bytes_never_panic() {
    survives("y4m", 400_000);
}

#[test]
fn ivf_files_of_any_bytes_never_panic() {
    survives("ivf", 800_000);
}

#[test]
fn av1_units_of_any_bytes_never_panic() {
    survives("av1_unit", 2_000_000);
}

#[test]
fn network_traces_of_any_bytes_never_panic() {
    survives("trace", 1_500_000);
}

#[test]
fn recordings_of_any_bytes_never_panic() {
    survives("recording", 200_000);
}

#[test]
fn datagrams_of_any_bytes_never_panic() {
    survives("datagram", 2_000_000);
}

#[test]
fn room_urls_of_any_text_never_panic() {
    survives("room_url", 1_500_000);
}

#[test]
fn tokens_of_any_text_never_panic() {
    survives("room_token", 150_000);
}

#[test]
fn what_participants_say_never_panics_a_server() {
    survives("room_messages", 900);
}

#[test]
fn what_participants_offer_never_panics_a_server() {
    survives("room_offer", 250);
}

#[test]
fn what_is_sent_to_a_server_never_panics_it() {
    survives("room_datagrams", 600);
}

#[test]
fn what_a_server_says_never_panics_a_participant() {
    survives("room_told", 35_000);
}

#[test]
fn manifests_of_any_text_never_panic_and_are_written_as_they_are_read() {
    survives("manifest", 30_000);
}

#[test]
fn data_of_any_bytes_never_panic_and_are_written_as_they_are_read() {
    survives("data_shape", 50_000);
}

#[test]
fn rtp_packets_of_any_bytes_never_panic_and_read_alike_everywhere() {
    survives("rtp_packet", 2_000_000);
}

#[test]
fn av1_payloads_of_any_bytes_never_panic_and_survive_being_cut_anew() {
    survives("av1_payloads", 100_000);
}

#[test]
fn any_packets_at_any_time_leave_the_jitter_buffer_of_sound_and_end() {
    survives("jitter_opus", 4_000);
}

#[test]
fn any_packets_at_any_time_leave_the_jitter_buffer_of_pictures_and_end() {
    survives("jitter_av1", 4_000);
}

#[test]
fn opus_packets_of_any_bytes_never_panic() {
    survives("opus_decode", 500);
}

#[test]
fn av1_packets_of_any_bytes_never_panic() {
    survives("av1_decode", 2_500);
}

#[test]
fn every_seed_is_taken_as_it_is() {
    for target in TARGETS {
        for (index, seed) in (target.seeds)().iter().enumerate() {
            assert!((target.run)(seed), "{} refuses its own seed {index}", target.name);
        }
    }
}

#[test]
fn every_target_has_its_smoke_run_and_its_program() {
    let (this, manifest) = (include_str!("smoke.rs"), include_str!("../Cargo.toml"));
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
    for name in TARGETS.iter().map(|target| target.name) {
        assert!(this.contains(&format!("survives(\"{name}\", ")), "{name} is not tried here");
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
            "{name} is not in Cargo.toml"
        );
        let program = std::fs::read_to_string(programs.join(format!("{name}.rs"))).unwrap();
        assert!(program.contains(&format!("run(\"{name}\", ")), "{name}.rs runs something else");
    }
    assert_eq!(std::fs::read_dir(programs).unwrap().count(), TARGETS.len());
}
