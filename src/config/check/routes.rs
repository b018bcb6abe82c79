//! A request goes to one service only.

use std::collections::BTreeMap;

use crate::code::Code;
use crate::draft::{Project, Route};
use crate::finding::{Finding, Findings, quote};

pub(super) fn check(project: &Project, out: &mut Findings) {
    let mut first: BTreeMap<(&str, &str), &Route> = BTreeMap::new();
    let services = project.workloads.iter().filter_map(|workload| workload.service());
    for route in services.flat_map(|service| &service.routes) {
        let key = (route.host.as_str(), route.path.as_str());
        if let Some(other) = first.get(&key) {
            let message = format!("a second route for {}", quote(&format!("{}{}", route.host, route.path)));
            let finding = Finding::new(Code::RouteClash, route.span, message);
            out.error(finding.hint("give them different hosts or paths").see(other.span, "the first"));
        } else {
            first.insert(key, route);
        }
    }
}
