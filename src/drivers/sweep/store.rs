//! What Mill left in one containerd: everything in its namespace that is called or labelled as Mill does.

use std::collections::BTreeSet;

use containerd_client::services::v1 as api;
use containerd_client::tonic::Code;

use super::{Kind, Left};
use crate::containerd::{Containerd, NAMESPACE, RuntimeError, Stamped};
use crate::containers::{ContainerName, START_LEASE_PREFIX};
use crate::images::CHAIN_LABEL;

/// What all of Mill's leases begin with.
const LEASE_PREFIX: &str = "mill-";

/// A lease that is made and deleted so that containerd's collector runs now, and is done when the call returns.
const COLLECT_LEASE: &str = "mill-clean";

/// What was found in one containerd.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Containers of which anything is left.
    pub(super) containers: BTreeSet<String>,
    /// Names of images.
    pub(super) images: BTreeSet<String>,
    /// Ids of leases that hold no container.
    pub(super) leases: BTreeSet<String>,
    /// Whether there is a namespace of Mill's at all.
    pub(super) namespace: bool,
    /// What somebody else put into it.
    pub(super) foreign: Vec<Left>,
}

/// Looks; a containerd that never saw Mill holds nothing.
pub(super) async fn look(containerd: &Containerd) -> Result<Contents, RuntimeError> {
    let mut contents = Contents { namespace: has_namespace(containerd).await?, ..Contents::default() };
    if !contents.namespace {
        return Ok(contents);
    }
    let mut named = BTreeSet::new();
    named.extend(containerd.task_names().await?);
    named.extend(containerd.records("").await?.into_iter().map(|record| record.id));
    let (ours, others): (BTreeSet<String>, BTreeSet<String>) = named.into_iter().partition(|id| is_ours(id));
    contents.containers = ours;
    contents.foreign.extend(others.into_iter().map(|id| Left::of(Kind::Container, id)));
    let snapshots = containerd.all_snapshots().await?.into_iter().map(|snapshot| snapshot.name);
    contents.containers.extend(snapshots.filter(|name| is_ours(name)));
    for lease in containerd.held_leases().await? {
        match lease.strip_prefix(START_LEASE_PREFIX).filter(|name| is_ours(name)) {
            Some(name) => drop(contents.containers.insert(name.to_owned())),
            None if lease.starts_with(LEASE_PREFIX) => drop(contents.leases.insert(lease)),
            None => contents.foreign.push(Left::of(Kind::Lease, lease)),
        }
    }
    let mut images = containerd.images();
    let images = images.list(api::ListImagesRequest { filters: vec![] });
    for image in containerd.call("list images", images).await?.images {
        match image.labels.contains_key(CHAIN_LABEL) {
            true => drop(contents.images.insert(image.name)),
            false => contents.foreign.push(Left::of(Kind::Image, image.name)),
        }
    }
    Ok(contents)
}

fn is_ours(id: &str) -> bool {
    id.parse::<ContainerName>().is_ok()
}

async fn has_namespace(containerd: &Containerd) -> Result<bool, RuntimeError> {
    let request = api::ListNamespacesRequest { filter: String::new() };
    let answer = containerd.call("list namespaces", namespaces(containerd).list(request)).await?;
    Ok(answer.namespaces.iter().any(|namespace| namespace.name == NAMESPACE))
}

/// Removes an image, and what belonged only to it: the collector has run when this returns.
pub(super) async fn remove_image(containerd: &Containerd, name: &str) -> Result<(), RuntimeError> {
    let request = api::DeleteImageRequest { name: name.to_owned(), sync: true, target: None };
    let deleted = containerd.call("delete an image", containerd.images().delete(request)).await;
    RuntimeError::unless_not_found(deleted).map(drop)
}

/// Removes a namespace in which only layers, blobs and halves of them are left.
pub(super) async fn remove_namespace(containerd: &Containerd) -> Result<(), RuntimeError> {
    if !has_namespace(containerd).await? {
        return Ok(());
    }
    let expires = containerd.tempo().runtime_deadline;
    containerd.lease(COLLECT_LEASE.to_owned(), expires).await?;
    containerd.release(COLLECT_LEASE, true).await?;
    let mut content = containerd.content();
    let statuses = content.list_statuses(api::ListStatusesRequest { filters: vec![] });
    for status in containerd.call("list what is being written", statuses).await?.statuses {
        let aborted = content.abort(api::AbortRequest { r#ref: status.r#ref });
        RuntimeError::unless_not_found(containerd.call("drop a blob's beginning", aborted).await)?;
    }
    remove_layers(containerd).await?;
    for (digest, _) in containerd.blobs().await? {
        let deleted = content.delete(api::DeleteContentRequest { digest });
        RuntimeError::unless_not_found(containerd.call("delete a blob", deleted).await)?;
    }
    let request = api::DeleteNamespaceRequest { name: NAMESPACE.to_owned() };
    let deleted = containerd.call("delete its namespace", namespaces(containerd).delete(request)).await;
    RuntimeError::unless_not_found(deleted).map(drop)
}

/// Removes what the collector has left: upper layers first, since one that another stands on stays.
async fn remove_layers(containerd: &Containerd) -> Result<(), RuntimeError> {
    let mut before = usize::MAX;
    loop {
        let layers = containerd.all_snapshots().await?;
        if layers.is_empty() {
            return Ok(());
        }
        let stuck = layers.len() >= before;
        before = layers.len();
        for layer in layers {
            match containerd.remove_snapshot(&layer.name).await {
                Err(error) if stuck || !error.has_code(Code::FailedPrecondition) => return Err(error),
                _ => {}
            }
        }
    }
}

fn namespaces(containerd: &Containerd) -> api::namespaces_client::NamespacesClient<Stamped> {
    api::namespaces_client::NamespacesClient::with_interceptor(containerd.channel(), containerd.stamp())
}
