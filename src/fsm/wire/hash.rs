//! Hashes of specs: equal ones need no restart.

use mill_model::{ServiceSpec, SpecHash, TaskSpec};
use mill_protos::v1 as pb;
use prost::Message as _;

use super::Wire as _;
use sha2::{Digest as _, Sha256};

/// Hash of all that a service's containers depend on: not of the number of replicas, the order of updates,
/// what it waits for in a deploy, or its routes.
pub fn service_hash(spec: &ServiceSpec) -> SpecHash {
    let message =
        pb::ServiceSpec { replicas: 0, update: None, depends_on: vec![], routes: vec![], ..spec.wire() };
    digest("service", &message.encode_to_vec())
}

/// Hash of a task.
pub fn task_hash(spec: &TaskSpec) -> SpecHash {
    digest("task", &spec.wire().encode_to_vec())
}

fn digest(kind: &str, bytes: &[u8]) -> SpecHash {
    let mut hasher = Sha256::new();
    hasher.update(kind.as_bytes());
    hasher.update([0]);
    hasher.update(bytes);
    SpecHash(hasher.finalize().into())
}
