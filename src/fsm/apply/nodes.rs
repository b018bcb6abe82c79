//! Machines come and say what they are.

use mill_model::Resources;
use mill_model::node::NodeFacts;

use crate::cluster::Cluster;
use crate::command::{Applied, Done};
use crate::event::EventKind;
use crate::node::Node;
use crate::rejected::Rejected;

impl Cluster {
    pub(super) fn bootstrap(
        &mut self,
        cluster_id: String,
        node: NodeFacts,
        admin_token_hash: [u8; 32],
        ca_certificate: String,
    ) -> Applied {
        if self.is_bootstrapped() {
            return Err(Rejected::AlreadyBootstrapped);
        }
        self.id = cluster_id;
        self.ca_certificate = ca_certificate;
        self.first_token(admin_token_hash);
        self.register_node(node)
    }

    pub(super) fn register_node(&mut self, facts: NodeFacts) -> Applied {
        let namesake =
            self.nodes.values().find(|node| node.facts.name == facts.name && node.facts.id != facts.id);
        if let Some(namesake) = namesake {
            return Err(Rejected::NameTaken(namesake.facts.id));
        }
        let id = facts.id;
        let node = match self.nodes.get(&id) {
            Some(known) => Node { facts, ..known.clone() },
            None => Node { facts, registered_at: self.time, reserved: Resources::default() },
        };
        self.nodes.insert(id, node);
        self.record(EventKind::NodeRegistered { node: id });
        Ok(Done::Plain)
    }
}
