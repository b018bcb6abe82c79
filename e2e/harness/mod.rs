//! What stories stand on.

pub mod booted;
pub mod census;
pub mod cli;
pub mod clock;
pub mod containerd;
pub mod debian;
pub mod disk;
pub mod failed;
pub mod faulty;
pub mod http;
pub mod images;
pub mod json;
pub mod leaks;
pub mod line;
pub mod node;
pub mod pressure;
pub mod processes;
pub mod raft_log;
pub mod registry;
pub mod runner;
pub mod running;
pub mod search;
pub mod space;
pub mod steady;
pub mod terminal;
pub mod tool;
pub mod until;
pub mod vm;
pub mod world;

pub use booted::Booted;
pub use failed::{Context, Failed};
pub use running::Running;
pub use until::{Look, until};
pub use world::{Machine, World};
