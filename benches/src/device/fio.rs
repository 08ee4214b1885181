//! The same work through fio, where it is installed: a second opinion on the device that is not ours.
//!
//! fio gets the same ring features (registered buffers and file, direct I/O) and the same file. Its buffers come from
//! glibc's malloc, which `GLIBC_TUNABLES=glibc.malloc.hugetlb=1` puts on transparent huge pages, so that no hugetlb pages
//! need to be reserved.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Operation, Work};
use crate::case::Sample;
use crate::measure::Cost;

/// The version of fio on this machine, if there is one.
pub fn version() -> Option<String> {
    let output = Command::new("fio").arg("--version").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Does the work through fio and measures it by fio's own account.
pub fn run(path: &Path, work: Work) -> Result<Sample> {
    let reads = work.operation == Operation::Read;
    let time_ms = work.time_max.min(Duration::from_secs(60)).as_millis().max(100);
    let mut command = Command::new("fio");
    command.env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1").arg("--name=device").arg("--output-format=json");
    command.arg(format!("--filename={}", path.display())).arg(format!("--size={}", work.file_bytes));
    command.arg(if reads { "--rw=read" } else { "--rw=write" }).arg(format!("--bs={}", work.block_bytes));
    command.args(["--ioengine=io_uring", "--direct=1", "--fixedbufs=1", "--registerfiles=1", "--overwrite=1"]);
    command.args(["--invalidate=0", "--iomem=malloc", "--iomem_align=2m", "--time_based"]);
    command.arg(format!("--iodepth={}", work.depth)).arg(format!("--runtime={time_ms}ms"));
    if work.operation == Operation::DurableWrite {
        command.arg("--sync=dsync");
    }
    let output = command.output().context("cannot run fio")?;
    ensure!(output.status.success(), "fio failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    let text = String::from_utf8_lossy(&output.stdout);
    let json = &text[text.find('{').context("fio printed no JSON")?..];
    let job = serde_json::from_str::<Value>(json).context("fio's JSON does not parse")?["jobs"][0].take();
    sample_of(&job, if reads { "read" } else { "write" }).context("fio's JSON lacks a field")
}

fn sample_of(job: &Value, direction: &str) -> Option<Sample> {
    let side = &job[direction];
    let seconds = side["runtime"].as_f64()? / 1000.0;
    let cpu_share = (job["usr_cpu"].as_f64()? + job["sys_cpu"].as_f64()?) / 100.0;
    let mut sample = Sample {
        bytes: side["io_bytes"].as_u64()?,
        operations: side["total_ios"].as_u64()?,
        seconds,
        cpu_seconds: Some(cpu_share * seconds),
        cost: Cost { seconds, ..Cost::default() },
        ..Sample::default()
    };
    // fio gives percentiles, not a histogram: enough operations are recorded at each of them to give them back.
    let percentiles = side["clat_ns"]["percentile"].as_object();
    let mut points: Vec<(f64, u64)> = percentiles
        .into_iter()
        .flatten()
        .filter_map(|(quantile, value)| Some((quantile.parse::<f64>().ok()? / 100.0, value.as_u64()?)))
        .collect();
    points.sort_by(|left, right| left.0.total_cmp(&right.0));
    let mut below = 0.0;
    for (quantile, nanos) in points {
        let operations = ((quantile - below) * sample.operations as f64).round() as u64;
        sample.latency.record_many(Duration::from_nanos(nanos), operations);
        below = quantile;
    }
    Some(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fio_s_words_become_a_sample() {
        let job = serde_json::json!({
            "usr_cpu": 10.0, "sys_cpu": 15.0,
            "write": { "runtime": 500, "io_bytes": 1_000_000_000u64, "total_ios": 1000,
                "clat_ns": { "percentile": { "50.000000": 200_000, "99.000000": 400_000 } } }
        });
        let sample = sample_of(&job, "write").expect("all fields");
        assert_eq!((sample.mb_per_s(), sample.operations), (2000.0, 1000));
        assert!((sample.cpu_us_per_mb() - 125.0).abs() < 1e-9);
        assert!((sample.latency.micros_at(0.5) - 200.0).abs() < 1.0);
        assert!((sample.latency.micros_at(0.98) - 400.0).abs() < 1.0);
        assert!(sample_of(&job, "read").is_none());
    }
}
