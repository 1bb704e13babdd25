//! Load: many participants at once, and nothing is lost between them.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sidetone_room::load::{Media, Plan, run};
use sidetone_room::server::token::App;

use crate::client::server;

fn plan(url: String) -> Plan {
    Plan {
        url,
        app: App::development(),
        rooms: 2,
        publishers: 3,
        subscribers: 2,
        audio: Some(Media::Made(32_000)),
        video: None,
        seconds: 2,
        ramp: 1,
        churn: 0,
        threads: 1,
    }
}

#[test]
fn nothing_is_lost_between_many_participants_and_nothing_comes_twice() {
    let server = server();
    let url = format!("ws://{}", server.address);
    let report = run(plan(url.clone()), Some("self"), |_| {}).unwrap();
    assert_eq!(report.failures, Vec::<String>::new());
    assert_eq!(report.participants, 10);
    // In each room each of three streams goes to everyone else.
    assert_eq!(report.expected, report.sent * 4, "{report}");
    assert!(report.sent > 2 * 3 * 20, "{report}");
    assert_eq!((report.lost, report.duplicates), (0, 0), "{report}");
    assert!(report.used.server_rss.is_some() && report.server_us_per_packet.is_some());

    // More streams than there is room for: the server chooses; and some come and go.
    let crowded = Plan { publishers: 18, subscribers: 1, rooms: 1, churn: 2, ..plan(url.clone()) };
    let report = run(crowded, None, |_| {}).unwrap();
    assert_eq!(report.failures, Vec::<String>::new());
    assert_eq!(report.participants, 19 + 2 * 2);
    assert!(report.delivered > 0, "{report}");
    assert_eq!((report.lost, report.duplicates), (0, 0), "{report}");

    // A machine that has much else to do looks like a network that carries little.
    let pictures = Plan { audio: None, video: Some(Media::Made(100_000)), ..plan(url) };
    let report = run(pictures, None, |_| {}).unwrap();
    assert_eq!(report.failures, Vec::<String>::new());
    assert!(report.delivered > 0 && (report.lost == 0 || report.held_back > 0), "{report}");
    let counts = server.end(Duration::ZERO, &AtomicBool::new(false));
    assert_eq!((counts.panics, counts.joins), (0, 10 + 23 + 10));
}
