//! What `sidetone top` shows: on a terminal, and as text.

use std::collections::VecDeque;
use std::sync::Arc;

use ratatui::Frame;
use ratatui::crossterm::event::KeyCode;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Sparkline, Table};
use sidetone::histogram::Summary;
use sidetone::watch::{RecentLane, RecentStage};

use super::remote::printable;
use crate::sight::Sight;
use crate::table::{Align, table};

/// Looks that the sparklines go back.
const PAST: usize = 120;
/// Lanes that are shown at most; the busiest.
const LANES: usize = 6;
/// Events that are shown.
const EVENTS: usize = 3;
const LANE_BAR: usize = 20;

/// The order of stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    #[default]
    Graph,
    Work,
    Drops,
}

impl Order {
    const fn next(self) -> Self {
        match self {
            Self::Graph => Self::Work,
            Self::Work => Self::Drops,
            Self::Drops => Self::Graph,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Graph => "as in the graph",
            Self::Work => "by work",
            Self::Drops => "by drops",
        }
    }
}

/// What is on the screen.
#[derive(Default)]
pub(super) struct Screen {
    sight: Option<Arc<Sight>>,
    /// The median end to end of each look, in microseconds: sound, pictures.
    past: [VecDeque<u64>; 2],
    order: Order,
    scroll: usize,
}

impl Screen {
    /// Takes in a new look.
    pub(super) fn see(&mut self, sight: Arc<Sight>) {
        let recent = &sight.snapshot.recent.end_to_end_ms;
        for (past, summary) in self.past.iter_mut().zip([recent.audio, recent.video]) {
            if past.len() == PAST {
                past.pop_front();
            }
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            past.push_back(summary.map_or(0, |summary| (summary.p50 * 1e3) as u64));
        }
        self.sight = Some(sight);
    }

    pub(super) const fn has_seen(&self) -> bool {
        self.sight.is_some()
    }

    /// What a key does to the view.
    pub(super) fn press(&mut self, key: KeyCode) {
        match key {
            KeyCode::Up => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Down => self.scroll += 1,
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(10),
            KeyCode::PageDown => self.scroll += 10,
            KeyCode::Home => self.scroll = 0,
            KeyCode::Char('s') => self.order = self.order.next(),
            _ => {}
        }
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let Some(sight) = self.sight.clone() else { return };
        let lanes = busiest(&sight.snapshot.recent.lanes);
        let events = sight.events.len().min(EVENTS);
        let height = |rows: usize| Constraint::Length(u16::try_from(rows).unwrap_or(u16::MAX));
        let parts = Layout::vertical([
            height(1),
            height(3),
            height(lanes.len() + 1),
            Constraint::Min(4),
            height(if events == 0 { 0 } else { events + 1 }),
        ])
        .split(frame.area());
        let [title, ends, lane_part, stages, said] = parts[..] else { return };
        draw_title(frame, title, &sight);
        self.draw_ends(frame, ends, &sight);
        draw_lanes(frame, lane_part, &lanes, &sight);
        self.draw_stages(frame, stages, &sight);
        draw_events(frame, said, &sight);
    }

    /// Capture to render, by medium, with its past.
    fn draw_ends(&self, frame: &mut Frame<'_>, area: Rect, sight: &Sight) {
        let [left, right] = Layout::horizontal([Constraint::Length(54), Constraint::Min(0)]).areas(area);
        let rows = ends(sight).into_iter().map(|(medium, recent)| {
            let rate = per_second(recent.map_or(0, |recent| recent.count), sight);
            let figures =
                recent.map_or_else(Default::default, |recent| [recent.p50, recent.p95, recent.p99].map(one));
            let [p50, p95, p99] = figures;
            let numbers = [rate, p50, p95, p99].map(number);
            Row::new([vec![Line::raw(medium)], numbers.to_vec()].concat())
        });
        let widths = [17, 9, 8, 8, 8].map(Constraint::Length);
        let head =
            Row::new(["CAPTURE TO RENDER", " frames/s", "     p50", "     p95", "  p99 ms"]).style(HEAD);
        frame.render_widget(Table::new(rows, widths).header(head), left);
        for (row, past) in (1u16..).zip(&self.past) {
            let line = Rect { y: right.y + row, height: 1, ..right }.intersection(area);
            let shown = usize::from(line.width);
            let data: Vec<u64> = past.iter().copied().skip(past.len().saturating_sub(shown)).collect();
            frame.render_widget(Sparkline::default().data(&data).style(Color::Cyan), line);
        }
    }

    fn draw_stages(&mut self, frame: &mut Frame<'_>, area: Rect, sight: &Sight) {
        let mut stages: Vec<&RecentStage> = sight.snapshot.recent.stages.iter().collect();
        match self.order {
            Order::Graph => {}
            Order::Work => stages.sort_by(|a, b| b.utilisation.total_cmp(&a.utilisation)),
            Order::Drops => stages.sort_by_key(|stage| std::cmp::Reverse(stage.dropped)),
        }
        let room = usize::from(area.height.saturating_sub(2));
        self.scroll = self.scroll.min(stages.len().saturating_sub(room));
        let last = (self.scroll + room).min(stages.len());
        let width = usize::from(area.width).saturating_sub(56).max(8);
        let rows = stages[self.scroll..last].iter().map(|stage| {
            let [name, rate, drops, work, rest @ ..] = stage_cells(stage, sight);
            let dropping = if stage.dropped > 0 { Style::new().fg(Color::Red) } else { Style::new() };
            let mut cells = vec![
                Line::raw(tail(&name, width)),
                number(rate),
                number(drops).style(dropping),
                number(work),
            ];
            cells.extend(rest.map(number));
            Row::new(cells)
        });
        let mut widths =
            vec![Constraint::Min(8), Constraint::Length(6), Constraint::Length(6), Constraint::Length(5)];
        widths.extend([Constraint::Length(5); 6]);
        let head =
            ["STAGE", "  fr/s", " drops", "work%", " WAIT", "  p95", " WORK", "  p95", " BUFF", "p95ms"];
        let [above, below] = Layout::vertical([Constraint::Min(0), Constraint::Length(1)]).areas(area);
        frame.render_widget(Table::new(rows, widths).header(Row::new(head).style(HEAD)), above);
        let which =
            format!("stages {} to {last} of {}, {}", self.scroll + 1, stages.len(), self.order.word());
        frame.render_widget(Paragraph::new(which.dark_gray()), below);
    }
}

const HEAD: Style = Style::new().bold();

fn draw_title(frame: &mut Frame<'_>, area: Rect, sight: &Sight) {
    frame.render_widget(
        Line::from(vec![title(sight).bold(), "   q quit  ↑↓ scroll  s sort".dark_gray()]),
        area,
    );
}

fn draw_lanes(frame: &mut Frame<'_>, area: Rect, lanes: &[&RecentLane], sight: &Sight) {
    let all = sight.snapshot.recent.lanes.len();
    let rows = lanes.iter().map(|lane| {
        let [name, busy, turns, wakes] = lane_cells(lane, sight);
        let color = match lane.utilisation {
            hot if hot > 0.85 => Color::Red,
            warm if warm > 0.6 => Color::Yellow,
            _ => Color::Green,
        };
        Row::new([
            Line::raw(tail(&name, 26)),
            Line::styled(bar(lane.utilisation), color),
            number(busy),
            number(turns),
            number(wakes),
        ])
    });
    let more = if all > lanes.len() { format!("LANE (busiest of {all})") } else { "LANE".to_owned() };
    let head =
        Row::new([more, String::new(), "  awake".into(), "  turns/s".into(), "  wakes/s".into()]).style(HEAD);
    let widths = [26, LANE_BAR as u16, 7, 9, 9].map(Constraint::Length);
    frame.render_widget(Table::new(rows, widths).header(head), area);
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, sight: &Sight) {
    let mut lines = vec![Line::from("EVENTS").style(HEAD)];
    lines.extend(last_events(sight).map(Line::from));
    frame.render_widget(Paragraph::new(lines), area);
}

/// The same as text: for pipes, logs and `--once`.
pub(super) fn as_text(sight: &Sight) -> String {
    let right = |name: &'static str| (name, Align::Right);
    let mut text = format!("{}\n\n", title(sight));
    let rows: Vec<_> = ends(sight)
        .into_iter()
        .filter_map(|(medium, recent)| recent.map(|recent| (medium, recent)))
        .map(|(medium, recent)| {
            let figures = [recent.p50, recent.p95, recent.p99].map(one);
            [vec![medium.to_owned(), per_second(recent.count, sight)], figures.to_vec()].concat()
        })
        .collect();
    let head =
        [("CAPTURE TO RENDER", Align::Left), right("frames/s"), right("p50"), right("p95"), right("p99 ms")];
    text.push_str(&table(&head, &rows));

    let rows: Vec<_> =
        sight.snapshot.recent.lanes.iter().map(|lane| lane_cells(lane, sight).to_vec()).collect();
    let head = [("LANE", Align::Left), right("awake"), right("turns/s"), right("wakes/s")];
    text.push_str(&format!("\n{}", table(&head, &rows)));

    let rows: Vec<_> =
        sight.snapshot.recent.stages.iter().map(|stage| stage_cells(stage, sight).to_vec()).collect();
    let head = [
        ("STAGE", Align::Left),
        right("frames/s"),
        right("drops"),
        right("work %"),
        right("WAIT p50"),
        right("p95"),
        right("WORK p50"),
        right("p95"),
        right("BUFFER p50"),
        right("p95 ms"),
    ];
    text.push_str(&format!("\n{}", table(&head, &rows)));
    if !sight.events.is_empty() {
        let events: Vec<_> = last_events(sight).collect();
        text.push_str(&format!("\nEVENTS\n{}\n", events.join("\n")));
    }
    text
}

fn title(sight: &Sight) -> String {
    let snapshot = &sight.snapshot;
    let report = &snapshot.report;
    let dropped = report.stages.iter().map(|stage| stage.dropped).sum::<u64>()
        + report.links.iter().map(|link| link.dropped).sum::<u64>();
    let members =
        if snapshot.members == 0 { String::new() } else { format!("   {} members", snapshot.members) };
    let faults =
        if report.faults.is_empty() { String::new() } else { format!("   {} faults", report.faults.len()) };
    format!("{}   {:.1} s{members}   {dropped} dropped{faults}", printable(&report.graph), report.seconds)
}

fn ends(sight: &Sight) -> [(&'static str, Option<Summary>); 2] {
    let recent = &sight.snapshot.recent.end_to_end_ms;
    [("audio", recent.audio), ("video", recent.video)]
}

/// Name, awake, turns and wakes a second.
fn lane_cells(lane: &RecentLane, sight: &Sight) -> [String; 4] {
    [
        printable(&lane.lane),
        format!("{:.1} %", lane.utilisation * 100.0),
        per_second(lane.turns, sight),
        per_second(lane.wakes, sight),
    ]
}

/// Name, frames a second, drops, work, and medians and p95 of the three shares.
fn stage_cells(stage: &RecentStage, sight: &Sight) -> [String; 10] {
    let [wait, work, buffer] = [&stage.wait_ms, &stage.work_ms, &stage.buffer_ms];
    [
        printable(&stage.node),
        per_second(stage.frames, sight),
        stage.dropped.to_string(),
        one(stage.utilisation * 100.0),
        three(wait.p50),
        three(wait.p95),
        three(work.p50),
        three(work.p95),
        three(buffer.p50),
        three(buffer.p95),
    ]
}

fn last_events(sight: &Sight) -> impl Iterator<Item = String> {
    let skip = sight.events.len().saturating_sub(EVENTS);
    sight
        .events
        .iter()
        .skip(skip)
        .map(|said| format!("{:8.3} s  {}: {}", said.at, printable(&said.node), printable(&said.what)))
}

fn busiest(lanes: &[RecentLane]) -> Vec<&RecentLane> {
    let mut lanes: Vec<_> = lanes.iter().collect();
    if lanes.len() > LANES {
        lanes.sort_by(|a, b| b.utilisation.total_cmp(&a.utilisation));
        lanes.truncate(LANES);
    }
    lanes
}

#[allow(clippy::cast_precision_loss)]
fn per_second(count: u64, sight: &Sight) -> String {
    format!("{:.0}", count as f64 / sight.snapshot.recent.seconds.max(1e-3))
}

fn one(number: f64) -> String {
    format!("{number:.1}")
}

/// Milliseconds in five places: as exact as there is room.
fn three(ms: f64) -> String {
    match ms {
        ms if ms >= 1_000.0 => format!("{ms:.0}"),
        ms if ms >= 100.0 => format!("{ms:.1}"),
        ms => format!("{ms:.2}"),
    }
}

/// A bar of eighths.
fn bar(share: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let eighths = (share.clamp(0.0, 1.0) * (LANE_BAR * 8) as f64).round() as usize;
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// A number, on the right of its column.
fn number(text: String) -> Line<'static> {
    Line::raw(text).right_aligned()
}

/// The end of a name that is too long: what tells nodes of a part from one
/// another stands there.
fn tail(name: &str, width: usize) -> String {
    let length = name.chars().count();
    if length <= width {
        return name.to_owned();
    }
    let end: String = name.chars().skip(length + 1 - width).collect();
    format!("…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sight::example;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn drawn(screen: &mut Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_small_terminal_shows_all_there_is_to_tell() {
        let mut screen = Screen::default();
        assert!(!screen.has_seen());
        (0..3).for_each(|_| screen.see(Arc::new(example())));
        let shown = drawn(&mut screen, 80, 24);
        for part in [
            "a \"call\"?   2.0 s   2 members   10 dropped",
            "CAPTURE TO RENDER  frames/s      p50      p95   p99 ms",
            "audio                   100     40.5     81.0    121.5",
            "█████                 25.0 %       400       200",
            "met[\\bob]/jitter            100      4   2.0  1.50  3.00  0.25  0.50  0.00  0.00",
            "stages 1 to 2 of 2, as in the graph",
            "   1.500 s  room: participant ?[31mbob joined",
        ] {
            assert!(shown.contains(part), "{part}\n{shown}");
        }
        assert!(shown.contains('█') && shown.contains("▇▇▇") | shown.contains("███"), "{shown}");
    }

    #[test]
    fn no_terminal_is_too_small_and_scrolling_ends_with_the_stages() {
        let mut sight = example();
        let stage = sight.snapshot.recent.stages[1].clone();
        sight
            .snapshot
            .recent
            .stages
            .extend((0..60).map(|n| RecentStage { node: format!("n{n}"), ..stage.clone() }));
        let mut screen = Screen::default();
        screen.see(Arc::new(sight));
        for (width, height) in [(1, 1), (5, 3), (40, 8), (300, 100)] {
            drawn(&mut screen, width, height);
        }
        (0..100).for_each(|_| screen.press(KeyCode::Down));
        screen.press(KeyCode::Char('s'));
        let shown = drawn(&mut screen, 80, 24);
        assert!(shown.contains("of 62, by work") && shown.contains("n59"), "{shown}");
    }

    #[test]
    fn as_text_it_tells_the_same() {
        let text = as_text(&example());
        for part in ["a \"call\"?   2.0 s", "audio", "met[\\bob]/jitter", "25.0 %", "room: participant"] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
