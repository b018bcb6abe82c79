//! A capability is either added or dropped.

use std::collections::BTreeMap;

use crate::code::Code;
use crate::draft::Workload;
use crate::finding::{Finding, Findings};
use crate::span::Span;

pub(super) fn check(workload: &Workload, out: &mut Findings) {
    let container = &workload.container;
    let dropped: BTreeMap<&str, Span> =
        container.cap_drop.iter().map(|cap| (cap.value.as_str(), cap.span)).collect();
    for added in &container.cap_add {
        let Some(dropped) = dropped.get(added.value.as_str()) else { continue };
        let finding = Finding::new(
            Code::CapabilityClash,
            added.span,
            format!("`{}` is added and dropped", added.value),
        );
        out.error(finding.hint("remove it from one of the two").see(*dropped, "dropped here"));
    }
}
