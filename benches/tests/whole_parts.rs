//! Whole parts of the harness, with amounts that mean nothing: they run to their end and write what they promise.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a part and returns the directory of its results.
fn run_part(arguments: &[&str], dir: &Path) -> PathBuf {
    let output = Command::new(env!("CARGO_BIN_EXE_corelog-bench"))
        .args(arguments)
        .args(["--quick", "--rounds", "1", "--seconds", "0.02"])
        .arg("--data-dir")
        .arg(dir.join("data"))
        .arg("--results-dir")
        .arg(dir.join("results"))
        .output()
        .expect("corelog-bench starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let left: Vec<_> = std::fs::read_dir(dir.join("data")).expect("the data directory").collect();
    assert!(left.is_empty(), "a part cleans up behind itself: {left:?}");
    let mut results = std::fs::read_dir(dir.join("results")).expect("the results directory");
    results.next().expect("one run").expect("a directory").path()
}

fn summary(results: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(results.join("summary.json")).expect("summary.json");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn the_device_part_writes_data_plots_and_a_page() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let results = run_part(&["device", "--file-mib", "16", "--no-fio"], dir.path());
    let summary = summary(&results);
    assert_eq!(summary["schema"], 1);
    assert!(summary["machine"]["kernel"].as_str().is_some_and(|kernel| !kernel.is_empty()));
    assert!(summary["parts"][0]["rows"][0]["mb_per_s"]["median"].as_f64().is_some_and(|rate| rate > 0.0));
    let csv = std::fs::read_to_string(results.join("device.csv")).expect("device.csv");
    assert!(csv.lines().count() > 3, "{csv}");
    let svg = std::fs::read_to_string(results.join("device-throughput.svg")).expect("an SVG");
    assert!(svg.contains("<text") && svg.contains("raw io_uring"), "text stays text");
    let page = std::fs::read_to_string(results.join("report.html")).expect("report.html");
    assert!(page.contains("<svg") && !page.contains("{{") && !page.contains("src="), "the page stands alone");
}

#[test]
fn the_append_part_takes_its_ratios() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let results = run_part(&["append", "--sample-mib", "8", "--segment-mib", "8"], dir.path());
    let ratios = &summary(&results)["ratios"];
    for key in ["append_vs_device", "durable_append_vs_device", "write_amplification"] {
        for field in ["median", "min", "max", "rounds"] {
            assert!(ratios[key][field].as_f64().is_some(), "{key}.{field} in {ratios}");
        }
    }
}

#[test]
fn nothing_acknowledged_is_missing_after_a_kill() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let results = run_part(&["recovery"], dir.path());
    assert!(summary(&results)["ratios"]["recovery_100_vs_1_segments"]["median"].as_f64().is_some());
}

#[test]
fn a_crowd_is_served_and_its_memory_told() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let results = run_part(&["crowd", "--connections", "20", "--partitions", "40"], dir.path());
    let parts = &summary(&results)["parts"];
    for (part, rows) in [(0, 2), (1, 5)] {
        assert_eq!(parts[part]["rows"].as_array().expect("rows").len(), rows, "{parts}");
        assert!(parts[part]["rows"][0]["operations_per_s"]["median"].as_f64().is_some_and(|rate| rate > 0.0));
    }
    let facts = |part: usize| parts[part]["facts"].as_array().expect("facts").clone();
    let named = |part: usize, wanted: &str| {
        let found =
            facts(part).into_iter().find(|fact| fact["name"].as_str().is_some_and(|name| name.contains(wanted)));
        found.unwrap_or_else(|| panic!("{wanted} is told: {parts}"))["value"].as_f64().expect("a number")
    };
    assert!(named(0, "20 idle connections: resident memory") > 1.0);
    assert_eq!(named(0, "connections lost"), 0.0);
    assert!(named(1, "started after kill -9 under load") > 0.0);
}

#[test]
fn a_missing_data_disk_is_said_in_words() {
    let output = Command::new(env!("CARGO_BIN_EXE_corelog-bench"))
        .args(["device", "--quick", "--data-dir", "/proc/nowhere"])
        .output()
        .expect("corelog-bench starts");
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("cannot create the data directory /proc/nowhere"), "{words}");
}
