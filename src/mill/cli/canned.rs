//! API values and a screen for tests: one small cluster in which things go right and wrong.

mod access;
mod secrets;
mod tasks;
mod top;

use mill_api::actors::{Actor, ActorError, ActorStatus, Actors, Busy};
use mill_api::allocs::{Alloc, WorkloadKind};
use mill_api::daemon::Initialized;
use mill_api::deploys::{Action, Deploy, DeployService, DeployState, ServiceOutcome};
use mill_api::events::Event;
use mill_api::inspect::Inspected;
use mill_api::logs::{LogLine, LogStream};
use mill_api::nodes::{Node, NodeState, Usage};
use mill_api::plan::{Change, FieldChange, NodeRefusal, Placement, Plan, PlannedService, Refusal, Warning};
use mill_api::projects::{HistoryEntry, Project};
use mill_api::services::{Endpoint, Service, ServiceState};
use mill_api::status::Status;
use mill_api::token::{Token, TokenKind};
use mill_api::trust::Fingerprint;
use mill_api::why::{Reason, Why};
use mill_model::ports::{MappedPort, Port, Protocol};
use mill_model::{
    Bytes, DeployId, Ended, Failure, ImageRef, Incarnation, Millicores, NodeId, Phase, Resources, SpecHash,
    Timestamp, Workload,
};

use super::ui::{Terminal, Ui};
pub(crate) use access::{audit, certificates, created_token, registries, tokens, whoami};
pub(crate) use secrets::{secret_history, secrets};
pub(crate) use tasks::tasks;
pub(crate) use top::tops;

/// 2026-11-21T12:00:00Z
pub(crate) const NOW: Timestamp = Timestamp(1_795_262_400_000);

pub(crate) fn terminal() -> Terminal {
    Terminal { now: NOW, ..Terminal::plain() }
}

/// Outputs that can be looked at.
#[derive(Default)]
pub(crate) struct Screen {
    data: Vec<u8>,
    talk: Vec<u8>,
    json: bool,
}

impl Screen {
    /// One that wants JSON.
    pub(crate) fn json() -> Self {
        Self { json: true, ..Self::default() }
    }

    pub(crate) fn ui(&mut self) -> Ui<'_> {
        Ui {
            data: &mut self.data,
            talk: &mut self.talk,
            data_terminal: terminal(),
            talk_terminal: terminal(),
            live: false,
            asks: None,
            json: self.json,
        }
    }

    pub(crate) fn data(&self) -> String {
        String::from_utf8(self.data.clone()).unwrap()
    }

    pub(crate) fn talk(&self) -> String {
        String::from_utf8(self.talk.clone()).unwrap()
    }
}

pub(crate) const fn ago(seconds: u64) -> Timestamp {
    Timestamp(NOW.0 - seconds * 1000)
}

fn workload(project: &str, name: &str) -> Workload {
    Workload { project: project.parse().unwrap(), name: name.parse().unwrap() }
}

fn image(text: &str) -> ImageRef {
    text.parse::<ImageRef>().unwrap().pinned(format!("sha256:{}", "5a".repeat(32)).parse().unwrap())
}

fn used(cpu: u32, mib: u64) -> Option<Usage> {
    Some(Usage { cpu: Millicores(cpu), memory: Bytes(mib << 20) })
}

pub(crate) fn nodes() -> Vec<Node> {
    vec![Node {
        id: NodeId(1),
        name: "node-1".parse().unwrap(),
        advertise: "10.0.0.1".parse().unwrap(),
        state: NodeState::Ready,
        since: ago(3 * 86_400),
        leader: true,
        version: "0.1.0".into(),
        capacity: Resources { cpu: Millicores(2000), memory: Bytes(4 << 30) },
        reserved: Resources { cpu: Millicores(1250), memory: Bytes(1536 << 20) },
        used: used(180, 700),
        allocs: 3,
    }]
}

pub(crate) fn services() -> Vec<Service> {
    let service = |name: &str, image_name: &str, state, wanted, healthy| Service {
        workload: workload("shop", name),
        kind: WorkloadKind::Service,
        state,
        image: image(image_name),
        spec_hash: SpecHash([7; 32]),
        wanted,
        running: healthy,
        healthy,
        restarts: 0,
        endpoints: vec![],
        used: None,
        deploy: DeployId(14),
        deployed_at: ago(180),
        problem: None,
    };
    let endpoint = |port: u16| Endpoint {
        port: "3000".into(),
        address: std::net::SocketAddr::from(([10, 0, 0, 1], port)),
    };
    vec![
        Service {
            used: used(50, 120),
            deploy: DeployId(9),
            deployed_at: ago(7200),
            ..service("db", "postgres:16", ServiceState::Healthy, 1, 1)
        },
        Service {
            kind: WorkloadKind::Task,
            ..service("migrate", "registry.example.com/web:v1", ServiceState::Done, 1, 0)
        },
        Service {
            restarts: 4,
            endpoints: vec![endpoint(20_001), endpoint(20_002)],
            problem: Some("1 of 3 replicas waits after exited with code 1".into()),
            ..service("web", "registry.example.com/web:v1", ServiceState::Degraded, 3, 2)
        },
    ]
}

pub(crate) fn allocs() -> Vec<Alloc> {
    let alloc = |id: &str, phase, seconds| Alloc {
        id: id.parse().unwrap(),
        workload: workload("shop", id.split_once('-').unwrap().0),
        kind: WorkloadKind::Service,
        index: 0,
        node: "node-1".parse().unwrap(),
        address: "10.0.0.1".parse().unwrap(),
        phase,
        since: ago(seconds),
        created_at: ago(seconds + 1),
        incarnation: Incarnation(1),
        restarts: 0,
        ports: vec![],
        last_end: None,
        spec_hash: SpecHash([7; 32]),
        old: false,
        deploy: DeployId(14),
        used: None,
        pulling: None,
    };
    let number = |n: u16| std::num::NonZeroU16::new(n).unwrap();
    let http = Port { name: Some("http".parse().unwrap()), number: number(3000), protocol: Protocol::Tcp };
    let port = MappedPort::new(http, number(20_001));
    let ended = Ended {
        incarnation: Incarnation(4),
        failure: Some(Failure::Exited { code: 1 }),
        at: ago(12),
        code: Some(1),
    };
    vec![
        Alloc { used: used(30, 64), ports: vec![port], ..alloc("web-7k2f", Phase::Healthy, 175) },
        Alloc {
            restarts: 4,
            incarnation: Incarnation(5),
            last_end: Some(ended),
            ..alloc("web-7m3a", Phase::Waiting, 12)
        },
        Alloc { old: true, deploy: DeployId(13), ..alloc("web-31ab", Phase::Stopping, 2) },
    ]
}

pub(crate) fn project() -> Project {
    Project {
        name: "shop".parse().unwrap(),
        services: 2,
        tasks: 1,
        current: Some(DeployId(13)),
        deployed_at: None,
        deploying: Some(DeployId(14)),
    }
}

pub(crate) fn inspected() -> Inspected {
    Inspected::Node { node: Box::new(nodes().remove(0)), allocs: allocs().into_iter().take(1).collect() }
}

pub(crate) fn initialized() -> Initialized {
    Initialized {
        node: "node-1".parse().unwrap(),
        url: "https://10.0.0.1:4400".into(),
        admin_token: Token::new(TokenKind::Api, [1; 20], Fingerprint::of(b"ca")),
        join_token: None,
    }
}

pub(crate) fn deploy(action: Action) -> Deploy {
    Deploy {
        warnings: vec![],
        id: DeployId(14),
        project: "shop".parse().unwrap(),
        action,
        state: DeployState::Running,
        started_at: ago(5),
        ended_at: None,
        behind: None,
        services: vec![DeployService { name: "web".parse().unwrap(), outcome: ServiceOutcome::Running }],
        by: Some("admin".into()),
    }
}

pub(crate) fn status() -> Status {
    Status {
        node: "node-1".parse().unwrap(),
        version: "0.1.0".into(),
        leader: Some("node-1".parse().unwrap()),
        nodes: nodes(),
        services: services(),
        deploys: vec![deploy(Action::Deploy)],
        warnings: vec!["the clock jumped by 3s at 11:58".into()],
    }
}

pub(crate) fn why() -> Why {
    Why {
        service: services().remove(2),
        reasons: vec![
            Reason {
                what: "exited with code 1, 4 times in a row".into(),
                since: Some(ago(12)),
                alloc: Some("web-7m3a".parse().unwrap()),
                next_try: Some(NOW.after(std::time::Duration::from_secs(18))),
                nodes: vec![],
                log_tail: vec!["listening on 3000".into(), "panic: no database".into()],
                hint: Some("`mill logs web-7m3a --all` shows all that it wrote".into()),
            },
            Reason {
                what: "no node fits a further replica".into(),
                since: None,
                alloc: None,
                next_try: None,
                nodes: vec![NodeRefusal {
                    node: "node-1".parse().unwrap(),
                    reason: "512M of memory free, 2G asked for".into(),
                }],
                log_tail: vec![],
                hint: None,
            },
        ],
        allocs: allocs(),
    }
}

pub(crate) fn history() -> Vec<HistoryEntry> {
    let entry = |id, action, state, seconds| HistoryEntry {
        id: DeployId(id),
        action,
        state,
        reason: None,
        started_at: ago(seconds),
        took_ms: Some(2700),
        by: Some("admin".into()),
        images: [("web".parse().unwrap(), image("registry.example.com/web:v2"))].into(),
        current: false,
    };
    vec![
        HistoryEntry { took_ms: None, ..entry(15, Action::Deploy, DeployState::Running, 5) },
        HistoryEntry {
            current: true,
            ..entry(14, Action::Rollback { to: DeployId(12) }, DeployState::Succeeded, 600)
        },
        HistoryEntry {
            reason: Some("web: exited with code 1".into()),
            ..entry(13, Action::Deploy, DeployState::Failed, 7200)
        },
        entry(
            12,
            Action::Scale { service: "web".parse().unwrap(), replicas: 3 },
            DeployState::Succeeded,
            90_000,
        ),
    ]
}

pub(crate) fn plan() -> Plan {
    let service = |name: &str, change, image_name: Option<&str>| PlannedService {
        name: name.parse().unwrap(),
        kind: WorkloadKind::Service,
        change,
        image: image_name.map(image),
        placements: vec![],
        warnings: vec![],
        refusal: None,
    };
    let field = |field: &str, from: Option<&str>, to: Option<&str>| FieldChange {
        field: field.into(),
        from: from.map(Into::into),
        to: to.map(Into::into),
    };
    let on = |replicas| vec![Placement { node: "node-1".parse().unwrap(), replicas }];
    let fields =
        vec![field("image", Some("postgres:16"), Some("postgres:17")), field("env TZ", None, Some("UTC"))];
    let gap = Warning {
        message: "db has no replica while it is replaced (stop-first: its volume has one writer)".into(),
        hint: Some("deploy it when that hurts least".into()),
    };
    let refusal = Refusal {
        reason: "no node can hold it".into(),
        nodes: vec![NodeRefusal {
            node: "node-1".parse().unwrap(),
            reason: "4G of memory at all, 64G asked for".into(),
        }],
        hint: Some("`memory` of big".into()),
    };
    Plan {
        warnings: vec![],
        project: "shop".parse().unwrap(),
        current: Some(DeployId(13)),
        behind: Some(DeployId(14)),
        services: vec![
            PlannedService {
                warnings: vec![gap],
                placements: on(1),
                ..service("db", Change::Change { fields }, Some("postgres:17"))
            },
            PlannedService {
                kind: WorkloadKind::Task,
                placements: on(1),
                ..service("migrate", Change::Run { fields: vec![] }, Some("registry.example.com/web:v2"))
            },
            PlannedService {
                placements: on(2),
                ..service("web", Change::Create { replicas: 2 }, Some("registry.example.com/web:v2"))
            },
            service("worker", Change::Scale { from: 5, to: 2 }, Some("registry.example.com/web:v2")),
            service("cache", Change::Unchanged, Some("redis:7")),
            PlannedService {
                refusal: Some(refusal),
                ..service("big", Change::Create { replicas: 1 }, Some("redis:7"))
            },
            service("old", Change::Remove, None),
        ],
    }
}

pub(crate) fn actors() -> Actors {
    let actor = |path: &str, children: Vec<Actor>| Actor {
        path: path.into(),
        kind: "room".into(),
        handled: 120,
        rate: 12.3,
        p50_us: 80,
        p99_us: 1250,
        children,
        ..Actor::default()
    };
    let crashed = Actor {
        status: ActorStatus::Restarting,
        restarts: 3,
        last_error: Some(ActorError { text: "registry answered 500".into(), at: ago(12) }),
        observed: serde_json::json!({ "pulls": 2 }),
        ..actor("daemon/agent/images", vec![])
    };
    let busy = Actor {
        mailbox_depth: 17,
        busy_with: Some(Busy { message: "stop".into(), for_ms: 3200 }),
        ..actor("daemon/agent/allocs/web-7k2f", vec![])
    };
    let fresh = Actor { handled: 0, rate: 0.0, ..actor("daemon/http", vec![]) };
    let agent = actor("daemon/agent", vec![crashed, actor("daemon/agent/allocs", vec![busy])]);
    Actors {
        node: "node-1".parse().unwrap(),
        daemon: actor("daemon", vec![actor("daemon/raft", vec![]), agent, fresh]),
        plane: Some(actor("plane", vec![actor("plane/logs", vec![])])),
        plane_problem: None,
    }
}

pub(crate) fn events() -> Vec<Event> {
    let event = |id, kind: &str, message: &str| Event {
        id,
        at: ago(10 - id),
        kind: kind.into(),
        project: Some("shop".parse().unwrap()),
        service: None,
        alloc: None,
        node: None,
        deploy: Some(DeployId(14)),
        message: message.into(),
    };
    vec![
        event(1, "deploy_started", "deploy #14 by admin"),
        Event { alloc: Some("web-7k2f".parse().unwrap()), ..event(2, "alloc_healthy", "healthy after 1.2s") },
        Event {
            service: Some("web".parse().unwrap()),
            ..event(3, "deploy_failed", "web: exited with code 1")
        },
        Event {
            project: None,
            node: Some("node-1".parse().unwrap()),
            ..event(4, "node_ready", "node-1 is ready")
        },
    ]
}

pub(crate) fn log_lines() -> Vec<LogLine> {
    let line = |alloc: &str, seconds, text: &str| LogLine {
        at: ago(seconds),
        workload: workload("shop", "web"),
        alloc: alloc.parse().unwrap(),
        incarnation: Incarnation(1),
        stream: LogStream::Stdout,
        text: text.into(),
    };
    vec![
        line("web-7k2f", 9, "listening on 3000"),
        line("web-admin-9x9x", 8, "\u{1b}[32mGET\u{1b}[0m / 200"),
        line("web-7k2f", 7, ""),
        line("web-7m3a", 6, "GET / 200"),
    ]
}

pub(super) fn exec_asks() -> Vec<mill_api::exec::ExecAsk> {
    use mill_api::exec::{ExecAsk, TerminalSize};
    let terminal = TerminalSize { columns: 80, rows: 24 };
    vec![
        ExecAsk::Begin { command: vec!["sh".into()], terminal: Some(terminal) },
        ExecAsk::Read { bytes: 65_536 },
        ExecAsk::Resize(TerminalSize { columns: 132, rows: 50 }),
        ExecAsk::Signal { name: "SIGINT".into() },
        ExecAsk::CloseInput,
    ]
}

pub(super) fn exec_told() -> Vec<mill_api::exec::ExecTold> {
    use mill_api::exec::ExecTold;
    let error = mill_api::ApiError::new(mill_api::Code::NotFound, "nothing could be run in web-7k2f");
    vec![
        ExecTold::Began { alloc: "web-7k2f".parse().unwrap() },
        ExecTold::Read { bytes: 65_536 },
        ExecTold::Ended { code: 0 },
        ExecTold::Failed { error, code: Some(127) },
    ]
}
