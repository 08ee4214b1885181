//! The levels of the logs, as clients see and set them (`BROKER_LOGGER` resources, KIP-412): a logger is a target of `tracing`, that is
//! a module, and what is set for it counts for those below it. Its name has dots between modules, since Kafka's tools take no colons. As in
//! Kafka, what is set is forgotten when the process ends.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use corelog_replication::metadata::AlterOperation;
use tracing_subscriber::EnvFilter;

use crate::protocol::ErrorCode;

/// The logger of everything, by Kafka's name.
const ROOT: &str = "root";
/// Our loggers: each crate, and its modules that log.
const LOGGERS: &[&str] = &[
    "corelog_engine",
    "corelog_engine.io",
    "corelog_engine.shard",
    "corelog_replication",
    "corelog_server",
    "corelog_server.api",
    "corelog_server.command_line",
    "corelog_server.config",
    "corelog_server.controller",
    "corelog_server.groups",
    "corelog_server.metrics",
    "corelog_server.net",
    "corelog_server.serve",
    "corelog_server.topic_settings",
    ROOT,
];
/// Kafka's levels, and what they are here; nothing is logged at FATAL.
const LEVELS: [(&str, &str); 6] =
    [("DEBUG", "debug"), ("ERROR", "error"), ("FATAL", "off"), ("INFO", "info"), ("TRACE", "trace"), ("WARN", "warn")];

/// A change: of which logger, how, and to which level.
pub(crate) type Change = (String, AlterOperation, Option<String>);

struct Loggers {
    /// What `RUST_LOG` said at the start.
    base: String,
    /// What was set since.
    set: BTreeMap<&'static str, &'static str>,
    /// Makes the process log by another filter.
    apply: Option<Box<dyn Fn(EnvFilter) + Send>>,
}

/// Of the process, as its logs are.
static HERE: Mutex<Option<Loggers>> = Mutex::new(None);

fn here() -> MutexGuard<'static, Option<Loggers>> {
    let mut here = HERE.lock().unwrap_or_else(PoisonError::into_inner);
    here.get_or_insert_with(|| Loggers::new("info".into()));
    here
}

/// The process logs by `base`, as in `RUST_LOG`, and by another filter when it is given to `apply`.
pub(crate) fn begin(base: String, apply: impl Fn(EnvFilter) + Send + 'static) {
    *here() = Some(Loggers { apply: Some(Box::new(apply)), ..Loggers::new(base) });
}

/// Every logger with its level.
pub(crate) fn levels() -> Vec<(&'static str, Cow<'static, str>)> {
    let here = here();
    let loggers = here.as_ref().expect("it was just made");
    LOGGERS.iter().map(|name| (*name, loggers.level(name))).collect()
}

/// Changes levels, all or, where one of the changes cannot be, none; errors are Kafka's.
pub(crate) fn change(changes: &[Change], validate_only: bool) -> Result<(), (ErrorCode, String)> {
    let checked = changes.iter().map(check).collect::<Result<Vec<_>, _>>()?;
    if validate_only {
        return Ok(());
    }
    let mut here = here();
    let loggers = here.as_mut().expect("it was just made");
    for (name, level) in checked {
        tracing::info!(logger = name, level = level.unwrap_or("that of the logger above"), "a logger's level is set");
        match level {
            Some(level) => loggers.set.insert(name, level),
            None => loggers.set.remove(name),
        };
    }
    if let Some(apply) = &loggers.apply {
        apply(EnvFilter::new(loggers.filter()));
    }
    Ok(())
}

fn check((name, operation, value): &Change) -> Result<(&'static str, Option<&'static str>), (ErrorCode, String)> {
    let known = || {
        let known = LOGGERS.iter().find(|known| *known == name);
        known.copied().ok_or_else(|| (ErrorCode::INVALID_CONFIG, format!("Logger {name} does not exist!")))
    };
    let refused = |message: String| Err((ErrorCode::INVALID_REQUEST, message));
    match operation {
        AlterOperation::Set => {
            let (name, value) = (known()?, value.as_deref().unwrap_or_default());
            match LEVELS.iter().find(|(level, _)| *level == value) {
                Some((level, _)) => Ok((name, Some(level))),
                None => {
                    let valid = LEVELS.map(|(level, _)| level).join(", ");
                    let message = format!(
                        "Cannot set the log level of {name} to {value} as it is not a supported log level. Valid log levels are {valid}"
                    );
                    Err((ErrorCode::INVALID_CONFIG, message))
                }
            }
        }
        AlterOperation::Delete => match known()? {
            ROOT => refused(format!("Removing the log level of the {ROOT} logger is not allowed")),
            name => Ok((name, None)),
        },
        AlterOperation::Append => refused("APPEND operation is not allowed for the BROKER_LOGGER resource".into()),
        AlterOperation::Subtract => refused("SUBTRACT operation is not allowed for the BROKER_LOGGER resource".into()),
    }
}

impl Loggers {
    fn new(base: String) -> Loggers {
        Loggers { base, set: BTreeMap::new(), apply: None }
    }

    /// All of it, as in `RUST_LOG`; the later of two for the same target counts.
    fn filter(&self) -> String {
        let mut filter = self.base.clone();
        for (name, level) in &self.set {
            let level = LEVELS.iter().find(|(kafka, _)| kafka == level).map_or("info", |(_, ours)| ours);
            filter.push(',');
            if *name != ROOT {
                filter.extend([&*target(name), "="]);
            }
            filter.push_str(level);
        }
        filter
    }

    /// The level that counts for a logger: that of the longest target that begins its name.
    fn level(&self, name: &str) -> Cow<'static, str> {
        if let Some(level) = self.set.get(name) {
            return Cow::Borrowed(level);
        }
        let (filter, wanted) = (self.filter(), target(name));
        let mut found = (0, "OFF".to_string());
        for directive in filter.split(',').map(str::trim).filter(|directive| !directive.contains(['[', '{'])) {
            let (target, level) = match directive.split_once('=') {
                Some((target, level)) => (target, level),
                None if is_level(directive) => ("", directive),
                // All of a target.
                None => (directive, "trace"),
            };
            let is_above = wanted.starts_with(target) && (name != ROOT || target.is_empty());
            if is_above && !directive.is_empty() && target.len() >= found.0 {
                found = (target.len(), level.to_uppercase());
            }
        }
        let kafka = LEVELS.iter().map(|(kafka, _)| *kafka).find(|kafka| *kafka == found.1);
        kafka.map_or(Cow::Owned(found.1), Cow::Borrowed)
    }
}

/// The target of `tracing` that is the logger.
fn target(logger: &str) -> String {
    logger.replace('.', "::")
}

fn is_level(word: &str) -> bool {
    LEVELS.iter().any(|(_, level)| word.eq_ignore_ascii_case(level))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(loggers: &Loggers, name: &str) -> String {
        loggers.level(name).into_owned()
    }

    #[test]
    fn a_logger_has_the_level_of_the_nearest_above_it() {
        let mut loggers = Loggers::new("warn,corelog_engine=debug,corelog_server::net=ERROR,[span]=trace".into());
        assert_eq!(level(&loggers, ROOT), "WARN");
        assert_eq!(level(&loggers, "corelog_engine.shard"), "DEBUG");
        assert_eq!(level(&loggers, "corelog_server"), "WARN");
        assert_eq!(level(&loggers, "corelog_server.net"), "ERROR");
        loggers.set.extend([(ROOT, "INFO"), ("corelog_engine", "FATAL"), ("corelog_server.net", "TRACE")]);
        assert_eq!(
            [ROOT, "corelog_server", "corelog_server.net"].map(|name| level(&loggers, name)),
            ["INFO", "INFO", "TRACE"]
        );
        assert_eq!(
            (level(&loggers, "corelog_engine"), level(&loggers, "corelog_engine.io")),
            ("FATAL".into(), "OFF".into())
        );
        assert!(
            loggers.filter().ends_with(",corelog_engine=off,corelog_server::net=trace,info"),
            "{}",
            loggers.filter()
        );
        assert_eq!(level(&Loggers::new("corelog_engine".into()), ROOT), "OFF");
        assert_eq!(level(&Loggers::new("corelog_engine".into()), "corelog_engine"), "TRACE");
    }

    #[test]
    fn every_module_that_logs_has_a_logger() {
        fn look(dir: &std::path::Path, logger: &str, depth: usize) {
            for entry in std::fs::read_dir(dir).expect("the sources").map(|entry| entry.expect("one").path()) {
                let name = entry.file_stem().expect("a name").to_string_lossy().into_owned();
                let below = if depth == 0 { format!("{logger}.{name}") } else { logger.to_string() };
                if entry.is_dir() {
                    look(&entry, &below, depth + 1);
                } else if std::fs::read_to_string(&entry).expect("text").contains("tracing::") && name != "loggers" {
                    assert!(LOGGERS.contains(&&*below) || depth == 0 && name == "main", "{below} logs");
                }
            }
        }
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (dir, logger) in
            [("engine", "corelog_engine"), ("replication", "corelog_replication"), ("server", "corelog_server")]
        {
            look(&root.join(dir).join("src"), logger, 0);
        }
    }
}
