//! Java's properties syntax (`java.util.Properties.load`), in which Kafka keeps `server.properties` and `meta.properties`.
//!
//! Comments begin with `#` or `!`; a key ends at the first `=`, `:` or blank; a backslash at the end of a line continues
//! it; `\t`, `\n`, `\r`, `\f` and `\uXXXX` are escapes and any other escaped character stands for itself. Text is UTF-8.

/// The most bytes a properties file may have.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// One `key=value` with the line on which it begins, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The key, unescaped.
    pub key: String,
    /// The value, unescaped; empty where the line has none.
    pub value: String,
    /// The line on which the key stands.
    pub line: usize,
}

/// A line that is not of the syntax.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct SyntaxError {
    /// The line on which the property begins, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// Reads all properties of `text` in order; a key may come more than once, and Java takes the last.
pub fn parse(text: &str) -> Result<Vec<Property>, SyntaxError> {
    if text.len() > FILE_BYTES_MAX {
        return Err(SyntaxError {
            line: 1,
            what: format!("the file has {} bytes, more than {FILE_BYTES_MAX}", text.len()),
        });
    }
    let mut properties = Vec::new();
    for (line, logical) in logical_lines(text) {
        let (key, value) = split(&logical);
        let unescaped = |part: &str| unescape(part).map_err(|what| SyntaxError { line, what });
        properties.push(Property { key: unescaped(key)?, value: unescaped(value)?, line });
    }
    Ok(properties)
}

/// Writes `key=value` as [`parse`] reads it back.
pub fn line(key: &str, value: &str) -> String {
    format!("{}={}\n", escape(key, true), escape(value, false))
}

/// Joins continued lines and leaves out blank ones and comments; each comes with the number of its first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, natural) in text.lines().enumerate() {
        let natural = natural.trim_start_matches([' ', '\t', '\x0c']);
        if open.is_none() && (natural.is_empty() || natural.starts_with(['#', '!'])) {
            continue;
        }
        let (first, mut joined) = open.take().unwrap_or((index + 1, String::new()));
        // An odd number of backslashes at the end: the last of them escapes the end of the line.
        if natural.chars().rev().take_while(|&c| c == '\\').count() % 2 == 1 {
            joined.push_str(&natural[..natural.len() - 1]);
            open = Some((first, joined));
        } else {
            joined.push_str(natural);
            lines.push((first, joined));
        }
    }
    lines.extend(open.filter(|(_, joined)| !joined.is_empty()));
    lines
}

/// Splits at the first separator that is not escaped, and drops the blanks and the one `=` or `:` around it.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line
        .char_indices()
        .find(|&(_, c)| {
            let ends = !escaped && matches!(c, '=' | ':' | ' ' | '\t' | '\x0c');
            escaped = !escaped && c == '\\';
            ends
        })
        .map_or(line.len(), |(at, _)| at);
    let blanks = [' ', '\t', '\x0c'];
    let rest = line[end..].trim_start_matches(blanks);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (&line[..end], rest.trim_start_matches(blanks))
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut units: Vec<u16> = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain = match c {
            '\\' => match chars.next() {
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    let unit = (digits.len() == 4).then(|| u16::from_str_radix(&digits, 16).ok()).flatten();
                    units.push(unit.ok_or_else(|| format!("\\u{digits} is not four hexadecimal digits"))?);
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some(other) => other,
                None => break,
            },
            other => other,
        };
        flush(&mut units, &mut out)?;
        out.push(plain);
    }
    flush(&mut units, &mut out)?;
    Ok(out)
}

/// `\u` escapes are UTF-16: a pair of surrogates is one character.
fn flush(units: &mut Vec<u16>, out: &mut String) -> Result<(), String> {
    for decoded in char::decode_utf16(units.drain(..)) {
        out.push(
            decoded.map_err(|error| format!("\\u{:04x} is half of a surrogate pair", error.unpaired_surrogate()))?,
        );
    }
    Ok(())
}

fn escape(text: &str, key: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        match c {
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\x0c' => out.push_str("\\f"),
            ' ' if key || at == 0 => out.push_str("\\ "),
            '=' | ':' | '#' | '!' | '\\' => out.extend(['\\', c]),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String, usize)> {
        parse(text).expect("good syntax").into_iter().map(|p| (p.key, p.value, p.line)).collect()
    }

    #[test]
    fn every_form_that_java_reads_is_read() {
        let cases = [
            ("a=b", "a", "b"),
            ("a:b", "a", "b"),
            ("a b", "a", "b"),
            ("  a \t=  b ", "a", "b "),
            ("a = = b", "a", "= b"),
            ("a", "a", ""),
            ("a=", "a", ""),
            ("a\\ b\\=c=d", "a b=c", "d"),
            ("a=\\t\\n\\u0041\\ud83d\\ude00\\q", "a", "\t\nA\u{1f600}q"),
            ("listeners=PLAINTEXT://:9092,\\\n    SSL://:9093", "listeners", "PLAINTEXT://:9092,SSL://:9093"),
            ("a=b\\\\", "a", "b\\"),
            ("a=b\\", "a", "b"),
            ("a=1\r\n", "a", "1"),
            ("a=# not a comment", "a", "# not a comment"),
        ];
        for (text, key, value) in cases {
            assert_eq!(pairs(text), [(key.to_string(), value.to_string(), 1)], "{text:?}");
        }
    }

    #[test]
    fn comments_and_blanks_count_as_lines_and_a_comment_is_not_continued() {
        let text = "# one\\\n\n! three\n\tk=v\\\n# still the value\nm=n\n";
        assert_eq!(pairs(text), [("k".into(), "v# still the value".into(), 4), ("m".into(), "n".into(), 6)]);
    }

    #[test]
    fn a_broken_escape_names_its_line() {
        assert_eq!(parse("a=b\nc=\\u12").expect_err("too short").line, 2);
        assert!(parse("c=\\ud83d").expect_err("half a pair").to_string().contains("surrogate"));
    }

    #[test]
    fn what_is_written_reads_back() {
        for (key, value) in [("a b", " x=\\y:\n"), ("k#", "# tail "), ("plain", "")] {
            assert_eq!(pairs(&line(key, value)), [(key.to_string(), value.to_string(), 1)]);
        }
    }
}
