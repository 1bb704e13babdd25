//! Golden messages: what the page of the protocol shows is what is read and written.

use super::*;

#[test]
fn golden_messages_are_read_and_written_as_they_are() {
    let asks = include_str!("../../../tests/data/asks.jsonl");
    for line in asks.lines() {
        let read: Request = serde_json::from_str(line).unwrap_or_else(|why| panic!("{line}: {why}"));
        assert_eq!(serde_json::to_string(&read).expect("JSON"), line);
    }
    let told = include_str!("../../../tests/data/told.jsonl");
    for line in told.lines() {
        let read: Told = serde_json::from_str(line).unwrap_or_else(|why| panic!("{line}: {why}"));
        assert_eq!(serde_json::to_string(&read).expect("JSON"), line);
    }
}

#[test]
fn what_is_not_known_is_let_be_and_what_is_missing_is_told() {
    let more = r#"{"n":1,"t":"stop","stream":"bob/camera","since":"yesterday"}"#;
    let read: Request = serde_json::from_str(more).expect("a message");
    assert!(matches!(read.ask, Ask::Stop { .. }));
    for (wrong, why) in [
        (r#"{"n":1,"t":"stop"}"#, "stream"),
        (r#"{"t":"leave"}"#, "`n`"),
        (r#"{"n":1,"t":"dance"}"#, "dance"),
        (r#"{"n":1,"t":"stop","stream":"bob"}"#, "a stream's id"),
        (r#"{"n":-1,"t":"leave"}"#, "-1"),
        ("[[[[[[", "expected struct Request"),
    ] {
        let error = serde_json::from_str::<Request>(wrong).expect_err(wrong).to_string();
        assert!(error.contains(why), "{wrong}: {error}");
    }
}
