//! Where settings come from: a `server.properties` file, `-o key=value`, flags.

use std::fmt;
use std::path::{Path, PathBuf};

use corelog_replication::properties;

/// A value with the place it came from. Later ones replace earlier ones of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The setting.
    pub name: String,
    /// Its value, as written.
    pub value: String,
    /// Where it was written.
    pub origin: Origin,
}

/// The place of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file.
    File(PathBuf, usize),
    /// `-o key=value`.
    Option,
    /// A flag of its own, such as `--data-dir`.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Option => f.write_str("-o"),
            Origin::Flag(flag) => f.write_str(flag),
        }
    }
}

/// Settings that cannot be used. It names the setting, where it is given, and what to change.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read settings from {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not of the properties syntax.
    #[error("{}: {source}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: properties::SyntaxError,
    },
    /// `-o` without `key=value`.
    #[error("-o {0}: a setting is given as key=value")]
    Option(String),
    /// No such setting.
    #[error("{origin}: unknown setting {name}; {hint}")]
    Unknown {
        /// The name.
        name: String,
        /// Where it is given.
        origin: Origin,
        /// What may be meant.
        hint: String,
    },
    /// A value that the setting cannot have.
    #[error("{origin}: {reason}")]
    Invalid {
        /// The setting.
        name: String,
        /// Where it is given.
        origin: Origin,
        /// The setting, the value and why.
        reason: String,
    },
}

impl Given {
    /// Reads a properties file.
    pub fn from_file(path: &Path) -> Result<Vec<Given>, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_path_buf(), source };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let properties =
            properties::parse(&text).map_err(|source| ConfigError::Syntax { path: path.to_path_buf(), source })?;
        let given = properties.into_iter().map(|property| Given {
            name: property.key,
            value: property.value,
            origin: Origin::File(path.to_path_buf(), property.line),
        });
        Ok(given.collect())
    }

    /// Reads the argument of `-o`.
    pub fn from_option(argument: &str) -> Result<Given, ConfigError> {
        match argument.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                Ok(Given { name: name.trim().into(), value: value.into(), origin: Origin::Option })
            }
            _ => Err(ConfigError::Option(argument.into())),
        }
    }

    /// A setting that has a flag of its own.
    pub fn from_flag(flag: &'static str, name: &str, value: impl Into<String>) -> Given {
        Given { name: name.into(), value: value.into(), origin: Origin::Flag(flag) }
    }
}
