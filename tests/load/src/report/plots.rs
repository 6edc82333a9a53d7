//! Draws the plots, as SVG that stands in the page.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::Outcome;

const WIDTH: u32 = 560;
const HEIGHT: u32 = 240;
/// Of all text, pixels.
const FONT: (&str, u32) = ("sans-serif", 12);
/// Distinct for most eyes, also in grey.
const COLOURS: [RGBColor; 4] =
    [RGBColor(31, 96, 150), RGBColor(214, 96, 20), RGBColor(60, 140, 80), RGBColor(130, 60, 140)];
const GRID: RGBColor = RGBColor(225, 228, 232);
const INK: RGBColor = RGBColor(70, 76, 84);
/// What a logarithmic axis shows of zero.
const LOG_MIN: f64 = 0.01;

/// A line of a plot: its name and its points.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

/// How a plot's axes are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Axes {
    /// What the x axis shows.
    pub(super) x: &'static str,
    pub(super) log_x: bool,
    pub(super) log_y: bool,
}

/// The lines over a common x axis; `None` if there is nothing to draw.
pub(super) fn lines(axes: Axes, lines: &[Line]) -> Outcome<Option<String>> {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    if points().count() < 2 {
        return Ok(None);
    }
    let fold = |of: fn((f64, f64)) -> f64| {
        points().map(of).fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)))
    };
    let ((x0, x1), (y0, y1)) = (fold(|p| p.0), fold(|p| p.1));
    let x1 = if x1 > x0 { x1 } else { x0 + 1.0 };
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        let mut builder = ChartBuilder::on(&root);
        builder.margin(6).margin_right(14).x_label_area_size(34).y_label_area_size(62);
        match (axes.log_x, axes.log_y) {
            (true, true) => {
                let ranges = (log_range(x0, x1), log_range(y0, y1));
                draw(builder.build_cartesian_2d(ranges.0.log_scale(), ranges.1.log_scale()), axes, lines)?;
            }
            (true, false) => {
                draw(builder.build_cartesian_2d(log_range(x0, x1).log_scale(), 0.0..top(y1)), axes, lines)?;
            }
            (false, true) => {
                draw(builder.build_cartesian_2d(x0..x1, log_range(y0, y1).log_scale()), axes, lines)?;
            }
            (false, false) => {
                draw(builder.build_cartesian_2d(x0..x1, 0.0..top(y1)), axes, lines)?;
            }
        }
        root.present().map_err(|e| format!("drawing a plot: {e}"))?;
    }
    Ok(Some(svg))
}

/// A little room above the highest point.
fn top(high: f64) -> f64 {
    if high > 0.0 { high * 1.1 } else { 1.0 }
}

/// To the decades around.
fn log_range(low: f64, high: f64) -> std::ops::Range<f64> {
    let low = low.max(LOG_MIN);
    10_f64.powf(low.log10().floor())..10_f64.powf(high.max(low * 1.001).log10().ceil())
}

type Made<'a, 'b, X, Y, E> = Result<ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>, E>;

fn draw<'a, 'b: 'a, X, Y, E>(chart: Made<'a, 'b, X, Y, E>, axes: Axes, lines: &[Line]) -> Outcome<()>
where
    X: Ranged<ValueType = f64> + plotters::coord::ranged1d::ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + plotters::coord::ranged1d::ValueFormatter<f64>,
    E: std::fmt::Display,
{
    let failed = |e: &dyn std::fmt::Display| format!("drawing a plot: {e}");
    let mut chart = chart.map_err(|e| failed(&e))?;
    let x_label = |value: &f64| if axes.log_x { decade(*value) } else { number(*value) };
    let y_label = |value: &f64| if axes.log_y { decade(*value) } else { number(*value) };
    chart
        .configure_mesh()
        .x_desc(axes.x)
        .x_labels(8)
        .y_labels(6)
        .x_label_formatter(&x_label)
        .y_label_formatter(&y_label)
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(FONT.into_font().color(&INK))
        .axis_desc_style(FONT.into_font().color(&INK))
        .draw()
        .map_err(|e| failed(&e))?;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let low = if axes.log_y { LOG_MIN } else { f64::MIN };
        let points: Vec<(f64, f64)> = line.points.iter().map(|(x, y)| (*x, y.max(low))).collect();
        let style = colour.stroke_width(2);
        let few = points.len() <= 40;
        chart
            .draw_series(LineSeries::new(points.clone(), style))
            .map_err(|e| failed(&e))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 14, y)], style));
        if few {
            let dots = points.into_iter().map(|point| Circle::new(point, 2, colour.filled()));
            chart.draw_series(dots).map_err(|e| failed(&e))?;
        }
    }
    if lines.len() > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(GRID)
            .label_font(FONT.into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Top)))
            .draw()
            .map_err(|e| failed(&e))?;
    }
    Ok(())
}

/// Bars of a histogram over a logarithmic axis: lower bound, upper bound, count.
pub(super) fn histogram(x: &'static str, bars: &[(f64, f64, f64)]) -> Outcome<Option<String>> {
    let (Some(first), Some(last)) = (bars.first(), bars.last()) else { return Ok(None) };
    let high = bars.iter().map(|bar| bar.2).fold(1.0, f64::max);
    let failed = |e: &dyn std::fmt::Display| format!("drawing a plot: {e}");
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        let range = first.0.max(LOG_MIN)..last.1.max(first.0 * 1.5);
        let mut chart = ChartBuilder::on(&root)
            .margin(6)
            .margin_right(14)
            .x_label_area_size(34)
            .y_label_area_size(62)
            .build_cartesian_2d(range.log_scale(), 0.0..high * 1.1)
            .map_err(|e| failed(&e))?;
        chart
            .configure_mesh()
            .x_desc(x)
            .disable_x_mesh()
            .y_labels(6)
            .x_label_formatter(&|v| decade(*v))
            .y_label_formatter(&|v| number(*v))
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style(FONT.into_font().color(&INK))
            .axis_desc_style(FONT.into_font().color(&INK))
            .draw()
            .map_err(|e| failed(&e))?;
        let colour = COLOURS.first().copied().unwrap_or(INK);
        let boxes = bars.iter().map(|(from, to, count)| {
            Rectangle::new([(from.max(LOG_MIN), 0.0), (*to, *count)], colour.mix(0.75).filled())
        });
        chart.draw_series(boxes).map_err(|e| failed(&e))?;
        root.present().map_err(|e| failed(&e))?;
    }
    Ok(Some(svg))
}

/// On a logarithmic axis only 1, 2 and 5 of each decade have a label: the others would touch.
fn decade(value: f64) -> String {
    let mantissa = value / 10_f64.powf(value.max(f64::MIN_POSITIVE).log10().floor());
    let shown = [1.0, 2.0, 5.0, 10.0].iter().any(|one| (mantissa - one).abs() < 0.01);
    if shown { number(value) } else { String::new() }
}

/// Short: 1,500,000 is 1.5M.
pub(super) fn number(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        v if v >= 1e9 => (value / 1e9, "G"),
        v if v >= 1e6 => (value / 1e6, "M"),
        v if v >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    // Three digits that say something.
    let digits = match scaled.abs() {
        v if v >= 100.0 || scaled.fract().abs() < 1e-9 => 0,
        v if v >= 10.0 => 1,
        v if v >= 0.1 => 2,
        v if v >= 0.01 => 3,
        v if v >= 0.001 => 4,
        _ => 6,
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::{Axes, Line, histogram, lines, number};

    #[test]
    fn numbers_are_short() {
        let all = [0.0, 0.000_12, 0.0123, 0.25, 12.34, 9_999.0, 15_000.0, 1_500_000.0, 2e9].map(number);
        assert_eq!(all, ["0", "0.00012", "0.012", "0.25", "12.3", "9999", "15k", "1.5M", "2G"]);
    }

    #[test]
    fn there_is_no_plot_without_points() {
        let line = |points| Line { name: "n", points };
        assert!(lines(Axes::default(), &[]).expect("fine").is_none());
        assert!(lines(Axes::default(), &[line(vec![(1.0, 1.0)])]).expect("fine").is_none());
        assert!(histogram("x", &[]).expect("fine").is_none());
    }

    #[test]
    fn zero_and_equal_values_can_be_drawn_on_every_axis() {
        for (log_x, log_y) in [(false, false), (false, true), (true, false), (true, true)] {
            let axes = Axes { x: "x", log_x, log_y };
            for points in [vec![(0.0, 0.0), (0.0, 0.0)], vec![(1.0, 5.0), (2.0, 5.0)]] {
                let svg = lines(axes, &[Line { name: "n", points }]).expect("drawn").expect("a plot");
                assert!(svg.starts_with("<svg") && !svg.contains("NaN"), "{axes:?}");
            }
        }
        assert!(histogram("x", &[(0.0, 1.0, 3.0)]).expect("drawn").is_some());
    }
}
