//! Where everything is: one constant per route, for the server, and [`fill`] to make a path of it, for the client.
//! A `{name}` stands for one percent-encoded segment.

use std::fmt::Write as _;

use mill_model::{ProjectName, Role, RoleName};

/// `GET` → [`crate::openapi::document`]
pub const OPENAPI: &str = "/v1/openapi.json";
/// `GET` → [`crate::status::Status`]
pub const STATUS: &str = "/v1/status";
/// `GET` → `[`[`crate::nodes::Node`]`]`
pub const NODES: &str = "/v1/nodes";
/// `GET` → `[`[`crate::services::Service`]`]`
pub const SERVICES: &str = "/v1/services";
/// `GET` with [`crate::allocs::AllocQuery`] → `[`[`crate::allocs::Alloc`]`]`
pub const ALLOCS: &str = "/v1/allocs";
/// `GET` → [`crate::top::Top`]
pub const TOP: &str = "/v1/top";
/// `GET` with [`crate::tasks::TaskQuery`] → `[`[`crate::tasks::Task`]`]`; `POST` [`crate::tasks::SpawnRequest`] →
/// [`crate::tasks::Task`]
pub const TASKS: &str = "/v1/tasks";
/// `GET` → [`crate::tasks::Task`]
pub const TASK: &str = "/v1/tasks/{task}";
/// `POST` → [`crate::tasks::Task`]
pub const KILL: &str = "/v1/tasks/{task}/kill";
/// `POST` [`crate::tasks::SignalRequest`] → [`crate::tasks::Task`]
pub const SIGNAL: &str = "/v1/tasks/{task}/signal";
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
/// `GET` with [`crate::events::EventQuery`] → `[`[`crate::audit::AuditRecord`]`]`, or a stream of them
pub const AUDIT: &str = "/v1/audit";
/// `GET` → `[`[`crate::certs::Certificate`]`]`
pub const CERTS: &str = "/v1/certs";
/// `POST` [`crate::certs::RotateCa`] → [`crate::certs::RotatedCa`]
pub const ROTATE_CA: &str = "/v1/certs/rotate-ca";
/// `GET` → [`crate::tokens::Whoami`]
pub const WHOAMI: &str = "/v1/whoami";
/// `GET` → `[`[`crate::tokens::TokenInfo`]`]`; `POST` [`crate::tokens::CreateToken`] → [`crate::tokens::CreatedToken`]
pub const TOKENS: &str = "/v1/tokens";
/// `DELETE` (revoke) → [`crate::tokens::TokenInfo`]
pub const TOKEN: &str = "/v1/tokens/{token}";
/// `GET` → `[`[`crate::registries::RegistryInfo`]`]`; `POST` [`crate::registries::SetRegistry`] →
/// [`crate::registries::RegistryInfo`]
pub const REGISTRIES: &str = "/v1/registries";
/// `DELETE` → `{}`
pub const REGISTRY: &str = "/v1/registries/{host}";
/// `GET` → [`crate::daemon::Daemon`]; local socket only
pub const DAEMON: &str = "/v1/daemon";
/// `POST` [`crate::daemon::InitRequest`] → [`crate::daemon::Initialized`]; local socket only
pub const INIT: &str = "/v1/init";

/// The header that tells one write from another of the same: a client repeats a write whose answer it lost with the same
/// key, and it is done once.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

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
    /// Who may ask it.
    pub access: Access,
}

/// Who may ask a route. The one table of that is [`ROUTES`]: what refuses, the refusal's words, the reference and the
/// tests come from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Every token. What one that is held to projects gets is about those, and nodes.
    See,
    /// Every token that isn't held to some projects: it shows the machine, on which all are.
    SeeAll,
    /// A deployer of the project that it is about, and admins.
    Deploy,
    /// Deployers of all projects, and admins: it is about something that every project may use.
    DeployAll,
    /// Admins.
    Admin,
    /// Nobody from afar: only the machine's own socket answers it.
    Local,
}

impl Access {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::See, Self::SeeAll, Self::Deploy, Self::DeployAll, Self::Admin, Self::Local];

    /// Who, in words.
    pub const fn who(self) -> &'static str {
        match self {
            Self::See => "every token",
            Self::SeeAll => "every token that isn't held to some projects",
            Self::Deploy => "deployers of its project, and admins",
            Self::DeployAll => "deployers of all projects, and admins",
            Self::Admin => "admins",
            Self::Local => "nobody over the network: it is answered over the node's local socket only",
        }
    }

    /// Whether `role` may. `project` is the one that it is about; `None`: it isn't known here, and whoever knows it asks
    /// again.
    pub fn admits(self, role: &Role, project: Option<&ProjectName>) -> bool {
        match self {
            Self::See => project.is_none_or(|project| role.sees(project)),
            Self::SeeAll => role.only().is_none(),
            Self::Deploy => match project {
                Some(project) => role.deploys(project),
                None => role.name() != RoleName::Viewer,
            },
            Self::DeployAll => role.name() != RoleName::Viewer && role.only().is_none(),
            Self::Admin => role.name() == RoleName::Admin,
            Self::Local => false,
        }
    }
}

const fn get(path: &'static str, does: &'static str, answers: &'static str) -> Route {
    Route { method: "GET", path, does, takes: "", answers, access: Access::See }
}

const fn post(path: &'static str, does: &'static str, takes: &'static str, answers: &'static str) -> Route {
    Route { method: "POST", path, does, takes, answers, access: Access::Deploy }
}

const fn delete(path: &'static str, does: &'static str, answers: &'static str) -> Route {
    Route { method: "DELETE", path, does, takes: "", answers, access: Access::Deploy }
}

const fn put(path: &'static str, does: &'static str, takes: &'static str, answers: &'static str) -> Route {
    Route { method: "PUT", path, does, takes, answers, access: Access::Deploy }
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

    const fn only(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// Whether only the machine's own socket answers it.
    pub fn is_local(&self) -> bool {
        self.access == Access::Local
    }

    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        (self.method != "GET" && self.path != PLAN) || self.path == EXEC
    }

    /// Whether a repeated one, told by its [`IDEMPOTENCY_KEY`], is done once. It goes through the cluster's log then: what
    /// is about the machine alone isn't remembered.
    pub fn is_done_once(&self) -> bool {
        self.is_write() && !matches!(self.path, EXEC | INIT | ACTORS_RESTART | SIGNAL)
    }

    /// What `path` has in the places of this route's names, still percent-encoded; `None`: it is another's.
    pub fn names_in<'a>(&self, path: &'a str) -> Option<Vec<(&'static str, &'a str)>> {
        let (mut route, mut path) = (self.path.split('/'), path.split('/'));
        let mut names = vec![];
        loop {
            match (route.next(), path.next()) {
                (None, None) => return Some(names),
                (Some(name), Some(part)) => {
                    match name.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                        Some(name) if !part.is_empty() => names.push((name, part)),
                        None if name == part => {}
                        _ => return None,
                    }
                }
                _ => return None,
            }
        }
    }
}

/// Every route.
pub const ROUTES: [Route; 53] = [
    get(OPENAPI, "every route, shape and refusal, as OpenAPI 3.1 says it", "a document"),
    get(STATUS, "the cluster on one page", "Status"),
    get(NODES, "the nodes", "list of Node"),
    get(SERVICES, "services and tasks", "list of Service"),
    get(ALLOCS, "their instances", "list of Alloc").with("query: project, service, all"),
    get(TOP, "what nodes and allocs use, read when it is asked", "Top"),
    get(TASKS, "the tasks that wait or run", "list of Task").with("query: project, task, all"),
    post(TASKS, "has a task run once; its id is there at once", "SpawnRequest", "Task"),
    get(TASK, "a task: how it is, or how it ended", "Task"),
    post(KILL, "ends it: its stop signal, its grace, then SIGKILL", "", "Task"),
    post(SIGNAL, "sends its program a signal, and leaves the rest to it", "SignalRequest", "Task"),
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
    put(SHARED_SECRET, SET_SECRET, "SetRequest", "SecretSet").only(Access::DeployAll),
    get(SHARED_SECRET, ITS_VERSIONS, "SecretHistory"),
    delete(SHARED_SECRET, DELETE_SECRET, "Secret").only(Access::DeployAll),
    get(SHARED_SECRET_VALUE, ITS_VALUE, "Value").with("query: version").only(Access::DeployAll),
    post(SHARED_SECRET_ROLL, ROLL_SECRET, "", "Rolled").only(Access::DeployAll),
    put(SECRET, SET_SECRET, "SetRequest", "SecretSet"),
    get(SECRET, ITS_VERSIONS, "SecretHistory"),
    delete(SECRET, DELETE_SECRET, "Secret"),
    get(SECRET_VALUE, ITS_VALUE, "Value").with("query: version").only(Access::Deploy),
    post(SECRET_ROLL, ROLL_SECRET, "", "Rolled"),
    get(
        INSPECT,
        "all that is known about one thing: whatever has a name; `KIND:NAME` where several have it",
        "Inspected",
    ),
    get(EXEC, "runs a program in a container; a WebSocket", "messages ExecTold")
        .with("messages ExecAsk")
        .only(Access::Deploy),
    get(LOGS, "what programs wrote", "stream of LogLine")
        .with("query: name, follow, n, since, previous, all, stream"),
    get(EVENTS, "what happened in the cluster", "list of Event; with follow a stream of them")
        .with("query: follow, since_id"),
    get(ACTORS, "both trees of actors of the node", "Actors").only(Access::SeeAll),
    post(ACTORS_RESTART, "has an actor started again by its supervisor", "RestartActor", "{}")
        .only(Access::Admin),
    get(DOCTOR, "what the node finds wrong with its machine", "Report").only(Access::SeeAll),
    get(CERTS, "the certificates that the node shows", "list of Certificate"),
    post(
        ROTATE_CA,
        "gives the cluster another CA; the one before is trusted for a while",
        "RotateCa",
        "RotatedCa",
    )
    .only(Access::Admin),
    get(WHOAMI, "who asks, as the cluster sees it", "Whoami"),
    get(TOKENS, "the tokens, without what proves them", "list of TokenInfo").only(Access::Admin),
    post(TOKENS, "makes a token, which is shown this once", "CreateToken", "CreatedToken")
        .only(Access::Admin),
    delete(TOKEN, "revokes it, by its name or number: at once it is good for nothing", "TokenInfo")
        .only(Access::Admin),
    get(AUDIT, "what was done, on whose word", "list of AuditRecord; with follow a stream of them")
        .with("query: follow, since_id")
        .only(Access::Admin),
    get(REGISTRIES, "the registries that the cluster has credentials for", "list of RegistryInfo")
        .only(Access::Admin),
    post(REGISTRIES, "gives credentials for a registry; they are kept sealed", "SetRegistry", "RegistryInfo")
        .only(Access::Admin),
    delete(REGISTRY, "forgets the credentials for it", "{}").only(Access::Admin),
    get(DAEMON, "the daemon, whether it is a member or not", "Daemon").only(Access::Local),
    post(INIT, "makes a cluster of the node", "InitRequest", "Initialized").only(Access::Local),
];

/// The route that answers `method` at `path`.
pub fn find(method: &str, path: &str) -> Option<&'static Route> {
    // HEAD is GET without the body (RFC 9110 §9.3.2).
    let method = if method == "HEAD" { "GET" } else { method };
    ROUTES.iter().find(|route| route.method == method && route.names_in(path).is_some())
}

/// The methods that `path` takes, as `Allow` says them (RFC 9110 §10.2.1); empty: there is no such path.
pub fn methods(path: &str) -> String {
    let of_path = |route: &&Route| route.names_in(path).is_some();
    let mut methods: Vec<&str> = ROUTES.iter().filter(of_path).map(|route| route.method).collect();
    methods.extend(methods.contains(&"GET").then_some("HEAD"));
    methods.sort_unstable();
    methods.join(", ")
}

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
    fn a_path_leads_to_one_route_and_its_names() {
        for (method, path, route, names) in [
            ("GET", "/v1/status", STATUS, vec![]),
            ("HEAD", "/v1/status", STATUS, vec![]),
            ("POST", "/v1/tokens", TOKENS, vec![]),
            ("DELETE", "/v1/projects/shop", PROJECT, vec![("project", "shop")]),
            (
                "POST",
                "/v1/projects/shop/services/web/scale",
                SCALE,
                vec![("project", "shop"), ("service", "web")],
            ),
            ("GET", "/v1/inspect/shop%2Fweb", INSPECT, vec![("anything", "shop%2Fweb")]),
        ] {
            let found = find(method, path).unwrap();
            assert_eq!((found.path, found.names_in(path).unwrap()), (route, names), "{path}");
        }
        for (method, path) in [
            ("GET", "/v1/statsu"),
            ("POST", "/v1/status"),
            ("GET", "/v1/status/"),
            ("GET", "//v1/status"),
            ("DELETE", "/v1/projects/"),
            ("GET", "/v1/inspect/a/b"),
            ("GET", ""),
        ] {
            assert_eq!(find(method, path), None, "{method} {path}");
        }
        for route in &ROUTES {
            let path = fill(route.path, &["a", "b"]);
            assert_eq!(find(route.method, &path), Some(route), "no route stands before another");
        }
    }

    #[test]
    fn a_path_says_which_methods_it_takes() {
        for (path, methods_of_it) in [
            ("/v1/status", "GET, HEAD"),
            ("/v1/tokens", "GET, HEAD, POST"),
            ("/v1/secrets/a", "DELETE, GET, HEAD, PUT"),
            ("/v1/plan", "POST"),
            ("/v1/nothing", ""),
        ] {
            assert_eq!(methods(path), methods_of_it, "{path}");
        }
    }

    #[test]
    fn what_changes_the_cluster_is_no_viewers_and_what_shows_all_is_no_projects() {
        let shop: ProjectName = "shop".parse().unwrap();
        let held = Role::Deployer(mill_model::Projects::Only([shop.clone()].into()));
        let all = Role::Deployer(mill_model::Projects::All);
        for access in Access::ALL {
            let may = [&Role::Viewer, &held, &all, &Role::Admin].map(|role| access.admits(role, None));
            let expected = match access {
                Access::See => [true, true, true, true],
                Access::SeeAll => [true, false, true, true],
                Access::Deploy => [false, true, true, true],
                Access::DeployAll => [false, false, true, true],
                Access::Admin => [false, false, false, true],
                Access::Local => [false, false, false, false],
            };
            assert_eq!(may, expected, "{access:?}");
            assert!(!access.who().is_empty());
        }
        let blog: ProjectName = "blog".parse().unwrap();
        for access in [Access::See, Access::Deploy] {
            assert!(access.admits(&held, Some(&shop)) && !access.admits(&held, Some(&blog)), "{access:?}");
        }
        for route in ROUTES.iter().filter(|route| route.is_write()) {
            assert!(!route.access.admits(&Role::Viewer, Some(&shop)), "{route:?}");
        }
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
