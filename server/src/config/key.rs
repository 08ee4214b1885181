//! One setting: its name, what values it takes, and whether it acts here.

use std::fmt;

/// A row of the settings table.
#[derive(Debug)]
pub struct Key {
    /// Kafka's name, or `corelog.*`.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// The value where none is given, as it would be written; `None` is Kafka's null.
    pub default: Option<&'static str>,
    /// Whether it can change while the broker runs.
    pub update: Update,
    /// Whether it does anything here.
    pub effect: Effect,
    /// Of a topic's setting: the broker's settings that give its default, the first one set wins.
    pub synonyms: &'static [Synonym],
    /// What it means, in a sentence.
    pub doc: &'static str,
}

/// The values of a setting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A 16-bit number within bounds.
    Short(i64, i64),
    /// A 32-bit number within bounds.
    Int(i64, i64),
    /// A 64-bit number within bounds.
    Long(i64, i64),
    /// A fraction within bounds.
    Double(f64, f64),
    /// Any text.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words in any case.
    OneOfAnyCase(&'static [&'static str]),
    /// Any of these words, separated by commas.
    ListOf(&'static [&'static str]),
    /// Any words, separated by commas.
    List,
    /// `partition:broker` pairs separated by commas, or `*`.
    Replicas,
    /// `host:number` pairs separated by commas.
    HostLimits,
    /// -1 for the codec's default, or a level from 1 to 9.
    GzipLevel,
    /// The name of a Java class.
    Class,
    /// Text that is never shown.
    Password,
}

/// Whether a setting can change while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// At the next start.
    Restart,
    /// At any time, for all brokers at once.
    Cluster,
    /// At any time, for one broker.
    Broker,
}

/// Whether a setting does anything here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does what its sentence says.
    Acts,
    /// It is accepted, since a plain `server.properties` has it, and does nothing.
    Inert(Why),
    /// It is not accepted: to ignore it would leave a door open that someone means to shut.
    Refused(Why),
}

/// Why a setting of Kafka's does nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// One broker has nobody to replicate to.
    OneBroker,
    /// The metadata quorum is the broker itself.
    OneVoter,
    /// There are no share groups and no streams groups.
    NoShareGroups,
    /// Transactions and idempotence are not coordinated.
    NoTransactions,
    /// There is no tiered storage.
    NoTiers,
    /// Only PLAINTEXT is served, to everyone.
    NoSecurity,
    /// One thread per core does all the work.
    NoThreadPools,
    /// The shard's journal and its checkpoint do it.
    Journal,
    /// The codec's library has one level.
    OneLevel,
    /// There are no quotas.
    NoQuotas,
    /// Java classes cannot be loaded.
    NoJava,
    /// The kernel sizes socket buffers by itself, and better than a fixed size would.
    KernelTuned,
    /// It tunes a part of Kafka that has no like here.
    Unneeded,
    /// Kafka 4.0 removed it.
    Removed,
}

/// A broker setting that gives a topic setting its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The broker's setting.
    pub name: &'static str,
    /// What its value is multiplied with: hours and minutes become milliseconds.
    pub unit: i64,
}

/// No lower bound.
pub const MIN: i64 = i64::MIN;
/// The largest 32-bit number, which is no bound for one.
pub const INT_MAX: i64 = i32::MAX as i64;
/// No upper bound.
pub const MAX: i64 = i64::MAX;

impl Key {
    /// A setting that acts and needs a restart.
    pub(super) const fn fixed(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
        Key { name, kind, default: Some(default), update: Update::Restart, effect: Effect::Acts, synonyms: &[], doc }
    }

    /// A setting that acts and can change for the whole cluster.
    pub(super) const fn dynamic(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
        Key { update: Update::Cluster, ..Key::fixed(name, kind, default, doc) }
    }

    /// The same without a default.
    pub(super) const fn or_null(self) -> Key {
        Key { default: None, ..self }
    }

    /// The same without any effect.
    pub(super) const fn inert(self, why: Why) -> Key {
        Key { effect: Effect::Inert(why), ..self }
    }

    /// The same, not accepted.
    pub(super) const fn refused(self, why: Why) -> Key {
        Key { effect: Effect::Refused(why), ..self }
    }

    /// The same, changeable for one broker.
    pub(super) const fn per_broker(self) -> Key {
        Key { update: Update::Broker, ..self }
    }

    /// The topic setting whose default is given by these.
    pub(super) const fn of(self, synonyms: &'static [Synonym]) -> Key {
        Key { synonyms, ..self }
    }

    /// What it means, and why it does nothing here where it does not.
    pub fn documentation(&self) -> String {
        match self.effect {
            Effect::Acts => self.doc.into(),
            Effect::Inert(why) | Effect::Refused(why) if self.doc.is_empty() => {
                format!("It has no effect here: {why}.")
            }
            Effect::Inert(why) | Effect::Refused(why) => format!("{} It has no effect here: {why}.", self.doc),
        }
    }

    /// Checks a value and gives it as it is kept: without blanks around it. The error is Kafka's sentence.
    pub fn check<'a>(&self, value: &'a str) -> Result<&'a str, String> {
        let trimmed = value.trim();
        let shown = if self.kind == Kind::Password { "[hidden]" } else { trimmed };
        self.kind
            .check(trimmed)
            .map_err(|why| format!("Invalid value {shown} for configuration {}: {why}", self.name))?;
        Ok(if self.kind == Kind::Password { value } else { trimmed })
    }
}

impl Kind {
    /// Kafka's name of the type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Kind::Boolean => "boolean",
            Kind::Short(..) => "short",
            Kind::Int(..) | Kind::GzipLevel => "int",
            Kind::Long(..) => "long",
            Kind::Double(..) => "double",
            Kind::Text | Kind::OneOf(_) | Kind::OneOfAnyCase(_) | Kind::HostLimits => "string",
            Kind::ListOf(_) | Kind::List | Kind::Replicas => "list",
            Kind::Class => "class",
            Kind::Password => "password",
        }
    }

    fn check(&self, value: &str) -> Result<(), String> {
        match *self {
            Kind::Boolean => match value.to_ascii_lowercase().as_str() {
                "true" | "false" => Ok(()),
                _ => Err("Expected value to be either true or false".into()),
            },
            Kind::Short(min, max) => number(value, "SHORT", i16::MIN.into(), i16::MAX.into(), min, max),
            Kind::Int(min, max) => number(value, "INT", i32::MIN.into(), i32::MAX.into(), min, max),
            Kind::Long(min, max) => number(value, "LONG", i64::MIN, i64::MAX, min, max),
            Kind::GzipLevel if value == "-1" => Ok(()),
            Kind::GzipLevel => number(value, "INT", i32::MIN.into(), i32::MAX.into(), 1, 9),
            Kind::Double(min, max) => {
                let number: f64 = value.parse().map_err(|_| "Not a number of type DOUBLE".to_string())?;
                if number < min || number.is_nan() {
                    return Err(format!("Value must be at least {min}"));
                }
                if number > max { Err(format!("Value must be no more than {max}")) } else { Ok(()) }
            }
            Kind::OneOf(words) if words.contains(&value) => Ok(()),
            Kind::OneOfAnyCase(words) if words.iter().any(|word| word.eq_ignore_ascii_case(value)) => Ok(()),
            Kind::OneOf(words) | Kind::OneOfAnyCase(words) => {
                Err(format!("String must be one of: {}", words.join(", ")))
            }
            Kind::ListOf(words) => match items(value).find(|item| !words.contains(item)) {
                Some(_) => Err(format!("String must be one of: {}", words.join(", "))),
                None => Ok(()),
            },
            Kind::Replicas => match items(value).find(|item| *item != "*" && !is_replica(item)) {
                Some(_) => Err("it must be the literal '*' or a list of replicas of the form \
                                [partitionId]:[brokerId],[partitionId]:[brokerId],..."
                    .into()),
                None => Ok(()),
            },
            Kind::HostLimits => super::connection_limits::check(value),
            Kind::Text | Kind::List | Kind::Class | Kind::Password => Ok(()),
        }
    }
}

/// The items of a list.
pub fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn is_replica(item: &str) -> bool {
    item.split_once(':')
        .is_some_and(|(partition, broker)| partition.parse::<u32>().is_ok() && broker.parse::<u32>().is_ok())
}

fn number(value: &str, of: &str, type_min: i64, type_max: i64, min: i64, max: i64) -> Result<(), String> {
    let number = value.parse::<i64>().ok().filter(|number| (type_min..=type_max).contains(number));
    let number = number.ok_or_else(|| format!("Not a number of type {of}"))?;
    if number < min {
        return Err(format!("Value must be at least {min}"));
    }
    if number > max {
        return Err(format!("Value must be no more than {max}"));
    }
    Ok(())
}

impl fmt::Display for Kind {
    /// The values in words, for the settings table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Short(min, max) | Kind::Int(min, max) | Kind::Long(min, max) => match (*min, *max) {
                (MIN, MAX | INT_MAX) => write!(f, "any {}", self.type_name()),
                (min, MAX | INT_MAX) => write!(f, "{} ≥ {min}", self.type_name()),
                (min, max) => write!(f, "{} {min} to {max}", self.type_name()),
            },
            Kind::Double(min, max) if *max < f64::MAX => write!(f, "double {min} to {max}"),
            Kind::OneOf(words) | Kind::OneOfAnyCase(words) => f.write_str(&words.join(", ")),
            Kind::ListOf(words) => write!(f, "list of {}", words.join(", ")),
            Kind::Replicas => f.write_str("list of partition:broker, or *"),
            Kind::HostLimits => f.write_str("list of host:number"),
            Kind::GzipLevel => f.write_str("int 1 to 9, or -1"),
            other => f.write_str(other.type_name()),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::OneBroker => "there is one broker, which replicates to nobody",
            Why::OneVoter => "the metadata quorum is the broker itself",
            Why::NoShareGroups => "share groups and streams groups are not coordinated here",
            Why::NoTransactions => "transactions are not coordinated here",
            Why::NoTiers => "there is no tiered storage",
            Why::NoSecurity => "only PLAINTEXT is served, without authentication",
            Why::NoThreadPools => "one thread per core does all the work",
            Why::Journal => "the shard's journal and its checkpoint do this",
            Why::OneLevel => "the codec's library has one level",
            Why::NoQuotas => "there are no quotas",
            Why::NoJava => "Java classes cannot be loaded",
            Why::KernelTuned => "the kernel sizes socket buffers as they are needed",
            Why::Unneeded => "it tunes a part of Kafka that has no like here",
            Why::Removed => "Kafka 4.0 removed it",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_with_kafkas_sentences() {
        let key = |kind| Key::fixed("k", kind, "", "");
        let cases = [
            (Kind::Boolean, "TRUE", None),
            (Kind::Boolean, "yes", Some("Expected value to be either true or false")),
            (Kind::Int(0, INT_MAX), " 7 ", None),
            (Kind::Int(0, INT_MAX), "2147483648", Some("Not a number of type INT")),
            (Kind::Int(0, INT_MAX), "-1", Some("Value must be at least 0")),
            (Kind::Long(1, 5), "6", Some("Value must be no more than 5")),
            (Kind::Long(1, MAX), "1e3", Some("Not a number of type LONG")),
            (Kind::Short(1, i16::MAX as i64), "40000", Some("Not a number of type SHORT")),
            (Kind::Double(0.0, 1.0), "0.5", None),
            (Kind::Double(0.0, 1.0), "2", Some("Value must be no more than 1")),
            (Kind::Double(0.0, 1.0), "nan", Some("Value must be at least 0")),
            (Kind::OneOf(&["a", "b"]), "c", Some("String must be one of: a, b")),
            (Kind::OneOfAnyCase(&["A"]), "a", None),
            (Kind::ListOf(&["compact", "delete"]), "compact, delete", None),
            (Kind::ListOf(&["compact", "delete"]), "", None),
            (Kind::ListOf(&["compact", "delete"]), "delete,x", Some("String must be one of: compact, delete")),
            (Kind::Replicas, "0:1,1:2", None),
            (Kind::Replicas, "*", None),
            (Kind::Replicas, "0-1", Some("literal '*'")),
            (Kind::GzipLevel, "-1", None),
            (Kind::GzipLevel, "0", Some("Value must be at least 1")),
        ];
        for (kind, value, expected) in cases {
            match (key(kind).check(value), expected) {
                (Ok(kept), None) => assert_eq!(kept, value.trim()),
                (Err(sentence), Some(part)) => assert!(sentence.contains(part), "{sentence}"),
                (found, _) => panic!("{kind:?} {value:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_password_is_kept_whole_and_never_shown() {
        let key = Key::fixed("k", Kind::Password, "", "");
        assert_eq!(key.check(" secret "), Ok(" secret "));
    }
}
