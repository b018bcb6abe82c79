//! Canned progress, drawn, written and followed.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::routing::get;
use mill_api::deploys::Action;
use mill_api::plan::NodeRefusal;
use mill_api::progress::{FailedService, Outcome, Step};
use mill_api::pulling::Layer;
use mill_api::{Api, Pulling, sse};
use mill_model::{DeployId, Failure};
use tempfile::TempDir;
use tokio::net::UnixListener;

use super::*;
use crate::cli::canned::{self, Screen};
use crate::cli::golden;

/// Events of a deploy: milliseconds since its beginning, whose, what.
fn script(steps: Vec<(u64, &str, Step)>) -> Vec<Progress> {
    let mut events = vec![];
    for (id, (ms, who, step)) in (1..).zip(steps) {
        let (service, alloc) = match who.split_once('-') {
            Some((service, _)) => (service.parse().ok(), who.parse().ok()),
            None => (who.parse().ok(), None),
        };
        events.push(Progress { id, at: canned::NOW.after(Duration::from_millis(ms)), service, alloc, step });
    }
    events
}

fn pulling(bytes_done: u64) -> Step {
    let pulling = Pulling { bytes_done, bytes_total: 48_000_000, ..Pulling::default() };
    Step::Pulling { node: "node-2".parse().unwrap(), pulling }
}

fn planned(names: &[&str]) -> Step {
    Step::Planned { services: names.iter().map(|name| name.parse().unwrap()).collect() }
}

fn starting() -> Step {
    Step::Starting { node: "node-2".parse().unwrap() }
}

/// The picture of product.md §5.
fn rollout() -> Vec<Progress> {
    script(vec![
        (0, "", planned(&["db", "web"])),
        (10, "db", Step::Unchanged),
        (20, "web", pulling(0)),
        (500, "web", pulling(20_000_000)),
        (920, "web", Step::Pulled { node: "node-2".parse().unwrap(), bytes: Some(48_000_000) }),
        (930, "web-7k2f", starting()),
        (1030, "web-7k2f", Step::Running),
        (2230, "web-7k2f", Step::Healthy),
        (2240, "web-31ab", Step::Stopping { old: true }),
        (2640, "web-31ab", Step::Stopped { old: true }),
        (2650, "web", Step::Done { took_ms: 2630, gap_ms: None }),
        (2700, "", Step::Finished { outcome: Outcome::Succeeded, took_ms: 2700 }),
    ])
}

/// A version that crashes; what needs it is skipped.
fn failure() -> Vec<Progress> {
    let failed = |attempt| Step::Failed {
        failure: Failure::Exited { code: 1 },
        attempt,
        log_tail: vec!["connecting to db".into(), "panic: no \u{1b}[31mroute".into()],
    };
    let services = vec![
        FailedService { name: "web".parse().unwrap(), reason: "it never became healthy".into(), hint: None },
        FailedService { name: "worker".parse().unwrap(), reason: "skipped: it needs web".into(), hint: None },
    ];
    script(vec![
        (0, "", Step::Queued { behind: DeployId(13) }),
        (3000, "", planned(&["web", "worker"])),
        (3010, "worker", Step::Waiting { on: vec!["web".parse().unwrap()] }),
        (
            3020,
            "web",
            Step::Unplaced {
                nodes: vec![NodeRefusal {
                    node: "node-2".parse().unwrap(),
                    reason: "1G of memory free, 2G asked for".into(),
                }],
            },
        ),
        (5000, "web-7k2f", starting()),
        (5100, "web-7k2f", Step::Running),
        (5200, "web-7k2f", failed(1)),
        (6200, "web-7k2f", starting()),
        (6300, "web-7k2f", Step::Running),
        (6400, "web-7k2f", failed(2)),
        (6500, "web", Step::RollingBack { reason: "it never became healthy".into() }),
        (6600, "web-7k2f", Step::Stopping { old: false }),
        (6700, "web-7k2f", Step::Stopped { old: false }),
        (6800, "web", Step::RolledBack { gap_ms: Some(1400) }),
        (6900, "worker", Step::Skipped { because: "it needs web".into() }),
        (7000, "", Step::Unknown),
        (7100, "", Step::Finished { outcome: Outcome::Failed { services }, took_ms: 7100 }),
    ])
}

/// A server in this process that streams these bytes, the first part to whoever hasn't an id yet.
struct Server {
    directory: TempDir,
}

impl Server {
    fn streams(first: Vec<Bytes>, later: Vec<Bytes>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("s")).unwrap();
        let progress = move |headers: HeaderMap| {
            let bytes =
                if headers.contains_key(sse::LAST_EVENT_ID) { later.concat() } else { first.concat() };
            async move { Body::from(bytes) }
        };
        let router = axum::Router::new().route("/v1/deploys/14/progress", get(progress));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { directory }
    }

    fn that_tells(events: &[Progress]) -> Self {
        Self::streams([items(events), vec![sse::end()]].concat(), vec![])
    }

    async fn follow(&self, screen: &mut Screen, action: Action) -> Result<(), CliError> {
        let api = Api::local(self.directory.path().join("s"));
        to_the_end(&mut screen.ui(), &api, &canned::deploy(action), std::future::pending()).await
    }
}

fn items(events: &[Progress]) -> Vec<Bytes> {
    events.iter().map(|event| sse::item(&event.id.to_string(), event).unwrap()).collect()
}

#[tokio::test]
async fn a_rollout_is_written_line_by_line_and_ends_with_its_outcome() {
    let mut screen = Screen::default();
    Server::that_tells(&rollout()).follow(&mut screen, Action::Deploy).await.unwrap();
    golden::check("deploy_plain", &screen.talk());
    assert_eq!(screen.data(), "deployed shop #14 in 2.7s\n");
}

/// A pull of twelve seconds, told four times a second, whose registry goes away for a while, and another beside it.
fn slow_pull() -> Vec<Progress> {
    let layer = |bytes_done: u64, unpacked| Layer {
        digest: format!("sha256:{}", "a".repeat(64)).parse().unwrap(),
        bytes_done,
        bytes_total: 24_000_000,
        unpacked,
    };
    let told = |quarter: u64| {
        let bytes_done = (quarter * 1_000_000).min(48_000_000);
        let (low, high) = (bytes_done.min(24_000_000), bytes_done.saturating_sub(24_000_000));
        let layers = vec![layer(low, low == 24_000_000), layer(high, false)];
        let trouble =
            (24..30).contains(&quarter).then(|| "no connection to 10.0.0.9:5000: refused".to_owned());
        let node = "node-2".parse().unwrap();
        Step::Pulling { node, pulling: Pulling { bytes_done, bytes_total: 48_000_000, layers, trouble } }
    };
    let mut steps = vec![(0, "", planned(&["db", "web"]))];
    for quarter in 0..=50 {
        steps.push((quarter * 250, "web", told(quarter)));
        steps.push((quarter * 250 + 10, "db", pulling(quarter)));
    }
    steps.push((12_600, "web", Step::Pulled { node: "node-2".parse().unwrap(), bytes: Some(48_000_000) }));
    steps.push((12_700, "", Step::Finished { outcome: Outcome::Succeeded, took_ms: 12_700 }));
    script(steps)
}

#[tokio::test]
async fn a_slow_pull_writes_a_line_every_three_seconds_and_draws_what_keeps_it() {
    let mut screen = Screen::default();
    Server::that_tells(&slow_pull()).follow(&mut screen, Action::Deploy).await.unwrap();
    golden::check("deploy_slow_pull", &screen.talk());

    let terminal = Terminal { width: Some(80), ..canned::terminal() };
    let mut board = Board::default();
    let mut frames = String::new();
    for (number, progress) in slow_pull().iter().enumerate() {
        board.apply(progress);
        if number % 20 == 1 {
            let lines = draw::open_lines(&board, progress.at, &terminal);
            frames += &format!("…{}\n", lines.first().unwrap());
        }
    }
    golden::check("deploy_slow_pull_live", &frames);
}

#[tokio::test]
async fn a_failure_ends_with_reasons_log_lines_and_exit_code_1() {
    let mut screen = Screen::default();
    let error = Server::that_tells(&failure()).follow(&mut screen, Action::Deploy).await.unwrap_err();
    assert_eq!(error.exit, Exit::Failed);
    golden::check("deploy_failed", &(screen.talk() + &error.render(&canned::terminal())));
    assert_eq!(screen.data(), "");
}

/// A version that listens on another port than its check asks, until its time is up.
fn never_ready() -> Vec<Progress> {
    let (web, reason) = ("web".parse().unwrap(), "not done after 20s".to_owned());
    let not_yet = |last: &str| Step::NotYetHealthy {
        last: last.to_owned(),
        attempt: 1,
        log_tail: vec!["listening on 3000".into()],
    };
    let failed = FailedService { name: web, reason: reason.clone(), hint: Some("give it longer".into()) };
    script(vec![
        (0, "", planned(&["web"])),
        (10, "web-7k2f", starting()),
        (100, "web-7k2f", Step::Running),
        (5200, "web-7k2f", not_yet("nothing listens on port 20001")),
        (5300, "web-8m3g", starting()),
        (5400, "web-8m3g", Step::Running),
        (10_500, "web-8m3g", not_yet("it is late, but it comes")),
        (10_600, "web-8m3g", Step::Healthy),
        (20_010, "web", Step::RollingBack { reason }),
        (20_100, "web-7k2f", Step::Stopped { old: false }),
        (20_110, "web", Step::RolledBack { gap_ms: None }),
        (20_120, "", Step::Finished { outcome: Outcome::Failed { services: vec![failed] }, took_ms: 20_120 }),
    ])
}

#[tokio::test]
async fn what_kept_it_from_health_is_said_when_its_time_is_up() {
    let mut screen = Screen::default();
    let error = Server::that_tells(&never_ready()).follow(&mut screen, Action::Deploy).await.unwrap_err();
    golden::check("deploy_never_ready", &(screen.talk() + &error.render(&canned::terminal())));
}

#[tokio::test]
async fn each_action_has_its_last_word() {
    let web = || "web".parse().unwrap();
    let done = Outcome::Succeeded;
    let unchanged = script(vec![
        (0, "", planned(&["web"])),
        (1, "web", Step::Unchanged),
        (9, "", Step::Finished { outcome: done, took_ms: 90 }),
    ]);
    let mut gap = rollout();
    gap[10].step = Step::Done { took_ms: 2630, gap_ms: Some(1200) };
    for (events, action, word) in [
        (&unchanged, Action::Deploy, "shop is up to date: nothing changed\n"),
        (&gap, Action::Deploy, "deployed shop #14 in 2.7s\nweb had no healthy replica for 1.2s\n"),
        (&rollout(), Action::Rollback { to: DeployId(12) }, "rolled back shop to #12 as #14 in 2.7s\n"),
        (&rollout(), Action::Scale { service: web(), replicas: 3 }, "scaled shop/web to 3 as #14 in 2.7s\n"),
        (&rollout(), Action::Restart { service: web() }, "restarted shop/web as #14 in 2.7s\n"),
        (&rollout(), Action::Undeploy, "undeployed shop in 2.7s\n"),
        (
            &rollout(),
            Action::Roll { secret: "shop/key".parse().unwrap() },
            "rolled shop/key out in shop as #14 in 2.7s\n",
        ),
    ] {
        let mut screen = Screen::default();
        Server::that_tells(events).follow(&mut screen, action).await.unwrap();
        assert_eq!(screen.data(), word);
    }
}

#[tokio::test]
async fn a_deploy_that_someone_else_ended_says_so() {
    for (outcome, message, cancelled) in [
        (Outcome::Cancelled, "deploy shop #14 was cancelled", true),
        (Outcome::Replaced { by: DeployId(15) }, "deploy shop #14 was replaced by #15", false),
    ] {
        let events = script(vec![(0, "", Step::Finished { outcome, took_ms: 1 })]);
        let error =
            Server::that_tells(&events).follow(&mut Screen::default(), Action::Deploy).await.unwrap_err();
        assert_eq!((error.message.as_str(), error.cancelled, error.exit), (message, cancelled, Exit::Failed));
        assert!(error.hint.is_some());
    }
    let error = Server::that_tells(&[]).follow(&mut Screen::default(), Action::Deploy).await.unwrap_err();
    assert!(error.message.contains("isn't known"), "{error:?}");
}

#[tokio::test]
async fn programs_get_an_object_a_line() {
    let mut screen = Screen::json();
    Server::that_tells(&rollout()).follow(&mut screen, Action::Deploy).await.unwrap();
    let read: Vec<Progress> = screen.data().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read, rollout());
    assert_eq!(screen.talk(), "");
}

#[tokio::test]
async fn a_lost_connection_costs_a_line_and_no_event() {
    let (first, later) = (&rollout()[..5], &rollout()[5..]);
    let server = Server::streams(items(first), [items(later), vec![sse::end()]].concat());
    let mut screen = Screen::default();
    server.follow(&mut screen, Action::Deploy).await.unwrap();
    let mut whole = Screen::default();
    Server::that_tells(&rollout()).follow(&mut whole, Action::Deploy).await.unwrap();
    assert_eq!(screen.talk().replace("  connection lost; trying to get it back\n", ""), whole.talk());
    assert_ne!(screen.talk(), whole.talk());
    assert_eq!(screen.data(), whole.data());
}

#[tokio::test]
async fn ctrl_c_leaves_the_deploy_and_says_how_to_return() {
    let server = Server::that_tells(&rollout());
    let api = Api::local(server.directory.path().join("s"));
    let mut screen = Screen::default();
    let deploy = canned::deploy(Action::Deploy);
    let error = to_the_end(&mut screen.ui(), &api, &deploy, std::future::ready(())).await.unwrap_err();
    assert_eq!(error.exit, Exit::Interrupted);
    let hint = error.hint.unwrap();
    assert!(hint.contains("--attach 14") && hint.contains("--cancel 14"), "{hint}");
}

#[test]
fn what_is_under_way_is_drawn_with_its_time_and_bar() {
    let terminal = Terminal { width: Some(80), ..canned::terminal() };
    let mut board = Board::default();
    let mut frames = String::new();
    for progress in rollout() {
        let written = board.apply(&progress);
        let width = board.service_width();
        for row in &written {
            frames += &format!("{}\n", draw::line(row, row.took, width, &terminal));
        }
        let now = progress.at.after(Duration::from_millis(250));
        for line in draw::open_lines(&board, now, &terminal) {
            frames += &format!("…{line}\n");
        }
    }
    golden::check("deploy_live", &frames);
    assert!(board.open().is_empty());
}

#[test]
fn a_thousand_replicas_do_not_fill_the_screen() {
    let mut board = Board::default();
    let many = (0..1000_u64).map(|n| mill_model::AllocId::derive(&"web".parse().unwrap(), n));
    for (id, alloc) in (1..).zip(many) {
        let service = Some("web".parse().unwrap());
        board.apply(&Progress { id, at: canned::NOW, service, alloc: Some(alloc), step: starting() });
    }
    let lines = draw::open_lines(&board, canned::NOW, &canned::terminal());
    assert_eq!(lines.len(), 17);
    assert_eq!(lines.last().unwrap(), "  and 984 more");
}

#[test]
fn any_order_of_events_is_borne() {
    let mut board = Board::default();
    let mut events = [rollout(), failure()].concat();
    events.reverse();
    for progress in &events {
        for row in board.apply(progress) {
            assert!(draw::line(&row, row.took, board.service_width(), &canned::terminal()).starts_with("  "));
        }
    }
    assert!(board.finished().is_some());
}

#[test]
fn a_service_stays_shown_as_waiting_while_its_image_comes() {
    let mut board = Board::default();
    let waiting = Step::Waiting { on: vec!["db".parse().unwrap()] };
    let pulled = Step::Pulled { node: "node-2".parse().unwrap(), bytes: Some(48_000_000) };
    let verbs = |board: &Board| board.open().iter().map(|row| row.verb).collect::<Vec<_>>();
    for (step, open) in [
        (waiting, vec!["waiting"]),
        (pulling(20_000_000), vec!["waiting", "pulling"]),
        (pulled, vec!["waiting"]),
    ] {
        board.apply(&script(vec![(0, "web", step)])[0]);
        assert_eq!(verbs(&board), open);
    }
    board.apply(&script(vec![(0, "web-7k2f", starting())])[0]);
    assert_eq!(verbs(&board), ["starting"]);
}

#[test]
fn an_image_that_came_before_its_size_was_seen_has_none() {
    let mut board = Board::default();
    let said: Vec<String> = script(vec![
        (0, "web", Step::Pulling { node: "node-2".parse().unwrap(), pulling: Pulling::default() }),
        (300, "web", Step::Pulled { node: "node-2".parse().unwrap(), bytes: None }),
    ])
    .iter()
    .flat_map(|progress| board.apply(progress))
    .map(|row| draw::line(&row, row.took, 3, &Terminal::plain()))
    .collect();
    assert!(said.len() == 1 && said[0].contains("node-2") && !said[0].contains(" B"), "{said:?}");
}
