//! Graphs that are edited while they run.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sidetone::{Clock, Engine, EventKind, Graph, LoadOptions, Options, Transaction, Update, registry};
use sidetone_test::scene::read_counter;

use crate::{Scratch, pictures, psnr, scratch, shipped};

/// The call of graphs/call.toml, with strong skin smoothing, or with Alice's and
/// Bob's pictures sent as they are, or with a mistake.
fn call(out: &str, beauty: &str) -> Result<Graph, String> {
    let read = |path: &Path| {
        let text = std::fs::read_to_string(path)?;
        if !path.ends_with("send_video.toml") {
            return Ok(text.into_bytes());
        }
        let strong = text.replace("default = 0.1", "default = 1.0");
        Ok(match beauty {
            "on" => strong,
            "off" => {
                let is_kept =
                    |line: &&str| !line.starts_with("beauty =") && !line.contains("beauty -> adapt");
                let kept: Vec<_> = strong.lines().filter(is_kept).collect();
                kept.join("\n").replace("beauty.in", "adapt.in")
            }
            _ => strong.replace("effect.smooth_skin", "effect.smoth_skin"),
        }
        .into_bytes())
    };
    let settings = [("out", out), ("network", "clean"), ("video_kbps", "1500")];
    let overrides = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let options = LoadOptions { overrides: &overrides, read: &read, ..LoadOptions::default() };
    Graph::load(&shipped("graphs/call.toml"), &registry(), &options)
        .map(|(graph, _)| graph)
        .map_err(|why| why.to_string())
}

/// An edit of the call: when, and to what, or why it cannot be.
type Edit = (f64, Result<Transaction, String>);

/// The same as transactions that take the beauty out of the running call and put
/// it back in.
fn beauty_taken_out() -> Transaction {
    ["alice", "bob"].into_iter().fold(Transaction::new(), |edit, who| {
        edit.remove(&format!("{who}_picture/beauty")).link(&format!("{who}_cam -> {who}_picture/adapt"))
    })
}

fn beauty_put_back() -> Transaction {
    let strong = [("smooth", 0.5.into()), ("whiten", 1.0.into()), ("rosy", 1.0.into())];
    ["alice", "bob"].into_iter().fold(Transaction::new(), |edit, who| {
        let (cam, beauty, adapt) =
            (format!("{who}_cam"), format!("{who}_picture/beauty"), format!("{who}_picture/adapt"));
        edit.unlink(&format!("{cam} -> {adapt}"))
            .add(&beauty, "effect.smooth_skin", &strong)
            .link(&format!("{cam} -> {beauty} -> {adapt}"))
    })
}

/// Runs the call for five seconds with these edits; gives what was said of them.
fn run_call(out: &str, edits: Vec<Edit>) -> Vec<String> {
    let options =
        Options { clock: Clock::virtual_time(), limit: Some(Duration::from_secs(5)), ..Options::default() };
    let engine = Engine::new(call(out, "on").unwrap(), options).unwrap_or_else(|why| panic!("{why}"));
    let handle = engine.handle();
    let mut edits = edits.into_iter().peekable();
    let mut said = Vec::new();
    let report = engine.run(|update| match update {
        // Levels come five times a second: a clock to edit by.
        Update::Event { at, kind: EventKind::Level { .. }, .. } => {
            match edits.next_if(|(when, _)| *when <= at) {
                Some((_, Ok(edit))) => drop(handle.edit(edit)),
                Some((_, Err(mistake))) => said.push(mistake),
                None => {}
            }
        }
        Update::Edited { outcome, .. } => said.push(match outcome {
            Ok(change) => change.to_string(),
            Err(why) => why.to_string(),
        }),
        _ => {}
    });
    assert!(report.faults.is_empty() && report.undrained.is_empty(), "{report:?}");
    said
}

#[test]
fn an_effect_taken_out_of_a_call_and_put_back_changes_the_picture_and_no_sample() {
    let (edited, by_steps, plain) = (scratch(), scratch(), scratch());
    let becomes = |beauty: &str| call(&edited.path(""), beauty).map(Transaction::from);
    let edits = vec![(1.5, becomes("off")), (3.0, becomes("on")), (4.0, becomes("misspelt"))];
    let said = run_call(&edited.path(""), edits);
    assert_eq!(said.len(), 3, "{said:#?}");
    assert_eq!(said[0], "-alice_picture/beauty -bob_picture/beauty");
    assert_eq!(said[1], "+alice_picture/beauty +bob_picture/beauty");
    assert!(said[2].contains("effect.smoth_skin") && said[2].contains("effect.smooth_skin"), "{}", said[2]);
    run_call(&plain.path(""), Vec::new());
    let same = |one: &Scratch, other: &Scratch, file: &str| {
        let [one, other] = [one, other].map(|folder| std::fs::read(folder.path(file)).unwrap());
        one == other
    };
    for wav in ["alice_hears.wav", "bob_hears.wav"] {
        assert!(same(&edited, &plain, wav), "{wav} is not what it is without the edits");
    }

    let mistake = Transaction::new().set("alice_picture/beuty", "smooth", 0.1);
    let edits = vec![(1.5, Ok(beauty_taken_out())), (3.0, Ok(beauty_put_back())), (4.0, Ok(mistake))];
    let told = run_call(&by_steps.path(""), edits);
    assert_eq!(told[..2], said[..2], "what transactions did");
    assert!(told[2].contains("did you mean alice_picture/beauty?"), "{}", told[2]);
    for file in ["alice_hears.wav", "bob_hears.wav", "alice_sees.y4m", "bob_sees.y4m"] {
        assert!(same(&edited, &by_steps, file), "{file} is not what it is with whole graphs");
    }

    let mut source = sidetone::harness::Harness::new(
        registry().get("test.scene").unwrap(),
        &[("size", sidetone::Size::new(640, 360).into()), ("frames", 160.into())],
    );
    source.advance(Duration::from_secs(60));
    let sent = source.take(0);
    let seen = pictures(&edited.path("bob_sees.y4m"));
    let numbers: Vec<_> = seen.iter().filter_map(read_counter).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    assert!(numbers.len() >= 145, "{} of 150 pictures came", numbers.len());
    let quality = |from: u32, to: u32| {
        let there = seen.iter().filter_map(|picture| read_counter(picture).map(|number| (number, picture)));
        let there = there.filter(|(number, _)| (from..to).contains(number));
        let of: Vec<f64> =
            there.map(|(number, picture)| psnr(&picture.plane(0), &sent[number as usize].plane(0))).collect();
        of.iter().sum::<f64>() / of.len() as f64
    };
    let (before, without, after) = (quality(15, 40), quality(55, 85), quality(100, 145));
    assert!(without > before + 2.0 && without > after + 2.0, "{before:.1}, {without:.1}, {after:.1} dB");
}

#[test]
fn what_was_set_while_a_call_runs_outlives_transactions_that_do_not_speak_of_it() {
    let folder = scratch();
    let options =
        Options { clock: Clock::virtual_time(), limit: Some(Duration::from_secs(3)), ..Options::default() };
    let engine = Engine::new(call(&folder.path(""), "off").unwrap(), options).unwrap();
    let handle = engine.handle();
    let mut beats = 0;
    let mut said = Vec::new();
    let report = engine.run(|update| match update {
        Update::Event {
            node: "met_by_bob[alice]/remote_audio/level", kind: EventKind::Level { .. }, ..
        } => {
            beats += 1;
            match beats {
                2 => drop(
                    handle.edit(
                        Transaction::new()
                            .add("met_by_bob/quiet", "audio.gain", &[])
                            .unlink("met_by_bob/remote_audio/level -> bob_hears")
                            .link("met_by_bob/remote_audio/level -> met_by_bob/quiet -> bob_hears"),
                    ),
                ),
                4 => {
                    handle.set("met_by_bob[alice]/quiet", "gain_db", (-60.0).into());
                    handle.set("bob_mic", "level_db", (-60.0).into());
                }
                6 => drop(handle.edit(Transaction::new().set("alice_mic", "frequency_hz", 500))),
                8 => drop(handle.edit(Transaction::new().set("met_by_bob/quiet", "gain_db", -50))),
                _ => {}
            }
        }
        Update::Edited { outcome, .. } => said.push(outcome.as_ref().unwrap().to_string()),
        _ => {}
    });
    assert!(report.faults.is_empty() && report.undrained.is_empty(), "{report:?}");
    let expected =
        ["+met_by_bob[alice]/quiet", "~alice_mic.frequency_hz", "~met_by_bob[alice]/quiet.gain_db"];
    assert_eq!(said, expected);
    for wav in ["alice_hears.wav", "bob_hears.wav"] {
        let (samples, rate) = crate::sound(&folder.path(wav));
        let last = &samples[samples.len() - rate as usize / 2..];
        assert!(last.iter().all(|sample| sample.abs() < 0.01), "{wav} stays quiet");
    }
}

/// Reads what a child says until a line contains `wanted`.
fn wait_for(lines: &mut impl Iterator<Item = String>, wanted: &str) {
    let mut seen = Vec::new();
    for line in lines {
        if line.contains(wanted) {
            return;
        }
        seen.push(line);
    }
    panic!("no {wanted:?} among {seen:#?}");
}

/// Ends the child however the test ends.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_saved_file_changes_the_running_graph_and_a_mistake_leaves_it_running() {
    let folder = scratch();
    let file = folder.path("voice.toml");
    // As editors do: a new file takes the old one's name.
    let save = |links: &str, soft: &str| {
        let text = format!(
            "# A tone.\nsidetone = 1\nlinks = [\"{links}\"]\n[nodes]\ntone = {{ kind = \"test.tone\" }}\n{soft}\n\
             out = {{ kind = \"file.wav_sink\", path = \"{}\" }}\n",
            folder.path("out.wav")
        );
        std::fs::write(folder.path("new.toml"), text).unwrap();
        std::fs::rename(folder.path("new.toml"), &file).unwrap();
    };
    save("tone -> out", "");
    let child = Command::new(env!("CARGO_BIN_EXE_sidetone"))
        .args(["run", &file, "--watch", "--seconds", "300"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Ended(child);
    let mut lines = BufReader::new(child.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    wait_for(&mut lines, "watching");
    save("tone -> soft -> out", "soft = { kind = \"audio.gain\", gain_db = -6 }");
    wait_for(&mut lines, "edit: +soft");
    save("tone -> soft -> out", "soft = { kind = \"audio.gane\", gain_db = -6 }");
    wait_for(&mut lines, "audio.gane");
    wait_for(&mut lines, "edit: not made");
    save("tone -> soft -> out", "soft = { kind = \"audio.gain\", gain_db = -9 }");
    wait_for(&mut lines, "edit: ~soft.gain_db");
    save("tone -> out", "");
    wait_for(&mut lines, "edit: -soft");
    assert!(child.0.try_wait().unwrap().is_none(), "it goes on");
}
