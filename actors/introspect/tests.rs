use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mill_model::{Tempo, Timestamp};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Endpoint, Server};

use super::convert::{from_wire, to_wire};
use super::*;
use crate::kit::*;

fn sample(children: Vec<ActorInfo>) -> ActorInfo {
    ActorInfo {
        path: Path::from("daemon/x".to_owned()),
        kind: "X".into(),
        status: Status::Restarting,
        mailbox_depth: 1,
        handled: 2,
        messages: BTreeMap::from([("a".to_owned(), 2)]),
        rate: 0.5,
        p50_us: 3,
        p99_us: 4,
        tasks: 5,
        restarts: 6,
        last_error: Some(LastError { text: "ill".into(), at: Timestamp(7) }),
        busy_with: Some(Busy { message: "a".into(), for_ms: 8 }),
        observed: json!({ "n": [1, null] }),
        children,
    }
}

#[test]
fn nothing_is_lost_on_the_wire() {
    let plain = ActorInfo { last_error: None, busy_with: None, observed: Value::Null, ..sample(vec![]) };
    for status in [Status::Starting, Status::Running, Status::Restarting, Status::Stopping, Status::Stopped] {
        let info = ActorInfo { status, ..sample(vec![plain.clone(), sample(vec![])]) };
        assert_eq!(from_wire(to_wire(info.clone())).unwrap(), info);
    }
}

#[test]
fn an_answer_of_another_version_is_refused_in_words() {
    let sent = |change: fn(&mut mill_rpc::v1::Actor)| {
        let mut actor = to_wire(sample(vec![]));
        change(&mut actor);
        from_wire(actor).unwrap_err().to_string()
    };
    assert_eq!(sent(|actor| actor.status = 99), "actor `daemon/x` has an unknown status: 99");
    assert_eq!(sent(|actor| actor.observed_json = "{".into()), "actor `daemon/x` shows something unreadable");
    let mut deep = sample(vec![]);
    for _ in 0..40 {
        deep = sample(vec![deep]);
    }
    assert!(matches!(from_wire(to_wire(deep)), Err(UnreadableActor::TooDeep)));
}

struct Room;
struct Work;

impl Message for Work {
    fn name(&self) -> &'static str {
        "work"
    }
}

impl Actor for Room {
    type Msg = Work;
    type Args = ();
    type State = ();
    async fn start(_me: &Me<Self>, (): ()) -> Result<(), Crash> {
        Ok(())
    }
    async fn handle(_me: &Me<Self>, _msg: Work, _state: &mut ()) -> Result<(), Crash> {
        Ok(())
    }
    fn observe(_state: &()) -> Value {
        json!("here")
    }
}

#[tokio::test]
async fn another_process_is_read_and_restarted_over_its_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("x.sock");
    let tree = Tree::start::<Room>("daemon", (), Arc::new(Tempo::default())).await.unwrap();
    tree.root().tell(Work).unwrap();
    let listener = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
    let router = Server::builder().add_service({
        let introspect = tree.introspect();
        Service::server(move || Some(introspect.clone()))
    });
    let serving = tokio::spawn(router.serve_with_incoming(listener));
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).unwrap();
    let client = Client::new(endpoint.connect().await.unwrap(), Duration::from_secs(5));

    let seen = client.tree().await.unwrap();
    assert_eq!((seen.path.as_str(), seen.kind.as_str(), &seen.observed), ("daemon", "Room", &json!("here")));
    client.restart("daemon").await.unwrap();
    assert_eq!(client.tree().await.unwrap().restarts, 1);
    let refused = client.restart("daemon/nobody").await.unwrap_err();
    assert_eq!(refused.to_string(), "there is no actor `daemon/nobody`");
    tree.stop(Duration::from_secs(1)).await.unwrap();
    let refused = client.restart("daemon").await.unwrap_err();
    assert_eq!(refused.to_string(), "actor `daemon` is stopping");

    serving.abort();
    let nobody = Endpoint::from_shared(format!("unix:{}/nobody", directory.path().display())).unwrap();
    let client = Client::new(nobody.connect_lazy(), Duration::from_secs(5));
    assert!(matches!(client.tree().await, Err(ReadError::Call { .. })));
}
