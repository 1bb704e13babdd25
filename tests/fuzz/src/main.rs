//! Runs a target by hand, on any compiler: for longer than the smoke run, on one
//! input, or writes the seeds for libFuzzer to begin with.

use std::process::ExitCode;
use std::time::Duration;

use sidetone_fuzz::{TARGETS, Target, smoke, target};

const USAGE: &str = "usage:
  sidetone-fuzz run TARGET [SECONDS [SEED]]   mutated seeds, for 10 seconds from seed 1
  sidetone-fuzz replay TARGET HEX             one input
  sidetone-fuzz seeds FOLDER                  writes FOLDER/TARGET/0, 1, ... of every target";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["run", name] => run(name, "10", "1"),
        ["run", name, seconds] => run(name, seconds, "1"),
        ["run", name, seconds, seed] => run(name, seconds, seed),
        ["replay", name, hex] => replay(name, hex),
        ["seeds", folder] => write_seeds(folder).map_err(|why| format!("cannot write to {folder}: {why}")),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str, seconds: &str, seed: &str) -> Result<(), String> {
    let target = known(name)?;
    let limit: u64 = seconds.parse().map_err(|_| format!("{seconds} is no number of seconds"))?;
    let seed = seed.parse().map_err(|_| format!("{seed} is no seed"))?;
    let report = smoke::run(target, seed, move |report| report.elapsed >= Duration::from_secs(limit));
    println!(
        "{name}: {} inputs, {:.0} a second; {:.0} % were taken; at most {} KiB held",
        report.inputs,
        report.inputs as f64 / report.elapsed.as_secs_f64(),
        100.0 * report.taken as f64 / report.inputs.max(1) as f64,
        report.peak / 1024,
    );
    Ok(())
}

fn replay(name: &str, hex: &str) -> Result<(), String> {
    let bytes = smoke::unhex(hex).ok_or("the input is not hexadecimal")?;
    let taken = (known(name)?.run)(&bytes);
    println!("{name} {}", if taken { "takes it" } else { "refuses it" });
    Ok(())
}

fn write_seeds(folder: &str) -> std::io::Result<()> {
    for target in TARGETS {
        let folder = std::path::Path::new(folder).join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (index, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(folder.join(index.to_string()), seed)?;
        }
    }
    Ok(())
}

fn known(name: &str) -> Result<&'static Target, String> {
    target(name).ok_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        format!("there is no target {name}; there are {}", names.join(", "))
    })
}
