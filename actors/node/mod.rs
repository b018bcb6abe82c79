//! The root of the daemon's tree: who this node is, and which rooms it therefore has.
//!
//! - owns: the node's directory and identity; its children
//! - told by: the API (`init`), the published role
//! - fails when: the directory can't be read, or a child gives up
//! - restarted by: nobody; the process ends and its supervisor starts it again (systemd, `mill dev`'s user)
//!
//! A node without an identity has the API and the link to its plane, nothing else. With one it has the log, the
//! agent, and, where the log leads, the leader.

mod authority;
pub mod backend;
mod certificate;
mod init;
mod register;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mill_api::ApiError;
use mill_api::daemon::{InitRequest, Initialized};
use mill_drivers::bundle::{Drivers, Outside};
use mill_drivers::clock::Clock;
use mill_drivers::containers::own::OwnConfig;
use mill_drivers::datapath::{Datapath as _, NodeNet};
use mill_drivers::home::{Home, Identity, Keys, NextCa};
use mill_drivers::random::Random as _;
use mill_fsm::RegistryLogin;
use mill_model::{NodeName, RegistryHost, Resources, Tempo};
use serde_json::json;
use tokio::sync::watch;

use crate::agent::{self, Agent};
use crate::alloc;
use crate::containerd::Containerd;
use crate::datapath::{self, Datapath};
use crate::http::{self, Http, Member};
use crate::images::Pulls;
use crate::kit::{
    Actor, Address, AskError, Crash, Me, Message, Reply, Restart, StartError, Task, TaskPanicked, Timer, Tree,
};
use crate::leader::{self, Leader};
use crate::logins;
use crate::metrics::{self, Metrics, Used};
use crate::outlet::Outlet;
use crate::plane_link::{self, PlaneLink};
use crate::raft::{self, Published, Raft};
use crate::secrets::Sealed;
use backend::{Doctor, NodeBackend};
use init::{Bootstrapped, Waiting};

/// The room.
pub struct Node<O>(PhantomData<fn() -> O>);

/// What the root is told.
#[derive(Debug)]
pub enum Msg {
    /// Make a cluster of this node.
    Init {
        /// How.
        request: InitRequest,
        /// Told when the node is its member.
        reply: Reply<Result<Initialized, ApiError>>,
    },
    /// The first command of the cluster was applied, or wasn't.
    Bootstrapped(Result<Bootstrapped, TaskPanicked>),
    /// Make a CA that may become the cluster's.
    PrepareCa {
        /// Told what it is, without its key.
        reply: Reply<Result<NextCa, ApiError>>,
    },
    /// It may be time for a new certificate.
    LookAtCertificate,
    /// This node leads, or does no longer, or the state has changed.
    Changed,
    /// The node has said what it is, or couldn't.
    Registered(Result<Result<Result<mill_fsm::Done, raft::ProposeError>, AskError>, TaskPanicked>),
}

impl Message for Msg {
    fn name(&self) -> &'static str {
        match self {
            Self::Init { .. } => "init",
            Self::Bootstrapped(_) => "bootstrapped",
            Self::PrepareCa { .. } => "prepare_ca",
            Self::LookAtCertificate => "look_at_certificate",
            Self::Changed => "changed",
            Self::Registered(_) => "registered",
        }
    }
}

/// What an operator says of a node.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What to call it, unless `init` says so.
    pub name: NodeName,
    /// Where others reach it, unless `init` says so.
    pub advertise: IpAddr,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// The local control socket.
    pub socket: PathBuf,
    /// What it has for containers.
    pub capacity: Resources,
    /// Version of this binary.
    pub version: String,
}

/// What the root needs.
#[derive(Clone)]
pub struct Args<O> {
    /// What the operator said.
    pub settings: Settings,
    /// The node's directory.
    pub home: Arc<Home>,
    /// All that it touches.
    pub outside: O,
    /// Where the state and the role are published.
    pub published: Published,
    /// A containerd of Mill's own to keep alive; `None`: the machine's is used.
    pub containerd: Option<OwnConfig>,
    /// Where the plane is found.
    pub plane_socket: PathBuf,
    /// What looks at the machine.
    pub doctor: Doctor,
}

/// Starts a node: the one composition of its tree, for the program and for tests.
///
/// # Errors
/// Its directory can't be read, or says that this node is somebody and lacks what it needs for that.
pub async fn start<O: Outside>(args: Args<O>, tempo: Arc<Tempo>) -> Result<Tree<Msg>, StartError> {
    Tree::start::<Node<O>>("daemon", args, tempo).await
}

/// What the root holds.
pub struct State<O> {
    args: Args<O>,
    link: Address<plane_link::Msg>,
    member: watch::Sender<Option<Arc<Member>>>,
    log: watch::Sender<Option<Address<raft::Msg>>>,
    identity: Option<Identity>,
    /// Whether it is on disk that this node is a member.
    is_member: bool,
    rooms: Option<Rooms>,
    leads: Option<mill_model::Term>,
    waiting: Option<Waiting>,
    /// The logins that its images were given.
    logins: BTreeMap<RegistryHost, RegistryLogin>,
    /// The cluster's CA, as this node shows it.
    ca: String,
    /// How long its certificates live.
    life: Duration,
    /// Until its certificate is looked at again.
    look: Option<Timer>,
    registering: Option<Task>,
    watching: [Task; 2],
    pulls: Pulls,
    used: watch::Sender<Arc<Used>>,
}

/// The rooms of a node that is somebody.
struct Rooms {
    raft: Address<raft::Msg>,
    agent: Address<agent::Msg>,
}

impl<O: Outside> Actor for Node<O> {
    type Msg = Msg;
    type Args = Args<O>;
    type State = State<O>;

    async fn start(me: &Me<Self>, args: Self::Args) -> Result<Self::State, Crash> {
        if let Some(own) = args.containerd.clone() {
            me.child::<Containerd>("containerd", own, Restart::Forever)?;
        }
        let plane = plane_link::Args {
            logs: args.outside.logs().clone(),
            plane: args.outside.plane().clone(),
            socket: args.plane_socket.clone(),
        };
        let link = me.child::<PlaneLink<O::Logs, O::Plane>>("plane-link", plane, Restart::Forever)?;
        let identity = args.home.identity()?;
        let is_member = args.home.was_member();
        let member = watch::Sender::new(None);
        let watching = watch_changes(me, &args.published);
        let mut state = State {
            args,
            link,
            member,
            log: watch::Sender::new(None),
            identity: None,
            is_member,
            rooms: None,
            leads: None,
            waiting: None,
            logins: BTreeMap::new(),
            ca: String::new(),
            life: me.tempo().certificate_life,
            look: None,
            registering: None,
            pulls: Pulls::default(),
            used: watch::Sender::default(),
            watching,
        };
        if let Some(identity) = identity {
            state.become_somebody(me, identity)?;
        }
        state.open_api(me)?;
        Ok(state)
    }

    async fn handle(me: &Me<Self>, msg: Msg, state: &mut Self::State) -> Result<(), Crash> {
        match msg {
            Msg::Init { request, reply } => state.init(me, request, reply),
            Msg::Bootstrapped(result) => state.bootstrapped(result),
            Msg::PrepareCa { reply } => {
                reply.send(state.prepare_ca());
                Ok(())
            }
            Msg::LookAtCertificate => {
                state.look_at_certificate(me);
                Ok(())
            }
            Msg::Changed => state.changed(me),
            Msg::Registered(result) => {
                state.registered(result);
                Ok(())
            }
        }
    }

    fn observe(state: &Self::State) -> serde_json::Value {
        json!({
            "node": state.identity.as_ref().map(|identity| identity.node),
            "name": state.identity.as_ref().map(|identity| &identity.name),
            "leads": state.leads,
        })
    }
}

impl<O: Outside> State<O> {
    /// Starts what a node with an identity has.
    fn become_somebody(&mut self, me: &Me<Node<O>>, identity: Identity) -> Result<(), Crash> {
        let keys = self.args.home.keys()?;
        let raft = raft::Args {
            disk: self.args.outside.disk().clone(),
            directory: self.args.home.path().join("raft"),
            clock: self.args.outside.drivers().clock().clone(),
            node: identity.node,
            log: init::log_id(&identity.cluster),
            had_state: self.is_member,
            seed: self.args.outside.random().number()?,
            published: self.args.published.clone(),
        };
        let raft =
            me.child::<Raft<O::Disk, <O::Drivers as Drivers>::Clock>>("raft", raft, Restart::OnCrash)?;
        let link = self.link.clone();
        let streams = Outlet::new(move |news| link.tell(plane_link::Msg::Streams(news)));
        let home = alloc::Home {
            drivers: self.args.outside.drivers().clone(),
            node: identity.name.clone(),
            address: identity.advertise,
            streams,
            secrets: Sealed::of(self.args.published.cluster.subscribe()),
        };
        self.map_ports(me, identity.advertise)?;
        let args = agent::Args { home, pulls: self.pulls.clone() };
        let agent = me.child::<Agent<O::Drivers>>("agent", args, Restart::OnCrash)?;
        let args = metrics::Args { drivers: self.args.outside.drivers().clone(), used: self.used.clone() };
        me.child::<Metrics<O::Drivers>>("metrics", args, Restart::Forever)?;
        self.show_member(&identity, &keys);
        self.log.send_replace(Some(raft.clone()));
        self.rooms = Some(Rooms { raft, agent });
        self.identity = Some(identity);
        self.look_at_certificate(me);
        Ok(())
    }

    /// Where the kernel can: before there is anything to map.
    fn map_ports(&self, me: &Me<Node<O>>, address: IpAddr) -> Result<(), Crash> {
        let drivers = self.args.outside.drivers();
        let own = NonZeroU16::new(self.args.settings.listen.port()).into_iter().collect();
        drivers.datapath().settle(NodeNet { address, own });
        if drivers.datapath().mode().is_kernel() {
            let args = datapath::Args { drivers: drivers.clone() };
            me.child::<Datapath<O::Drivers>>("datapath", args, Restart::Forever)?;
        }
        Ok(())
    }

    /// Tells the API who it answers as.
    fn show_member(&self, identity: &Identity, keys: &Keys) {
        let listen = self.args.settings.listen;
        let certificate_chain = format!("{}{}", keys.certificate, self.authorities(keys));
        let (name, private_key) = (identity.name.clone(), keys.key.clone());
        self.member.send_replace(Some(Arc::new(Member { name, listen, certificate_chain, private_key })));
    }

    fn open_api(&self, me: &Me<Node<O>>) -> Result<(), Crash> {
        let settings = &self.args.settings;
        let name = self.identity.as_ref().map_or(&settings.name, |identity| &identity.name);
        let about = http::About {
            node: name.clone(),
            version: settings.version.clone(),
            since: Clock::now(self.args.outside.drivers().clock()),
            data_dir: self.args.home.path().to_owned(),
        };
        let backend = NodeBackend {
            outside: self.args.outside.clone(),
            doctor: Arc::clone(&self.args.doctor),
            root: me.address(),
            actors: me.introspect(),
            plane: self.args.plane_socket.clone(),
            pulls: self.pulls.clone(),
            used: self.used.subscribe(),
            tempo: Arc::clone(me.tempo()),
        };
        let args = http::Args {
            about,
            socket: settings.socket.clone(),
            member: self.member.subscribe(),
            bound: watch::Sender::new(None),
            published: self.args.published.clone(),
            raft: self.log.subscribe(),
            backend,
        };
        me.child::<Http<NodeBackend<O>>>("http", args, Restart::OnCrash)?;
        Ok(())
    }

    /// Gives the node's images what the cluster is known by to registries, if that is news.
    fn learn_logins(&mut self) {
        let cluster = self.args.published.cluster.borrow().clone();
        if !self.logins.iter().eq(cluster.registries.iter()) {
            let drivers = self.args.outside.drivers();
            logins::teach(drivers.images(), drivers.seal(), &cluster);
            let known = cluster.registries.iter().map(|(host, login)| (host.clone(), login.clone()));
            self.logins = known.collect();
        }
    }

    /// Follows the role: a leader where the log leads, for as long as it does.
    fn changed(&mut self, me: &Me<Node<O>>) -> Result<(), Crash> {
        self.watching = watch_changes(me, &self.args.published);
        self.note_member()?;
        self.learn_logins();
        self.follow_ca(me);
        let role = *self.args.published.role.borrow();
        let leads = role.is_leading.then_some(role.term);
        if leads != self.leads {
            if self.leads.take().is_some() {
                me.drop_child("leader");
            }
            if let Some(term) = leads {
                self.lead(me, term)?;
            }
        }
        self.register(me);
        Ok(())
    }

    fn lead(&mut self, me: &Me<Node<O>>, term: mill_model::Term) -> Result<(), Crash> {
        let Some((rooms, identity)) = self.rooms.as_ref().zip(self.identity.as_ref()) else { return Ok(()) };
        let args = leader::Args {
            term,
            cluster: self.args.published.cluster.subscribe(),
            stamps: self.args.published.stamps.clone(),
            raft: rooms.raft.clone(),
            agents: BTreeMap::from([(identity.node, rooms.agent.clone())]),
            clock: self.args.outside.drivers().clock().clone(),
            random: self.args.outside.random().clone(),
        };
        me.child::<Leader<<O::Drivers as Drivers>::Clock, O::Random>>("leader", args, Restart::OnCrash)?;
        self.leads = Some(term);
        Ok(())
    }
}

/// Role and state: what a node's rooms follow from.
fn watch_changes<O: Outside>(me: &Me<Node<O>>, published: &Published) -> [Task; 2] {
    let (role, cluster) = (published.role.subscribe(), published.cluster.subscribe());
    [me.on_change(&role, Msg::Changed), me.on_change(&cluster, Msg::Changed)]
}
