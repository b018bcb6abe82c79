//! Leases: what keeps things from containerd's garbage collector until something else refers to them.

use std::time::{Duration, SystemTime};

use containerd_client::services::v1 as api;
use mill_model::Timestamp;

use super::{Containerd, RuntimeError, SNAPSHOTTER};

/// A lease that is held. It isn't deleted by being dropped (that would need a call): whoever made it deletes
/// it, and after a crash it expires by itself.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    id: String,
}

impl Lease {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

impl Containerd {
    /// Takes the lease `id`, or finds it held already by a process that died. It ends by itself after `expires`.
    pub(crate) async fn lease(&self, id: String, expires: Duration) -> Result<Lease, RuntimeError> {
        let until = Timestamp::from(SystemTime::now()).after(expires).to_string();
        let labels = [("containerd.io/gc.expire".to_owned(), until)].into();
        let request = api::CreateRequest { id: id.clone(), labels };
        match self.call("take a lease", self.leases().create(request)).await {
            Ok(_) | Err(RuntimeError::AlreadyExists { .. }) => Ok(Lease { id }),
            Err(error) => Err(error),
        }
    }

    /// Gives a lease back. With `sync` the collector has run when this returns.
    pub(crate) async fn release(&self, id: &str, sync: bool) -> Result<(), RuntimeError> {
        let request = api::DeleteRequest { id: id.to_owned(), sync };
        let result = self.call("delete a lease", self.leases().delete(request)).await;
        RuntimeError::unless_not_found(result).map(|_| ())
    }

    /// Has the lease of this connection hold a snapshot, and says whether there is one.
    pub(crate) async fn hold_snapshot(&self, name: &str) -> Result<bool, RuntimeError> {
        if let Some(lease) = self.lease_id() {
            let resource = api::Resource { id: name.to_owned(), r#type: format!("snapshots/{SNAPSHOTTER}") };
            let request = api::AddResourceRequest { id: lease, resource: Some(resource) };
            self.call("hold a snapshot", self.leases().add_resource(request)).await?;
        }
        // Asked afterwards: what is there now isn't collected any more.
        self.has_snapshot(name).await
    }

    /// All leases of Mill's namespace.
    pub(crate) async fn held_leases(&self) -> Result<Vec<String>, RuntimeError> {
        let request = api::ListRequest { filters: vec![] };
        let answer = self.call("list leases", self.leases().list(request)).await?;
        Ok(answer.leases.into_iter().map(|lease| lease.id).collect())
    }

    fn leases(&self) -> api::leases_client::LeasesClient<super::Stamped> {
        api::leases_client::LeasesClient::with_interceptor(self.channel(), self.stamp())
    }
}
