//! Plots of the results: figures as points over their spread, on a logarithmic
//! scale, since peers lie decades apart.

use std::error::Error;
use std::fs;
use std::path::Path;

use plotters::prelude::*;

use crate::results::{Results, Spread, shown};
use crate::targets::Figure;

/// One plot.
pub(crate) struct Chart {
    /// Its file, without the ending.
    pub(crate) file: &'static str,
    /// Which row it is of.
    pub(crate) row: &'static str,
    /// What stands above it.
    pub(crate) title: &'static str,
    /// What stands beside it.
    unit: &'static str,
    /// What stands below each place, and the case and metric that stand there.
    places: &'static [(&'static str, &'static str, &'static str)],
}

/// Every plot.
pub(crate) const CHARTS: &[Chart] = &[
    Chart {
        file: "inline",
        row: "inline",
        title: "A chain in one lane",
        unit: "ns of processor time a frame",
        places: &[
            ("1 node", "1", "cpu_ns_per_buffer"),
            ("10 nodes", "10", "cpu_ns_per_buffer"),
            ("100 nodes", "100", "cpu_ns_per_buffer"),
            ("one more hop", "slope", "cpu_ns_per_hop"),
        ],
    },
    Chart {
        file: "wake",
        row: "hop",
        title: "Waking a sleeping lane",
        unit: "µs from push to call",
        places: &[
            ("apart p50", "wake apart", "p50_us"),
            ("p99", "wake apart", "p99_us"),
            ("together p50", "wake together", "p50_us"),
            ("p99", "wake together", "p99_us"),
            ("free p50", "wake free", "p50_us"),
            ("p99", "wake free", "p99_us"),
        ],
    },
    Chart {
        file: "fanout",
        row: "fanout",
        title: "Fan-out by sinks and payload",
        unit: "ns of processor time a frame",
        places: &[
            ("1x1KiB", "1x1KiB", "cpu_ns_per_buffer"),
            ("1x64KiB", "1x64KiB", "cpu_ns_per_buffer"),
            ("1x4MiB", "1x4MiB", "cpu_ns_per_buffer"),
            ("4x1KiB", "4x1KiB", "cpu_ns_per_buffer"),
            ("4x64KiB", "4x64KiB", "cpu_ns_per_buffer"),
            ("4x4MiB", "4x4MiB", "cpu_ns_per_buffer"),
            ("16x1KiB", "16x1KiB", "cpu_ns_per_buffer"),
            ("16x64KiB", "16x64KiB", "cpu_ns_per_buffer"),
            ("16x4MiB", "16x4MiB", "cpu_ns_per_buffer"),
        ],
    },
    Chart {
        file: "paced_cpu",
        row: "paced",
        title: "Paced streams: processor time",
        unit: "% of one processor",
        places: &[
            ("50", "50", "cpu_percent"),
            ("200", "200", "cpu_percent"),
            ("1,000 streams", "1000", "cpu_percent"),
        ],
    },
    Chart {
        file: "paced_late",
        row: "paced",
        title: "Paced streams: how late ticks come",
        unit: "ms",
        places: &[
            ("50, p50", "50", "late_p50_ms"),
            ("p99", "50", "late_p99_ms"),
            ("200, p50", "200", "late_p50_ms"),
            ("p99", "200", "late_p99_ms"),
            ("1,000, p50", "1000", "late_p50_ms"),
            ("p99", "1000", "late_p99_ms"),
        ],
    },
    Chart {
        file: "call",
        row: "call",
        title: "A call with 20 ms of jitter buffer: capture to render",
        unit: "ms",
        places: &[
            ("sound p50", "jitter 20 ms", "audio_p50_ms"),
            ("p99", "jitter 20 ms", "audio_p99_ms"),
            ("outside codecs", "jitter 20 ms", "audio_outside_ms"),
            ("pictures p50", "jitter 20 ms", "video_p50_ms"),
            ("p99", "jitter 20 ms", "video_p99_ms"),
            ("outside codecs", "jitter 20 ms", "video_outside_ms"),
        ],
    },
];

/// Whoever may have figures, and their colour (after Okabe and Ito, which the
/// colour-blind tell apart).
const COLOURS: &[(&str, RGBColor)] = &[
    ("sidetone", RGBColor(213, 94, 0)),
    ("gstreamer", RGBColor(0, 114, 178)),
    ("gstreamer_lowest", RGBColor(86, 180, 233)),
    ("ffmpeg", RGBColor(0, 158, 115)),
    ("ffmpeg_anull", RGBColor(110, 200, 160)),
    ("futuresdr", RGBColor(204, 121, 167)),
    ("futuresdr_flow", RGBColor(150, 80, 120)),
    ("futuresdr_stream", RGBColor(204, 121, 167)),
    ("futuresdr_message", RGBColor(150, 80, 120)),
    ("ring", RGBColor(0, 0, 0)),
    ("crossbeam", RGBColor(120, 120, 120)),
];

/// Draws every plot that has figures into `folder`.
pub(crate) fn draw(results: &Results, folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|why| format!("cannot make {}: {why}", folder.display()))?;
    for chart in CHARTS {
        let file = folder.join(chart.file).with_extension("svg");
        chart.draw(results, &file).map_err(|why| format!("cannot draw {}: {why}", file.display()))?;
    }
    Ok(())
}

impl Chart {
    fn draw(&self, results: &Results, file: &Path) -> Result<(), Box<dyn Error>> {
        let everybody = results.everybody(self.row);
        let series: Vec<(&str, RGBColor, Vec<Option<Spread>>)> = COLOURS
            .iter()
            .filter(|(who, _)| everybody.iter().any(|name| name == who))
            .map(|&(who, colour)| (who, colour, self.figures(results, who)))
            .filter(|(.., spreads)| spreads.iter().any(Option::is_some))
            .collect();
        let all = || series.iter().flat_map(|(.., spreads)| spreads.iter().flatten());
        // A logarithm wants something above zero.
        let low = all().map(|spread| spread.least).fold(f64::MAX, f64::min).max(1e-3);
        let high = all().map(|spread| spread.greatest).fold(low * 2.0, f64::max);
        if series.is_empty() {
            return Ok(());
        }

        let last = self.places.len() as f64 - 0.5;
        let root = SVGBackend::new(file, (800, 420)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(32)
            .y_label_area_size(72)
            .build_cartesian_2d(-0.5..last, (low / 1.5..high * 1.5).log_scale())?;
        let name = |at: &f64| {
            let place = at.round();
            let known = self.places.get(place.max(0.0) as usize).filter(|_| (at - place).abs() < 0.01);
            known.map_or_else(String::new, |(name, ..)| (*name).to_owned())
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(RGBColor(240, 240, 240))
            .x_labels(self.places.len() * 2 + 1)
            .x_label_formatter(&name)
            .y_desc(self.unit)
            .y_label_formatter(&|value| shown(*value))
            .draw()?;
        for (index, (who, colour, spreads)) in series.iter().enumerate() {
            // Side by side, so that none hides another.
            let beside = (index as f64 - (series.len() as f64 - 1.0) / 2.0) * 0.09;
            let style = colour.stroke_width(2);
            let at = |place: usize| place as f64 + beside;
            let found = || spreads.iter().enumerate().filter_map(|(place, found)| Some((place, (*found)?)));
            let ends = |spread: Spread| (spread.least.max(low), spread.greatest.max(low));
            chart.draw_series(found().map(|(place, spread)| {
                let (least, greatest) = ends(spread);
                PathElement::new(vec![(at(place), least), (at(place), greatest)], style)
            }))?;
            chart
                .draw_series(found().map(|(place, spread)| {
                    Circle::new((at(place), spread.median.max(low)), 5, colour.filled())
                }))?
                .label(*who)
                .legend(move |(x, y)| Circle::new((x + 8, y), 5, colour.filled()));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(200, 200, 200))
            .draw()?;
        root.present()?;
        Ok(())
    }

    fn figures(&self, results: &Results, who: &str) -> Vec<Option<Spread>> {
        let of =
            |&(_, case, metric): &(&str, &str, &str)| results.spread(self.row, Figure { who, case, metric });
        self.places.iter().map(of).collect()
    }
}
