//! Where everything is: one constant per route, for the server, and [`fill`] to make a path of it, for the client.
//! A `{name}` stands for one percent-encoded segment.

use std::fmt::Write as _;

/// `GET` → [`crate::status::Status`]
pub const STATUS: &str = "/v1/status";
/// `GET` → `[`[`crate::nodes::Node`]`]`
pub const NODES: &str = "/v1/nodes";
/// `GET` → `[`[`crate::services::Service`]`]`
pub const SERVICES: &str = "/v1/services";
/// `GET` with [`crate::allocs::AllocQuery`] → `[`[`crate::allocs::Alloc`]`]`
pub const ALLOCS: &str = "/v1/allocs";
/// `GET` → `[`[`crate::projects::Project`]`]`
pub const PROJECTS: &str = "/v1/projects";
/// `DELETE` (undeploy) → [`crate::deploys::Deploy`]
pub const PROJECT: &str = "/v1/projects/{project}";
/// `GET` → `[`[`crate::projects::HistoryEntry`]`]`, newest first
pub const HISTORY: &str = "/v1/projects/{project}/history";
/// `POST` [`crate::deploys::RollbackRequest`] → [`crate::deploys::Deploy`]
pub const ROLLBACK: &str = "/v1/projects/{project}/rollback";
/// `POST` [`crate::deploys::ScaleRequest`] → [`crate::deploys::Deploy`]
pub const SCALE: &str = "/v1/projects/{project}/services/{service}/scale";
/// `POST` → [`crate::deploys::Deploy`]
pub const RESTART: &str = "/v1/projects/{project}/services/{service}/restart";
/// `GET` → [`crate::why::Why`]
pub const WHY: &str = "/v1/projects/{project}/services/{service}/why";
/// `POST` [`crate::deploys::DeployRequest`] → [`crate::plan::Plan`]
pub const PLAN: &str = "/v1/plan";
/// `POST` [`crate::deploys::DeployRequest`] → [`crate::deploys::Deploy`]
pub const DEPLOYS: &str = "/v1/deploys";
/// `GET` → [`crate::deploys::Deploy`]
pub const DEPLOY: &str = "/v1/deploys/{id}";
/// `GET` → stream of [`crate::progress::Progress`]
pub const PROGRESS: &str = "/v1/deploys/{id}/progress";
/// `POST` → [`crate::deploys::Deploy`]
pub const CANCEL: &str = "/v1/deploys/{id}/cancel";
/// `GET` → `[`[`crate::secrets::Secret`]`]`
pub const SECRETS: &str = "/v1/secrets";
/// `PUT` [`crate::secrets::SetRequest`] → [`crate::secrets::SecretSet`], `GET` → [`crate::secrets::SecretHistory`],
/// `DELETE` → [`crate::secrets::Secret`]: a shared secret
pub const SHARED_SECRET: &str = "/v1/secrets/{secret}";
/// `GET` with [`crate::secrets::ValueQuery`] → [`crate::secrets::Value`]
pub const SHARED_SECRET_VALUE: &str = "/v1/secrets/{secret}/value";
/// `POST` → [`crate::secrets::Rolled`]
pub const SHARED_SECRET_ROLL: &str = "/v1/secrets/{secret}/roll";
/// As [`SHARED_SECRET`], of one project
pub const SECRET: &str = "/v1/projects/{project}/secrets/{secret}";
/// As [`SHARED_SECRET_VALUE`]
pub const SECRET_VALUE: &str = "/v1/projects/{project}/secrets/{secret}/value";
/// As [`SHARED_SECRET_ROLL`]
pub const SECRET_ROLL: &str = "/v1/projects/{project}/secrets/{secret}/roll";
/// `GET` → [`crate::inspect::Inspected`]
pub const INSPECT: &str = "/v1/inspect/{anything}";
/// `GET`, a WebSocket: [`crate::exec::ExecAsk`] and [`crate::exec::ExecTold`]
pub const EXEC: &str = "/v1/exec/{name}";
/// `GET` with [`crate::logs::LogQuery`] → stream of [`crate::logs::LogLine`]
pub const LOGS: &str = "/v1/logs";
/// `GET` with [`crate::events::EventQuery`] → `[`[`crate::events::Event`]`]`, or a stream of them
pub const EVENTS: &str = "/v1/events";
/// `GET` → [`crate::actors::Actors`]
pub const ACTORS: &str = "/v1/actors";
/// `POST` [`crate::actors::RestartActor`] → `{}`
pub const ACTORS_RESTART: &str = "/v1/actors/restart";
/// `GET` → [`crate::doctor::Report`]
pub const DOCTOR: &str = "/v1/doctor";
/// `GET` → [`crate::daemon::Daemon`]; local socket only
pub const DAEMON: &str = "/v1/daemon";
/// `POST` [`crate::daemon::InitRequest`] → [`crate::daemon::Initialized`]; local socket only
pub const INIT: &str = "/v1/init";

/// A route as its readers know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// How it is asked.
    pub method: &'static str,
    /// Where it is.
    pub path: &'static str,
    /// What it does.
    pub does: &'static str,
    /// What the body or the query is; empty: nothing.
    pub takes: &'static str,
    /// What comes back.
    pub answers: &'static str,
}

const fn get(path: &'static str, does: &'static str, answers: &'static str) -> Route {
    Route { method: "GET", path, does, takes: "", answers }
}

const fn post(path: &'static str, does: &'static str, takes: &'static str, answers: &'static str) -> Route {
    Route { method: "POST", path, does, takes, answers }
}

const fn put(path: &'static str, does: &'static str, takes: &'static str, answers: &'static str) -> Route {
    Route { method: "PUT", path, does, takes, answers }
}

const fn delete(path: &'static str, does: &'static str, answers: &'static str) -> Route {
    Route { method: "DELETE", path, does, takes: "", answers }
}

const SET_SECRET: &str = "gives it a new version; what runs isn't touched";
const ITS_VERSIONS: &str = "its versions, newest first, and who uses them; no values";
const DELETE_SECRET: &str = "deletes it, if nothing uses it";
const ITS_VALUE: &str = "its value";
const ROLL_SECRET: &str = "brings everything that uses it to its newest version";

impl Route {
    const fn with(self, takes: &'static str) -> Self {
        Self { takes, ..self }
    }

    /// Whether only the machine's own socket answers it.
    pub fn is_local(&self) -> bool {
        LOCAL.contains(&self.path)
    }
}

/// Paths that only the machine's own socket answers.
pub const LOCAL: [&str; 2] = [DAEMON, INIT];

/// Every route.
pub const ROUTES: [Route; 36] = [
    get(STATUS, "the cluster on one page", "Status"),
    get(NODES, "the nodes", "list of Node"),
    get(SERVICES, "services and tasks", "list of Service"),
    get(ALLOCS, "their instances", "list of Alloc").with("query: project, service, all"),
    get(PROJECTS, "the projects", "list of Project"),
    delete(PROJECT, "undeploys it: stops everything of it and forgets it", "Deploy"),
    get(HISTORY, "its deploys, newest first", "list of HistoryEntry"),
    post(ROLLBACK, "brings an earlier config back", "RollbackRequest", "Deploy"),
    post(SCALE, "changes the number of replicas", "ScaleRequest", "Deploy"),
    post(RESTART, "replaces the replicas by new ones of the same version", "", "Deploy"),
    get(WHY, "why it isn't as wanted", "Why"),
    post(PLAN, "what a deploy would do; changes nothing", "DeployRequest", "Plan"),
    post(DEPLOYS, "deploys a config file", "DeployRequest", "Deploy"),
    get(DEPLOY, "a deploy as it stands", "Deploy"),
    get(PROGRESS, "what happens in it, from its beginning to its end", "stream of Progress"),
    post(CANCEL, "calls it off", "", "Deploy"),
    get(SECRETS, "the secrets, without their values", "list of Secret"),
    put(SHARED_SECRET, SET_SECRET, "SetRequest", "SecretSet"),
    get(SHARED_SECRET, ITS_VERSIONS, "SecretHistory"),
    delete(SHARED_SECRET, DELETE_SECRET, "Secret"),
    get(SHARED_SECRET_VALUE, ITS_VALUE, "Value").with("query: version"),
    post(SHARED_SECRET_ROLL, ROLL_SECRET, "", "Rolled"),
    put(SECRET, SET_SECRET, "SetRequest", "SecretSet"),
    get(SECRET, ITS_VERSIONS, "SecretHistory"),
    delete(SECRET, DELETE_SECRET, "Secret"),
    get(SECRET_VALUE, ITS_VALUE, "Value").with("query: version"),
    post(SECRET_ROLL, ROLL_SECRET, "", "Rolled"),
    get(
        INSPECT,
        "all that is known about one thing: a node, project, service, task, alloc or deploy",
        "Inspected",
    ),
    get(EXEC, "runs a program in a container; a WebSocket", "messages ExecTold").with("messages ExecAsk"),
    get(LOGS, "what programs wrote", "stream of LogLine")
        .with("query: name, follow, n, since, previous, all, stream"),
    get(EVENTS, "what happened in the cluster", "list of Event; with follow a stream of them")
        .with("query: follow, since_id"),
    get(ACTORS, "both trees of actors of the node", "Actors"),
    post(ACTORS_RESTART, "has an actor started again by its supervisor", "RestartActor", "{}"),
    get(DOCTOR, "what the node finds wrong with its machine", "Report"),
    get(DAEMON, "the daemon, whether it is a member or not", "Daemon"),
    post(INIT, "makes a cluster of the node", "InitRequest", "Initialized"),
];

/// The path of `route` with its `{…}` filled in, in order. What is missing stays empty.
pub fn fill(route: &str, segments: &[&str]) -> String {
    let mut path = String::with_capacity(route.len());
    let mut segments = segments.iter();
    for part in route.split('/').skip(1) {
        path.push('/');
        match part.starts_with('{') {
            true => encode_into(&mut path, segments.next().copied().unwrap_or_default()),
            false => path.push_str(part),
        }
    }
    path
}

/// `path` with the fields of `query` behind it. Fields that are absent are left out; a query is a flat structure of
/// texts, numbers and truths, anything else in it is left out too.
pub fn with_query(path: &str, query: &impl serde::Serialize) -> String {
    let mut full = path.to_owned();
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(query) else { return full };
    let mut separator = '?';
    for (name, value) in fields {
        let text = match value {
            serde_json::Value::String(text) => text,
            serde_json::Value::Bool(_) | serde_json::Value::Number(_) => value.to_string(),
            _ => continue,
        };
        full.push(separator);
        encode_into(&mut full, &name);
        full.push('=');
        encode_into(&mut full, &text);
        separator = '&';
    }
    full
}

/// Percent-encodes all but the unreserved characters (RFC 3986 §2.3).
fn encode_into(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::logs::{LogQuery, LogStream};

    #[test]
    fn names_can_not_break_out_of_their_segment() {
        assert_eq!(fill(SCALE, &["shop", "web"]), "/v1/projects/shop/services/web/scale");
        assert_eq!(fill(INSPECT, &["shop/web"]), "/v1/inspect/shop%2Fweb");
        assert_eq!(fill(INSPECT, &["#14?x=é"]), "/v1/inspect/%2314%3Fx%3D%C3%A9");
        assert_eq!(fill(STATUS, &[]), STATUS);
    }

    #[test]
    fn a_query_is_read_by_the_server_as_it_was_meant() {
        let query = LogQuery {
            name: "shop/web & co".into(),
            follow: true,
            n: Some(7),
            since: Some(Duration::from_secs(600)),
            stream: Some(LogStream::Stderr),
            ..LogQuery::default()
        };
        let uri: http::Uri = with_query(LOGS, &query).parse().unwrap();
        assert_eq!(axum::extract::Query::<LogQuery>::try_from_uri(&uri).unwrap().0, query);
        let bare: http::Uri = "/v1/logs?name=web".parse().unwrap();
        let read = axum::extract::Query::<LogQuery>::try_from_uri(&bare).unwrap().0;
        assert_eq!(read, LogQuery { name: "web".into(), ..LogQuery::default() });
    }
}
