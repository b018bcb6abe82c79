//! What is wrong with a config file, for people and for tools.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::code::Code;
pub use crate::span::Place;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken; someone should look.
    Warning,
}

/// One thing that is wrong, where, why, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Complaint {
    /// What kind.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// The file, as its reader named it.
    pub file: String,
    /// Where in it.
    #[serde(flatten)]
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// Why that is wrong.
    pub reason: String,
    /// What to do, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Other places that have to do with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Related>,
}

/// Another place that has to do with a complaint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Related {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What is there.
    pub label: String,
}

/// Everything that is wrong with a file, in its order. Never empty where it is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Complaints {
    /// The first of them.
    #[serde(rename = "complaints")]
    pub list: Vec<Complaint>,
    /// How many more there are.
    #[serde(default)]
    pub omitted: usize,
}

impl fmt::Display for Complaint {
    /// One line, for logs and for terminals that can't be drawn on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, place, message, reason, .. } = self;
        write!(f, "{file}:{}:{}: {message}: {reason}", place.line, place.column)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.list.iter();
        if let Some(first) = lines.next() {
            write!(f, "{first}")?;
        }
        lines.try_for_each(|complaint| write!(f, "\n{complaint}"))
    }
}

impl std::error::Error for Complaints {}
