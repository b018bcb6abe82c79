//! What only the cluster can tell: whether anything could hold it, whether what it asks of others exists.
//!
//! Routes of other projects belong here too, once those are served.

use std::collections::{BTreeMap, BTreeSet};

use mill_model::names::{ProjectName, Workload as WorkloadId};
use mill_model::ports::Port;
use mill_model::resources::Resources;
use mill_model::secret::SecretName;
use mill_model::spec::defaults;
use mill_model::template::{Part, ServiceField, ServiceRef};

use super::references::is_own;
use crate::code::Code;
use crate::draft::{Project, Workload};
use crate::finding::{Finding, Findings, did_you_mean, listed};
use crate::span::Span;

/// What a file is held against, as plain data.
#[derive(Debug, Clone, Default)]
pub struct ClusterFacts {
    /// What each node has for containers when it is empty. None known: nothing is said about resources.
    pub nodes: Vec<Resources>,
    /// The services of other projects with the ports that they declare.
    pub services_elsewhere: BTreeMap<WorkloadId, Vec<Port>>,
    /// The secrets that the project may use.
    pub secrets: BTreeSet<SecretName>,
}

pub(crate) fn check(project: &Project, facts: &ClusterFacts, out: &mut Findings) {
    let own = project.name.as_ref().ok();
    for workload in &project.workloads {
        check_resources(workload, &facts.nodes, out);
        for secret in &workload.container.secrets {
            check_secret(&secret.name.value, secret.name.span, own, facts, out);
        }
        for reference in workload.references() {
            match &reference.value {
                Part::Service(service) if !is_own(service, own) => {
                    check_elsewhere(service, reference.span, facts, out);
                }
                Part::Secret(name) => check_secret(name, reference.span, own, facts, out),
                _ => {}
            }
        }
    }
}

fn check_secret(
    name: &str,
    span: Span,
    project: Option<&ProjectName>,
    facts: &ClusterFacts,
    out: &mut Findings,
) {
    if facts.secrets.iter().any(|known| known.as_str() == name) {
        return;
    }
    let finding = Finding::new(Code::UnknownSecret, span, format!("there is no secret `{name}`"));
    let meant = did_you_mean(name, facts.secrets.iter().map(SecretName::as_str));
    let hint = meant.unwrap_or_else(|| match project {
        Some(project) => format!("`mill secret set {name} --project {project}` sets it"),
        None => format!("`mill secret set {name}` sets it"),
    });
    out.error(finding.hint(hint));
}

fn check_resources(workload: &Workload, nodes: &[Resources], out: &mut Findings) {
    let container = &workload.container;
    let cpu = container.cpu.as_ref().map_or(defaults::RESOURCES.cpu, |cpu| cpu.value);
    let memory = container.memory.as_ref().map_or(defaults::RESOURCES.memory, |memory| memory.value);
    let wanted = Resources { cpu, memory };
    if nodes.is_empty() || nodes.iter().any(|node| node.holds(&wanted)) {
        return;
    }
    let most_cpu = nodes.iter().map(|node| node.cpu).max().unwrap_or_default();
    let most_memory = nodes.iter().map(|node| node.memory).max().unwrap_or_default();
    let cpu_span = container.cpu.as_ref().map_or(workload.span, |cpu| cpu.span);
    let memory_span = container.memory.as_ref().map_or(workload.span, |memory| memory.span);
    let (span, message, reason) = match (cpu > most_cpu, memory > most_memory) {
        (true, _) => {
            (cpu_span, format!("{cpu} cores"), format!("the largest node has {most_cpu} for containers"))
        }
        (_, true) => (
            memory_span,
            format!("{memory} of memory"),
            format!("the largest node has {most_memory} for containers"),
        ),
        _ => (
            workload.span,
            format!("{cpu} cores together with {memory} of memory"),
            "no single node has both".to_owned(),
        ),
    };
    let finding = Finding::new(Code::TooLarge, span, format!("no node has {message}"));
    out.error(finding.because(reason).hint("ask for less, or add a larger node"));
}

fn check_elsewhere(service: &ServiceRef, span: Span, facts: &ClusterFacts, out: &mut Findings) {
    let Some(project) = service.project.clone() else { return };
    let target = WorkloadId { project, name: service.name.clone() };
    let Some(ports) = facts.services_elsewhere.get(&target) else {
        let finding = Finding::new(Code::UnknownService, span, format!("there is no service `{target}`"));
        out.error(finding.hint(elsewhere_hint(&target.project, &target, facts)));
        return;
    };
    let labels: Vec<String> = ports.iter().map(Port::label).collect();
    match &service.field {
        ServiceField::Address | ServiceField::Port if labels.is_empty() => {
            let finding =
                Finding::new(Code::NoPort, span, format!("the service `{target}` declares no port"));
            out.error(finding.hint("it must declare what it listens on"));
        }
        ServiceField::NamedPort(port) if !labels.iter().any(|label| label == port.as_str()) => {
            let finding =
                Finding::new(Code::UnknownPort, span, format!("the service `{target}` has no port `{port}`"));
            let meant = did_you_mean(port.as_str(), labels.iter().map(String::as_str));
            out.error(finding.hint(meant.unwrap_or_else(|| format!("it declares {}", listed(&labels)))));
        }
        _ => {}
    }
}

fn elsewhere_hint(project: &ProjectName, target: &WorkloadId, facts: &ClusterFacts) -> String {
    let names: Vec<String> = facts.services_elsewhere.keys().map(ToString::to_string).collect();
    let meant = did_you_mean(&target.to_string(), names.iter().map(String::as_str));
    let deployed = facts.services_elsewhere.keys().any(|service| service.project == *project);
    meant.unwrap_or_else(|| match deployed {
        true => format!("`mill services` lists what the project `{project}` runs"),
        false => format!("deploy the project `{project}` first"),
    })
}
