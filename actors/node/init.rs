//! `mill init`: a node becomes the first of a cluster.
//!
//! Its keys and its identity are on disk before the log is begun, and the log's first command makes the cluster.
//! Killed in between, the node is somebody without a cluster, and another `init` goes on from there; killed after
//! that, it is a member, though nobody was told its token: whoever is root on the node makes another.

use mill_api::daemon::{InitRequest, Initialized};
use mill_api::token::{SECRET_BYTES, TokenKind};
use mill_api::trust::{Fingerprint, SERVER_NAME};
use mill_api::{ApiError, Code, Token};
use mill_drivers::bundle::{Drivers as _, Outside};
use mill_drivers::clock::Clock as _;
use mill_drivers::home::{Identity, Keys};
use mill_drivers::random::Random;
use mill_fsm::{Command, Rejected};
use mill_model::NodeId;
use mill_model::node::NodeFacts;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{Msg, Node, State};
use crate::kit::{AskError, Crash, Me, Reply, Task, TaskPanicked};
use crate::raft::{self, ProposeError};

/// The first node of every cluster.
const FIRST: NodeId = NodeId(1);

/// An `init` that is under way.
pub(super) struct Waiting {
    reply: Reply<Result<Initialized, ApiError>>,
    initialized: Initialized,
    _task: Task,
}

/// What became of the cluster's first command.
pub(super) type Bootstrapped = Result<Result<mill_fsm::Done, ProposeError>, AskError>;

/// Tells this cluster's log from others: the first half of its id.
pub(super) fn log_id(cluster: &str) -> u64 {
    cluster.get(..16).and_then(|head| u64::from_str_radix(head, 16).ok()).unwrap_or_default()
}

impl<O: Outside> State<O> {
    pub(super) fn init(
        &mut self,
        me: &Me<Node<O>>,
        request: InitRequest,
        reply: Reply<Result<Initialized, ApiError>>,
    ) -> Result<(), Crash> {
        if self.waiting.is_some() {
            reply.send(Err(ApiError::new(Code::Conflict, "`mill init` is under way")
                .hint("wait for it; `mill status` shows when it is done")));
            return Ok(());
        }
        if self.is_member || self.args.published.cluster.borrow().is_bootstrapped() {
            reply.send(Err(self.is_member_already()));
            return Ok(());
        }
        if self.identity.is_none() {
            let identity = self.identify(request)?;
            self.become_somebody(me, identity)?;
        }
        self.bootstrap(me, reply)
    }

    fn is_member_already(&self) -> ApiError {
        ApiError::new(Code::Conflict, "this node belongs to a cluster already")
            .because(format!("its data is in {}", self.args.home.path().display()))
            .hint("`mill status` shows it; if its token is lost, `mill token create --role admin`, as root here, makes another")
    }

    /// Makes keys and an identity, and puts them on disk.
    fn identify(&self, request: InitRequest) -> Result<Identity, Crash> {
        let mut id = [0; 16];
        self.args.outside.random().fill(&mut id)?;
        let cluster = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let settings = &self.args.settings;
        let advertise = request.advertise.unwrap_or(settings.advertise);
        let name = request.name.unwrap_or_else(|| settings.name.clone());
        let identity = Identity { node: FIRST, name, cluster, advertise };
        let (now, life) = (self.args.outside.drivers().clock().now(), self.life);
        self.args.home.settle(&identity, &Keys::make(SERVER_NAME, &[advertise], now, life)?)?;
        Ok(identity)
    }

    fn bootstrap(
        &mut self,
        me: &Me<Node<O>>,
        reply: Reply<Result<Initialized, ApiError>>,
    ) -> Result<(), Crash> {
        let Some((identity, rooms)) = self.identity.as_ref().zip(self.rooms.as_ref()) else { return Ok(()) };
        let keys = self.args.home.keys()?;
        let mut secret = [0; SECRET_BYTES];
        self.args.outside.random().fill(&mut secret)?;
        let ca = CertificateDer::from_pem_slice(keys.ca_certificate.as_bytes())?;
        let admin_token = Token::new(TokenKind::Api, secret, Fingerprint::of(&ca));
        let command = Command::Bootstrap {
            cluster_id: identity.cluster.clone(),
            node: self.facts(identity),
            admin_token_hash: admin_token.secret_hash(),
            ca_certificate: keys.ca_certificate,
        };
        let address = std::net::SocketAddr::new(identity.advertise, self.args.settings.listen.port());
        let initialized = Initialized {
            node: identity.name.clone(),
            url: format!("https://{address}"),
            admin_token,
            join_token: None,
        };
        let (raft, deadline) = (rooms.raft.clone(), me.tempo().write_deadline);
        let mut role = self.args.published.role.subscribe();
        let propose = async move {
            // Without a leader within the deadline the proposal says so.
            let _ = tokio::time::timeout(deadline, role.wait_for(|role| role.is_leading)).await;
            raft.ask(deadline, |reply| raft::Msg::Propose { command, reply }).await
        };
        let task = me.task("bootstrap", propose, Msg::Bootstrapped);
        self.waiting = Some(Waiting { reply, initialized, _task: task });
        Ok(())
    }

    pub(super) fn bootstrapped(&mut self, result: Result<Bootstrapped, TaskPanicked>) -> Result<(), Crash> {
        let Some(Waiting { reply, initialized, .. }) = self.waiting.take() else { return Ok(()) };
        let failed = |error: &dyn std::error::Error| {
            ApiError::new(Code::Unavailable, "the cluster could not be made")
                .because(error.to_string())
                .hint("`mill init` again goes on from here")
        };
        self.note_member()?;
        reply.send(match result? {
            Ok(Ok(_)) => Ok(initialized),
            // An earlier attempt had made it, and was killed before it could say so.
            Ok(Err(ProposeError::Rejected(Rejected::AlreadyBootstrapped))) => Err(self.is_member_already()),
            Ok(Err(error)) => Err(failed(&error)),
            Err(error) => Err(failed(&error)),
        });
        Ok(())
    }

    /// Notes on disk that this node has state, once it has: without its log it must not begin anew.
    pub(super) fn note_member(&mut self) -> Result<(), Crash> {
        if !self.is_member && self.args.published.cluster.borrow().is_bootstrapped() {
            self.args.home.note_member()?;
            self.is_member = true;
        }
        Ok(())
    }

    pub(super) fn facts(&self, identity: &Identity) -> NodeFacts {
        NodeFacts {
            id: identity.node,
            name: identity.name.clone(),
            advertise: identity.advertise,
            capacity: self.args.settings.capacity,
            version: self.args.settings.version.clone(),
        }
    }
}
