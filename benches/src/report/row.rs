//! One case in a table: for people in the terminal, for programs as CSV.

use anyhow::Result;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::{Deserialize, Serialize};

use super::Fact;
use crate::measure::{Percentiles, Spread};

/// What several rounds of one case say. What does not apply to a case is `None` or 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was done.
    pub case: String,
    /// Who did it.
    pub system: String,
    /// "yes" where an operation was on stable storage before it was acknowledged, "no", or "–" for reads.
    pub durable: String,
    /// Bytes of one operation.
    pub block_bytes: u64,
    /// Operations in flight.
    pub in_flight: u64,
    /// Partitions.
    pub partitions: u64,
    /// Payload throughput, 10⁶ bytes per second.
    pub mb_per_s: Option<Spread>,
    /// Operations per second.
    pub operations_per_s: Option<Spread>,
    /// Records per second.
    pub records_per_s: Option<Spread>,
    /// Latency over all rounds together.
    pub latency: Option<Percentiles>,
    /// CPU µs per MB of payload, kernel threads included.
    pub cpu_us_per_mb: Option<Spread>,
    /// Bytes written to the device per byte of payload.
    pub write_amplification: Option<Spread>,
    /// Rounds taken.
    pub rounds: usize,
    /// Rounds in which strangers or the hypervisor took a noticeable share of the CPU.
    pub disturbed_rounds: usize,
    /// The largest share of all cores that strangers took in a round.
    pub foreign_share_max: f64,
    /// The largest share that the hypervisor took.
    pub steal_share_max: f64,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// The rows as CSV, one line each, spreads as three columns.
pub fn csv(rows: &[Row]) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut header: Vec<String> =
        ["case", "system", "durable", "block_bytes", "in_flight", "partitions"].map(str::to_owned).to_vec();
    for name in ["mb_per_s", "operations_per_s", "records_per_s", "cpu_us_per_mb", "write_amplification"] {
        header.extend(["median", "min", "max"].map(|part| format!("{name}_{part}")));
    }
    header.extend(["count", "mean", "p50", "p90", "p99", "p999", "p9999", "max"].map(|part| match part {
        "count" => "latency_count".to_owned(),
        part => format!("latency_us_{part}"),
    }));
    header.extend(["rounds", "disturbed_rounds", "foreign_share_max", "steal_share_max", "notes"].map(str::to_owned));
    writer.write_record(&header)?;
    for row in rows {
        let mut record = vec![row.case.clone(), row.system.clone(), row.durable.clone()];
        record.extend([row.block_bytes, row.in_flight, row.partitions].map(|number| number.to_string()));
        let spreads =
            [&row.mb_per_s, &row.operations_per_s, &row.records_per_s, &row.cpu_us_per_mb, &row.write_amplification];
        for spread in spreads {
            let parts = spread.map(|spread| [spread.median, spread.min, spread.max].map(|part| format!("{part:.4}")));
            record.extend(parts.unwrap_or_default());
        }
        record.extend(row.latency.map_or(vec![String::new(); 8], |latency| {
            let micros = [
                latency.mean_us,
                latency.p50_us,
                latency.p90_us,
                latency.p99_us,
                latency.p999_us,
                latency.p9999_us,
                latency.max_us,
            ];
            std::iter::once(latency.count.to_string()).chain(micros.map(|value| format!("{value:.1}"))).collect()
        }));
        record.extend([row.rounds.to_string(), row.disturbed_rounds.to_string()]);
        record.extend([row.foreign_share_max, row.steal_share_max].map(|share| format!("{share:.3}")));
        record.push(row.notes.join("; "));
        writer.write_record(&record)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// The rows of all parts as one table for the terminal.
pub fn terminal_table<'a>(rows: impl Iterator<Item = (&'a str, &'a Row)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([
        "part",
        "case",
        "system",
        "durable",
        "MB/s",
        "op/s",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "CPU µs/MB",
        "×disk",
    ]);
    for column in 4..=10 {
        table.column_mut(column).expect("eleven columns").set_cell_alignment(CellAlignment::Right);
    }
    let mut part_before = "";
    for (part, row) in rows {
        let spread = |spread: Option<Spread>| spread.map_or(String::new(), |spread| number(spread.median));
        let micros =
            |of: fn(&Percentiles) -> f64| row.latency.as_ref().map_or(String::new(), |latency| number(of(latency)));
        let mut case = row.case.clone();
        if row.disturbed_rounds > 0 {
            case += " *";
        }
        table.add_row([
            if part == part_before { String::new() } else { part.to_owned() },
            case,
            row.system.clone(),
            row.durable.clone(),
            spread(row.mb_per_s),
            spread(row.operations_per_s),
            micros(|latency| latency.p50_us),
            micros(|latency| latency.p99_us),
            micros(|latency| latency.p999_us),
            spread(row.cpu_us_per_mb),
            row.write_amplification.map_or(String::new(), |spread| format!("{:.2}", spread.median)),
        ]);
        part_before = part;
    }
    table.to_string()
}

/// Single figures as a table for the terminal.
pub fn terminal_facts<'a>(facts: impl Iterator<Item = &'a Fact>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["also", "", ""]);
    table.column_mut(1).expect("three columns").set_cell_alignment(CellAlignment::Right);
    for fact in facts {
        table.add_row([fact.name.clone(), number(fact.value), fact.unit.clone()]);
    }
    table.to_string()
}

/// A number with three or more digits that mean something: 0.123, 1.23, 12.3, 1,234.
pub fn number(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "–".to_owned(),
        size if size >= 100.0 => grouped(value.round() as i64),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn grouped(value: i64) -> String {
    let digits = value.abs().to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

/// A size as people write it: 4 KiB, 1 MiB, 100 B.
pub fn size(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 1 << 30 && bytes.is_multiple_of(1 << 20) => format!("{} GiB", number_plain(bytes, 30)),
        bytes if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 10) => format!("{} MiB", number_plain(bytes, 20)),
        bytes if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 7) => format!("{} KiB", number_plain(bytes, 10)),
        bytes => format!("{bytes} B"),
    }
}

fn number_plain(bytes: u64, shift: u32) -> String {
    let value = bytes as f64 / (1u64 << shift) as f64;
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_sizes_read_well() {
        assert_eq!(
            [0.1234, 1.234, 12.34, 1234567.0, f64::NAN].map(number),
            ["0.123", "1.23", "12.3", "1,234,567", "–"]
        );
        assert_eq!([100, 4096, 1 << 20, 3 << 30, 1536].map(size), ["100 B", "4 KiB", "1 MiB", "3 GiB", "1.5 KiB"]);
    }

    #[test]
    fn a_csv_line_has_a_field_for_every_column() {
        let case = crate::case::Case::new("write", "raw", crate::case::Durability::None);
        let text = csv(&[case.row()]).expect("csv");
        let columns: Vec<usize> = text.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(columns, [columns[0]; 2], "{text}");
        assert!(terminal_table([("device", &case.row())].into_iter()).contains("raw"));
    }
}
