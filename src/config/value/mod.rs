//! Values with rules of their own: what a path, a host, a signal may be. One file per kind.

pub(crate) mod capability;
pub(crate) mod device;
pub(crate) mod host;
pub(crate) mod label;
pub(crate) mod mode;
pub(crate) mod name;
pub(crate) mod nfs;
pub(crate) mod path;
pub(crate) mod schedule;
pub(crate) mod shell;
pub(crate) mod signal;
pub(crate) mod user;
pub(crate) mod variable;
