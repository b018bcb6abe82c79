//! Making and starting a container.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use containerd_client::services::v1 as api;
use containerd_client::services::v1::container::Runtime as ShimName;
use containerd_client::types::Mount;
use mill_init::START;
use mill_model::Failure;
use prost::Message as _;

use super::memory::Laid;
use super::{LEASE_PREFIX, MAPPING_LABEL, SHIM, STOP_LABEL, Shared, host, string_map, text, told};
use crate::containerd::{RuntimeError, SNAPSHOTTER};
use crate::containers::oci::{self, Found, Spec};
use crate::containers::rootfs::{self, Answer, Question};
use crate::containers::{Launch, Running, StartError};
use crate::datapath::Datapath as _;
use crate::images;

/// Type of a spec as containerd's own client names it.
const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// Type of the shim's options.
const OPTIONS_TYPE: &str = "containerd.runc.v1.Options";

/// What Mill sets of `containerd.runc.v1.Options`, which the client crate doesn't have (containerd's
/// `runtime/v2/runc/options/oci.proto`).
#[derive(Clone, PartialEq, prost::Message)]
struct RuncOptions {
    /// Where runc keeps its state; the shim adds the namespace.
    #[prost(string, tag = "7")]
    root: String,
}

impl Shared {
    pub(super) async fn start(
        &self,
        launch: &Launch,
        may: impl Future<Output = Result<(), Failure>> + Send,
    ) -> Result<Running, StartError> {
        let leftover = |error| StartError::Leftover { name: launch.name.clone(), source: Box::new(error) };
        self.remove(&launch.name).await.map_err(leftover)?;
        let result = self.make(launch, may).await;
        if result.is_err()
            && let Err(error) = self.remove(&launch.name).await
        {
            // The sweep of leftovers finds it; the start's own error is what matters.
            tracing::warn!(container = %launch.name, %error, "failed start not cleaned up");
        }
        result
    }

    async fn make(
        &self,
        launch: &Launch,
        may: impl Future<Output = Result<(), Failure>> + Send,
    ) -> Result<Running, StartError> {
        let image = images::ready(&self.containerd, &launch.image).await;
        let image = image.map_err(|error| StartError::Image(Box::new(error)))?;
        let image = image.ok_or_else(|| StartError::NoImage { image: launch.image.clone() })?;
        let stop_signal = oci::stop_signal(launch, &image.config)?;
        let devices = host::devices(&launch.devices)?;
        let question = Question::of(launch, &image.config)?;

        let name = launch.name.to_string();
        let lease_id = format!("{LEASE_PREFIX}{name}");
        let expires = self.containerd.tempo().runtime_deadline * 2;
        let lease = self.containerd.lease(lease_id.clone(), expires).await?;
        let leased = self.containerd.leased(&lease);
        let mounts = leased.prepare_snapshot(&name, &image.chain, HashMap::new()).await;
        let mounts = mounts.map_err(|error| match error.is_not_found() {
            // Collected between the two questions.
            true => StartError::NoImage { image: launch.image.clone() },
            false => error.into(),
        })?;
        let command = question.program.clone();
        let Answer { identity, owners } = rootfs::look(mounts.clone(), question).await?;
        let hosts = self.hosts.write(launch)?;
        let files =
            self.memory.write_files(&launch.name, &launch.files, &owners).map_err(self.in_memory())?;
        let run = oci::run(launch, &image.config, &identity, &self.host)?;
        let laid = self.memory.lay(&launch.name, START, &run).map_err(self.in_memory())?;
        let (program, runs) = (self.memory.program(), self.memory.runs(&launch.name));
        let found = Found { identity, devices, hosts, program, runs, files };
        let spec = oci::spec(launch, &image.config, &found, &self.host)?;

        let mut labels = string_map(&launch.labels);
        labels.insert(STOP_LABEL.to_owned(), stop_signal.number().to_string());
        labels.extend(launch.mapping.iter().map(|mapping| (MAPPING_LABEL.to_owned(), mapping.to_string())));
        let record = api::Container {
            id: name.clone(),
            labels,
            image: launch.image.to_string(),
            runtime: Some(ShimName { name: SHIM.to_owned(), options: Some(self.shim_options()) }),
            spec: Some(any(SPEC_TYPE, &spec)),
            snapshotter: SNAPSHOTTER.to_owned(),
            snapshot_key: name,
            ..Default::default()
        };
        let request = api::CreateContainerRequest { container: Some(record) };
        leased.call("create a container", leased.containers().create(request)).await?;
        // The record holds the snapshot from here on. Nothing that runs has a lease, so a daemon that dies leaves none
        // beside it: what it leaves unstarted is removed with its lease.
        self.containerd.release(&lease_id, false).await?;
        let running = self.make_task(launch, mounts).await?;
        may.await.map_err(StartError::CalledOff)?;
        let start = api::StartRequest { container_id: launch.name.to_string(), exec_id: String::new() };
        self.containerd.call("start a task", self.containerd.tasks().start(start)).await?;
        self.becomes(launch, laid, &command).await.map(|()| running)
    }

    /// Waits until the container's first process has become its program.
    async fn becomes(&self, launch: &Launch, mut laid: Laid, command: &str) -> Result<(), StartError> {
        let after = self.containerd.tempo().runtime_deadline;
        let became = tokio::select! {
            became = laid.became() => became.map_err(self.in_memory())?,
            // It may have been killed before it could say anything. How it ended is told to who asks for it.
            _ended = self.wait(&launch.name) => laid.had_become(),
            () = tokio::time::sleep(after) => {
                return Err(RuntimeError::Deadline { asked: "execute a container's program", after }.into());
            }
        };
        became.map_err(|failed| told::start_error(command, failed))
    }

    fn in_memory(&self) -> impl Fn(io::Error) -> StartError {
        |source| StartError::Memory { path: self.memory.folder().to_owned(), source: Arc::new(source) }
    }

    fn shim_options(&self) -> prost_types::Any {
        let options = RuncOptions { root: text(&self.runc_root) };
        prost_types::Any { type_url: OPTIONS_TYPE.to_owned(), value: options.encode_to_vec() }
    }

    async fn make_task(&self, launch: &Launch, mounts: Vec<Mount>) -> Result<Running, StartError> {
        let create = api::CreateTaskRequest {
            container_id: launch.name.to_string(),
            // Those of the record are for the shim's own start only.
            options: Some(self.shim_options()),
            rootfs: mounts,
            stdout: text(&launch.stdout),
            stderr: text(stderr(launch)),
            ..Default::default()
        };
        let mut tasks = self.containerd.tasks();
        let created = self.containerd.call("create a task", tasks.create(create)).await;
        let created = created?;
        if let Some(mapping) = &launch.mapping {
            // Its cgroup is there, and its program doesn't run yet.
            self.datapath.put(&launch.name, mapping).await?;
        }
        Ok(Running { pid: created.pid })
    }
}

/// With a stdout and no stderr containerd 1.6's shim panics and takes the container along.
fn stderr(launch: &Launch) -> &std::path::Path {
    match launch.stderr.as_os_str().is_empty() {
        true => &launch.stdout,
        false => &launch.stderr,
    }
}

/// JSON under a type's name: how containerd carries what it doesn't read itself.
pub(super) fn any(type_name: &str, spec: &Spec) -> prost_types::Any {
    prost_types::Any { type_url: type_name.to_owned(), value: spec.0.to_string().into_bytes() }
}
