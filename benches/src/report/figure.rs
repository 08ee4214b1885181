//! What a plot shows: axes, series of points with their range, and the words under it.

use serde::{Deserialize, Serialize};

use crate::measure::Spread;

/// One figure of the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The name of its files.
    pub id: String,
    /// What it says, in a few words.
    pub title: String,
    /// What is on it and how to read it.
    pub caption: String,
    /// Lines or bars.
    pub kind: Kind,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The systems compared.
    pub series: Vec<Series>,
}

/// How points are drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Lines with markers; points of a series from left to right.
    Lines,
    /// Groups of bars; a point's x is the index of its group.
    Bars {
        /// The names of the groups.
        groups: Vec<String>,
    },
}

/// One axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// What it counts, with the unit.
    pub label: String,
    /// How it is spaced.
    pub scale: Scale,
    /// How its numbers are written.
    pub unit: Unit,
}

/// The spacing of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scale {
    /// Even, from zero.
    Linear,
    /// Powers of two: every point has its own tick.
    Log2,
    /// Powers of ten.
    Log10,
}

/// How the numbers of an axis are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// As they are.
    Plain,
    /// As sizes: 4 KiB.
    Bytes,
    /// µs, ms or s, from µs.
    Micros,
    /// The tail of a distribution: 10 is 90 %, 100 is 99 %.
    Tail,
}

/// One system or case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Whether its line is dashed: the reference beside ours.
    pub dashed: bool,
    /// Its points.
    pub points: Vec<Point>,
}

/// A point with its range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Where on the horizontal axis.
    pub x: f64,
    /// The value.
    pub y: f64,
    /// The smallest round, or the value.
    pub low: f64,
    /// The largest round, or the value.
    pub high: f64,
}

impl Axis {
    /// An even axis of plain numbers.
    pub fn linear(label: &str) -> Axis {
        Axis { label: label.to_owned(), scale: Scale::Linear, unit: Unit::Plain }
    }

    /// An axis of this scale and unit.
    pub fn new(label: &str, scale: Scale, unit: Unit) -> Axis {
        Axis { label: label.to_owned(), scale, unit }
    }
}

impl Series {
    /// A solid line without points.
    pub fn new(name: impl Into<String>) -> Series {
        Series { name: name.into(), dashed: false, points: Vec::new() }
    }

    /// A dashed line without points.
    pub fn dashed(name: impl Into<String>) -> Series {
        Series { dashed: true, ..Series::new(name) }
    }

    /// With one more point, if there is a spread.
    pub fn push(&mut self, x: f64, spread: Option<Spread>) {
        if let Some(spread) = spread {
            self.points.push(Point { x, y: spread.median, low: spread.min, high: spread.max });
        }
    }

    /// With one more point without a range.
    pub fn push_value(&mut self, x: f64, y: f64) {
        self.points.push(Point { x, y, low: y, high: y });
    }
}
