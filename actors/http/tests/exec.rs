//! Programs run in containers, over the real WebSocket.

use std::collections::BTreeMap;
use std::time::Duration;

use mill_api::client::{Exec, ExecHeard};
use mill_api::exec::{ExecAsk, ExecTold, TerminalSize};
use mill_api::{Api, ClientError, Code};
use mill_drivers::containers::{Ask, Containers as _, ExecOutcome, Launch, Script, Size};
use mill_model::limits::{EXEC_CHUNK_BYTES, EXEC_SESSIONS_MAX, EXEC_WINDOW_BYTES};
use mill_model::{AllocId, Bytes, Millicores, Resources, Tempo};

use super::room::Room;
use super::world::{World, project, service, workload};
use crate::raft::ProposeError;

/// A shop with this many replicas, whose containers run.
async fn shop(replicas: u32, script: Script) -> (Room, Vec<AllocId>) {
    let mut world = World::new();
    world.deploy(&project("shop", vec![service("web", "web:v1", replicas)], vec![]));
    let allocs: Vec<AllocId> =
        world.allocs(&workload("shop/web")).iter().map(|alloc| alloc.id.clone()).collect();
    let room = Room::with(world, Tempo::default()).await;
    room.fake.containers.script("library/web", script);
    for alloc in &allocs {
        room.fake.containers.start(&launch(&format!("{alloc}.1"))).await.unwrap();
    }
    (room, allocs)
}

pub(super) fn launch(name: &str) -> Launch {
    Launch {
        name: name.parse().unwrap(),
        image: "web:v1".parse().unwrap(),
        entrypoint: None,
        command: None,
        env: vec![],
        confidential: false,
        files: vec![],
        resources: Resources { cpu: Millicores(1000), memory: Bytes(64 << 20) },
        user: None,
        workdir: None,
        read_only_root: false,
        cap_add: vec![],
        cap_drop: vec![],
        devices: vec![],
        mounts: vec![],
        stop_signal: None,
        labels: BTreeMap::new(),
        stdout: "".into(),
        stderr: "".into(),
        hostname: "web".to_owned(),
        address: [127, 0, 0, 1].into(),
        resolv_conf: None,
        mapping: None,
    }
}

fn says(output: &str, code: u8) -> Script {
    Script { exec: ExecOutcome { code, output: output.to_owned() }, ..Script::default() }
}

async fn begin(api: &Api, name: &str, terminal: Option<TerminalSize>) -> Exec {
    let mut exec = api.exec(name).await.unwrap();
    exec.ask(&ExecAsk::Begin { command: vec!["cat".into()], terminal }).await.unwrap();
    let heard = exec.next().await.unwrap();
    assert!(matches!(heard, ExecHeard::Told(ExecTold::Began { .. })), "{heard:?}");
    exec
}

/// All that is heard to its end: output, errors, and the last word.
async fn rest(exec: &mut Exec) -> (Vec<u8>, Vec<u8>, ExecTold) {
    let (mut output, mut errors) = (vec![], vec![]);
    loop {
        match exec.next().await.unwrap() {
            ExecHeard::Output(bytes) => {
                output.extend_from_slice(&bytes);
                exec.ask(&ExecAsk::Read { bytes: bytes.len() }).await.unwrap();
            }
            ExecHeard::Errors(bytes) => errors.extend_from_slice(&bytes),
            ExecHeard::Told(ExecTold::Read { .. }) => {}
            ExecHeard::Told(last) => return (output, errors, last),
        }
    }
}

fn code(error: ClientError) -> Code {
    match error {
        ClientError::Refused(error) => error.code,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_is_typed_comes_back_and_the_exit_code_with_it() {
    let (room, allocs) = shop(1, says("a warning\n", 3)).await;
    for (api, name) in [(room.api(), "web"), (room.remote_admin().await, allocs[0].as_str())] {
        let mut exec = begin(&api, name, None).await;
        exec.input(b"hello ").await;
        exec.input(b"world").await;
        exec.ask(&ExecAsk::CloseInput).await.unwrap();
        let (output, errors, last) = rest(&mut exec).await;
        assert_eq!((&output[..], &errors[..]), (&b"hello world"[..], &b"a warning\n"[..]));
        assert_eq!(last, ExecTold::Ended { code: 3 });
    }
    let attached = room.fake.containers.attached();
    assert_eq!(
        (attached.len(), attached[0].argv.join(" "), attached[0].terminal),
        (2, "cat".to_owned(), None)
    );
}

#[tokio::test]
async fn the_audit_log_says_who_ran_what_where_and_nothing_that_it_was_told() {
    let (room, allocs) = shop(1, Script { lacks: vec!["nope".into()], ..Script::default() }).await;
    let api = room.remote_admin().await;
    for program in ["mysql", "nope"] {
        let mut exec = api.exec("web").await.unwrap();
        let command = vec![program.to_owned(), "--password=hunter2".to_owned()];
        exec.ask(&ExecAsk::Begin { command, terminal: None }).await.unwrap();
        exec.next().await.unwrap();
    }
    let audit = room.api().audit(None).await.unwrap();
    let said: Vec<_> = audit.iter().map(|record| (record.token.as_str(), record.what.as_str())).collect();
    let [mysql, nope] =
        ["mysql", "nope"].map(|program| format!("GET /v1/exec/web: {program} in {}", allocs[0]));
    assert_eq!(said, [("init", mysql.as_str()), ("init", nope.as_str())], "what failed was tried too");
    room.refuse(Some(ProposeError::NotLeader { leader: None }));
    let mut exec = api.exec("web").await.unwrap();
    exec.ask(&ExecAsk::Begin { command: vec!["sh".into()], terminal: None }).await.unwrap();
    assert!(
        matches!(rest(&mut exec).await.2, ExecTold::Failed { .. }),
        "nothing is run that nobody wrote down"
    );
    assert_eq!(room.fake.containers.attached().len(), 1);
}

#[tokio::test]
async fn a_program_ends_with_the_token_that_ran_it() {
    let (room, _) = shop(1, Script::default()).await;
    let api = room.remote_admin().await;
    let mut exec = begin(&api, "web", None).await;
    room.api().revoke_token("init").await.unwrap();
    let ExecTold::Failed { error, .. } = rest(&mut exec).await.2 else { panic!("it goes on") };
    assert_eq!(error.code, Code::Unauthorized);
}

#[tokio::test]
async fn a_terminal_is_resized_and_a_signal_passed_on() {
    let (room, _) = shop(1, Script::default()).await;
    let size = TerminalSize { columns: 80, rows: 24 };
    let mut exec = begin(&room.api(), "shop/web", Some(size)).await;
    exec.ask(&ExecAsk::Resize(TerminalSize { columns: 132, rows: 50 })).await.unwrap();
    exec.ask(&ExecAsk::Signal { name: "SIGINT".into() }).await.unwrap();
    assert_eq!(rest(&mut exec).await.2, ExecTold::Ended { code: 130 });
    assert_eq!(room.fake.containers.attached()[0].terminal, Some(Size { columns: 80, rows: 24 }));
    let asked = room.fake.containers.asked().0;
    assert_eq!(asked[0], Ask::Resize(Size { columns: 132, rows: 50 }));
    assert_eq!(asked[1], Ask::Signal("INT".parse().unwrap()));
}

#[tokio::test]
async fn more_than_a_window_goes_through_both_ways_and_nobody_may_send_more_than_one() {
    let (room, _) = shop(1, Script::default()).await;
    let mut exec = begin(&room.api(), "web", None).await;
    let sent: Vec<u8> = (0..4 * EXEC_WINDOW_BYTES).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let (mut chunks, mut on_way, mut got, mut closed) = (sent.chunks(EXEC_CHUNK_BYTES), 0, vec![], false);
    let last = loop {
        while on_way + EXEC_CHUNK_BYTES <= EXEC_WINDOW_BYTES && !closed {
            match chunks.next() {
                Some(chunk) => {
                    on_way += chunk.len();
                    exec.input(chunk).await;
                }
                None => {
                    closed = true;
                    exec.ask(&ExecAsk::CloseInput).await.unwrap();
                }
            }
        }
        match exec.next().await.unwrap() {
            ExecHeard::Output(bytes) => {
                got.extend_from_slice(&bytes);
                exec.ask(&ExecAsk::Read { bytes: bytes.len() }).await.unwrap();
            }
            ExecHeard::Told(ExecTold::Read { bytes }) => on_way -= bytes,
            ExecHeard::Errors(_) => {}
            ExecHeard::Told(last) => break last,
        }
    };
    assert_eq!(last, ExecTold::Ended { code: 0 });
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());

    let mut exec = begin(&room.api(), "web", None).await;
    let flood = vec![0; EXEC_WINDOW_BYTES + 1];
    exec.input(&flood).await;
    assert!(
        matches!(rest(&mut exec).await.2, ExecTold::Failed { error, .. } if error.code == Code::BadRequest)
    );
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_program() {
    let (room, _) = shop(1, Script::default()).await;
    let exec = begin(&room.api(), "web", None).await;
    drop(exec);
    let gone = async {
        while room.fake.containers.asked().1 == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the program was let go");
}

#[tokio::test]
async fn a_daemon_that_stops_says_so() {
    let (room, _) = shop(1, Script::default()).await;
    let mut exec = begin(&room.api(), "web", None).await;
    let (stopped, (_, _, last)) = tokio::join!(room.tree.stop(Duration::from_secs(5)), rest(&mut exec));
    stopped.unwrap();
    assert!(
        matches!(&last, ExecTold::Failed { error, .. } if error.message.contains("stopping")),
        "{last:?}"
    );
}

#[tokio::test]
async fn what_can_not_be_run_says_why() {
    let (room, allocs) = shop(2, Script { lacks: vec!["nope".into()], ..Script::default() }).await;
    let api = room.api();
    let refused = async |name: &str| match api.exec(name).await.err().unwrap() {
        ClientError::Refused(error) => error,
        other => panic!("{other}"),
    };
    let ambiguous = refused("web").await;
    assert_eq!(ambiguous.code, Code::Ambiguous);
    let reason = ambiguous.reason.unwrap();
    assert!(allocs.iter().all(|alloc| reason.contains(alloc.as_str())), "{reason}");
    assert_eq!(refused("node-1").await.code, Code::BadRequest);
    assert_eq!(refused("wbe").await.code, Code::NotFound);
    room.act(|world| world.report(&allocs[0], |status| status.phase = mill_model::Phase::Waiting));
    assert_eq!(refused(allocs[0].as_str()).await.code, Code::Conflict);

    let failed = async |ask: ExecAsk| {
        let mut exec = api.exec("web").await.unwrap();
        exec.ask(&ask).await.unwrap();
        match rest(&mut exec).await.2 {
            ExecTold::Failed { error, code } => (error.code, code),
            other => panic!("{other:?}"),
        }
    };
    let run = |word: &str| ExecAsk::Begin { command: vec![word.to_owned()], terminal: None };
    assert_eq!(failed(run("nope")).await, (Code::NotFound, Some(127)));
    assert_eq!(failed(ExecAsk::CloseInput).await, (Code::BadRequest, None));
    assert_eq!(failed(ExecAsk::Begin { command: vec![], terminal: None }).await, (Code::BadRequest, None));
    room.fake.containers.forget(&format!("{}.1", allocs[1]).parse().unwrap());
    assert_eq!(failed(run("sh")).await, (Code::Conflict, None));
}

#[tokio::test]
async fn programs_at_a_time_are_bounded() {
    let (room, _) = shop(1, Script::default()).await;
    let api = room.api();
    let mut held = vec![];
    for _ in 0..EXEC_SESSIONS_MAX {
        held.push(begin(&api, "web", None).await);
    }
    assert_eq!(code(api.exec("web").await.err().unwrap()), Code::Overloaded);
    drop(held.pop());
    let again = async {
        while api.exec("web").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again).await.expect("there is room again");
}
