//! Everything that does: actors around the deciders, one folder each.
//!
//! A room shows its neighbours a `Msg` and an address, nothing else. What a room decides is in `src/`; what it calls
//! on the outside world is in `src/drivers`.

pub mod agent;
pub mod alloc;
pub mod containerd;
pub mod datapath;
pub mod dispatch;
pub mod http;
pub mod images;
pub mod introspect;
pub mod kit;
pub mod leader;
mod logins;
pub mod logs;
pub mod metrics;
pub mod node;
pub mod outlet;
pub mod plane;
pub mod plane_link;
pub mod raft;
pub mod secrets;
pub mod tables;
