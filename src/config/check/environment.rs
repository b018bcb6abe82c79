//! A variable has one value, and all of them fit into what the kernel hands to a program.

use std::collections::BTreeMap;

use mill_model::limits;
use mill_model::resources::Bytes;
use mill_model::template::Part;

use crate::code::Code;
use crate::draft::{Templated, Workload};
use crate::finding::{Finding, Findings, quote};
use crate::span::Span;

pub(super) fn check(workload: &Workload, out: &mut Findings) {
    let env = &workload.container.env;
    if let Some(extra) = env.get(limits::ENV_MAX) {
        let finding = Finding::new(Code::TooMany, extra.name.span, format!("{} variables", env.len()));
        let finding = finding.because(format!("a {} has at most {}", workload.what(), limits::ENV_MAX));
        out.error(finding.hint("put them into a file of the image"));
    }
    let mut first: BTreeMap<&str, Span> = BTreeMap::new();
    for variable in env {
        let name = &variable.name;
        if let Some(first) = first.get(name.value.as_str()) {
            let message = format!("the variable {} is set twice", quote(&name.value));
            let finding = Finding::new(Code::DuplicateVariable, name.span, message);
            out.error(finding.hint("remove one of them").see(*first, "first set here"));
        } else {
            first.insert(&name.value, name.span);
        }
    }
    check_size(workload, out);
}

fn check_size(workload: &Workload, out: &mut Findings) {
    let container = &workload.container;
    let argv = container.entrypoint.iter().chain(&container.command).flat_map(|argv| &argv.words);
    let arguments: usize = argv.map(|word| size(word) + 1).sum();
    let variables: usize =
        container.env.iter().map(|variable| variable.name.value.len() + size(&variable.value) + 2).sum();
    let most = limits::ARGUMENT_BYTES_MAX;
    if arguments + variables > most {
        let total = arguments + variables;
        let finding =
            Finding::new(Code::TooMany, workload.span, format!("{total} bytes of arguments and variables"));
        let most = Bytes(u64::try_from(most).unwrap_or(u64::MAX));
        let finding = finding.because(format!(
            "arguments and variables have at most {most} together: the kernel takes little more"
        ));
        out.error(finding.hint("put large values into files of the image"));
    }
}

fn size(templated: &Templated) -> usize {
    let text = |part: &Part| if let Part::Text(text) = part { text.len() } else { 0 };
    templated.template.parts.iter().map(text).sum()
}
