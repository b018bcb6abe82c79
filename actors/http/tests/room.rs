//! The room with a log that is a world, and a node that is a fake.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use mill_api::daemon::{InitRequest, Initialized};
use mill_api::doctor::{Check, Finding};
use mill_api::trust::Trust;
use mill_api::{Api, ApiError, Code};
use mill_drivers::containers::FakeContainers;
use mill_drivers::home::{Keys, NextCa};
use mill_drivers::images::FakeImages;
use mill_drivers::logs::{FakeLogs, Line, Stream};
use mill_drivers::seal::FakeSeal;
use mill_model::{AllocId, Digest, Incarnation, Tempo, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

use super::world::{World, leading, token};
use crate::http::backend::{Backend, Moment};
use crate::http::{About, Args, Http, Member, Msg};
use crate::kit::{Actor, ActorInfo, Crash, Introspect, Me, Tree};
use crate::raft;

/// A node that does what a test says.
#[derive(Clone, Default)]
pub(super) struct Fake {
    pub(super) images: FakeImages,
    pub(super) logs: FakeLogs,
    pub(super) seal: FakeSeal,
    pub(super) containers: FakeContainers,
    state: Arc<Mutex<FakeState>>,
    actors: Arc<OnceLock<Introspect>>,
}

#[derive(Default)]
struct FakeState {
    moment: Moment,
    init: Option<Initialized>,
    drawn: u8,
    now: Option<Timestamp>,
}

impl Fake {
    fn state(&self) -> MutexGuard<'_, FakeState> {
        self.state.lock().unwrap()
    }

    /// What the node knows of this moment.
    pub(super) fn knows(&self, moment: Moment) {
        self.state().moment = moment;
    }

    /// What the node's clock shows.
    pub(super) fn clock_shows(&self, now: Timestamp) {
        self.state().now = Some(now);
    }

    pub(super) fn inits(&self, initialized: Initialized) {
        self.state().init = Some(initialized);
    }

    /// A line of an alloc's first run; `E ` before it: on standard error.
    pub(super) fn write(&self, alloc: &AllocId, at: u64, text: &str) {
        self.write_in(alloc, 1, at, text);
    }

    pub(super) fn write_in(&self, alloc: &AllocId, run: u32, at: u64, text: &str) {
        let (stream, text) = match text.strip_prefix("E ") {
            Some(text) => (Stream::Stderr, text),
            None => (Stream::Stdout, text),
        };
        let (at, alloc, incarnation) = (Timestamp(at), alloc.clone(), Incarnation(run));
        self.logs.lie(Line { at, alloc, incarnation, stream, text: text.to_owned(), dropped: None });
    }
}

/// A digest of one digit.
pub(super) fn digest(digit: char) -> Digest {
    format!("sha256:{}", digit.to_string().repeat(64)).parse().unwrap()
}

impl Backend for Fake {
    type Images = FakeImages;
    type Logs = FakeLogs;
    type Seal = FakeSeal;
    type Containers = FakeContainers;

    fn images(&self) -> &FakeImages {
        &self.images
    }

    fn logs(&self) -> &FakeLogs {
        &self.logs
    }

    fn seal(&self) -> &FakeSeal {
        &self.seal
    }

    fn containers(&self) -> &FakeContainers {
        &self.containers
    }

    fn draw(&self, bytes: &mut [u8]) -> Result<(), ApiError> {
        let mut state = self.state();
        state.drawn += 1;
        bytes.fill(100 + state.drawn);
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.state().now.unwrap_or(Timestamp(2_000_000))
    }

    fn moment(&self) -> Moment {
        self.state().moment.clone()
    }

    async fn init(&self, request: InitRequest) -> Result<Initialized, ApiError> {
        assert!(request.name.as_ref().is_none_or(|name| name.as_str() != "panic"), "told to");
        self.state().init.clone().ok_or_else(|| ApiError::new(Code::Conflict, "not today"))
    }

    async fn next_ca(&self) -> Result<NextCa, ApiError> {
        let keys = Keys::make("api.test", &[], Timestamp(0), Duration::from_secs(60)).unwrap();
        Ok(keys.next_ca(Timestamp(0)).unwrap())
    }

    async fn doctor(&self) -> Vec<Finding> {
        vec![Finding::ok(Check::Containerd, "1.6.20")]
    }

    fn daemon_actors(&self) -> Option<Introspect> {
        self.actors.get().cloned()
    }

    async fn plane_actors(&self) -> Result<ActorInfo, ApiError> {
        Err(ApiError::new(Code::Unavailable, "no plane").because("nobody answers on its socket"))
    }

    async fn restart_plane_actor(&self, path: &str) -> Result<(), ApiError> {
        assert_ne!(path, "plane/panic", "told to");
        Err(ApiError::new(Code::Unavailable, format!("no plane, so no {path}")))
    }

    fn plane_pid(&self) -> Option<u32> {
        Some(42)
    }
}

/// A log that applies at once.
struct Log;

#[derive(Clone)]
struct LogArgs {
    world: Arc<Mutex<World>>,
    published: raft::Published,
    refuses: Arc<Mutex<Option<raft::ProposeError>>>,
}

impl Actor for Log {
    type Msg = raft::Msg;
    type Args = LogArgs;
    type State = LogArgs;

    async fn start(_me: &Me<Self>, args: LogArgs) -> Result<LogArgs, Crash> {
        Ok(args)
    }

    async fn handle(_me: &Me<Self>, msg: raft::Msg, state: &mut LogArgs) -> Result<(), Crash> {
        if let raft::Msg::Propose { command, reply } = msg {
            let refused = state.refuses.lock().unwrap().clone();
            let done = match refused {
                Some(error) => Err(error),
                None => state.world.lock().unwrap().apply(command).map_err(raft::ProposeError::Rejected),
            };
            let cluster = state.world.lock().unwrap().cluster.clone();
            state.published.cluster.send_replace(Arc::new(cluster));
            reply.send(done);
        }
        Ok(())
    }

    fn observe(_state: &LogArgs) -> Value {
        Value::Null
    }
}

/// The API in front of a world.
pub(super) struct Room {
    pub(super) fake: Fake,
    pub(super) tree: Tree<Msg>,
    pub(super) log: Tree<raft::Msg>,
    pub(super) member: watch::Sender<Option<Arc<Member>>>,
    pub(super) bound: watch::Sender<Option<SocketAddr>>,
    pub(super) tempo: Tempo,
    world: Arc<Mutex<World>>,
    pub(super) published: raft::Published,
    refuses: Arc<Mutex<Option<raft::ProposeError>>>,
    directory: TempDir,
}

impl Room {
    pub(super) async fn new(world: World) -> Self {
        Self::with(world, Tempo::default()).await
    }

    pub(super) async fn with(world: World, tempo: Tempo) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let published = raft::Published::default();
        published.cluster.send_replace(Arc::new(world.cluster.clone()));
        if world.cluster.is_bootstrapped() {
            published.role.send_replace(leading());
        }
        let world = Arc::new(Mutex::new(world));
        let refuses = Arc::default();
        let shared = Arc::new(tempo.clone());
        let args = LogArgs {
            world: Arc::clone(&world),
            published: published.clone(),
            refuses: Arc::clone(&refuses),
        };
        let log = Tree::start::<Log>("raft", args, Arc::clone(&shared)).await.unwrap();
        let fake = Fake::default();
        let (member, bound) = (watch::Sender::new(None), watch::Sender::new(None));
        let args = Args {
            about: About {
                node: "host".parse().unwrap(),
                version: "0.1.0".to_owned(),
                since: Timestamp(5),
                data_dir: PathBuf::from("/var/lib/mill"),
            },
            socket: directory.path().join("mill.sock"),
            member: member.subscribe(),
            bound: bound.clone(),
            published: published.clone(),
            raft: watch::Sender::new(Some(log.root())).subscribe(),
            backend: fake.clone(),
        };
        let tree = Tree::start::<Http<Fake>>("http", args, shared).await.unwrap();
        let _ = fake.actors.set(tree.introspect());
        Self { fake, tree, log, member, bound, tempo, world, published, refuses, directory }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join("mill.sock")
    }

    pub(super) fn api(&self) -> Api {
        Api::local(self.socket()).with_tempo(self.tempo.clone())
    }

    /// Moves the world, and publishes it.
    pub(super) fn act<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.world.lock().unwrap();
        let done = act(&mut world);
        self.published.cluster.send_replace(Arc::new(world.cluster.clone()));
        done
    }

    pub(super) fn settle(&self) {
        self.act(World::settle);
    }

    /// From now on the log refuses.
    pub(super) fn refuse(&self, error: Option<raft::ProposeError>) {
        *self.refuses.lock().unwrap() = error;
    }

    /// Makes the node a member that listens on TLS, and gives the client that trusts it.
    pub(super) async fn remote(&self, token: mill_api::Token) -> Api {
        let ca = ca();
        self.member.send_replace(Some(Arc::new(member(&ca, 0))));
        let address = self.bound.subscribe().wait_for(Option::is_some).await.unwrap().unwrap();
        let trust = Trust::from_pem(&ca.pem()).unwrap();
        let url = format!("https://{address}").parse().unwrap();
        Api::remote(url, token, &trust).unwrap().with_tempo(self.tempo.clone())
    }

    pub(super) async fn remote_admin(&self) -> Api {
        self.remote(token()).await
    }
}

type Ca = CertifiedIssuer<'static, KeyPair>;

pub(super) fn ca() -> Ca {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "test CA");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

pub(super) fn member(ca: &Ca, port: u16) -> Member {
    let params = CertificateParams::new(vec![mill_api::trust::SERVER_NAME.to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, ca).unwrap();
    Member {
        name: "node-1".parse().unwrap(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        certificate_chain: format!("{}{}", leaf.pem(), ca.pem()),
        private_key: key.serialize_pem(),
    }
}

/// Durations short enough for a test that waits for them to pass.
pub(super) fn hasty() -> Tempo {
    Tempo {
        api_head_deadline: Duration::from_millis(300),
        api_body_deadline: Duration::from_millis(300),
        api_stalled_after: Duration::from_millis(300),
        api_keepalive: Duration::from_millis(50),
        resolve_deadline: Duration::from_millis(200),
        write_deadline: Duration::from_millis(300),
        shutdown_deadline: Duration::from_secs(2),
        ..Tempo::default()
    }
}
