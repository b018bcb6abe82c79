//! `command "--password" "${secret(db.password)}"`: it works, and whoever is on the machine can read it.

use mill_model::template::Part;

use crate::code::Code;
use crate::draft::{Probe, Templated, Workload};
use crate::finding::{Finding, Findings};

pub(super) fn check(workload: &Workload, out: &mut Findings) {
    let container = &workload.container;
    let words = container.entrypoint.iter().chain(&container.command).flat_map(|argv| &argv.words);
    let health = workload.service().and_then(|service| service.health.as_ref());
    let asked = match health.map(|health| &health.probe) {
        Some(Probe::Exec { command }) => command.as_slice(),
        _ => &[],
    };
    for word in words.chain(asked) {
        point_out(word, out);
    }
}

fn point_out(word: &Templated, out: &mut Findings) {
    for reference in &word.references {
        let Part::Secret(name) = &reference.value else { continue };
        let message = format!("the secret `{name}` on a command line");
        let finding = Finding::new(Code::SecretOnCommandLine, reference.span, message);
        out.warning(finding.hint("hand it over in `env`, or as a file: `secret \"NAME\" path=\"…\"`"));
    }
}
