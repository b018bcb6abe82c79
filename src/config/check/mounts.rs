//! A volume is mounted once in a container, and each mount has a path of its own.

use std::collections::BTreeMap;

use crate::code::Code;
use crate::draft::Workload;
use crate::finding::{Finding, Findings, quote};
use crate::span::Span;
use crate::value::path::tidy;

pub(super) fn check(workload: &Workload, out: &mut Findings) {
    let container = &workload.container;
    let mut names: BTreeMap<&str, Span> = BTreeMap::new();
    for volume in &container.volumes {
        if let Some(first) = names.get(volume.name.value.as_str()) {
            let message = format!("the volume `{}` is mounted twice", volume.name.value);
            let finding = Finding::new(Code::DuplicateVolume, volume.name.span, message);
            out.error(finding.hint("remove one of them, or rename it").see(*first, "first mounted here"));
        } else {
            names.insert(volume.name.value.as_str(), volume.name.span);
        }
    }
    let mut paths: BTreeMap<String, Span> = BTreeMap::new();
    let secrets = container.secrets.iter().map(|secret| &secret.path);
    for path in container.volumes.iter().map(|volume| &volume.path).chain(secrets) {
        let key = tidy(&path.value);
        if let Some(first) = paths.get(&key) {
            let finding = Finding::new(
                Code::DuplicatePath,
                path.span,
                format!("a second mount at {}", quote(&path.value)),
            );
            out.error(finding.hint("give it another path").see(*first, "the first"));
        } else {
            paths.insert(key, path.span);
        }
    }
}
