//! Who may do what: every role at every route of the table, over TLS, about a project of its own and about another's.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt as _;
use mill_api::client::Heard;
use mill_api::paths::{self, Access, ROUTES, Route};
use mill_api::tokens::CreateToken;
use mill_api::trust::{Fingerprint, SERVER_NAME};
use mill_api::{ApiError, ClientError, Code};
use mill_model::limits::{AUTH_FAILURES_FREE, TOKEN_REQUESTS_BURST};
use mill_model::{Role, RoleName, Tempo, Timestamp};

use super::town::{Town, roles, secret};
use super::world::{project, service, token, workload};

/// Where a request says which project it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// In its path or its body: another's is forbidden, whether it exists or not.
    Said,
    /// By the name or number of something in it: another's isn't there.
    Found,
    /// It is about none.
    None,
}

fn about(route: &Route) -> About {
    match route.path {
        paths::PLAN | paths::DEPLOYS => About::Said,
        paths::TASKS if route.is_write() => About::Said,
        paths::TASK | paths::KILL | paths::SIGNAL => About::Found,
        paths::DEPLOY | paths::PROGRESS | paths::CANCEL | paths::INSPECT | paths::LOGS | paths::EXEC => {
            About::Found
        }
        path if path.contains("{project}") => About::Said,
        _ => About::None,
    }
}

#[tokio::test]
async fn every_role_is_held_to_the_table_at_every_route() {
    for route in &ROUTES {
        // One of its own, since some of them undo what others are about.
        let town = Town::new().await;
        for (name, role, token) in roles() {
            for target in ["shop", "blog"] {
                let (path, body) = town.request(route, target);
                let (status, _, text) = town.ask(Some(&token), route.method, &path, &body).await;
                town.room.settle();
                let whole = route.access.admits(&role, None);
                let may = match about(route) {
                    About::None => whole,
                    About::Said | About::Found => route.access.admits(&role, Some(&target.parse().unwrap())),
                };
                let cell = format!("{name} at {} {path}: {status} {text}", route.method);
                let refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
                let hidden = about(route) == About::Found && status == StatusCode::NOT_FOUND;
                assert_eq!(may, !refused && !hidden, "{cell}");
                if may || (hidden && whole) {
                    continue;
                }
                assert_eq!(status, StatusCode::FORBIDDEN, "{cell}");
                let error: ApiError = serde_json::from_str(&text).unwrap();
                let why = error.reason.as_deref().unwrap();
                let other = format!("this is about `{target}`");
                let told = why.contains(&other) || why.ends_with(route.access.who());
                assert!(route.is_local() || told, "{cell}");
                let way = error.hint.is_some_and(|hint| hint.contains("mill token create"));
                assert!(route.is_local() || way, "{cell}");
            }
        }
        let (path, body) = town.request(route, "shop");
        let revoked = secret(99);
        for nobody in [None, Some(&revoked)] {
            let (status, ..) = town.ask(nobody, route.method, &path, &body).await;
            let locked = status == StatusCode::TOO_MANY_REQUESTS;
            assert!(status == StatusCode::UNAUTHORIZED || locked, "{} {path}: {status}", route.method);
        }
    }
}

#[tokio::test]
async fn a_deployer_of_one_project_reads_no_word_of_another() {
    let town = Town::new().await;
    let held = secret(22);
    // What describes the API knows no cluster; its examples have names of their own.
    let tells = |route: &&Route| route.access == Access::See && route.path != paths::OPENAPI;
    for route in ROUTES.iter().filter(tells) {
        let (path, body) = town.request(route, "shop");
        let (status, _, text) = town.ask(Some(&held), route.method, &path, &body).await;
        assert!(status.is_success(), "{path}: {status} {text}");
        assert!(!text.contains("blog"), "{path}: {text}");
    }
    let api = town.api(&held);
    for (wrong, status) in [("blog", Code::NotFound), ("blogg", Code::NotFound), ("web", Code::NotFound)] {
        let Err(ClientError::Refused(error)) = api.inspect(wrong).await.map(|inspected| {
            // `web` is the only one of that name that there is for it.
            assert_eq!(wrong, "web", "{inspected:?}");
        }) else {
            continue;
        };
        assert_eq!(error.code, status);
        assert!(!format!("{error:?}").contains("`blog`?"), "no guess at what it may not see: {error:?}");
    }
    let mut events = api.follow_events(None).await.unwrap();
    let Heard::Item(first) = events.next().await.unwrap() else { panic!("no event") };
    assert!(first.project.is_none_or(|project| project.as_str() == "shop"));
    town.room.act(|world| world.deploy(&project("blog", vec![service("web", "web:9", 1)], vec![])));
    town.room.act(|world| world.deploy(&project("shop", vec![service("web", "web:9", 1)], vec![])));
    loop {
        let Heard::Item(event) = events.next().await.unwrap() else { panic!("the stream ended") };
        assert!(event.project.is_none_or(|project| project.as_str() == "shop"), "{}", event.message);
        if event.kind == "deploy_succeeded" && event.deploy > Some(town.deploys["blog"]) {
            break;
        }
    }
}

#[tokio::test]
async fn routes_that_are_none_are_nobodys() {
    let town = Town::new().await;
    for (method, path, status) in [
        ("GET", "/v1/statsu", StatusCode::NOT_FOUND),
        ("POST", "/v1/status", StatusCode::METHOD_NOT_ALLOWED),
        ("GET", "//v1/status", StatusCode::NOT_FOUND),
        ("GET", "/v1/status/", StatusCode::NOT_FOUND),
        ("DELETE", "/v1/projects/%73hop", StatusCode::BAD_REQUEST),
        ("DELETE", "/v1/projects/..", StatusCode::BAD_REQUEST),
    ] {
        let (got, _, text) = town.ask(Some(&secret(22)), method, path, "").await;
        assert_eq!(got, status, "{method} {path}: {text}");
    }
    let tree = format!("/{}/Tree", mill_rpc::v1::introspect_server::SERVICE_NAME);
    for (name, role, token) in roles() {
        let (status, ..) = town.ask(Some(&token), "POST", &tree, "").await;
        assert_eq!(status == StatusCode::FORBIDDEN, role != Role::Admin, "{name}: {status}");
    }
}

fn code<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> (Code, String) {
    match answer.unwrap_err() {
        ClientError::Refused(error) => (error.code, error.reason.unwrap_or_default()),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_token_opens_until_it_expires_or_is_revoked_and_so_do_its_streams() {
    let town = Town::new().await;
    let admin = town.api(&token());
    let request = CreateToken {
        role: RoleName::Deployer,
        projects: Some(["shop".parse().unwrap()].into()),
        name: Some("ci".parse().unwrap()),
        expires_in_ms: Some(3_600_000),
    };
    let made = admin.create_token(&request).await.unwrap();
    assert_eq!(made.token.ca, Fingerprint::of(b"ca"), "made for the cluster's CA");
    assert_eq!((made.info.name.as_str(), made.info.created_by.as_str()), ("ci", "init"));
    assert_eq!(code(admin.create_token(&request).await).0, Code::Conflict, "a name is one token's");
    let ci = town.api(&made.token);
    let who = ci.whoami().await.unwrap();
    assert_eq!(
        (who.name.as_str(), who.role, who.expires_at),
        ("ci", RoleName::Deployer, made.info.expires_at)
    );
    let listed = admin.tokens().await.unwrap().into_iter().find(|token| token.id == made.info.id).unwrap();
    assert_eq!(listed.last_used.unwrap().from, town.address.ip());

    let mut events = ci.follow_events(None).await.unwrap();
    events.next().await.unwrap();
    let end = made.info.expires_at.unwrap();
    town.room.fake.clock_shows(Timestamp(end.0 - 1));
    ci.whoami().await.unwrap();
    town.room.fake.clock_shows(end);
    let (refused, why) = code(ci.whoami().await);
    assert_eq!(refused, Code::Unauthorized);
    assert!(why.contains("token `ci` expired at"), "{why}");

    let unnamed = CreateToken { role: RoleName::Viewer, projects: None, name: None, expires_in_ms: None };
    let made = admin.create_token(&unnamed).await.unwrap();
    assert_eq!(made.info.name.as_str(), "viewer-1");
    let viewer = town.api(&made.token);
    let mut events = viewer.follow_events(None).await.unwrap();
    assert_eq!(admin.revoke_token("viewer-1").await.unwrap().id, made.info.id);
    let (refused, why) = code(viewer.status().await);
    assert_eq!(refused, Code::Unauthorized);
    assert!(why.contains("it was revoked"), "{why}");
    let ended = loop {
        match tokio::time::timeout(Duration::from_secs(10), events.next()).await.expect("the stream goes on")
        {
            Ok(Heard::Item(_)) => {}
            other => break other,
        }
    };
    assert_eq!(code(ended), (Code::Unauthorized, "its token was revoked".to_owned()));
    assert_eq!(code(admin.revoke_token("viewer-1").await).0, Code::NotFound);
}

#[tokio::test]
async fn requests_for_tokens_that_make_no_sense_are_refused_in_words() {
    let town = Town::new().await;
    let api = town.room.api();
    let request = CreateToken { role: RoleName::Viewer, projects: None, name: None, expires_in_ms: None };
    let shop = || Some(["shop".parse().unwrap()].into());
    for (bad, why) in [
        (CreateToken { projects: shop(), ..request.clone() }, "only deployers"),
        (CreateToken { role: RoleName::Admin, projects: shop(), ..request.clone() }, "only deployers"),
        (CreateToken { role: RoleName::Deployer, projects: Some([].into()), ..request.clone() }, "nobody's"),
        (CreateToken { expires_in_ms: Some(0), ..request.clone() }, "at least 1m"),
        (CreateToken { expires_in_ms: Some(u64::MAX), ..request.clone() }, "at most 3660 days"),
    ] {
        let (refused, said) = code(api.create_token(&bad).await);
        assert_eq!(refused, Code::BadRequest);
        assert!(said.contains(why), "{said}");
    }
    let many: std::collections::BTreeSet<_> = (0..101).map(|n| format!("p{n}").parse().unwrap()).collect();
    let many = CreateToken { role: RoleName::Deployer, projects: Some(many), ..request };
    assert_eq!(code(api.create_token(&many).await).0, Code::BadRequest);
}

#[tokio::test]
async fn the_last_admin_token_is_revoked_by_root_on_a_node_only() {
    let town = Town::new().await;
    let admin = town.api(&token());
    admin.revoke_token("admin").await.unwrap();
    let (refused, why) = code(admin.revoke_token("init").await);
    assert_eq!(refused, Code::Conflict);
    assert!(why.contains("nobody could make or revoke tokens over the network"), "{why}");
    town.room.api().revoke_token("init").await.unwrap();
    assert_eq!(code(admin.status().await).0, Code::Unauthorized);
    // And it finds a way back in.
    let request = CreateToken { role: RoleName::Admin, projects: None, name: None, expires_in_ms: None };
    let made = town.room.api().create_token(&request).await.unwrap();
    assert_eq!(made.info.created_by, "local");
    town.api(&made.token).tokens().await.unwrap();
}

#[tokio::test]
async fn who_guesses_is_locked_out_and_those_who_were_there_before_are_not() {
    let lock_out = [Duration::from_secs(60); 4];
    let town = Town::with(Tempo { lock_out, ..Tempo::default() }).await;
    let known = secret(20);
    town.api(&known).status().await.unwrap();
    let wrong = secret(99);
    for attempt in 0..AUTH_FAILURES_FREE {
        let (status, ..) = town.ask(Some(&wrong), "GET", "/v1/status", "").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "attempt {attempt}");
    }
    // Who shows nothing guesses nothing.
    for _ in 0..AUTH_FAILURES_FREE {
        assert_eq!(town.ask(None, "GET", "/v1/status", "").await.0, StatusCode::UNAUTHORIZED);
    }
    town.ask(Some(&wrong), "GET", "/v1/status", "").await;
    let (status, wait, text) = town.ask(Some(&wrong), "GET", "/v1/status", "").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{text}");
    let error: ApiError = serde_json::from_str(&text).unwrap();
    assert_eq!(error.code, Code::Overloaded);
    assert_eq!(wait, error.retry_after_s.map(|seconds| seconds.to_string()), "{text}");
    assert!(error.retry_after_s.is_some_and(|seconds| (30..=60).contains(&seconds)), "{text}");
    let (unseen, _, text) = town.ask(Some(&secret(21)), "GET", "/v1/status", "").await;
    let other: ApiError = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (unseen, other.message),
        (status, error.message),
        "one answer to all that weren't seen before"
    );
    town.api(&known).status().await.unwrap();
    town.room.api().status().await.unwrap();
}

#[tokio::test]
async fn a_token_that_asks_without_end_is_told_to_wait_and_root_is_not() {
    let town = Town::new().await;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(town.trust.client_config().unwrap()));
    let stream = tokio::net::TcpStream::connect(town.address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from(SERVER_NAME).unwrap();
    let io = hyper_util::rt::TokioIo::new(connector.connect(name, stream).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    let running = tokio::spawn(connection);
    let mut last = StatusCode::OK;
    // More than the burst and what is earned meanwhile, on the slowest machine.
    for _ in 0..20 * TOKEN_REQUESTS_BURST {
        let request = http::Request::get("/v1/whoami").header("host", "x");
        let request = request.header("authorization", format!("Bearer {}", secret(20)));
        let body = http_body_util::Empty::<bytes::Bytes>::new();
        let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
        last = response.status();
        response.into_body().collect().await.unwrap();
        if last == StatusCode::TOO_MANY_REQUESTS {
            break;
        }
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
    running.abort();
    town.api(&secret(21)).whoami().await.unwrap();
    town.room.api().whoami().await.unwrap();
}

#[tokio::test]
async fn every_write_is_in_the_audit_log_with_who_and_whence_and_no_refused_one() {
    let town = Town::new().await;
    let deployer = town.api(&secret(21));
    deployer.scale(&workload("shop/web"), 2).await.unwrap();
    town.room.settle();
    code(town.api(&secret(20)).scale(&workload("shop/web"), 3).await);
    code(town.api(&secret(22)).undeploy(&"blog".parse().unwrap()).await);
    town.room.api().undeploy(&"blog".parse().unwrap()).await.unwrap();
    town.room.settle();
    let request = CreateToken { role: RoleName::Viewer, projects: None, name: None, expires_in_ms: None };
    let made = town.api(&token()).create_token(&request).await.unwrap();
    let audit = town.api(&token()).audit(None).await.unwrap();
    let lines: Vec<String> = audit
        .iter()
        .map(|record| {
            let made = record.made.as_deref().unwrap_or("-");
            format!("{} {} {}: {made}", record.token, record.from, record.what)
        })
        .collect();
    assert_eq!(
        lines,
        [
            "all 127.0.0.1 POST /v1/projects/shop/services/web/scale: deploy #3 of shop",
            "local local socket DELETE /v1/projects/blog: deploy #4 of blog",
            "init 127.0.0.1 POST /v1/tokens: token viewer-1: viewer",
        ]
    );
    let secret = made.token.to_string();
    assert!(!format!("{audit:?}").contains(secret.split('_').nth(2).unwrap()));
    assert_eq!(code(deployer.audit(None).await).0, Code::Forbidden);
    let mut stream = town.api(&token()).follow_audit(Some(audit[1].id)).await.unwrap();
    let Heard::Item(record) = stream.next().await.unwrap() else { panic!("no record") };
    assert_eq!(record, audit[2]);
}
