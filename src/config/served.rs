//! What the grammar knows and this version doesn't do yet: accepted and checked, and refused by a deploy.

use mill_model::template::Part;

use crate::code::Code;
use crate::draft::{Project, VolumeKind, Workload};
use crate::finding::{Finding, Findings};
use crate::span::Span;

pub(crate) fn check(project: &Project, out: &mut Findings) {
    for workload in &project.workloads {
        container(workload, out);
        references(workload, out);
        for place in &workload.place {
            refuse(place.span, "`place`", "remove it: there is one node", out);
        }
        for field in &workload.reserved {
            refuse(field.span, &format!("`{}`", field.value), "remove it", out);
        }
        kind(workload, out);
    }
}

fn refuse(span: Span, what: &str, hint: &str, out: &mut Findings) {
    out.error(Finding::new(Code::NotServed, span, format!("{what} can't be deployed")).hint(hint));
}

fn container(workload: &Workload, out: &mut Findings) {
    for volume in &workload.container.volumes {
        let what = match &volume.kind {
            Ok(VolumeKind::Persistent { .. }) => "a persistent volume",
            Ok(VolumeKind::Nfs { .. }) => "a volume of a file server",
            Ok(VolumeKind::Ephemeral { .. }) | Err(_) => continue,
        };
        refuse(
            volume.name.span,
            what,
            "an `ephemeral=#true` volume is served; it begins empty with each replica",
            out,
        );
    }
}

fn references(workload: &Workload, out: &mut Findings) {
    for reference in workload.references() {
        let (what, hint) = match &reference.value {
            Part::Service(_) => ("the address of a service", "write the address itself"),
            Part::Text(_) | Part::Secret(_) | Part::AllocId | Part::AllocIndex | Part::NodeName => continue,
        };
        refuse(reference.span, what, hint, out);
    }
}

fn kind(workload: &Workload, out: &mut Findings) {
    match &workload.kind {
        crate::draft::Kind::Service(service) => {
            for route in &service.routes {
                refuse(route.span, "a route", "remove it, and reach the service at its mapped port", out);
                for field in &route.reserved {
                    refuse(field.span, &format!("`{}` of a route", field.value), "remove it", out);
                }
            }
        }
        crate::draft::Kind::Task(task) => {
            if let Some(schedule) = &task.schedule {
                refuse(
                    schedule.span,
                    "a schedule",
                    "remove it, and start the task from a cron of your own",
                    out,
                );
            }
        }
    }
}
