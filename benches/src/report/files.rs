//! The directory of a run: `summary.json`, a CSV per part, an SVG per figure, `report.html`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Summary, page, plot, row};

/// Writes all files of a run into `results_dir/<UTC date>-<host><suffix>/` and returns that directory. A run of the same
/// day, host and suffix is replaced.
pub fn write(results_dir: &Path, suffix: &str, summary: &Summary) -> Result<PathBuf> {
    let date = summary.started.get(..10).unwrap_or("undated");
    let dir = results_dir.join(format!("{date}-{}{suffix}", plain(&summary.machine.host)));
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create the results directory {}", dir.display()))?;
    write_into(&dir, summary)?;
    Ok(dir)
}

/// Writes all files of a run into its directory, in place of those that are there.
pub fn write_into(dir: &Path, summary: &Summary) -> Result<()> {
    remove_old(dir)?;
    put(&dir.join("summary.json"), &(serde_json::to_string_pretty(summary)? + "\n"))?;
    for part in &summary.parts {
        put(&dir.join(format!("{}.csv", part.name)), &row::csv(&part.rows)?)?;
        for figure in &part.figures {
            put(&dir.join(format!("{}.svg", figure.id)), &plot::svg(figure)?)?;
        }
    }
    put(&dir.join("report.html"), &page::html(summary)?)
}

/// Reads the `summary.json` of a run.
pub fn read(dir: &Path) -> Result<Summary> {
    let path = dir.join("summary.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not a summary of this version", path.display()))
}

/// Removes what an earlier run of the same day left: its parts may be others.
fn remove_old(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir)?.flatten() {
        let path = entry.path();
        if matches!(path.extension().and_then(|end| end.to_str()), Some("csv" | "svg" | "html" | "json")) {
            std::fs::remove_file(&path).with_context(|| format!("cannot replace {}", path.display()))?;
        }
    }
    Ok(())
}

fn put(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn plain(host: &str) -> String {
    let name: String = host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).collect();
    if name.is_empty() { "host".to_owned() } else { name }
}
