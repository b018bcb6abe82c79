//! The references in docs/: cli.md, written from the same definitions that read the command line, and api.md, from the
//! table of routes, the codes, and values of each shape.

mod operations;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use mill_api::client::ClientError;
use mill_api::daemon::{Daemon, DaemonState, InitRequest};
use mill_api::deploys::{Action, DeployRequest, RollbackRequest, ScaleRequest};
use mill_api::doctor::{Check, Finding, Report};
use mill_api::paths::{Access, ROUTES};
use mill_api::progress::{Outcome, Progress, Step};
use mill_api::secrets::{Rolled, SecretSet};
use mill_api::tasks::SpawnRequest;
use mill_api::tokens::CreateToken;
use mill_api::{ApiError, Code};
use mill_model::{Projects, Role, RoleName};
use serde_json::{Value, json};

use super::exit::Exit;
use super::{Cli, canned, golden};

/// Help texts are wrapped here, whatever the terminal of the test.
const COLUMNS: usize = 100;

fn reference() -> String {
    let mut cli = Cli::command().term_width(COLUMNS);
    cli.build();
    let mut text = String::from(
        "# The command line\n\n<!-- Written by a test from the program's own help: UPDATE_GOLDEN=1 cargo test -p mill. -->\n\n\
         Answers go to stdout, all else to stderr. `--json` makes answers JSON; an error is then an object with\n\
         `error.message`, `error.because`, `error.hint`, `error.exit_code` and, for a bad config file,\n\
         `error.complaints`. Streams (`logs`, `events -f`, a deploy's progress) are an object a line.\n\n",
    );
    write_command(&mut text, &mut cli, "mill", 2);
    text
}

fn write_command(text: &mut String, command: &mut Command, name: &str, depth: usize) {
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = writeln!(text, "{} {name}\n\n```text\n{}\n```\n", "#".repeat(depth), help.join("\n").trim_end());
    let visible: Vec<String> = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for sub in visible {
        if let Some(sub_command) = command.find_subcommand_mut(&sub) {
            write_command(text, sub_command, &format!("{name} {sub}"), (depth + 1).min(4));
        }
    }
}

#[test]
fn the_reference_is_what_the_help_says() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md"));
    golden::check_file(path, &reference());
}

/// A value of each shape that the table of routes names.
fn shapes() -> Vec<(&'static str, Value)> {
    let value = |value: serde_json::Result<Value>| value.unwrap();
    let first = |list: Value| list.get(0).cloned().unwrap();
    let step = Step::Finished { outcome: Outcome::Succeeded, took_ms: 2700 };
    let progress = Progress { id: 9, at: canned::NOW, service: None, alloc: None, step };
    let deploy = DeployRequest {
        source: "service \"web\" { image \"nginx:1.27\"; port 80; }".into(),
        file: "mill.kdl".into(),
        default_project: "shop".parse().unwrap(),
        images: [("web".parse().unwrap(), "nginx:1.28".parse().unwrap())].into(),
        replace: false,
    };
    let daemon = Daemon {
        state: DaemonState::Member,
        node: "node-1".parse().unwrap(),
        version: "0.1.0".into(),
        pid: 708,
        since: canned::NOW,
        data_dir: "/var/lib/mill".into(),
        listen: "0.0.0.0:4400".parse().ok(),
        plane_pid: Some(709),
    };
    let report = Report {
        node: "node-1".parse().ok(),
        findings: vec![
            Finding::ok(Check::Kernel, "6.1.0-18-amd64"),
            Finding::warn(Check::Disk, "3G of 20G free at /var/lib/mill", "make room"),
        ],
    };
    let mut shapes = access_shapes();
    shapes.extend(task_shapes());
    shapes.extend(secret_shapes());
    shapes.extend([
        ("DeployRequest", value(serde_json::to_value(deploy))),
        (
            "RollbackRequest",
            value(serde_json::to_value(RollbackRequest { to: Some(mill_model::DeployId(12)) })),
        ),
        ("ScaleRequest", value(serde_json::to_value(ScaleRequest { replicas: 3 }))),
        ("RestartActor", json!({ "path": "daemon/agent/images" })),
        ("SetRegistry", json!({ "host": "registry.example.com:5000", "user": "mill", "password": "…" })),
        ("InitRequest", value(serde_json::to_value(InitRequest::default()))),
        ("Top", value(serde_json::to_value(canned::tops().1))),
        ("Status", value(serde_json::to_value(canned::status()))),
        ("Node", first(value(serde_json::to_value(canned::nodes())))),
        ("Service", first(value(serde_json::to_value(canned::services())))),
        ("Alloc", first(value(serde_json::to_value(canned::allocs())))),
        ("Project", value(serde_json::to_value(canned::project()))),
        ("HistoryEntry", first(value(serde_json::to_value(canned::history())))),
        ("Deploy", value(serde_json::to_value(canned::deploy(Action::Deploy)))),
        ("Plan", value(serde_json::to_value(canned::plan()))),
        ("Progress", value(serde_json::to_value(progress))),
        ("Why", value(serde_json::to_value(canned::why()))),
        ("Inspected", value(serde_json::to_value(canned::inspected()))),
        ("ExecAsk", value(serde_json::to_value(canned::exec_asks()))),
        ("ExecTold", value(serde_json::to_value(canned::exec_told()))),
        ("LogLine", first(value(serde_json::to_value(canned::log_lines())))),
        ("Event", first(value(serde_json::to_value(canned::events())))),
        ("RegistryInfo", first(value(serde_json::to_value(canned::registries())))),
        ("Actors", value(serde_json::to_value(canned::actors()))),
        ("Report", value(serde_json::to_value(report))),
        ("Daemon", value(serde_json::to_value(daemon))),
        ("Initialized", value(serde_json::to_value(canned::initialized()))),
    ]);
    shapes
}

/// Those about secrets.
fn secret_shapes() -> Vec<(&'static str, Value)> {
    let value = |value: serde_json::Result<Value>| value.unwrap();
    let first = |list: Value| list.get(0).cloned().unwrap();
    let secret_set = SecretSet { secret: canned::secrets().remove(0), warnings: vec![] };
    let roll = Action::Roll { secret: "shop/db.password".parse().unwrap() };
    let rolled = Rolled { deploys: vec![canned::deploy(roll)], refused: vec![] };
    vec![
        ("SetRequest", json!({ "value": { "text": "correct horse" } })),
        ("Secret", first(value(serde_json::to_value(canned::secrets())))),
        ("SecretSet", value(serde_json::to_value(secret_set))),
        ("SecretHistory", value(serde_json::to_value(canned::secret_history()))),
        ("Value", json!({ "text": "correct horse" })),
        ("Rolled", value(serde_json::to_value(rolled))),
    ]
}

/// Those about tasks.
fn task_shapes() -> Vec<(&'static str, Value)> {
    let value = |value: serde_json::Result<Value>| value.unwrap();
    let spawn = SpawnRequest {
        project: "shop".parse().ok(),
        task: "migrate".parse().ok(),
        command: Some(vec!["--to".into(), "v2".into()]),
        env: [("PGPASSWORD".to_owned(), "${secret(db.password)}".to_owned())].into(),
        timeout: Some("10m".into()),
        ..SpawnRequest::default()
    };
    vec![
        ("SpawnRequest", value(serde_json::to_value(spawn))),
        ("SignalRequest", json!({ "signal": "HUP" })),
        ("Task", value(serde_json::to_value(canned::tasks().remove(1)))),
    ]
}

/// Those about who may do what.
fn access_shapes() -> Vec<(&'static str, Value)> {
    let value = |value: serde_json::Result<Value>| value.unwrap();
    let first = |list: Value| list.get(0).cloned().unwrap();
    vec![
        (
            "CreateToken",
            value(serde_json::to_value(CreateToken {
                role: RoleName::Deployer,
                projects: Some(["shop".parse().unwrap()].into()),
                name: "ci".parse().ok(),
                expires_in_ms: Some(30 * 86_400_000),
            })),
        ),
        ("AuditRecord", first(value(serde_json::to_value(canned::audit())))),
        ("Whoami", value(serde_json::to_value(canned::whoami()))),
        ("TokenInfo", value(serde_json::to_value(canned::tokens().remove(1)))),
        ("CreatedToken", value(serde_json::to_value(canned::created_token()))),
        ("RotateCa", json!({ "keep_ms": 2_592_000_000_u64 })),
        ("RotatedCa", json!({ "fingerprint": "c0".repeat(32), "previous_until": canned::NOW })),
        ("Certificate", first(value(serde_json::to_value(canned::certificates())))),
    ]
}

/// The word of a shape within what a route takes or answers.
fn shape_in(text: &str) -> Option<&str> {
    text.split([' ', ';']).find(|word| word.starts_with(char::is_uppercase))
}

fn linked(text: &str) -> String {
    match shape_in(text) {
        Some(shape) => text.replacen(shape, &format!("[{shape}](#{})", shape.to_lowercase()), 1),
        None => text.to_owned(),
    }
}

/// Who may, in a word.
const fn short(access: Access) -> &'static str {
    match access {
        Access::See => "see",
        Access::SeeAll => "see all",
        Access::Deploy => "deploy",
        Access::DeployAll => "deploy all",
        Access::Admin => "admin",
        Access::Local => "socket only",
    }
}

const API_INTRODUCTION: &str = "# The HTTP API\n\n<!-- Written by a test from the table of routes: UPDATE_GOLDEN=1 cargo test -p mill docs. -->\n\n\
         A node serves it on its root-only socket `/run/mill/mill.sock`, without a token, and with TLS on port 4400, where\n\
         each request carries `Authorization: Bearer TOKEN`. The certificate is the cluster's own: the token carries the\n\
         fingerprint of the CA that signed it.\n\n\
         JSON throughout. Moments are RFC 3339, durations are milliseconds and say so in their name. Fields are only ever\n\
         added: ignore those that you don't know. A stream is server-sent events, one JSON document in each `data`; it goes\n\
         on where it was cut when asked with `Last-Event-ID`, over restarts of the daemon too, and ends with an event `end`: a\n\
         body that just stops was cut. An event `reset` says that what came after that id is forgotten in part, and from\n\
         where the stream goes on.\n\n\
         All of this as OpenAPI 3.1, with schemas and the refusals of each route: `GET /v1/openapi.json`.\n\n\
         A write with the header `Idempotency-Key: RANDOM` is done once: the same request with the same key gets the same\n\
         answer within 24 hours, over restarts of the daemon too; another request with it is a `conflict`. A refused write\n\
         may be asked for again. The cluster remembers the last 2,000. `mill` sends one with each write. Starting an actor\n\
         again, running programs in containers, sending them signals and making a cluster aren't remembered.\n\n\
         ```console\n\
         $ curl --unix-socket /run/mill/mill.sock http://mill/v1/services\n\
         $ curl --unix-socket /run/mill/mill.sock -N 'http://mill/v1/logs?name=web&follow=true'\n\
         ```\n\n## Routes\n\n| | | what it does | body or query | answer | who may |\n|---|---|---|---|---|---|\n";

fn api_reference() -> String {
    let mut text = API_INTRODUCTION.to_owned();
    for route in ROUTES {
        let _ = writeln!(
            text,
            "| {} | `{}` | {} | {} | {} | {} |",
            route.method,
            route.path,
            route.does,
            linked(route.takes),
            linked(route.answers),
            short(route.access)
        );
    }
    text.push_str("\n## Roles\n\nWho comes over the socket is root on the node, and may everything.\n\n| who may | that is | viewer | deployer | deployer of some projects | admin |\n|---|---|---|---|---|---|\n");
    for access in Access::ALL {
        let held = Role::Deployer(Projects::Only(std::collections::BTreeSet::new()));
        let may = |role: &Role| match (access, access.admits(role, None), role == &held) {
            (_, false, _) => "no",
            (_, true, false) => "yes",
            (Access::See, true, true) => "sees its projects and the nodes",
            (_, true, true) => "its projects",
        };
        let all = Role::Deployer(Projects::All);
        let [viewer, deployer, some, admin] = [&Role::Viewer, &all, &held, &Role::Admin].map(may);
        let (word, who) = (short(access), access.who());
        let _ = writeln!(text, "| {word} | {who} | {viewer} | {deployer} | {some} | {admin} |");
    }
    text.push_str(
        "\n## Refusals\n\nEvery answer that isn't a success has this body: what, and as far as they are known why and what \
         to do.\n\n",
    );
    let refusal = ApiError::new(Code::Conflict, "shop is being deployed").because("#13 is at work");
    write_json(&mut text, &serde_json::to_value(refusal.hint("wait for it, or `--replace` it")).unwrap());
    text.push_str(
        "\nThe last column is how `mill` ends that was refused so.\n\n| `code` | status | | try again | exit code |\n\
         |---|---|---|---|---|\n",
    );
    for code in Code::ALL {
        let exit = Exit::of(&ClientError::Refused(Box::new(ApiError::new(code, ""))));
        let name = serde_json::to_value(code).unwrap();
        let again = if code.is_transient() { "a little later" } else { "" };
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {again} | {} |",
            name.as_str().unwrap(),
            code.status().as_u16(),
            code.meaning(),
            exit.code()
        );
    }
    text.push_str("\n## Shapes\n\nBy example: each is a value as a server sends it.\n");
    for (name, value) in shapes() {
        let _ = write!(text, "\n### {name}\n\n");
        write_json(&mut text, &value);
    }
    text
}

fn write_json(text: &mut String, value: &Value) {
    let _ = writeln!(text, "```json\n{}\n```", serde_json::to_string_pretty(value).unwrap());
}

#[test]
fn the_api_reference_is_what_is_served() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api.md"));
    golden::check_file(path, &api_reference());
}

/// What the API's own description shows is what is shown here.
#[test]
fn the_examples_of_the_api_are_values_of_its_types() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../api/openapi/examples.json"));
    let examples: BTreeMap<&str, Value> = shapes().into_iter().collect();
    golden::check_file(path, &format!("{}\n", serde_json::to_string_pretty(&examples).unwrap()));
}

#[test]
fn every_shape_that_a_route_names_is_shown() {
    let shapes = shapes();
    let known = |shape: &str| shapes.iter().any(|(name, _)| *name == shape);
    for text in ROUTES.iter().flat_map(|route| [route.takes, route.answers]) {
        assert!(shape_in(text).is_none_or(known), "{text}");
    }
    for (name, _) in &shapes {
        let named = |text: &str| shape_in(text) == Some(name);
        assert!(
            ROUTES.iter().any(|route| named(route.takes) || named(route.answers)),
            "{name} is no route's"
        );
    }
}

#[test]
fn every_command_says_what_it_does_and_so_does_every_argument() {
    fn check(command: &Command, name: &str) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(!about.is_empty(), "{name} doesn't say what it does");
        assert!(!about.ends_with('.'), "{name}: a heading has no full stop");
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(argument.get_help().is_some(), "{name}: {} doesn't say what it is", argument.get_id());
        }
        for sub in command.get_subcommands() {
            check(sub, &format!("{name} {}", sub.get_name()));
        }
    }
    Cli::command().debug_assert();
    check(&Cli::command(), "mill");
}

#[test]
fn all_commands_of_this_version_are_there() {
    let command = Cli::command();
    let mut names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    names.sort_unstable();
    assert_eq!(
        names.join(" "),
        "actors allocs cert clean completions context daemon deploy dev doctor events exec history init inspect kill \
         login logout logs man nodes plan plane ps registry restart rollback run scale secret services spawn status token \
         top undeploy why"
    );
}
