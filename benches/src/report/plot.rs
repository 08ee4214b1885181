//! A figure as SVG, drawn with plotters. Its text stays text: it needs no fonts where it is made and can be searched
//! where it is read.
//!
//! Axes are always linear to plotters; logarithms are taken here, so that every kind of axis has the same type. All
//! colours are of [`Color`]: the page gives them other values in the dark, by their names in the SVG.

use std::ops::Range;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::prelude::*;

use super::row::{number, size};
use super::{Axis, Figure, Kind, Scale, Unit};

/// The size of every plot in pixels.
pub const SIZE: (u32, u32) = (860, 430);

const INK: RGBColor = RGBColor(0x33, 0x3a, 0x45);
const GRID: RGBColor = RGBColor(0xdf, 0xe3, 0xe8);

/// The colours of systems: the first of them is ours.
pub const PALETTE: [RGBColor; 8] = [
    RGBColor(0x1f, 0x6f, 0xeb),
    RGBColor(0x5b, 0x64, 0x70),
    RGBColor(0xd9, 0x6b, 0x1c),
    RGBColor(0x1f, 0x94, 0x63),
    RGBColor(0x8a, 0x4f, 0xd0),
    RGBColor(0xc2, 0x25, 0x5c),
    RGBColor(0x0e, 0x8f, 0xa8),
    RGBColor(0xa0, 0x7d, 0x10),
];

const FONT: &str = "system-ui, sans-serif";
const FONT_PIXELS: u32 = 13;
const LEGEND_PIXELS: u32 = 24;

/// Systems that have the same colour on every figure.
const KNOWN: [(&str, usize); 5] =
    [("corelog", 0), ("raw io_uring", 1), ("fio", 2), ("tokio-uring", 3), ("one shared journal", 4)];

/// Draws the figure.
pub fn svg(figure: &Figure) -> Result<String> {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        draw(figure, &root).map_err(|error| anyhow!("cannot draw {}: {error}", figure.id))?;
        root.present().map_err(|error| anyhow!("cannot draw {}: {error}", figure.id))?;
    }
    Ok(text)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

fn draw(figure: &Figure, root: &Area<'_>) -> Drawn {
    let rows = legend(figure, root)?;
    let (_, body) = root.split_vertically(6 + rows * LEGEND_PIXELS);
    let x = Ticks::of(&figure.x, figure.series.iter().flat_map(|series| series.points.iter().map(|point| point.x)));
    let y = Ticks::of(
        &figure.y,
        figure.series.iter().flat_map(|series| series.points.iter().flat_map(|point| [point.y, point.high, point.low])),
    );
    let x = if let Kind::Bars { groups } = &figure.kind { Ticks::groups(groups.len()) } else { x };
    let mut chart = ChartBuilder::on(&body)
        .margin_right(22)
        .margin_left(4)
        .x_label_area_size(48)
        .y_label_area_size(66)
        .build_cartesian_2d(x.clone(), y.clone())?;
    let words = (FONT, FONT_PIXELS).into_font().color(&INK);
    let x_label = |place: &f64| match &figure.kind {
        Kind::Bars { groups } => groups.get(place.round() as usize).cloned().unwrap_or_default(),
        Kind::Lines => written(&figure.x, *place),
    };
    let mut mesh = chart.configure_mesh();
    mesh.x_labels(x.places.len().max(2)).y_labels(y.places.len().max(2)).x_label_formatter(&x_label);
    let y_label = |place: &f64| written(&figure.y, *place);
    mesh.y_label_formatter(&y_label).bold_line_style(GRID).light_line_style(TRANSPARENT).axis_style(INK);
    mesh.x_desc(figure.x.label.clone())
        .y_desc(figure.y.label.clone())
        .axis_desc_style(words.clone())
        .label_style(words);
    if matches!(figure.kind, Kind::Bars { .. }) {
        mesh.disable_x_mesh();
    }
    mesh.draw()?;
    for (index, series) in figure.series.iter().enumerate() {
        let color = color(figure, index);
        let place = |point: &super::Point| match figure.kind {
            Kind::Bars { .. } => bar(figure, index, point.x).0,
            Kind::Lines => scaled(&figure.x, point.x),
        };
        if matches!(figure.kind, Kind::Bars { .. }) {
            chart.draw_series(series.points.iter().map(|point| {
                let (middle, width) = bar(figure, index, point.x);
                let (left, right) = (middle - width * 0.46, middle + width * 0.46);
                Rectangle::new([(left, y.low), (right, scaled(&figure.y, point.y))], color.filled())
            }))?;
        } else {
            let line = series.points.iter().map(|point| (place(point), scaled(&figure.y, point.y)));
            if series.dashed {
                chart.draw_series(DashedLineSeries::new(line.clone(), 7, 5, color.stroke_width(2)))?;
            } else {
                chart.draw_series(LineSeries::new(line.clone(), color.stroke_width(2)))?;
            }
            if series.points.len() <= 24 {
                chart.draw_series(line.map(|at| Circle::new(at, 3, color.filled())))?;
            }
        }
        let ranged = series.points.iter().filter(|point| point.high > point.low);
        let whisker = if matches!(figure.kind, Kind::Bars { .. }) { INK } else { color };
        chart.draw_series(ranged.map(|point| {
            let ends = [point.low, point.high].map(|value| (place(point), scaled(&figure.y, value).max(y.low)));
            PathElement::new(ends.to_vec(), whisker.stroke_width(1))
        }))?;
    }
    Ok(())
}

/// Draws the legend over the plot and returns its number of lines.
fn legend(figure: &Figure, root: &Area<'_>) -> std::result::Result<u32, Box<dyn std::error::Error>> {
    let (mut x, mut line) = (70i32, 0i32);
    for (index, series) in figure.series.iter().enumerate() {
        let width = 34 + series.name.chars().count() as i32 * 7 + 18;
        if x > 70 && x + width > SIZE.0 as i32 {
            (x, line) = (70, line + 1);
        }
        let y = 6 + line * LEGEND_PIXELS as i32 + 8;
        let color = color(figure, index);
        match figure.kind {
            Kind::Bars { .. } => root.draw(&Rectangle::new([(x + 6, y - 6), (x + 20, y + 6)], color.filled()))?,
            Kind::Lines if series.dashed => {
                root.draw(&PathElement::new(vec![(x, y), (x + 10, y)], color.stroke_width(2)))?;
                root.draw(&PathElement::new(vec![(x + 16, y), (x + 26, y)], color.stroke_width(2)))?;
            }
            Kind::Lines => root.draw(&PathElement::new(vec![(x, y), (x + 26, y)], color.stroke_width(3)))?,
        }
        let words = (FONT, FONT_PIXELS).into_font().color(&INK);
        root.draw(&Text::new(series.name.clone(), (x + 32, y - 6), words))?;
        x += width;
    }
    Ok(line as u32 + 1)
}

/// The color of a series: that of its system where it is known, else one that no system on the figure has. Ours is
/// kept for us where others are on the figure too.
fn color(figure: &Figure, index: usize) -> RGBColor {
    let name = &figure.series[index].name;
    let known = |name: &str| KNOWN.iter().find(|known| name == known.0).map(|known| known.1);
    if let Some(place) = known(name) {
        return PALETTE[place];
    }
    let taken: Vec<usize> = figure.series.iter().filter_map(|series| known(&series.name)).collect();
    let first = usize::from(!taken.is_empty());
    let free: Vec<usize> = (first..PALETTE.len()).filter(|place| !taken.contains(place)).collect();
    let unknown_before = figure.series[..index].iter().filter(|series| known(&series.name).is_none()).count();
    PALETTE[free[unknown_before % free.len()]]
}

/// Where the middle of a bar is and how wide it is: the bars of a group share its width, however many there are.
fn bar(figure: &Figure, index: usize, group: f64) -> (f64, f64) {
    let has = |series: &super::Series| series.points.iter().any(|point| point.x == group);
    let present = figure.series.iter().filter(|series| has(series)).count().max(1);
    let before = figure.series[..index].iter().filter(|series| has(series)).count();
    let width = 0.78 / (present.max(2)) as f64;
    (group + width * (before as f64 + 0.5 - present as f64 / 2.0), width)
}

/// The ends of an axis and the places of its labels, after its scale was applied.
#[derive(Clone, Debug)]
struct Ticks {
    low: f64,
    high: f64,
    places: Vec<f64>,
}

impl Ticks {
    fn of(axis: &Axis, values: impl Iterator<Item = f64>) -> Ticks {
        let legal = |value: &f64| value.is_finite() && (axis.scale == Scale::Linear || *value > 0.0);
        let mut values: Vec<f64> = values.filter(legal).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let (Some(&first), Some(&last)) = (values.first(), values.last()) else {
            return Ticks { low: 0.0, high: 1.0, places: vec![0.0, 1.0] };
        };
        match axis.scale {
            Scale::Linear => Ticks::even(last.max(1e-9)),
            Scale::Log2 => {
                let places: Vec<f64> = values.iter().map(|value| value.log2()).collect();
                Ticks { low: places[0] - 0.3, high: places[places.len() - 1] + 0.3, places }
            }
            Scale::Log10 => Ticks::decades(first, last),
        }
    }

    fn groups(count: usize) -> Ticks {
        Ticks { low: -0.5, high: count as f64 - 0.5, places: (0..count).map(|group| group as f64).collect() }
    }

    /// From zero to a little over `last`, about six labels at round numbers.
    fn even(last: f64) -> Ticks {
        let rough = last / 5.0;
        let magnitude = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * magnitude).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(magnitude * 10.0);
        let count = (last / step).ceil() as usize;
        let places = (0..=count).map(|place| place as f64 * step).collect();
        Ticks { low: 0.0, high: (count as f64 * step).max(last * 1.04), places }
    }

    /// Labels at 1, 2 and 5 of each decade, only at 1 where there are many.
    fn decades(first: f64, last: f64) -> Ticks {
        let (low, high) = (first.log10() - 0.08, last.log10() + 0.08);
        let factors: &[f64] = if high - low > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let decades = low.floor() as i32..=high.ceil() as i32;
        let places = decades.flat_map(|decade| factors.iter().map(move |factor| factor.log10() + f64::from(decade)));
        Ticks { low, high, places: places.filter(|place| (low..=high).contains(place)).collect() }
    }
}

impl Ranged for Ticks {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.low) / (self.high - self.low);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.places.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

fn scaled(axis: &Axis, value: f64) -> f64 {
    match axis.scale {
        Scale::Linear => value,
        Scale::Log2 => value.max(1e-9).log2(),
        Scale::Log10 => value.max(1e-9).log10(),
    }
}

fn written(axis: &Axis, place: f64) -> String {
    let value = match axis.scale {
        Scale::Linear => place,
        Scale::Log2 => place.exp2(),
        Scale::Log10 => 10f64.powf(place),
    };
    let plain = |value: f64| {
        let rounded = (value * 1e6).round() / 1e6;
        if rounded.abs() < 100.0 { format!("{rounded}") } else { number(rounded) }
    };
    match axis.unit {
        Unit::Plain => plain(value),
        Unit::Bytes => size(value.round() as u64),
        Unit::Micros if value >= 999_999.5 => format!("{} s", plain((value / 1e3).round() / 1e3)),
        Unit::Micros if value >= 999.5 => format!("{} ms", plain((value / 10.0).round() / 100.0)),
        Unit::Micros => format!("{} µs", plain((value * 1e3).round() / 1e3)),
        Unit::Tail => {
            let percent = 100.0 - 100.0 / value;
            format!("{} %", (percent * 1e4).round() / 1e4)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Series;

    fn figure(kind: Kind, x: Axis, y: Axis) -> Figure {
        let mut ours = Series::new("corelog");
        let mut raw = Series::dashed("raw io_uring");
        for place in 0..3 {
            ours.push_value(f64::from(place) + 1.0, 1000.0 * f64::from(place + 1));
            raw.push_value(f64::from(place) + 1.0, 1100.0 * f64::from(place + 1));
        }
        let words = ("id".to_owned(), "title".to_owned(), "caption".to_owned());
        Figure { id: words.0, title: words.1, caption: words.2, kind, x, y, series: vec![ours, raw] }
    }

    #[test]
    fn every_kind_of_figure_is_drawn_with_its_words() {
        for (scale, unit) in [(Scale::Linear, Unit::Plain), (Scale::Log2, Unit::Bytes), (Scale::Log10, Unit::Micros)] {
            let lines = figure(Kind::Lines, Axis::new("across", scale, unit), Axis::new("up", scale, unit));
            let text = svg(&lines).expect("an SVG");
            assert!(text.contains("raw io_uring") && text.contains("across"), "{text}");
        }
        let groups = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let bars = figure(Kind::Bars { groups }, Axis::linear(""), Axis::linear("up"));
        assert!(svg(&bars).expect("an SVG").contains("<rect"));
        assert!(svg(&Figure { series: Vec::new(), ..bars }).is_ok());
    }

    #[test]
    fn labels_are_round_numbers() {
        assert_eq!(Ticks::even(430.0).places, [0.0, 100.0, 200.0, 300.0, 400.0, 500.0]);
        let micros = Axis::new("", Scale::Log10, Unit::Micros);
        assert_eq!([2.0, 3.0, 6.3].map(|place| written(&micros, place)), ["100 µs", "1 ms", "1.995 s"]);
        assert_eq!(written(&Axis::new("", Scale::Log10, Unit::Tail), 3.0), "99.9 %");
    }
}
