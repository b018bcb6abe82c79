//! The whole state, as a snapshot.

use std::sync::Arc;

use imbl::OrdMap;
use mill_model::node::NodeFacts;
use mill_model::{DeployId, NodeId, Resources};
use mill_protos::v1 as pb;

use super::Wire;
use super::access;
use super::alloc::alloc;
use super::deploy::{by_name, deploy, past, service, task};
use super::event::event;
use super::read::{Malformed, each, hash, required, text, time};
use super::{secret, spawn, spec};
use crate::alloc::Alloc;
use crate::cluster::{Cluster, Runnable};
use crate::node::Node;
use crate::project::Project;

pub(crate) fn to_snapshot(cluster: &Cluster) -> pb::Snapshot {
    let runnable = |(hash, runnable): (&mill_model::SpecHash, &Runnable)| pb::Runnable {
        hash: hash.0.to_vec(),
        kind: Some(match runnable {
            Runnable::Service(spec) => pb::runnable::Kind::Service(spec.wire()),
            Runnable::Task(spec) => pb::runnable::Kind::Task(spec.wire()),
        }),
    };
    pb::Snapshot {
        level: cluster.level,
        cluster_id: cluster.id.clone(),
        time_ms: cluster.time.0,
        next_deploy: cluster.next_deploy.0,
        next_event: cluster.next_event,
        nodes: cluster.nodes.values().map(Wire::wire).collect(),
        projects: cluster.projects.values().map(Wire::wire).collect(),
        allocs: cluster.allocs.values().map(|alloc| alloc.wire()).collect(),
        deploys: cluster.deploys.values().map(|deploy| deploy.wire()).collect(),
        events: cluster.events.iter().map(Wire::wire).collect(),
        runnables: cluster.runnables.iter().map(runnable).collect(),
        ca_certificate: cluster.ca_certificate.clone(),
        secrets: cluster.secrets.iter().map(secret::to_message).collect(),
        access: Some(access::wire(cluster)),
        spawns: cluster.spawns.values().map(|spawn| spawn.wire()).collect(),
    }
}

pub(crate) fn from_snapshot(message: pb::Snapshot) -> Result<Cluster, Malformed> {
    let runnables: OrdMap<_, _> = each(message.runnables, runnable)?.into_iter().collect();
    let allocs: Vec<Alloc> =
        each(message.allocs, |message| alloc(message, |version| runnables.get(&version.hash).cloned()))?;
    let mut cluster = Cluster {
        level: message.level,
        id: message.cluster_id,
        time: time(message.time_ms),
        ca_certificate: message.ca_certificate,
        next_deploy: DeployId(message.next_deploy),
        next_event: message.next_event,
        nodes: each(message.nodes, node)?.into_iter().map(|node| (node.facts.id, node)).collect(),
        projects: each(message.projects, project)?.into_iter().map(|p| (p.name.clone(), p)).collect(),
        deploys: each(message.deploys, deploy)?.into_iter().map(|d| (d.id, Arc::new(d))).collect(),
        events: each(message.events, event)?.into_iter().collect(),
        runnables,
        secrets: each(message.secrets, secret::read)?.into_iter().collect(),
        spawns: each(message.spawns, spawn::read)?.into_iter().map(|s| (s.id.clone(), Arc::new(s))).collect(),
        ..Cluster::default()
    };
    access::read(required(message.access, "access")?, &mut cluster)?;
    for alloc in allocs {
        if let Some(node) = cluster.nodes.get_mut(&alloc.node).filter(|_| alloc.is_live()) {
            node.reserved = node.reserved.plus(alloc.resources);
        }
        cluster.put_alloc(alloc);
    }
    Ok(cluster)
}

fn runnable(message: pb::Runnable) -> Result<(mill_model::SpecHash, Runnable), Malformed> {
    let runnable = match required(message.kind, "runnable")? {
        pb::runnable::Kind::Service(spec) => Runnable::Service(Arc::new(spec::service(spec)?)),
        pb::runnable::Kind::Task(spec) => Runnable::Task(Arc::new(spec::task(spec)?)),
    };
    Ok((hash(&message.hash)?, runnable))
}

impl Wire for NodeFacts {
    type Message = pb::NodeFacts;

    fn wire(&self) -> pb::NodeFacts {
        pb::NodeFacts {
            id: self.id.0,
            name: self.name.to_string(),
            advertise: self.advertise.to_string(),
            capacity: Some(self.capacity.wire()),
            version: self.version.clone(),
        }
    }
}

pub(super) fn facts(message: pb::NodeFacts) -> Result<NodeFacts, Malformed> {
    Ok(NodeFacts {
        id: NodeId(message.id),
        name: text(&message.name, "node name")?,
        advertise: text(&message.advertise, "node address")?,
        capacity: required(message.capacity, "node capacity").map(spec::resources)?,
        version: message.version,
    })
}

impl Wire for Node {
    type Message = pb::Node;

    fn wire(&self) -> pb::Node {
        pb::Node { facts: Some(self.facts.wire()), registered_at_ms: self.registered_at.0 }
    }
}

fn node(message: pb::Node) -> Result<Node, Malformed> {
    Ok(Node {
        facts: facts(required(message.facts, "node facts")?)?,
        registered_at: time(message.registered_at_ms),
        reserved: Resources::default(),
    })
}

impl Wire for Project {
    type Message = pb::Project;

    fn wire(&self) -> pb::Project {
        pb::Project {
            name: self.name.to_string(),
            services: self.services.values().map(Wire::wire).collect(),
            tasks: self.tasks.values().map(Wire::wire).collect(),
            history: self.history.iter().map(Wire::wire).collect(),
            changed_at_ms: self.changed_at.0,
        }
    }
}

fn project(message: pb::Project) -> Result<Project, Malformed> {
    let services = each(message.services, service)?;
    let tasks = each(message.tasks, task)?;
    Ok(Project {
        name: text(&message.name, "project name")?,
        services: by_name(services, |service| service.spec.name.clone()),
        tasks: by_name(tasks, |task| task.spec.name.clone()),
        history: each(message.history, past)?.into_iter().collect(),
        changed_at: time(message.changed_at_ms),
    })
}
