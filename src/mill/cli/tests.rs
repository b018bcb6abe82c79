//! Whole commands: what is typed, what the cluster is asked, what is printed.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use mill_api::deploys::Action;
use mill_api::progress::{Outcome, Progress, Step};
use mill_api::secrets::{Rolled, SecretSet};
use mill_api::{ApiError, Code, sse};
use serde::Serialize;
use tempfile::TempDir;
use tokio::net::UnixListener;

use super::canned::Screen;
use super::*;

/// A cluster with one project, in this process. It does whatever it is asked to at once.
struct Cluster {
    directory: TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Cluster {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("s")).unwrap();
        let asked = Arc::new(Mutex::new(vec![]));
        let seen = Arc::clone(&asked);
        let router = axum::Router::new().fallback(move |request: Request<Body>| {
            let seen = Arc::clone(&seen);
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let body = String::from_utf8(body.to_vec()).unwrap();
                seen.lock()
                    .unwrap()
                    .push(format!("{} {} {body}", head.method, head.uri).trim_end().to_owned());
                answer(head.method.as_str(), head.uri.path())
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { directory, asked }
    }

    /// Runs a command line and gives back what was asked, what was printed, and how it ended.
    async fn run(&self, line: &str) -> (Vec<String>, String, Result<(), CliError>) {
        let socket = self.directory.path().join("s");
        let words = line.split(' ').chain(["--socket", socket.to_str().unwrap()]);
        let cli = Cli::try_parse_from(std::iter::once("mill").chain(words)).unwrap_or_else(|e| panic!("{e}"));
        let mut screen = Screen::default();
        if cli.command.reach().is_some_and(|reach| reach.json) {
            screen = Screen::json();
        }
        let result = run_on(&mut screen.ui(), &cli.command).await;
        (std::mem::take(&mut *self.asked.lock().unwrap()), screen.data(), result)
    }
}

fn json(value: &impl Serialize) -> Response {
    axum::Json(serde_json::to_value(value).unwrap()).into_response()
}

fn answer(method: &str, path: &str) -> Response {
    let deploy = canned::deploy(Action::Deploy);
    match (method, path) {
        ("GET", "/v1/status") => json(&canned::status()),
        ("GET", "/v1/nodes") => json(&canned::nodes()),
        ("GET", "/v1/services") => json(&canned::services()),
        ("GET", "/v1/allocs") => json(&canned::allocs()),
        ("GET", "/v1/tasks") => json(&canned::tasks()),
        ("POST", "/v1/tasks") => json(&canned::tasks().remove(0)),
        ("POST", "/v1/tasks/import-7k2f/signal") => json(&canned::tasks().remove(0)),
        ("POST", "/v1/tasks/import-7k2f/kill") => json(&canned::tasks().remove(0)),
        ("GET", "/v1/projects") => json(&[canned::project()]),
        ("GET", "/v1/projects/shop/history") => json(&canned::history()),
        ("GET", "/v1/projects/shop/services/web/why") => json(&canned::why()),
        ("GET", "/v1/events") => json(&canned::events()),
        ("GET", "/v1/actors") => json(&canned::actors()),
        ("GET", "/v1/audit") => json(&canned::audit()),
        ("GET", "/v1/certs") => json(&canned::certificates()),
        ("GET", "/v1/tokens") => json(&canned::tokens()),
        ("POST", "/v1/tokens") => json(&canned::created_token()),
        ("DELETE", "/v1/tokens/ci") => json(&canned::tokens().remove(1)),
        ("POST", "/v1/actors/restart") => json(&serde_json::json!({})),
        ("GET", "/v1/secrets") => json(&canned::secrets()),
        ("PUT", _) | ("DELETE", "/v1/secrets/smtp.token") if path.contains("/secrets/") => {
            let secret = canned::secrets().remove(0);
            match method {
                "PUT" => json(&SecretSet { secret, warnings: vec![] }),
                _ => json(&secret),
            }
        }
        ("GET", "/v1/projects/shop/secrets/db.password") => json(&canned::secret_history()),
        ("GET", "/v1/secrets/tls.key/value") => json(&serde_json::json!({ "text": "hunter2" })),
        ("POST", "/v1/projects/shop/secrets/db.password/roll") => {
            json(&Rolled { deploys: vec![deploy], refused: vec![] })
        }
        ("POST", "/v1/plan") => json(&canned::plan()),
        ("GET", "/v1/logs") => stream(&canned::log_lines()),
        ("GET", "/v1/deploys/14/progress") => {
            let outcome = Outcome::Succeeded;
            let step = Step::Finished { outcome, took_ms: 1 };
            stream(&[Progress { id: 1, at: canned::NOW, service: None, alloc: None, step }])
        }
        ("POST" | "DELETE", _) | ("GET", "/v1/deploys/14") => json(&deploy),
        _ => (StatusCode::NOT_FOUND, axum::Json(ApiError::new(Code::NotFound, "no such thing")))
            .into_response(),
    }
}

fn stream<T: Serialize>(items: &[T]) -> Response {
    let items = (1..).zip(items).map(|(id, item)| sse::item(&i32::to_string(&id), item).unwrap());
    let bytes: Vec<u8> = items.chain([sse::end()]).flatten().collect();
    bytes.into_response()
}

#[tokio::test]
async fn each_command_about_tasks_asks_what_it_should() {
    let cluster = Cluster::new();
    for (line, asked) in [
        ("ps --project shop", vec!["GET /v1/tasks?all=true&project=shop"]),
        ("kill import-7k2f", vec!["POST /v1/tasks/import-7k2f/kill {}"]),
        ("kill -s HUP import-7k2f", vec![r#"POST /v1/tasks/import-7k2f/signal {"signal":"HUP"}"#]),
        (
            "run -d --name x -p shop -e A=${secret(b)} alpine",
            vec![
                r#"POST /v1/tasks {"project":"shop","name":"x","image":"docker.io/library/alpine:latest","env":{"A":"${secret(b)}"}}"#,
            ],
        ),
    ] {
        let (was, printed, result) = cluster.run(line).await;
        assert!(result.is_ok() && !printed.is_empty(), "{line}: {result:?}");
        assert_eq!(was, asked, "{line}");
    }
}

#[tokio::test]
async fn each_command_asks_what_it_should() {
    let cluster = Cluster::new();
    let services = "GET /v1/services";
    let projects = "GET /v1/projects";
    let secrets = "GET /v1/secrets";
    let progress = "GET /v1/deploys/14/progress";
    for (line, asked) in [
        ("status", vec!["GET /v1/status"]),
        ("nodes", vec!["GET /v1/nodes"]),
        ("services --project shop", vec![services]),
        ("allocs", vec!["GET /v1/allocs?all=false"]),
        ("pods web --all", vec![services, "GET /v1/allocs?all=true&project=shop&service=web"]),
        ("history shop", vec![projects, "GET /v1/projects/shop/history"]),
        ("why we", vec![services, "GET /v1/projects/shop/services/web/why"]),
        ("events --since-id 3", vec!["GET /v1/events?follow=false&since_id=3"]),
        ("actors", vec!["GET /v1/actors"]),
        ("actors restart daemon/http", vec![r#"POST /v1/actors/restart {"path":"daemon/http"}"#]),
        (
            "logs shop/web -n 5 --since 10m --all --stream stderr",
            vec![
                "GET /v1/logs?all=true&follow=false&n=5&name=shop%2Fweb&previous=false&since=10m&stream=stderr",
            ],
        ),
        (
            "scale web 3",
            vec![services, r#"POST /v1/projects/shop/services/web/scale {"replicas":3}"#, progress],
        ),
        ("scale web=3 -d", vec![services, r#"POST /v1/projects/shop/services/web/scale {"replicas":3}"#]),
        ("restart shop/web", vec![services, "POST /v1/projects/shop/services/web/restart {}", progress]),
        ("rollback shop --to #12 -d", vec![projects, r#"POST /v1/projects/shop/rollback {"to":12}"#]),
        ("rollback shop -d", vec![projects, r#"POST /v1/projects/shop/rollback {"to":null}"#]),
        ("undeploy shop --yes", vec![projects, "DELETE /v1/projects/shop {}", progress]),
        ("secret list", vec![secrets]),
        (
            "secret set db.password hunter2",
            vec![secrets, r#"PUT /v1/projects/shop/secrets/db.password {"value":{"text":"hunter2"}}"#],
        ),
        (
            "secret set new --shared hunter2",
            vec![secrets, r#"PUT /v1/secrets/new {"value":{"text":"hunter2"}}"#],
        ),
        (
            "secret set blog/new x",
            vec![secrets, r#"PUT /v1/projects/blog/secrets/new {"value":{"text":"x"}}"#],
        ),
        ("secret get tls.key --version 1", vec![secrets, "GET /v1/secrets/tls.key/value?version=1"]),
        ("secret history db.password", vec![secrets, "GET /v1/projects/shop/secrets/db.password"]),
        ("secret roll db.password -d", vec![secrets, "POST /v1/projects/shop/secrets/db.password/roll {}"]),
        ("secret delete smtp.token --yes", vec![secrets, "DELETE /v1/secrets/smtp.token {}"]),
        ("events --audit --since-id 1", vec!["GET /v1/audit?follow=false&since_id=1"]),
        ("events --audit -n 1", vec!["GET /v1/audit?follow=false"]),
        ("cert list", vec!["GET /v1/certs"]),
        ("token list", vec!["GET /v1/tokens"]),
        (
            "token create --role deployer --project shop --expires 1h --name ci",
            vec![
                r#"POST /v1/tokens {"role":"deployer","projects":["shop"],"name":"ci","expires_in_ms":3600000}"#,
            ],
        ),
        ("token create --role admin", vec![r#"POST /v1/tokens {"role":"admin"}"#]),
        ("token revoke ci", vec!["DELETE /v1/tokens/ci {}"]),
        ("deploy --attach 14", vec!["GET /v1/deploys/14", progress]),
        ("deploy --cancel 14", vec!["POST /v1/deploys/14/cancel {}", progress]),
        ("deploy --cancel --project shop -d", vec![projects, "POST /v1/deploys/14/cancel {}"]),
    ] {
        let (seen, printed, result) = cluster.run(line).await;
        result.unwrap_or_else(|error| panic!("{line}: {error:?}"));
        assert_eq!(seen, asked, "{line}");
        let silent = ["actors restart", "token revoke"].iter().any(|silent| line.starts_with(silent));
        assert_eq!(printed.is_empty(), silent, "{line} printed {printed:?}");
    }
}

#[tokio::test]
async fn a_file_is_posted_whole_and_a_bad_one_never() {
    let cluster = Cluster::new();
    let file = cluster.directory.path().join("a.kdl");
    std::fs::write(&file, "project \"shop\"\nservice \"web\" { image \"nginx:1\"; }").unwrap();
    let (asked, _, result) =
        cluster.run(&format!("deploy -f {} --image web=nginx:2 -d", file.display())).await;
    result.unwrap();
    assert_eq!(asked.len(), 1);
    assert!(
        asked[0].starts_with("POST /v1/deploys {\"source\":\"project \\\"shop\\\"\\nservice"),
        "{asked:?}"
    );
    assert!(asked[0].contains(r#""images":{"web":"docker.io/library/nginx:2"}"#), "{asked:?}");

    let (asked, printed, result) = cluster.run(&format!("plan -f {}", file.display())).await;
    assert!(asked[0].starts_with("POST /v1/plan {"));
    assert!(printed.contains("refused:"), "{printed}");
    assert_eq!(result.unwrap_err().exit, Exit::Refused);

    let (asked, ..) = cluster.run(&format!("deploy --cancel -d -f {}", file.display())).await;
    assert_eq!(asked, ["GET /v1/projects", "POST /v1/deploys/14/cancel {}"], "the file says whose deploy");
    std::fs::write(&file, "project \"blog\"\nservice \"web\" { image \"nginx:1\"; }").unwrap();
    let (asked, _, result) = cluster.run(&format!("deploy --cancel -d -f {}", file.display())).await;
    assert_eq!(asked, ["GET /v1/projects"], "not another project's");
    assert!(result.unwrap_err().message.contains("`blog`"));

    std::fs::write(&file, "service \"web\" { imago \"nginx:1\"; }").unwrap();
    for command in ["plan", "deploy", "deploy --json"] {
        let (asked, _, result) = cluster.run(&format!("{command} -f {}", file.display())).await;
        assert!(asked.is_empty(), "{asked:?}");
        assert_eq!(result.unwrap_err().exit, Exit::Usage);
    }
}

#[tokio::test]
async fn every_answer_is_json_when_asked_for() {
    let cluster = Cluster::new();
    for line in [
        "status",
        "nodes",
        "services",
        "allocs",
        "history shop",
        "why web",
        "events",
        "events --audit",
        "actors",
        "secret list",
        "secret get tls.key",
        "secret history db.password",
        "cert list",
        "token list",
        "token create --role viewer",
        "token revoke ci",
        "scale web 3 -d",
    ] {
        let (_, printed, result) = cluster.run(&format!("{line} --json")).await;
        result.unwrap();
        serde_json::from_str::<serde_json::Value>(&printed).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    let (_, printed, _) = cluster.run("logs web --json").await;
    let lines: Vec<serde_json::Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
}

#[tokio::test]
async fn what_can_not_be_done_has_its_exit_code_and_a_hint() {
    let cluster = Cluster::new();
    for (line, exit) in [
        ("why wbe", Exit::Refused),
        ("scale web", Exit::Usage),
        ("inspect nothing", Exit::Refused),
        ("rollback blog", Exit::Refused),
        ("undeploy shop", Exit::Usage),
        ("deploy --attach 99", Exit::Refused),
        ("deploy -f /nonexistent", Exit::Usage),
        ("secret set new hunter2", Exit::Usage),
        ("secret set db.password", Exit::Usage),
        ("secret set db.password --file /nonexistent", Exit::Usage),
        ("secret get nothing", Exit::Refused),
        ("secret delete smtp.token", Exit::Usage),
        ("token create --role viewer --project shop", Exit::Usage),
    ] {
        let (_, _, result) = cluster.run(line).await;
        let error = result.unwrap_err();
        assert_eq!(error.exit, exit, "{line}: {error:?}");
        assert!(error.hint.is_some(), "{line}: {error:?}");
    }
}

#[test]
fn a_wrong_line_is_refused_by_itself() {
    for line in [
        "",
        "statsu",
        "deploy --attach",
        "deploy --attach x",
        "deploy --attach 1 --replace",
        "deploy --attach 1 --cancel 2",
        "deploy --image web",
        "logs",
        "logs web --previous --all",
        "logs web --since tomorrow",
        "status --context a --addr b",
        "rollback --to newest",
        "completions tcsh",
        "actors restart",
        "scale web many",
        "secret",
        "secret set",
        "secret set a/b/c x",
        "secret set x --detach",
        "secret set x y --file z",
        "secret get x --shared --project shop",
        "token create",
        "token create --role root",
        "token create --role viewer --expires soon",
        "token revoke",
        "login",
        "context use",
    ] {
        let words = std::iter::once("mill").chain(line.split(' ').filter(|word| !word.is_empty()));
        assert!(Cli::try_parse_from(words).is_err(), "{line}");
    }
}

#[test]
fn a_wrong_line_is_an_error_for_programs_too() {
    for (line, message, hint) in [
        ("status --jsno --json", "unexpected argument '--jsno' found", "'--json'"),
        ("logs --json", "the following required arguments were not provided: <NAME>", "try '--help'"),
        ("deploy --attach x --json", "invalid value 'x' for '--attach <N>'", "try '--help'"),
    ] {
        let args: Vec<OsString> =
            std::iter::once("mill").chain(line.split(' ')).map(OsString::from).collect();
        assert!(wants_json(&args));
        let wrong = Cli::try_parse_from(&args).unwrap_err();
        assert!(wrong.use_stderr(), "{line}");
        let error = usage(&wrong);
        assert_eq!(error.exit, Exit::Usage);
        assert!(error.message.starts_with(message), "{error:?}");
        assert!(error.hint.as_ref().unwrap().contains(hint), "{error:?}");
        let json: serde_json::Value = serde_json::from_str(&error.json()).unwrap();
        assert_eq!(json.pointer("/error/exit_code"), Some(&2.into()));
    }
    assert!(!wants_json(&["mill", "logs", "--", "--json"].map(OsString::from)));
}

#[test]
fn words_that_are_not_ours_are_answered_with_ours() {
    let answer = |line: &str| {
        let args: Vec<OsString> =
            std::iter::once("mill").chain(line.split(' ')).map(OsString::from).collect();
        misread(&Cli::try_parse_from(&args).unwrap_err(), &args)
    };
    for (line, message, hint) in [
        ("volume create x", "`mill volume` is not yet in this version", "mill --help"),
        ("apply -f x.kdl", "there is no `mill apply`", "did you mean `mill deploy -f FILE`?"),
        ("job run x.nomad", "there is no `mill job`", "did you mean `mill deploy -f FILE`?"),
        ("wy web", "there is no `mill wy`", "did you mean `mill why`?"),
        ("statsu --json", "there is no `mill statsu`", "did you mean `mill status`?"),
        ("deploi -f x", "there is no `mill deploi`", "did you mean `mill deploy`?"),
        ("lgos", "there is no `mill lgos`", "did you mean `mill logs`?"),
        ("pss", "there is no `mill pss`", "did you mean `mill ps`?"),
        ("frobnicate", "there is no `mill frobnicate`", "`mill --help` lists"),
        ("mill status", "there is no `mill mill`", "`mill --help` lists"),
    ] {
        let error = answer(line).unwrap();
        assert_eq!((error.message.as_str(), error.exit), (message, Exit::Usage));
        assert!(error.hint.as_ref().unwrap().contains(hint), "{error:?}");
    }
    for line in ["actors restat", "status --nonsense", "--help"] {
        assert!(answer(line).is_none(), "{line} is clap's to answer");
    }
}
