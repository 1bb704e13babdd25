//! `Plan`: who comes into which rooms of a Sidetone server, when, and with what.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::LoadError;
use super::connection::{Common, Sends};
use super::crowd::{Crowd, Progress};
use super::door::{Guest, Visit};
use super::pattern::Media;
use super::report::Report;
use crate::protocol::{Kind, RoomName, Source, UserName};
use crate::server::claims::Grants;
use crate::server::token::{App, Pass};

/// How long one who comes and goes stays.
const STAY: Duration = Duration::from_secs(3);
/// For how long tokens hold, beyond the run.
const TOKENS: Duration = Duration::from_secs(600);

/// Who comes into which rooms, when, and with what.
pub struct Plan {
    /// The server.
    pub url: String,
    /// What signs the tokens.
    pub app: App,
    /// How many rooms.
    pub rooms: u32,
    /// In each, participants who publish; they play each other, too.
    pub publishers: u32,
    /// In each, participants who only play.
    pub subscribers: u32,
    /// What each publisher sends of sound, if any.
    pub audio: Option<Media>,
    /// And of pictures.
    pub video: Option<Media>,
    /// Seconds that are measured, once everyone is in.
    pub seconds: u64,
    /// Seconds within which everyone comes in.
    pub ramp: u64,
    /// Participants more who come and go, a second; each plays for three seconds.
    pub churn: u32,
    /// Threads that do all of it; 0 counts as 1.
    pub threads: usize,
}

impl Plan {
    /// Who is in a room before the measurement begins.
    const fn people(&self) -> u32 {
        self.publishers + self.subscribers
    }

    /// What participant `who` of a room is to play.
    fn plays(&self, room: u32, who: u32) -> impl Iterator<Item = Sends> {
        let others = (0..self.publishers).filter(move |publisher| *publisher != who);
        others.flat_map(move |publisher| self.sends(room, publisher))
    }

    /// What participant `who` of a room sends.
    fn sends(&self, room: u32, who: u32) -> Vec<Sends> {
        if who >= self.publishers {
            return Vec::new();
        }
        let first = (room * self.publishers + who) * 2;
        let both = [(Kind::Audio, &self.audio), (Kind::Video, &self.video)];
        let sends = both.into_iter().zip(first..);
        sends
            .filter_map(|((kind, media), stream)| Some(Sends { kind, media: media.clone()?, stream }))
            .collect()
    }

    fn visit(&self, room: u32, who: u32, user: &str) -> Result<Visit, LoadError> {
        let refused = |why: &dyn ToString| LoadError::Refused(why.to_string());
        let user = UserName::new(user).map_err(|why| refused(&why))?;
        let room_name = RoomName::new(&format!("load-{room}")).map_err(|why| refused(&why))?;
        let grants =
            Grants { join: true, publish: Source::ALL.to_vec(), subscribe: true, ..Grants::default() };
        let wall = Duration::from_nanos(super::stamp::wall());
        let ttl = Duration::from_secs(self.seconds + self.ramp) + TOKENS;
        let token = self.app.mint(&Pass { user: user.clone(), room: Some(room_name), grants }, wall, ttl);
        let others = self.publishers - u32::from(who < self.publishers);
        let plays = [&self.audio, &self.video].map(|media| media.as_ref().map_or(0, |_| others));
        Ok(Visit { url: self.url.clone(), token, user, sends: self.sends(room, who), plays })
    }
}

/// Puts the load on the server, and says how it did; `progress` is told about once a
/// second how it goes. Blocks. \[control\]
///
/// # Errors
/// Nobody comes in at all, or the system lacks something.
pub fn run(
    plan: Plan,
    server: Option<&str>,
    progress: impl Fn(Progress) + Send + 'static,
) -> Result<Report, LoadError> {
    let mut builder =
        if plan.threads > 1 { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    let runtime =
        builder.worker_threads(plan.threads.max(1)).thread_name("sidetone-load").enable_all().build()?;
    runtime.block_on(all(plan, server, progress))
}

async fn all(plan: Plan, server: Option<&str>, progress: impl Fn(Progress)) -> Result<Report, LoadError> {
    let mut crowd = Crowd::new()?;
    let begun = Instant::now();
    let count = plan.rooms * plan.people();
    let mut visits = tokio::task::JoinSet::new();
    let mut told = begun;
    // Publishers first, so that nobody waits for what is not there yet.
    let guests = (0..plan.people()).flat_map(|who| (0..plan.rooms).map(move |room| (room, who)));
    let settled = |crowd: &mut Crowd, done: Came| arrive(&plan, crowd, done);
    for ((room, who), at) in guests.zip(0..) {
        let due = begun + Duration::from_secs(plan.ramp).mul_f64(f64::from(at) / f64::from(count));
        sleep_until(due.into()).await;
        let visit = plan.visit(room, who, &format!("user-{who}"))?;
        let common = Arc::clone(crowd.common());
        visits.spawn(came(common, room, who, visit));
        while let Some(Ok(done)) = visits.try_join_next() {
            settled(&mut crowd, done)?;
        }
        if told.elapsed() >= Duration::from_secs(1) {
            told = Instant::now();
            progress(crowd.progress(None));
        }
    }
    while let Some(done) = visits.join_next().await {
        if let Ok(done) = done {
            settled(&mut crowd, done)?;
        }
    }
    // Until what was sent to those who came late is on its way to all.
    sleep_until((Instant::now() + Duration::from_secs(2)).into()).await;

    let mut next = 0;
    let mut passing = tokio::task::JoinSet::new();
    let used = crowd
        .measure(plan.seconds, server, async |crowd, second| {
            progress(crowd.progress(Some(second)));
            for _ in 0..plan.churn {
                let (room, who) = (next % plan.rooms, plan.people() + next);
                next += 1;
                if let Ok(visit) = plan.visit(room, who, &format!("guest-{who}")) {
                    passing.spawn(came(Arc::clone(crowd.common()), room, who, visit));
                }
            }
            while let Some(Ok(done)) = passing.try_join_next() {
                pass(crowd, done);
            }
        })
        .await?;
    while let Some(done) = passing.join_next().await {
        if let Ok(done) = done {
            pass(&mut crowd, done);
        }
    }
    progress(crowd.progress(Some(plan.seconds)));
    Ok(crowd.end_and_report(used).await)
}

/// Somebody came in, or did not, and how long that took.
type Came = (u32, u32, Result<Guest, LoadError>, Duration);

async fn came(common: Arc<Common>, room: u32, who: u32, visit: Visit) -> Came {
    let begun = Instant::now();
    let guest = visit.enter(&common).await;
    (room, who, guest, begun.elapsed())
}

fn arrive(plan: &Plan, crowd: &mut Crowd, (room, who, guest, took): Came) -> Result<(), LoadError> {
    let Guest { connection, link } = guest?;
    crowd.joined(took);
    crowd.link(tokio::spawn(link.stay(crowd.end())));
    let plays = plan.plays(room, who).filter(|sends| !connection.tells_by_slot(sends.kind));
    let streams = plays.map(|sends| sends.stream).collect();
    crowd.stays(connection, streams);
    Ok(())
}

/// One who comes and goes.
fn pass(crowd: &mut Crowd, (_, _, guest, took): Came) {
    match guest {
        Ok(Guest { mut connection, link }) => {
            crowd.joined(took);
            // What it misses is seen by gaps: it is not there for all of it.
            connection.tell_by_slot(Kind::Audio);
            connection.tell_by_slot(Kind::Video);
            let (over, end) = watch::channel(false);
            crowd.link(tokio::spawn(link.stay(end.clone())));
            crowd.passes(connection, end);
            tokio::spawn(async move {
                sleep_until((Instant::now() + STAY).into()).await;
                let _ = over.send(true);
            });
        }
        Err(why) => crowd.failed(why.to_string()),
    }
}
