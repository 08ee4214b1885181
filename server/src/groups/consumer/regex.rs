//! Subscriptions by expression: RE2's syntax, matched against whole names of topics (KIP-848).

use corelog_replication::metadata::ClusterImage;
use regex::{Regex, RegexBuilder};

use crate::protocol::Text;

/// The longest expression, in bytes; a topic's name has 249 at most.
const EXPRESSION_BYTES_MAX: usize = 4096;
/// The memory of a compiled expression, in bytes.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// Compiles an expression; the error is a sentence for the client.
pub(crate) fn compile(expression: &str) -> Result<Regex, String> {
    if expression.len() > EXPRESSION_BYTES_MAX {
        return Err(format!("it has {} bytes, more than {EXPRESSION_BYTES_MAX}", expression.len()));
    }
    let whole = format!("^(?:{})$", without_quotes(expression));
    let built = RegexBuilder::new(&whole).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).build();
    // What `whole` puts around it must not make sense of something that makes none alone.
    let alone = RegexBuilder::new(&without_quotes(expression)).size_limit(COMPILED_BYTES_MAX).build();
    alone.and(built).map_err(|error| error.to_string())
}

/// The topics whose names match, in order.
pub(super) fn matching(regex: &Regex, image: &ClusterImage) -> Vec<Text> {
    let mut names: Vec<Text> =
        image.topic_names().filter(|name| regex.is_match(name)).map(|name| Text::from(&**name)).collect();
    names.sort_unstable();
    names
}

/// RE2 quotes literal text with `\Q` and `\E`, which the library does not know.
fn without_quotes(expression: &str) -> String {
    let mut plain = String::with_capacity(expression.len());
    let mut rest = expression;
    while let Some(at) = rest.find('\\') {
        let (before, after) = rest.split_at(at);
        plain.push_str(before);
        if let Some(quoted) = after.strip_prefix("\\Q") {
            let end = quoted.find("\\E").unwrap_or(quoted.len());
            plain.push_str(&regex::escape(&quoted[..end]));
            rest = quoted[end..].strip_prefix("\\E").unwrap_or_default();
        } else {
            let escaped = after.chars().take(2).map(char::len_utf8).sum();
            plain.push_str(&after[..escaped]);
            rest = &after[escaped..];
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_match_whole_names_in_the_syntax_of_re2() {
        let matches = |expression: &str, name: &str| compile(expression).expect(expression).is_match(name);
        assert!(matches("topic-.*", "topic-1") && !matches("topic-.*", "my-topic-1"));
        assert!(!matches("topic", "topic-1") && matches("a|topic-1", "topic-1") && !matches("a|topic", "topic-1"));
        assert!(matches(r"\Qa.b\E.*", "a.bc") && !matches(r"\Qa.b\E.*", "axbc") && matches(r"\Qa.b", "a.b"));
        assert!(
            matches(r"(?i)TOPIC-[[:digit:]]{2}", "topic-42") && matches(r"\pL+", "abc") && matches(r"\x41\x{42}", "AB")
        );
    }

    #[test]
    fn what_is_no_expression_or_too_much_of_one_is_refused() {
        for wrong in ["(", "a)(b", "[", r"(a)\1", "(?=a)", "(((a{100}){100}){100})", &"a".repeat(5000), "\\"] {
            assert!(compile(wrong).is_err(), "{wrong:.20}");
        }
    }
}
