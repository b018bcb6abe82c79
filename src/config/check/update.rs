//! An update that leaves nothing running in between is pointed out.

use mill_model::spec::UpdateOrder;

use crate::code::Code;
use crate::draft::Workload;
use crate::finding::{Finding, Findings};

pub(super) fn check(workload: &Workload, out: &mut Findings) {
    let Some(service) = workload.service() else { return };
    let (parallel, replicas) = (&service.update.parallel, service.replicas.value);
    let stop_first = service.update.order.as_ref().is_some_and(|order| order.value == UpdateOrder::StopFirst);
    if stop_first && replicas > 1 && parallel.value >= replicas {
        let finding = Finding::new(Code::AllAtOnce, parallel.span, "an update stops all replicas at once");
        out.warning(finding.hint(format!("replace at most {} at a time", replicas - 1)));
    }
}
