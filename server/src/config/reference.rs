//! The settings table as it stands in `docs/operations.md`, made from the rows.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::key::{Effect, Key};
use super::table::{broker_keys, topic_keys};

/// The line before the generated part of the document.
pub const BEGIN: &str = "<!-- settings: made by `corelog_server::config::reference`, kept by its test -->";
/// The line after it.
pub const END: &str = "<!-- end of settings -->";

/// The tables in Markdown.
pub fn markdown() -> String {
    let mut out = String::new();
    section(&mut out, "Settings of the broker", broker_keys().filter(|key| key.effect == Effect::Acts));
    section(&mut out, "Settings of a topic", topic_keys().iter().filter(|key| key.effect == Effect::Acts));
    without_effect(&mut out);
    out
}

fn section<'a>(out: &mut String, title: &str, keys: impl Iterator<Item = &'a Key>) {
    let _ = write!(out, "### {title}\n\n| setting | values | default | |\n|---|---|---|---|\n");
    for key in keys {
        let default = key.default.map_or("null".to_string(), |text| format!("`{text}`"));
        let default = if key.default == Some("") { "empty".to_string() } else { default };
        let _ = writeln!(out, "| `{}` | {} | {default} | {} |", key.name, key.kind, key.doc);
    }
    out.push('\n');
}

/// What is accepted or refused without acting, by reason.
fn without_effect(out: &mut String) {
    let mut inert: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut refused = Vec::new();
    for key in topic_keys().iter().chain(broker_keys()) {
        match key.effect {
            Effect::Acts => {}
            Effect::Inert(why) => {
                let names = inert.entry(why.to_string()).or_default();
                let name = format!("`{}`", key.name);
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            Effect::Refused(why) => refused.push(format!("`{}` ({why})", key.name)),
        }
    }
    let _ = write!(
        out,
        "### Settings of Kafka that do nothing here\n\nThey are accepted, their values are checked, and one warning at start \
         names them.\n\n"
    );
    for (why, names) in inert {
        let _ = writeln!(out, "* {why}: {}", names.join(", "));
    }
    let _ = write!(out, "\nRefused, since to ignore them would leave a door open: {}.\n", refused.join(", "));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With `CORELOG_WRITE_DOCS=1` the document is brought up to date instead.
    #[test]
    fn the_operations_document_has_the_table_of_the_code() {
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
