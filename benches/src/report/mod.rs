//! What comes out of a run: rows, figures and ratios, as a table, CSV, SVG, JSON and one HTML page.
//!
//! - [`row`]: one case of a table, with the CSV and the terminal table
//! - [`figure`], [`plot`]: what a plot shows, and its SVG
//! - [`aim`]: the ratios that matter, and what they should be
//! - [`summary`]: all of a run, as `summary.json`
//! - [`page`]: the HTML report
//! - [`files`]: the directory of a run

pub mod aim;
pub mod figure;
pub mod files;
pub mod page;
pub mod plot;
pub mod row;
pub mod summary;

pub use figure::{Axis, Figure, Kind, Point, Scale, Series, Unit};
pub use row::Row;
pub use summary::{Fact, Headline, Part, Summary};
