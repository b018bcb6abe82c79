//! The types behind the words of the table of routes: `list of Service` is a list of [`Service`].

use mill_model::{DeployId, ProjectName, RegistryHost, SecretName, WorkloadName};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::actors::{Actors, RestartActor};
use crate::allocs::Alloc;
use crate::audit::AuditRecord;
use crate::certs::{Certificate, RotateCa, RotatedCa};
use crate::daemon::{Daemon, InitRequest, Initialized};
use crate::deploys::{Deploy, DeployRequest, RollbackRequest, ScaleRequest};
use crate::doctor::Report;
use crate::events::Event;
use crate::exec::{ExecAsk, ExecTold};
use crate::inspect::Inspected;
use crate::logs::LogLine;
use crate::nodes::Node;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::projects::{HistoryEntry, Project};
use crate::registries::{RegistryInfo, SetRegistry};
use crate::secrets::{Rolled, Secret, SecretHistory, SecretSet, SetRequest, Value};
use crate::services::Service;
use crate::status::Status;
use crate::tasks::{SignalRequest, SpawnRequest, Task};
use crate::tokens::{CreateToken, CreatedToken, TokenInfo, Whoami};
use crate::top::Top;
use crate::why::Why;

/// A type by the name that routes call it.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    /// A reference to its schema.
    pub(super) schema: fn(&mut SchemaGenerator) -> Schema,
    /// Whether a value is one.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests read examples"))]
    pub(super) read: fn(&Json) -> serde_json::Result<()>,
}

const fn shape<T: JsonSchema + DeserializeOwned>(name: &'static str) -> Shape {
    Shape {
        name,
        schema: |generator| generator.subschema_for::<T>(),
        read: |value| serde_json::from_value::<T>(value.clone()).map(drop),
    }
}

macro_rules! shapes {
    ($($name:ident)*) => {
        /// All of them.
        pub(super) const SHAPES: &[Shape] = &[$(shape::<$name>(stringify!($name))),*];
    };
}

shapes! {
    Actors RestartActor Alloc AuditRecord Certificate RotateCa RotatedCa Daemon InitRequest Initialized Deploy
    DeployRequest RollbackRequest ScaleRequest Report Event ExecAsk ExecTold Inspected LogLine Node Plan Progress
    HistoryEntry Project RegistryInfo SetRegistry Rolled Secret SecretHistory SecretSet SetRequest Value Service
    SignalRequest SpawnRequest Status Task CreateToken CreatedToken TokenInfo Top Whoami Why
}

/// What the table of routes says of a body.
#[derive(Debug)]
pub(super) enum Said {
    /// Nothing that has a shape.
    Nothing,
    /// One of these.
    One(&'static Shape),
    /// Several.
    List(&'static Shape),
    /// Events, each with one of these.
    Stream(&'static Shape),
    /// A list; with `follow` a stream.
    ListOrStream(&'static Shape),
    /// Messages of a WebSocket.
    Messages(&'static Shape),
}

impl Said {
    pub(super) const fn shape(&self) -> Option<&'static Shape> {
        match self {
            Self::Nothing => None,
            Self::One(shape)
            | Self::List(shape)
            | Self::Stream(shape)
            | Self::ListOrStream(shape)
            | Self::Messages(shape) => Some(shape),
        }
    }
}

/// Reads the table's words.
pub(super) fn said(words: &str) -> Said {
    let named = words.split([' ', ';']).find(|word| word.starts_with(char::is_uppercase));
    let Some(shape) = named.and_then(|name| SHAPES.iter().find(|shape| shape.name == name)) else {
        return Said::Nothing;
    };
    match words {
        _ if words.starts_with("messages") => Said::Messages(shape),
        _ if words.starts_with("stream") => Said::Stream(shape),
        _ if words.starts_with("list") && words.contains("stream") => Said::ListOrStream(shape),
        _ if words.starts_with("list") => Said::List(shape),
        _ => Said::One(shape),
    }
}

/// What stands for a `{name}` of a path.
pub(super) fn segment(name: &str, generator: &mut SchemaGenerator) -> Schema {
    match name {
        "project" => generator.subschema_for::<ProjectName>(),
        "service" => generator.subschema_for::<WorkloadName>(),
        "secret" => generator.subschema_for::<SecretName>(),
        "id" => generator.subschema_for::<DeployId>(),
        "host" => generator.subschema_for::<RegistryHost>(),
        _ => schemars::json_schema!({ "type": "string", "minLength": 1 }),
    }
}
