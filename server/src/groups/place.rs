//! Where a group is: the partition of `__consumer_offsets` that its id chooses.

/// The topic that keeps groups and offsets.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The partition of a group: Java's `String.hashCode` without its sign, so that a directory of Apache Kafka's is read as it
/// was written.
pub(crate) fn partition_of(group: &str, partitions: i32) -> i32 {
    let hash = group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    // `Utils.abs`: the one number that has no positive counterpart becomes 0.
    let hash = if hash == i32::MIN { 0 } else { hash.abs() };
    hash % partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_where_java_puts_them() {
        assert_eq!(partition_of("", 50), 0);
        assert_eq!(partition_of("a", 50), 97 % 50);
        assert_eq!(partition_of("ab", 50), (97 * 31 + 98) % 50);
        // "polygenelubricants".hashCode() is Integer.MIN_VALUE.
        assert_eq!(partition_of("polygenelubricants", 50), 0);
        // Outside the basic plane Java counts two units.
        assert_eq!(partition_of("😀", 1 << 30), 0xd83d * 31 + 0xde00);
    }
}
