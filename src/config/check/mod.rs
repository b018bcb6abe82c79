//! Rules over a whole project, one file each.
//!
//! A rule looks at a draft with its places and adds what it finds; none relies on another having been kept, so
//! that all is said at once. Each takes time in proportion to the file (n log n at most).

mod capabilities;
pub(crate) mod cluster;
pub(crate) mod command;
mod dependencies;
mod environment;
pub(crate) mod lists;
mod mounts;
mod names;
mod ports;
mod references;
mod routes;
mod secrets;
mod update;
mod volumes;

use crate::draft::Project;
use crate::finding::Findings;

/// All rules that need nothing but the file.
pub(crate) fn project(project: &Project, out: &mut Findings) {
    names::check(project, out);
    for workload in &project.workloads {
        ports::check(workload, out);
        environment::check(workload, out);
        mounts::check(workload, out);
        capabilities::check(workload, out);
        secrets::check(workload, out);
        update::check(workload, out);
    }
    volumes::check(project, out);
    dependencies::check(project, out);
    references::check(project, out);
    routes::check(project, out);
}
