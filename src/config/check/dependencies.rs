//! `depends-on` names what is in the file, and never leads back to where it began.

use std::collections::{BTreeMap, BTreeSet};

use mill_model::names::WorkloadName;

use crate::code::Code;
use crate::draft::{Project, Workload};
use crate::finding::{Finding, Findings, did_you_mean};
use crate::span::Spanned;

/// What each service waits for, by name.
type Graph<'a> = BTreeMap<&'a WorkloadName, &'a [Spanned<WorkloadName>]>;

pub(super) fn check(project: &Project, out: &mut Findings) {
    let named = |workload: &'_ Workload| workload.name.as_ref().ok().map(|name| name.value.clone());
    let names: BTreeSet<WorkloadName> = project.workloads.iter().filter_map(named).collect();
    let mut graph = Graph::new();
    for workload in &project.workloads {
        let Some(service) = workload.service() else { continue };
        for wanted in service.depends_on.iter().filter(|wanted| !names.contains(&wanted.value)) {
            let message = format!("there is no service or task `{}`", wanted.value);
            let hint = did_you_mean(wanted.value.as_str(), names.iter().map(WorkloadName::as_str));
            let hint = hint.unwrap_or_else(|| {
                "what another project runs is found by its address at run time".to_owned()
            });
            out.error(Finding::new(Code::UnknownDependency, wanted.span, message).hint(hint));
        }
        if let Ok(name) = &workload.name {
            graph.insert(&name.value, &service.depends_on);
        }
    }
    report_cycles(graph, out);
}

/// Takes away, again and again, what waits for nothing that is left. The rest leads into cycles; each is
/// reported once, by walking along it.
fn report_cycles(mut graph: Graph<'_>, out: &mut Findings) {
    let mut waiters: BTreeMap<&WorkloadName, Vec<&WorkloadName>> = BTreeMap::new();
    let mut open: BTreeMap<&WorkloadName, usize> = BTreeMap::new();
    for (name, wanted) in &graph {
        let inner: Vec<_> = wanted.iter().filter(|wanted| graph.contains_key(&wanted.value)).collect();
        open.insert(name, inner.len());
        for wanted in inner {
            waiters.entry(&wanted.value).or_default().push(name);
        }
    }
    let mut free: Vec<&WorkloadName> =
        open.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
    while let Some(name) = free.pop() {
        graph.remove(name);
        for waiter in waiters.remove(name).unwrap_or_default() {
            let Some(count) = open.get_mut(waiter) else { continue };
            *count -= 1;
            if *count == 0 {
                free.push(waiter);
            }
        }
    }
    while let Some(start) = graph.keys().next().copied() {
        report_cycle_from(start, &mut graph, out);
    }
}

/// Walks from `start` until it meets its own path or what was walked before, and takes the walked out.
fn report_cycle_from<'a>(start: &'a WorkloadName, graph: &mut Graph<'a>, out: &mut Findings) {
    let mut path: Vec<&'a Spanned<WorkloadName>> = Vec::new();
    let mut at = BTreeMap::from([(start, 0)]);
    let mut name = start;
    let closed = loop {
        let wanted = graph.get(name).copied().unwrap_or_default();
        let Some(next) = wanted.iter().find(|wanted| graph.contains_key(&wanted.value)) else { break None };
        path.push(next);
        if let Some(begin) = at.get(&next.value) {
            break Some(*begin);
        }
        name = &next.value;
        at.insert(name, path.len());
    };
    for walked in at.keys() {
        graph.remove(*walked);
    }
    let Some(cycle) = closed.and_then(|begin| path.get(begin..)) else { return };
    let (Some(first), Some(last)) = (cycle.first(), cycle.last()) else { return };
    let names: Vec<&str> = cycle.iter().map(|step| step.value.as_str()).collect();
    const SHOWN_MAX: usize = 8;
    let mut shown = names.get(..SHOWN_MAX).unwrap_or(&names).join(" → ");
    if names.len() > SHOWN_MAX {
        shown.push_str(" → …");
    }
    let message = match cycle.len() {
        1 => format!("`{}` waits for itself", last.value),
        _ => format!("`{}` waits for itself: {} → {shown}", last.value, last.value),
    };
    let finding = Finding::new(Code::DependencyCycle, first.span, message);
    out.error(
        finding
            .hint("remove one of these `depends-on`, and let the program try again until the other is there"),
    );
}
