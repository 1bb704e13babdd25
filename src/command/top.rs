//! `sidetone top`: a running engine in a terminal, live.

mod remote;
mod screen;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use sidetone::{Engine, Handle, Options, Report};

use super::{FAILED, FINE, WRONG, complain, load, note, run, say, setting};
use crate::sight::{Events, Sight, Viewer};
use remote::Remote;
use screen::Screen;

/// How often the screen is drawn anew.
const FRAME: Duration = Duration::from_millis(500);
/// How often tables are printed where there is no screen.
const LINES: Duration = Duration::from_secs(1);

/// Watch a running engine: its lanes, stages and latencies, live
///
/// With a graph file, runs it and shows it; q ends the run. With an address, attaches to a run that
/// was started with `--metrics ADDRESS`; q leaves it running. Without a terminal it prints tables,
/// once a second.
#[derive(Args)]
#[command(after_help = "Examples:\n  sidetone top graphs/call.toml --set network=mobile\n  \
                        sidetone run graphs/call.toml --metrics 9100     in one terminal, and\n  \
                        sidetone top 9100                                in another\n  \
                        sidetone top 9100 --once                         one reading, as text\n\n\
                        Keys: q quits, up and down scroll the stages, s sorts them (as in the graph, by work, by drops).")]
pub(super) struct Top {
    /// The graph file to run, or the address that a run serves its metrics at
    #[arg(value_name = "FILE|ADDRESS")]
    target: String,
    /// Give a parameter of the graph, or of a node (cam.fps=15); may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// The folder for the files the graph writes: short for --set out=DIR
    #[arg(long, value_name = "DIR")]
    out: Option<String>,
    /// Stop after this long
    #[arg(long, value_name = "N", value_parser = run::seconds)]
    seconds: Option<Duration>,
    /// The seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print one reading, over a second, as text, and end
    #[arg(long)]
    once: bool,
}

/// What is looked at.
enum Source {
    /// An engine of our own.
    Own { viewer: Viewer, handle: Handle, run: JoinHandle<Report> },
    /// One elsewhere.
    Far(Remote),
}

impl Source {
    /// What it shows; `Ok(None)` when it has come to its end.
    fn look(&mut self) -> Result<Option<Arc<Sight>>, String> {
        match self {
            Self::Own { viewer, run, .. } if !run.is_finished() => Ok(viewer.look()),
            Self::Own { .. } => Ok(None),
            Self::Far(remote) => remote.look().map(|sight| Some(Arc::new(sight))),
        }
    }
}

impl Top {
    pub(super) fn run(&self) -> u8 {
        let file = Path::new(&self.target);
        let source = if file.is_file() || file.extension().is_some_and(|ending| ending == "toml") {
            self.start(file)
        } else {
            self.attach()
        };
        let mut source = match source {
            Ok(source) => source,
            Err(code) => return code,
        };
        let outcome = if self.once {
            self.print_once(&mut source)
        } else if std::io::stdout().is_terminal() {
            self.show(&mut source)
        } else {
            self.print(&mut source)
        };
        let failed = match outcome {
            Ok(()) => FINE,
            Err(why) => {
                note(&format!("error: {why}\n"));
                FAILED
            }
        };
        let Source::Own { handle, run, .. } = source else { return failed };
        handle.stop();
        match run.join() {
            Ok(report) => {
                if !self.once {
                    say(&run::as_text(&report));
                }
                failed.max(run::conclude(&report))
            }
            Err(_) => FAILED,
        }
    }

    /// Runs a graph of our own.
    fn start(&self, file: &Path) -> Result<Source, u8> {
        let mut overrides = self.set.clone();
        overrides.extend(self.out.clone().map(|folder| ("out".to_owned(), folder)));
        let graph = load(&PathBuf::from(file), &overrides, false)?;
        let options = Options { seed: self.seed, limit: self.seconds, ..Options::default() };
        let engine = Engine::new(graph, options).map_err(|mistakes| {
            complain(&mistakes, false);
            WRONG
        })?;
        let (handle, events) = (engine.handle(), Events::default());
        let viewer = Viewer::new(handle.watch(), events.clone());
        let body = move || engine.run(|update| events.hear(&update));
        let run = std::thread::Builder::new().name("engine".into()).spawn(body).map_err(|error| {
            note(&format!("error: cannot start a thread for the engine: {error}\n"));
            FAILED
        })?;
        Ok(Source::Own { viewer, handle, run })
    }

    fn attach(&self) -> Result<Source, u8> {
        if !self.set.is_empty() || self.out.is_some() {
            note("error: --set and --out are for a graph file; a run elsewhere has its settings already\n");
            return Err(WRONG);
        }
        match Remote::new(&self.target) {
            Ok(remote) => Ok(Source::Far(remote)),
            Err(why) => {
                note(&format!("error: {}: {why}\n", self.target));
                Err(WRONG)
            }
        }
    }

    fn over(&self, began: Instant) -> bool {
        self.seconds.is_some_and(|limit| began.elapsed() >= limit)
    }

    /// The live view.
    fn show(&self, source: &mut Source) -> Result<(), String> {
        let terminal = ratatui::try_init().map_err(|error| format!("cannot use the terminal: {error}"))?;
        let outcome = self.drive(terminal, source);
        ratatui::restore();
        outcome
    }

    fn drive(&self, mut terminal: ratatui::DefaultTerminal, source: &mut Source) -> Result<(), String> {
        let say = |error: std::io::Error| format!("cannot use the terminal: {error}");
        let mut screen = Screen::default();
        let began = Instant::now();
        while !self.over(began) {
            match source.look() {
                Ok(Some(sight)) => screen.see(sight),
                Ok(None) => return Ok(()),
                // What was there and is gone has ended; the last look stays for a moment.
                Err(why) if screen.has_seen() => {
                    return Err(format!("{why}; the run is over, or out of reach"));
                }
                Err(why) => return Err(why),
            }
            let next = Instant::now() + FRAME;
            loop {
                terminal.draw(|frame| screen.draw(frame)).map_err(say)?;
                let wait = next.saturating_duration_since(Instant::now());
                if wait.is_zero() || !event::poll(wait).map_err(say)? {
                    break;
                }
                if let Event::Key(key) = event::read().map_err(say)?
                    && key.kind == KeyEventKind::Press
                {
                    match key.code {
                        KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(()),
                        code => screen.press(code),
                    }
                }
            }
        }
        Ok(())
    }

    /// One reading over a second.
    fn print_once(&self, source: &mut Source) -> Result<(), String> {
        let end = "the run ended before there was anything to read".to_owned();
        source.look()?.ok_or_else(|| end.clone())?;
        std::thread::park_timeout(LINES);
        let sight = source.look()?.ok_or(end)?;
        say(&screen::as_text(&sight));
        Ok(())
    }

    /// Tables, once a second.
    fn print(&self, source: &mut Source) -> Result<(), String> {
        let asked = Arc::<AtomicBool>::default();
        let heard = Arc::clone(&asked);
        let here = std::thread::current();
        let interrupt = move || {
            heard.store(true, Ordering::Release);
            here.unpark();
        };
        if let Err(error) = ctrlc::set_handler(interrupt) {
            note(&format!("warning: Ctrl-C will end the run without finishing its files: {error}\n"));
        }
        let began = Instant::now();
        let mut any = false;
        while !asked.load(Ordering::Acquire) && !self.over(began) {
            match source.look() {
                Ok(Some(sight)) => say(&format!("{}\n", screen::as_text(&sight))),
                Ok(None) => break,
                Err(_) if any => break,
                Err(why) => return Err(why),
            }
            any = true;
            std::thread::park_timeout(LINES);
        }
        Ok(())
    }
}
