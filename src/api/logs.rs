//! `GET /v1/logs`: a stream of lines.
//!
//! The stream's event ids are opaque cursors: a client that lost the connection sends the last one back and gets
//! what comes after it.

use std::time::Duration;

use mill_model::time::human;
use mill_model::{AllocId, Incarnation, Timestamp, Workload};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which lines to send.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogQuery {
    /// A service, task or alloc, by any name that means one thing ([`crate::names`]).
    pub name: String,
    /// Go on with new lines as they come.
    #[serde(default)]
    pub follow: bool,
    /// At most so many last lines of each alloc.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// Only lines of this last stretch of time.
    #[serde(default, with = "since", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub since: Option<Duration>,
    /// The incarnation before the current one, instead of the current one.
    #[serde(default)]
    pub previous: bool,
    /// Every incarnation that is kept, of ended allocs too.
    #[serde(default)]
    pub all: bool,
    /// Only of this stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<LogStream>,
}

/// Where a program wrote a line.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line that a program wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// When it was read.
    pub at: Timestamp,
    /// Whose.
    pub workload: Workload,
    /// Which instance's.
    pub alloc: AllocId,
    /// Which run's.
    pub incarnation: Incarnation,
    /// Where it was written.
    pub stream: LogStream,
    /// The line without its end; what isn't UTF-8 is replaced.
    pub text: String,
}

mod since {
    use super::{Duration, human};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(since: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match since {
            Some(since) => human::serialize(since, to),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        human::deserialize(from).map(Some)
    }
}
