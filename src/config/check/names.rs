//! Services and tasks share one set of names, and there are some, but not too many.

use std::collections::BTreeMap;

use mill_model::limits;
use mill_model::names::WorkloadName;

use crate::code::Code;
use crate::draft::{Project, Workload};
use crate::finding::{Finding, Findings};
use crate::span::Span;

pub(super) fn check(project: &Project, out: &mut Findings) {
    // A misspelt `service` is complaint enough.
    if project.workloads.is_empty() && out.is_clean() {
        let finding =
            Finding::new(Code::NothingToRun, Span::default(), "the file has no service and no task");
        out.error(finding.hint("add one, or stop the project on purpose: `mill undeploy`"));
    }
    if let Some(first) = project.workloads.get(limits::WORKLOADS_PER_PROJECT_MAX) {
        let (count, most) = (project.workloads.len(), limits::WORKLOADS_PER_PROJECT_MAX);
        let finding =
            Finding::new(Code::TooMany, first.span, format!("{count} services and tasks in one project"));
        let finding = finding.because(format!("a project has at most {most} of them"));
        out.error(finding.hint("split it into several projects"));
    }
    let mut first: BTreeMap<&WorkloadName, &Workload> = BTreeMap::new();
    for workload in &project.workloads {
        let Ok(name) = &workload.name else { continue };
        let Some(other) = first.get(&name.value) else {
            first.insert(&name.value, workload);
            continue;
        };
        let message = format!("the name `{}` is taken", name.value);
        let label = format!("the {} of this name", other.what());
        out.error(
            Finding::new(Code::DuplicateName, name.span, message)
                .hint("rename one of them")
                .see(other.span, label),
        );
    }
}
