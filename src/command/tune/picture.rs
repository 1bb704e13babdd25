//! The frontier as a picture: every setting's objective against each subject, on
//! the terminal and as SVG.

use std::fmt::Write as _;

/// What is drawn: one panel for each figure on the upright axis.
pub(super) struct Picture {
    pub(super) title: String,
    /// What runs to the right.
    pub(super) across: Axis,
    /// What runs up, a panel each.
    pub(super) up: Vec<Axis>,
    pub(super) dots: Vec<Dot>,
}

pub(super) struct Axis {
    pub(super) name: String,
    pub(super) unit: String,
    /// Drawn as a line, where there is one.
    pub(super) limit: Option<f64>,
}

/// One setting.
pub(super) struct Dot {
    pub(super) across: f64,
    /// One for each panel.
    pub(super) up: Vec<f64>,
    pub(super) rank: Rank,
    /// The setting itself, told where the pointer rests.
    pub(super) label: String,
}

/// How a dot is drawn; those that matter more are drawn later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Beaten,
    Frontier,
    Best,
}

const WIDTH: usize = 60;
const HEIGHT: usize = 15;

/// The first panel in characters: `.` a setting, `o` one on the frontier, `*` the
/// best that keeps to the subjects, `-` the limit.
pub(super) fn sketch(picture: &Picture) -> String {
    let Some(up) = picture.up.first() else { return String::new() };
    let points: Vec<_> =
        picture.dots.iter().filter_map(|dot| Some((dot.across, *dot.up.first()?, dot.rank))).collect();
    if points.is_empty() {
        return String::new();
    }
    let (left, right) = ends(points.iter().map(|point| point.0));
    let (bottom, top) = ends(points.iter().map(|point| point.1).chain(up.limit));
    let place = |value: f64, (low, high): (f64, f64), cells: usize| {
        (((value - low) / (high - low)) * (cells - 1) as f64).round().clamp(0.0, (cells - 1) as f64) as usize
    };
    let mut rows = vec![vec![' '; WIDTH]; HEIGHT];
    if let Some(limit) = up.limit {
        rows[HEIGHT - 1 - place(limit, (bottom, top), HEIGHT)].fill('-');
    }
    let mut ranked = points;
    ranked.sort_by_key(|point| point.2);
    for (across, up, rank) in ranked {
        let mark = match rank {
            Rank::Beaten => '.',
            Rank::Frontier => 'o',
            Rank::Best => '*',
        };
        rows[HEIGHT - 1 - place(up, (bottom, top), HEIGHT)][place(across, (left, right), WIDTH)] = mark;
    }
    let ticks = [short(top), short(bottom)];
    let margin = ticks.iter().map(|tick| tick.chars().count()).max().unwrap_or(0);
    let mut text = format!("{:margin$}   {}\n", "", with_unit(up));
    for (index, row) in rows.iter().enumerate() {
        let tick = match index {
            0 => ticks[0].as_str(),
            n if n == HEIGHT - 1 => ticks[1].as_str(),
            _ => "",
        };
        let row: String = row.iter().collect();
        let _ = writeln!(text, "{tick:>margin$} | {}", row.trim_end());
    }
    let (left, right) = (short(left), short(right));
    let gap = WIDTH.saturating_sub(left.chars().count() + right.chars().count());
    let _ = writeln!(text, "{:margin$} +{}", "", "-".repeat(WIDTH + 1));
    let _ = writeln!(text, "{:margin$}   {left}{:gap$}{right}  {}", "", "", with_unit(&picture.across));
    text
}

/// All panels, as a file that a browser shows.
pub(super) fn svg(picture: &Picture) -> String {
    const W: f64 = 640.0;
    const H: f64 = 360.0;
    const LEFT: f64 = 70.0;
    const ROOM: f64 = 50.0;
    let panels = picture.up.len().max(1) as f64;
    let height = 40.0 + panels * (H + ROOM);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {:.0} {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{}</text>\n",
        W + LEFT + 30.0,
        W + LEFT + 30.0,
        escaped(&picture.title)
    );
    let (left, right) = ends(picture.dots.iter().map(|dot| dot.across));
    for (panel, up) in picture.up.iter().enumerate() {
        let values = picture.dots.iter().filter_map(|dot| dot.up.get(panel).copied());
        let (bottom, top) = ends(values.chain(up.limit));
        let above = 40.0 + panel as f64 * (H + ROOM);
        let x = |value: f64| LEFT + (value - left) / (right - left) * W;
        let y = |value: f64| above + H - (value - bottom) / (top - bottom) * H;
        let _ = writeln!(
            text,
            "<rect x=\"{LEFT}\" y=\"{above}\" width=\"{W}\" height=\"{H}\" fill=\"none\" stroke=\"#999\"/>"
        );
        for step in 0..=4 {
            let share = f64::from(step) / 4.0;
            let (across, upward) = (left + (right - left) * share, bottom + (top - bottom) * share);
            let _ = writeln!(
                text,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                x(across),
                above + H + 16.0,
                short(across),
                LEFT - 6.0,
                y(upward) + 4.0,
                short(upward)
            );
        }
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT + W / 2.0,
            above + H + 34.0,
            escaped(&with_unit(&picture.across)),
            LEFT + 6.0,
            above + 16.0,
            escaped(&with_unit(up))
        );
        if let Some(limit) = up.limit {
            let at = y(limit);
            let _ = writeln!(
                text,
                "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\" stroke=\"#c60\" stroke-dasharray=\"5 4\"/>",
                LEFT + W
            );
        }
        let mut dots: Vec<&Dot> = picture.dots.iter().collect();
        dots.sort_by_key(|dot| dot.rank);
        for dot in dots {
            let Some(&value) = dot.up.get(panel) else { continue };
            let (radius, colour) = match dot.rank {
                Rank::Beaten => (3.0, "#bbb"),
                Rank::Frontier => (4.5, "#06c"),
                Rank::Best => (7.0, "#083"),
            };
            let _ = writeln!(
                text,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\" fill=\"{colour}\"><title>{}</title></circle>",
                x(dot.across),
                y(value),
                escaped(&dot.label)
            );
        }
    }
    text.push_str("</svg>\n");
    text
}

/// The ends of an axis that shows all of `values`, with something between them.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return (0.0, 1.0);
    }
    let room = if high > low { (high - low) * 0.04 } else { low.abs().max(1.0) * 0.1 };
    (low - room, high + room)
}

fn with_unit(axis: &Axis) -> String {
    if axis.unit.is_empty() { axis.name.clone() } else { format!("{}, {}", axis.name, axis.unit) }
}

/// A number in few characters.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        let dot =
            |across: f64, up: f64, rank| Dot { across, up: vec![up], rank, label: format!("a<{across}>") };
        Picture {
            title: "a & b".into(),
            across: Axis { name: "latency".into(), unit: "ms".into(), limit: None },
            up: vec![Axis { name: "snr".into(), unit: "dB".into(), limit: Some(10.0) }],
            dots: vec![
                dot(20.0, 8.0, Rank::Frontier),
                dot(40.0, 8.0, Rank::Beaten),
                dot(30.0, 12.0, Rank::Best),
            ],
        }
    }

    #[test]
    fn the_sketch_marks_settings_frontier_best_and_limit() {
        let text = sketch(&picture());
        let row = |mark: char| {
            text.lines().position(|line| line.split('|').nth(1).is_some_and(|r| r.contains(mark)))
        };
        let (best, limit, beaten, frontier) = (row('*'), row('-'), row('.'), row('o'));
        assert!(best < limit && limit < frontier && frontier == beaten && best.is_some(), "\n{text}");
        assert!(text.contains("snr, dB") && text.contains("latency, ms"), "\n{text}");
    }

    #[test]
    fn the_svg_holds_every_dot_and_nothing_that_is_not_escaped() {
        let text = svg(&picture());
        assert!(text.starts_with("<svg") && text.ends_with("</svg>\n"));
        assert_eq!(text.matches("<circle").count(), 3);
        assert!(text.contains("a &amp; b") && text.contains("<title>a&lt;20&gt;</title>"), "{text}");
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }

    #[test]
    fn one_point_and_none_have_a_picture_too() {
        let mut one = picture();
        one.dots.truncate(1);
        assert!(sketch(&one).contains('o') && !svg(&one).contains("NaN"));
        one.dots.clear();
        assert!(sketch(&one).is_empty() && !svg(&one).contains("NaN"));
    }
}
