//! The report as one HTML page that needs nothing beside it: plots inlined, light and dark.

use anyhow::{Context, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, context};
use serde::Serialize;

use super::aim::{AIMS, Aim};
use super::row::{number, size};
use super::{Figure, Part, Row, Summary, plot};
use crate::measure::Spread;

const TEMPLATE: &str = include_str!("page.html");

/// One line of the table of ratios.
#[derive(Debug, Serialize)]
struct RatioLine {
    key: &'static str,
    meaning: &'static str,
    median: String,
    range: String,
    rounds: usize,
    bound: String,
    met: bool,
}

/// A drawn figure.
#[derive(Debug, Serialize)]
struct Drawn {
    id: String,
    title: String,
    caption: String,
    number: usize,
    svg: String,
}

/// A row in words.
#[derive(Debug, Serialize)]
struct Words {
    case: String,
    system: String,
    durable: String,
    cells: Vec<Cell>,
    notes: String,
    disturbed: String,
}

/// One number of a row, with its range for whoever hovers or prints.
#[derive(Debug, Serialize)]
struct Cell {
    text: String,
    range: String,
}

/// A single figure in words.
#[derive(Debug, Serialize)]
struct FactWords {
    name: String,
    value: String,
    unit: String,
}

/// One part in words.
#[derive(Debug, Serialize)]
struct PartWords {
    name: String,
    title: String,
    text: Vec<String>,
    columns: Vec<&'static str>,
    rows: Vec<Words>,
    figures: Vec<Drawn>,
    facts: Vec<FactWords>,
    ratios: Vec<(String, String)>,
    error: Option<String>,
}

/// The page of a run.
pub fn html(summary: &Summary) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.add_template("page.html", TEMPLATE).context("the template of the report is malformed")?;
    let mut figures = 0;
    let parts = summary.parts.iter().map(|part| part_words(part, &mut figures)).collect::<Result<Vec<_>>>()?;
    let ratios: Vec<RatioLine> = AIMS.iter().filter_map(|aim| ratio_line(summary, aim)).collect();
    let machine = &summary.machine;
    let page = environment.get_template("page.html")?.render(context! {
        summary => Serde(summary),
        machine => Serde(machine),
        parts => Serde(parts),
        ratios => Serde(ratios),
        memory => size_rounded(machine.memory_bytes),
        disk_size => size_rounded(machine.disk.size_bytes),
        huge_granted => size(machine.huge_pages_granted_bytes),
        huge_asked => size(machine.huge_pages_asked_bytes),
        memlock => machine.memlock_bytes.map_or("unlimited".to_owned(), size),
        minutes => format!("{:.1}", summary.duration_seconds / 60.0),
        date => summary.started.get(..10).unwrap_or_default(),
        commit_short => summary.commit.get(..12).unwrap_or(&summary.commit),
        figures,
        headlines => Serde(summary.parts.iter().flat_map(|part| &part.headlines).collect::<Vec<_>>()),
    });
    page.context("cannot render the report")
}

fn ratio_line(summary: &Summary, aim: &Aim) -> Option<RatioLine> {
    let spread = summary.ratios.get(aim.key)?;
    Some(RatioLine {
        key: aim.key,
        meaning: aim.meaning,
        median: number(spread.median),
        range: range(spread),
        rounds: spread.rounds,
        bound: aim.bound_text(),
        met: aim.met(spread.median),
    })
}

fn part_words(part: &Part, figures: &mut usize) -> Result<PartWords> {
    let drawn = part.figures.iter().map(|figure: &Figure| {
        *figures += 1;
        let svg = plot::svg(figure)?;
        Ok(Drawn {
            id: figure.id.clone(),
            title: figure.title.clone(),
            caption: figure.caption.clone(),
            number: *figures,
            svg,
        })
    });
    let figures = drawn.collect::<Result<Vec<_>>>()?;
    let columns: Vec<&Column> =
        COLUMNS.iter().filter(|column| part.rows.iter().any(|row| (column.of)(row).is_some())).collect();
    let rows = part.rows.iter().map(|row| Words {
        case: row.case.clone(),
        system: row.system.clone(),
        durable: row.durable.clone(),
        cells: columns
            .iter()
            .map(|column| (column.of)(row).unwrap_or(Cell { text: String::new(), range: String::new() }))
            .collect(),
        notes: row.notes.join("; "),
        disturbed: if row.disturbed_rounds == 0 {
            String::new()
        } else {
            format!(
                "{} of {} rounds disturbed, up to {:.0} % of the CPU",
                row.disturbed_rounds,
                row.rounds,
                (row.foreign_share_max + row.steal_share_max) * 100.0
            )
        },
    });
    Ok(PartWords {
        name: part.name.clone(),
        title: part.title.clone(),
        text: part.text.clone(),
        columns: columns.iter().map(|column| column.title).collect(),
        rows: rows.collect(),
        figures,
        facts: part
            .facts
            .iter()
            .map(|fact| FactWords { name: fact.name.clone(), value: number(fact.value), unit: fact.unit.clone() })
            .collect(),
        ratios: part
            .ratios
            .iter()
            .filter(|ratio| !AIMS.iter().any(|aim| aim.key == ratio.0))
            .map(|(key, spread)| (key.replace('_', " "), format!("{} [{}]", number(spread.median), range(spread))))
            .collect(),
        error: part.error.clone(),
    })
}

/// A column of the tables: shown where a row has something in it.
struct Column {
    title: &'static str,
    of: fn(&Row) -> Option<Cell>,
}

const COLUMNS: [Column; 12] = [
    Column { title: "MB/s", of: |row| row.mb_per_s.map(|spread| cell(&spread)) },
    Column { title: "operations/s", of: |row| row.operations_per_s.map(|spread| cell(&spread)) },
    Column { title: "p50 µs", of: |row| row.latency.map(|latency| plain(latency.p50_us)) },
    Column { title: "p99 µs", of: |row| row.latency.map(|latency| plain(latency.p99_us)) },
    Column { title: "p99.9 µs", of: |row| supported(row, 1_000, |latency| latency.p999_us) },
    Column { title: "CPU µs/MB", of: |row| row.cpu_us_per_mb.map(|spread| cell(&spread)) },
    Column { title: "written / payload", of: |row| row.write_amplification.map(|spread| cell(&spread)) },
    Column { title: "records/s", of: |row| row.records_per_s.map(|spread| cell(&spread)) },
    Column { title: "p99.99 µs", of: |row| supported(row, 100_000, |latency| latency.p9999_us) },
    Column { title: "max µs", of: |row| row.latency.map(|latency| plain(latency.max_us)) },
    Column { title: "samples", of: |row| row.latency.map(|latency| plain(latency.count as f64)) },
    Column { title: "rounds", of: |row| Some(plain_count(row.rounds)) },
];

/// A percentile only where that many operations stand behind it.
fn supported(row: &Row, count_min: u64, of: fn(&crate::measure::Percentiles) -> f64) -> Option<Cell> {
    row.latency.filter(|latency| latency.count >= count_min).map(|latency| plain(of(&latency)))
}

fn cell(spread: &Spread) -> Cell {
    Cell { text: number(spread.median), range: range(spread) }
}

fn plain(value: f64) -> Cell {
    Cell { text: number(value), range: String::new() }
}

fn plain_count(count: usize) -> Cell {
    Cell { text: count.to_string(), range: String::new() }
}

fn range(spread: &Spread) -> String {
    format!("{} – {}", number(spread.min), number(spread.max))
}

fn size_rounded(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64)
}
