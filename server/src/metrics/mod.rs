//! What the broker tells of itself: plain numbers that each shard counts on its own thread, gathered when somebody asks.
//!
//! * [`counters`] what is counted on the way of a request; the store counts its own part. [`gather`] everything a shard has,
//!   as samples. [`lag`] how far groups are behind. [`process`] what the kernel says.
//! * [`exposition`] Prometheus' text format. [`endpoint`] the HTTP server, on a thread of its own.
//!
//! `docs/operations.md` has every name with its labels.

mod counters;
mod endpoint;
mod exposition;
mod gather;
mod lag;
mod process;

pub(crate) use counters::ShardCounters;
pub(crate) use endpoint::MetricsEndpoint;

/// The table of families in `docs/operations.md`.
#[cfg(test)]
mod reference {
    use super::exposition::Kind;

    const BEGIN: &str = "<!-- metrics: made by `metrics::reference`, kept by its test -->";
    const END: &str = "<!-- end of metrics -->";

    fn markdown() -> String {
        let mut out = String::from("| metric | type | |\n|---|---|---|\n");
        for family in super::gather::FAMILIES.iter().chain(super::lag::FAMILIES).chain(super::process::FAMILIES) {
            let kind = match family.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            out += &format!("| `{}` | {kind} | {} |\n", family.name, family.help);
        }
        out
    }

    /// With `CORELOG_WRITE_DOCS=1` the document is brought up to date instead.
    #[test]
    fn the_operations_document_has_every_metric() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
        let text = std::fs::read_to_string(path).expect("docs/operations.md is there");
        let begin = text.find(BEGIN).expect("the table's first line") + BEGIN.len();
        let end = text.find(END).expect("the table's last line");
        let expected = format!("\n\n{}\n", markdown());
        if std::env::var_os("CORELOG_WRITE_DOCS").is_some() {
            std::fs::write(path, format!("{}{expected}{}", &text[..begin], &text[end..])).expect("written");
            return;
        }
        assert!(text[begin..end] == expected, "run the test with CORELOG_WRITE_DOCS=1 and commit docs/operations.md");
    }
}
