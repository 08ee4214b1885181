//! What a topic may be called (Kafka's `org.apache.kafka.common.internals.Topic`).

use std::borrow::Cow;

use super::METADATA_TOPIC;

/// The longest name: `<name>-<partition>` must be a file name, with room for the suffix of a deletion.
pub const NAME_BYTES_MAX: usize = 249;

/// The topics that the cluster keeps for itself.
pub const INTERNAL_TOPICS: [&str; 4] =
    ["__consumer_offsets", "__transaction_state", "__share_group_state", METADATA_TOPIC];

/// Whether the cluster keeps the topic for itself.
pub fn is_internal(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name)
}

/// Checks the name alone; the error is a sentence for the client.
pub fn validate(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("Topic name is invalid: the empty string is not allowed".into());
    }
    if name == "." || name == ".." {
        return Err("Topic name is invalid: '.' or '..' is not allowed".into());
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!(
            "Topic name is invalid: the length of '{name}' is longer than the max allowed length {NAME_BYTES_MAX}"
        ));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return Err(format!(
            "Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ));
    }
    Ok(())
}

/// Names that are equal here collide: metrics write `.` as `_`, so `a.b` and `a_b` may not both exist.
pub fn collision_key(name: &str) -> Cow<'_, str> {
    if name.contains('.') { Cow::Owned(name.replace('.', "_")) } else { Cow::Borrowed(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_legal_as_in_kafka() {
        for good in ["a", "A-1_2.x", "...", "__consumer_offsets", &"x".repeat(249)] {
            assert_eq!(validate(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "ä", "a:b", "a\0", &"x".repeat(250)] {
            assert!(validate(bad).expect_err(bad).contains("invalid"), "{bad}");
        }
    }

    #[test]
    fn a_dot_collides_with_an_underscore() {
        assert_eq!(collision_key("a.b_c"), collision_key("a_b.c"));
        assert_ne!(collision_key("a.b"), collision_key("a-b"));
    }
}
