//! Levels: which commands, fields and rules a binary knows.
//!
//! The cluster's level is the minimum of its members'. A leader proposes nothing above it; a node that meets
//! an entry above its own level stops applying.

/// What this binary knows.
///
/// 1. Nodes, projects, deploys, allocs on one machine.
/// 2. Secrets, and the versions of them that containers run with; tokens with roles, the audit log, registries' logins;
///    an end for want of the node's memory.
pub const LEVEL: u32 = 2;
