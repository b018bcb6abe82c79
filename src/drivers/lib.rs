//! Everything foreign, one folder each: a small trait in Mill's words, the real thing behind it, and a fake that can
//! be told to fail, be slow, forget and lie.

pub mod bundle;
pub mod cgroups;
pub mod clock;
pub mod containerd;
pub mod containers;
pub mod datapath;
pub mod disk;
mod files;
pub mod home;
pub mod host;
pub mod images;
pub mod logs;
pub mod machine;
pub mod memory;
pub mod mounts;
pub mod probes;
pub mod process;
pub mod random;
pub mod records;
pub mod seal;
pub mod sockets;
pub mod sweep;
pub mod systemd;
pub mod volumes;
