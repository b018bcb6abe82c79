//! `mill status`

use std::fmt::Write as _;

use clap::Args;
use mill_api::Api;
use mill_api::nodes::NodeState;
use mill_api::services::ServiceState;
use mill_api::status::Status;

use super::error::CliError;
use super::reach::ReachArgs;
use super::ui::{Colour, Terminal, Ui, age, count};
use super::{nodes, services};

/// Show the cluster on one page: nodes, services, what is under way and what is wrong
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, _: &StatusArgs) -> Result<(), CliError> {
    let status = api.status().await?;
    ui.answer(&status, render)
}

fn render(status: &Status, terminal: &Terminal) -> String {
    let mut text = headline(status, terminal);
    for warning in &status.warnings {
        let _ = writeln!(text, "{} {warning}", terminal.paint(Colour::Yellow, "warning:"));
    }
    for deploy in &status.deploys {
        let (project, id) = (&deploy.project, deploy.id);
        let since = age(deploy.started_at, terminal.now);
        let state = deploy.state.as_str();
        let line =
            format!("deploy {project} #{id} {state}, begun {since}; `mill deploy --attach {id}` follows it");
        let _ = writeln!(text, "{}", terminal.paint(Colour::Cyan, &line));
    }
    let _ = write!(text, "\n{}", nodes::render(&status.nodes, terminal));
    match status.services.is_empty() {
        true => text.push_str("\nno services yet: `mill deploy -f FILE` deploys some\n"),
        false => {
            let _ = write!(text, "\n{}", services::render(&status.services, terminal));
        }
    }
    text
}

/// `CLUSTER: 3 nodes, all healthy`
fn headline(status: &Status, terminal: &Terminal) -> String {
    let nodes_bad = status.nodes.iter().filter(|node| node.state != NodeState::Ready).count();
    let bad = |state| matches!(state, ServiceState::Degraded | ServiceState::Down | ServiceState::Failed);
    let services_bad = status.services.iter().filter(|service| bad(service.state)).count();
    let mut ills = vec![];
    if status.leader.is_none() {
        ills.push("no leader: nothing can be changed".to_owned());
    }
    if nodes_bad > 0 {
        ills.push(format!("{nodes_bad} of them not ready"));
    }
    if services_bad > 0 {
        ills.push(format!("{} not healthy", count(services_bad, "service")));
    }
    let (colour, health) = match ills.is_empty() {
        true => (Colour::Green, "all healthy".to_owned()),
        false => (Colour::Red, ills.join(", ")),
    };
    let nodes = count(status.nodes.len(), "node");
    format!("{} {nodes}, {}\n", terminal.paint(Colour::Bold, "CLUSTER:"), terminal.paint(colour, &health))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{canned, golden};

    #[test]
    fn a_page_of_everything() {
        let status = canned::status();
        golden::check("status", &render(&status, &canned::terminal()));
        let coloured = Terminal { colour: true, width: Some(80), ..canned::terminal() };
        golden::check("status_on_a_terminal", &render(&status, &coloured));
    }

    #[test]
    fn the_first_line_says_whether_all_is_well() {
        let mut status = canned::status();
        status.services.retain(|service| service.state == ServiceState::Healthy);
        assert_eq!(headline(&status, &canned::terminal()), "CLUSTER: 1 node, all healthy\n");
        status.nodes[0].state = NodeState::Down;
        status.leader = None;
        assert_eq!(
            headline(&status, &canned::terminal()),
            "CLUSTER: 1 node, no leader: nothing can be changed, 1 of them not ready\n"
        );
        status.services.clear();
        assert!(render(&status, &canned::terminal()).contains("no services yet"));
    }
}
