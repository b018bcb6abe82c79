//! A port is known by its number and by its name, each once.

use std::collections::BTreeMap;

use mill_model::limits;

use crate::code::Code;
use crate::draft::{Port, Workload};
use crate::finding::{Finding, Findings};

pub(super) fn check(workload: &Workload, out: &mut Findings) {
    let ports = &workload.container.ports;
    if let Some(extra) = ports.get(limits::PORTS_MAX) {
        let message = format!("{} ports in one service", ports.len());
        let reason = format!("a service has at most {}", limits::PORTS_MAX);
        out.error(Finding::new(Code::TooMany, extra.number.span, message).because(reason));
    }
    let mut numbers: BTreeMap<_, &Port> = BTreeMap::new();
    let mut names: BTreeMap<&str, &Port> = BTreeMap::new();
    for port in ports {
        match numbers.get(&(port.number.value, port.protocol)) {
            Some(first) => {
                let message = format!("port {}/{} is declared twice", port.number.value, port.protocol);
                let finding = Finding::new(Code::DuplicatePort, port.number.span, message);
                out.error(finding.hint("remove one of them").see(first.number.span, "first declared here"));
            }
            None => {
                numbers.insert((port.number.value, port.protocol), port);
            }
        }
        let Some(name) = &port.name else { continue };
        match names.get(name.value.as_str()).and_then(|first| first.name.as_ref()) {
            Some(first) => {
                let message = format!("two ports are called `{}`", name.value);
                let finding = Finding::new(Code::DuplicatePort, name.span, message);
                out.error(finding.hint("rename one of them").see(first.span, "first used here"));
            }
            None => {
                names.insert(name.value.as_str(), port);
            }
        }
    }
}
