//! How far a log is compacted, in the partition's directory: the text of Kafka's `cleaner-offset-checkpoint`, with the one entry that is
//! the partition's.
//!
//! That the file is there says that offsets may be missing in the log; it is written before the first of them goes. Its number is a
//! hint: with one that is too small, or none, more is compacted again, which changes nothing.

use crate::types::{Offset, TopicPartition};

/// The name of the file: in a partition's directory ours, above it Kafka's with all partitions.
pub const CLEANED_TO_FILE: &str = "cleaner-offset-checkpoint";

/// The first offset that was not compacted yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CleanedTo(pub Offset);

impl CleanedTo {
    /// The file's text: version 0, one entry.
    pub fn encode(self, name: &TopicPartition) -> Vec<u8> {
        format!("0\n1\n{} {} {}\n", name.topic, name.partition, self.0).into_bytes()
    }

    /// The entry of a partition in such a file; `None` where there is none, or the text is not of this kind.
    pub fn decode(name: &TopicPartition, text: &[u8]) -> Option<CleanedTo> {
        let text = std::str::from_utf8(text).ok()?;
        text.lines().skip(2).find_map(|line| {
            let mut words = line.split_whitespace();
            let same = words.next()? == &*name.topic && words.next()?.parse::<i32>().ok()? == name.partition;
            same.then(|| words.next()?.parse().ok().map(|offset| CleanedTo(Offset(offset))))?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_so_does_kafkas_file_of_many() {
        let name = TopicPartition::new("a-topic", 3);
        let text = CleanedTo(Offset(77)).encode(&name);
        assert_eq!(text, b"0\n1\na-topic 3 77\n");
        assert_eq!(CleanedTo::decode(&name, &text), Some(CleanedTo(Offset(77))));
        let many = b"0\n2\nother 3 5\na-topic 3 9\n";
        assert_eq!(CleanedTo::decode(&name, many), Some(CleanedTo(Offset(9))));
        for damaged in [&b""[..], b"0\n1\na-topic 3\n", b"\xff\xfe", b"0\n1\na-topic x 3\n"] {
            assert_eq!(CleanedTo::decode(&name, damaged), None);
        }
    }
}
