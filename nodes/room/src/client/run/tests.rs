use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use tokio::runtime::Builder;
use tokio::time::timeout;

use super::*;
use crate::client::session::Publish;
use crate::events::{PublishState, RoomState};
use crate::protocol::{Client, RoomName, Source, UserName};
use crate::server::claims::Grants;
use crate::server::config::Config;
use crate::server::http::Server;
use crate::server::token::{App, Pass};
use crate::url::Url;

/// Nothing here takes as long, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program with a participant of its own.
struct Program {
    user: &'static str,
    orders: mpsc::Sender<Order>,
    happened: mpsc::UnboundedReceiver<Happening>,
    events: Vec<RoomEvent>,
    /// Of each stream: the numbers that its packets carry.
    packets: HashMap<u32, Vec<u8>>,
    key_frames_wanted: usize,
}

impl Program {
    fn start(server: &Server, user: &'static str) -> Self {
        let Ok(Url::Server(url)) = Url::parse(&format!("ws://{}", server.address)) else { panic!("a URL") };
        let grants =
            Grants { join: true, publish: Source::ALL.to_vec(), subscribe: true, ..Grants::default() };
        let room = Some(RoomName::new("demo").expect("a room"));
        let pass = Pass { user: UserName::new(user).expect("a user"), room, grants };
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time");
        let token = App::development().mint(&pass, wall, Duration::from_secs(60));
        let client = Client { name: "test".into(), version: "1".into() };
        let options = Options { token, auto_play: true, client, retry_for: None };
        let peers = Arc::new(PeerConfig::new().expect("a certificate"));
        let (orders, asked) = mpsc::channel(1_024);
        let (tell, happened) = mpsc::unbounded_channel();
        let settings = Settings { url, tls: None, options, peers, rng: fastrand::Rng::with_seed(1) };
        let told = move |happening| drop(tell.send(happening));
        tokio::spawn(run(settings, asked, told));
        Self { user, orders, happened, events: Vec::new(), packets: HashMap::new(), key_frames_wanted: 0 }
    }

    fn stream(&self, source: Source) -> StreamId {
        StreamId::new(&format!("{}/{}", self.user, source.word())).expect("an id")
    }

    fn publish(&self, source: Source) {
        let stream = self.stream(source);
        let publish = Publish { stream, source, muted: false, layers: Vec::new() };
        self.order(Order::Command(Command::Publish(publish)));
    }

    fn order(&self, order: Order) {
        self.orders.try_send(order).expect("room for an order");
    }

    /// Sends packet `number`, which begins a key frame or does not.
    fn send(&self, source: Source, number: u8) {
        let head = if number == 0 { 0x18 } else { 0x10 };
        let packet = Outgoing {
            layer: None,
            ssrc: 7,
            seq: 65_530_u16.wrapping_add(u16::from(number)),
            timestamp: u32::from(number) * 3_000,
            marker: true,
            ext: str0m::rtp::ExtensionValues::default(),
            payload: [head, 0x32, number].into(),
        };
        self.order(Order::Packet(self.stream(source), packet));
    }

    /// Goes on until something is so.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let went = timeout(PATIENCE, async {
            while !is_so(self) {
                match self.happened.recv().await.expect("it goes on") {
                    Happening::Event(event) => self.events.push(event),
                    Happening::Packet(packet) => {
                        let number = *packet.packet.payload.last().expect("a number");
                        self.packets.entry(packet.no).or_default().push(number);
                    }
                    Happening::KeyFrameWanted(_) => self.key_frames_wanted += 1,
                    Happening::Estimate(_) | Happening::Unsent => {}
                }
            }
        });
        let went = went.await;
        assert!(went.is_ok(), "{}: {what}; it saw {:?}", self.user, self.events);
    }

    fn saw(&self, is: impl Fn(&RoomEvent) -> bool) -> bool {
        self.events.iter().any(is)
    }
}

fn published(event: &RoomEvent) -> bool {
    matches!(event, RoomEvent::Published { state: PublishState::Published, .. })
}

#[test]
fn two_participants_hear_and_see_each_other() {
    let server =
        Server::start(&Config::parse("listen = \"127.0.0.1:0\"").expect("a config")).expect("a server");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut alice = Program::start(&server, "alice");
        alice.publish(Source::Camera);
        alice.publish(Source::Microphone);
        let both = |it: &Program| it.events.iter().filter(|event| published(event)).count() == 2;
        alice.until("both are published", both).await;
        let mut bob = Program::start(&server, "bob");
        bob.publish(Source::Screen);
        bob.until("the screen is published", |it| it.saw(published)).await;
        alice.until("a key frame is wanted", |it| it.key_frames_wanted > 0).await;
        bob.until("a key frame is wanted", |it| it.key_frames_wanted > 0).await;
        // Whoever got a packet sends the next: nothing is lost, so both go on to the end.
        for number in 0..50 {
            alice.send(Source::Camera, number);
            alice.send(Source::Microphone, number);
            bob.send(Source::Screen, number);
            let count = usize::from(number) + 1;
            let has = |it: &Program, streams: usize| {
                it.packets.len() == streams && it.packets.values().all(|packets| packets.len() == count)
            };
            alice.until("the screen's packet", |it| has(it, 1)).await;
            bob.until("the camera's and the microphone's packets", |it| has(it, 2)).await;
        }
        for packets in alice.packets.values().chain(bob.packets.values()) {
            assert!(packets.iter().copied().eq(0..50), "{packets:?}");
        }
        let first = |event: &RoomEvent| matches!(event, RoomEvent::FirstFrame { .. });
        assert_eq!(bob.events.iter().filter(|event| first(event)).count(), 2);
        // Muted, nothing goes out; unmuted, a key frame is wanted first.
        let mute = |muted| protocol::Mute { stream: alice.stream(Source::Camera), muted };
        alice.order(Order::Command(Command::Mute(mute(true))));
        let wanted = alice.key_frames_wanted;
        alice.send(Source::Camera, 50);
        alice.order(Order::Command(Command::Mute(mute(false))));
        alice.until("a key frame is wanted", |it| it.key_frames_wanted > wanted).await;
        bob.until("the camera is unmuted", |it| {
            it.saw(|event| matches!(event, RoomEvent::StreamMuted { muted: false, .. }))
        })
        .await;
        assert!(bob.packets.values().all(|packets| packets.len() == 50), "the muted packet did not come");
        drop(alice.orders);
        bob.until("alice left", |it| it.saw(|event| matches!(event, RoomEvent::UserLeft { .. }))).await;
        bob.order(Order::Command(Command::Leave));
        bob.until("it left", |it| it.saw(|event| matches!(event, RoomEvent::State(RoomState::Left { .. }))))
            .await;
    });
    let counts = server.end(Duration::ZERO, &AtomicBool::new(false));
    assert_eq!((counts.joins, counts.panics, counts.peers_failed), (2, 0, 0));
}
