//! The nouns of Mill: what every room names and none owns.
//!
//! Nothing here decides, reads a clock or does I/O. A type carries its own rules (an id that can't be
//! misspelt, a size that knows its unit), so that no room checks twice.

pub mod access;
pub mod advice;
pub mod alloc;
pub mod hidden;
pub mod image;
pub mod limits;
pub mod names;
pub mod node;
pub mod opened;
pub mod ports;
pub mod resources;
mod schema;
pub mod secret;
pub mod spec;
pub mod template;
pub mod tempo;
pub mod text;
pub mod time;

pub use access::{Projects, Role, RoleName};
pub use advice::Advice;
pub use alloc::{AllocStatus, Ended, Failure, FailureKind, Phase};
pub use hidden::Hidden;
pub use image::{Digest, ImageRef, RegistryHost};
pub use names::{
    AllocId, DeployId, Incarnation, NodeId, NodeName, ProjectName, SpecHash, Term, TokenId, TokenName,
    Workload, WorkloadName,
};
pub use opened::{Opened, Unusable};
pub use resources::{Bytes, Millicores, Resources};
pub use secret::{Pin, Scope, SecretId, SecretName};
pub use spec::{ContainerSpec, ProjectSpec, ServiceSpec, TaskSpec};
pub use template::Template;
pub use tempo::Tempo;
pub use time::Timestamp;
