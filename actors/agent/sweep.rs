//! What nothing uses any more: containers, records, images. Looked for at times, and once a leader has said all.

use std::collections::BTreeSet;

use mill_drivers::bundle::Drivers;
use mill_drivers::containers::{ContainerName, Containers as _};
use mill_drivers::records::Records as _;
use mill_drivers::volumes::Scratch as _;
use mill_model::{AllocId, Incarnation};
use tracing::{debug, info, warn};

use super::{Agent, Msg, State};
use crate::alloc::Streams;
use crate::images;
use crate::kit::Me;

/// What there is.
#[derive(Debug, Default)]
pub struct Found {
    /// None: nobody could say.
    containers: Option<Vec<(AllocId, Incarnation)>>,
    records: Vec<AllocId>,
    volumes: Vec<AllocId>,
}

impl<D: Drivers> State<D> {
    pub(super) fn sweep_later(&mut self, me: &Me<Agent<D>>) {
        self.sweep_due = Some(me.after(me.tempo().collect_every, Msg::Sweep));
    }

    /// Looks what there is; what of it is too much is decided when the answer is here, by what is known then.
    pub(super) fn sweep(&mut self, me: &Me<Agent<D>>) {
        let drivers = self.home.drivers.clone();
        let look = async move {
            let mut found = Found::default();
            match drivers.containers().leftovers(&BTreeSet::new()).await {
                Ok(names) => {
                    let names = names.into_iter().map(|name| (name.alloc, name.incarnation));
                    found.containers = Some(names.collect());
                }
                Err(error) => debug!(%error, "containers can't be listed, a sweep tries again soon"),
            }
            match drivers.records().list().await {
                Ok(listed) => found.records = listed.into_iter().map(|listed| listed.alloc).collect(),
                Err(error) => warn!(%error, "records can't be listed"),
            }
            match drivers.scratch().leftovers(&BTreeSet::new()).await {
                Ok(allocs) => found.volumes = allocs.into_iter().collect(),
                Err(error) => warn!(%error, "ephemeral volumes can't be listed"),
            }
            found
        };
        self.sweeping = Some(me.task("look", look, Msg::Swept));
        if let Some(used) = self.node.images() {
            // That room may be between two lives; the next sweep comes.
            let _ = self.images.tell(images::Msg::Collect { used });
        }
        self.sweep_later(me);
    }

    pub(super) fn swept(&mut self, me: &Me<Agent<D>>, found: Found) {
        let containers = match found.containers {
            Some(containers) => {
                self.failed_looks = 0;
                // That room may be between two lives; the next sweep comes.
                let _ = self.home.streams.tell(Streams::All(self.node.outputs(&containers)));
                self.node.leftovers(&containers)
            }
            None => {
                self.failed_looks = self.failed_looks.saturating_add(1);
                self.sweep_due = Some(me.after(me.tempo().runtime_delay(self.failed_looks), Msg::Sweep));
                vec![]
            }
        };
        let records: Vec<AllocId> = self.node.unknown(found.records);
        let volumes = self.node.unknown(found.volumes);
        let nothing = containers.is_empty() && records.is_empty() && volumes.is_empty();
        // What can't be removed takes its time, and must not keep the rest waiting: the last removal goes on.
        if nothing || self.removing.as_ref().is_some_and(|removing| !removing.is_finished()) {
            return;
        }
        let home = self.home.clone();
        let remove = async move {
            for (alloc, incarnation) in containers {
                let name = ContainerName { alloc, incarnation };
                match home.drivers.containers().remove(&name).await {
                    Ok(()) => {
                        info!(container = %name, "removed what belonged to nothing");
                        let _ = home.streams.tell(Streams::Ended { name });
                    }
                    Err(error) => warn!(container = %name, %error, "a leftover can't be removed"),
                }
            }
            // After the containers that may use them.
            for alloc in volumes {
                match home.drivers.scratch().remove(&alloc).await {
                    Ok(()) => info!(%alloc, "removed ephemeral volumes of no alloc"),
                    Err(error) => warn!(%alloc, %error, "ephemeral volumes can't be removed"),
                }
            }
            for alloc in records {
                info!(%alloc, "removed a record of no alloc");
                let _ = home.streams.tell(Streams::Forget { alloc: alloc.clone() });
                if let Err(error) = home.drivers.records().remove(&alloc).await {
                    warn!(%alloc, %error, "a record can't be removed");
                }
            }
        };
        self.removing = Some(me.task("remove", remove, Msg::Done));
    }
}
