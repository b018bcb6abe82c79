//! `GET /v1/doctor`: what a node finds wrong with its machine.

use mill_model::NodeName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a node, or the CLI without one, found.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Which node; `None`: a machine without a daemon.
    #[serde(default)]
    pub node: Option<NodeName>,
    /// What was looked at, in order.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether Mill can't work like this.
    pub fn is_failed(&self) -> bool {
        self.findings.iter().any(|finding| finding.level == Level::Fail)
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What: `containerd`, `cgroups`.
    pub check: String,
    /// How it is.
    pub level: Level,
    /// What was seen.
    pub what: String,
    /// What to do; always there unless `level` is ok.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &str, what: impl Into<String>) -> Self {
        Self { check: check.to_owned(), level: Level::Ok, what: what.into(), fix: None }
    }

    /// Mill works, but not as well as it could.
    pub fn warn(check: &str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check: check.to_owned(), level: Level::Warn, what: what.into(), fix: Some(fix.into()) }
    }

    /// Mill can't work like this.
    pub fn fail(check: &str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check: check.to_owned(), level: Level::Fail, what: what.into(), fix: Some(fix.into()) }
    }
}

/// How grave a finding is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Well.
    #[default]
    Ok,
    /// Mill works, but not as well as it could.
    Warn,
    /// Mill can't work like this.
    Fail,
}
