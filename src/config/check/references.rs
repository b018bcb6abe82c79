//! `${service.NAME…}` names a service of the project, and a port that it has.
//!
//! References to other projects are for `check::cluster`.

use std::collections::BTreeMap;

use mill_model::names::{ProjectName, WorkloadName};
use mill_model::template::{Part, ServiceField, ServiceRef};

use crate::code::Code;
use crate::draft::{Project, Workload};
use crate::finding::{Finding, Findings, did_you_mean, listed};
use crate::span::Span;

pub(super) fn check(project: &Project, out: &mut Findings) {
    let own = project.name.as_ref().ok();
    let named =
        project.workloads.iter().filter_map(|workload| Some((&workload.name.as_ref().ok()?.value, workload)));
    let workloads: BTreeMap<&WorkloadName, &Workload> = named.collect();
    for reference in project.workloads.iter().flat_map(Workload::references) {
        let Part::Service(service) = &reference.value else { continue };
        if is_own(service, own) {
            check_one(service, reference.span, &workloads, out);
        }
    }
}

/// Whether a reference stays within the project.
pub(super) fn is_own(service: &ServiceRef, own: Option<&ProjectName>) -> bool {
    service.project.as_ref().is_none_or(|project| Some(project) == own)
}

fn check_one(
    service: &ServiceRef,
    span: Span,
    workloads: &BTreeMap<&WorkloadName, &Workload>,
    out: &mut Findings,
) {
    let Some(target) = workloads.get(&service.name) else {
        let finding =
            Finding::new(Code::UnknownService, span, format!("there is no service `{}`", service.name));
        let services = || workloads.values().filter(|workload| workload.service().is_some());
        let names: Vec<String> =
            services().filter_map(|workload| Some(workload.name.as_ref().ok()?.value.to_string())).collect();
        let meant = did_you_mean(service.name.as_str(), names.iter().map(String::as_str));
        let hint = meant.unwrap_or_else(|| {
            "a service of another project is written `${service.PROJECT/NAME.address}`".to_owned()
        });
        out.error(finding.hint(hint));
        return;
    };
    if target.service().is_none() {
        let finding = Finding::new(Code::UnknownService, span, format!("`{}` is a task", service.name));
        out.error(finding.because("a task ends, and has no address").see(target.span, "the task"));
        return;
    }
    if target.container.ports_broken.is_some() {
        return;
    }
    let labels: Vec<String> = target.container.ports.iter().map(crate::draft::Port::label).collect();
    check_port(service, span, (&labels, target.span), out);
}

fn check_port(service: &ServiceRef, span: Span, (labels, declared): (&[String], Span), out: &mut Findings) {
    match &service.field {
        ServiceField::Address | ServiceField::Port if labels.is_empty() => {
            let finding =
                Finding::new(Code::NoPort, span, format!("the service `{}` declares no port", service.name));
            out.error(finding.hint("declare what it listens on: `port 5432`").see(declared, "the service"));
        }
        ServiceField::NamedPort(port) if !labels.iter().any(|label| label == port.as_str()) => {
            let finding = Finding::new(
                Code::UnknownPort,
                span,
                format!("the service `{}` has no port `{port}`", service.name),
            );
            let meant = did_you_mean(port.as_str(), labels.iter().map(String::as_str));
            let hint = match labels {
                [] => "declare what it listens on: `port 5432`".to_owned(),
                _ => meant.unwrap_or_else(|| format!("it declares {}", listed(labels))),
            };
            out.error(finding.hint(hint).see(declared, "the service"));
        }
        _ => {}
    }
}
