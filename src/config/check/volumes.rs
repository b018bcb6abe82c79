//! A persistent volume has one writer: one replica, of one service or task, and the old before the new.

use std::collections::BTreeMap;

use mill_model::spec::UpdateOrder;

use crate::code::Code;
use crate::draft::{Project, Volume, Workload};
use crate::finding::{Finding, Findings};
use crate::span::Span;

pub(super) fn check(project: &Project, out: &mut Findings) {
    let mut holders: BTreeMap<&str, (&Workload, Span)> = BTreeMap::new();
    for workload in &project.workloads {
        for volume in workload.container.persistent_volumes() {
            check_service(workload, volume, out);
            check_holder(workload, volume, &mut holders, out);
        }
    }
}

fn check_service(workload: &Workload, volume: &Volume, out: &mut Findings) {
    let Some(service) = workload.service() else { return };
    let replicas = &service.replicas;
    if replicas.value > 1 {
        let message = format!("{} replicas would share the volume `{}`", replicas.value, volume.name.value);
        let finding = Finding::new(Code::VolumeReplicas, replicas.span, message);
        let finding = finding
            .hint("set `replicas 1`, or make the volume `ephemeral=#true` so that each replica has its own");
        out.error(finding.see(volume.name.span, "the volume"));
    }
    let order = service.update.order.as_ref().filter(|order| order.value == UpdateOrder::StartFirst);
    if let Some(order) = order {
        let message = format!("start-first with the persistent volume `{}`", volume.name.value);
        let finding = Finding::new(Code::VolumeStartFirst, order.span, message);
        out.error(finding.hint("remove `order`: stop-first is implied").see(volume.name.span, "the volume"));
    }
}

fn check_holder<'a>(
    workload: &'a Workload,
    volume: &'a Volume,
    holders: &mut BTreeMap<&'a str, (&'a Workload, Span)>,
    out: &mut Findings,
) {
    let name = volume.name.value.as_str();
    let Some((holder, span)) = holders.get(name) else {
        holders.insert(name, (workload, volume.name.span));
        return;
    };
    if holder.span == workload.span {
        return;
    }
    let (what, mount) = (holder.what(), volume.name.span);
    let finding = Finding::new(
        Code::VolumeShared,
        mount,
        format!("the volume `{name}` belongs to another {what} already"),
    );
    out.error(
        finding
            .hint("give each a volume of its own, or use `nfs` for what several write")
            .see(*span, "mounted here"),
    );
}
