//! `mill nodes`

use clap::Args;
use mill_api::Api;
use mill_api::nodes::{Node, NodeState};

use super::error::CliError;
use super::reach::ReachArgs;
use super::ui::{Align, Colour, Table, Terminal, Ui, age, cores, memory};

/// List the nodes with what they have, hold and use
#[derive(Debug, Args)]
pub(crate) struct NodesArgs {
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, _: &NodesArgs) -> Result<(), CliError> {
    let nodes = api.nodes().await?;
    ui.answer(&nodes, |nodes, terminal| render(nodes, terminal))
}

pub(crate) fn render(nodes: &[Node], terminal: &Terminal) -> String {
    let mut table = Table::new([
        ("NODE", Align::Left),
        ("STATE", Align::Left),
        ("ADDRESS", Align::Left),
        ("ALLOCS", Align::Right),
        ("CPU RESERVED", Align::Right),
        ("USED", Align::Right),
        ("MEMORY RESERVED", Align::Right),
        ("USED", Align::Right),
        ("VERSION", Align::Left),
        ("SINCE", Align::Left),
    ])
    .spare(&["VERSION", "USED", "ADDRESS", "ALLOCS"]);
    for node in nodes {
        let colour = match node.state {
            NodeState::Ready => Colour::Green,
            NodeState::Draining | NodeState::Suspect => Colour::Yellow,
            NodeState::Down => Colour::Red,
        };
        let leader = if node.leader { ", leader" } else { "" };
        let (has, holds) = (&node.capacity, &node.reserved);
        table
            .row()
            .cell(node.name.to_string())
            .painted(colour, format!("{}{leader}", node.state.as_str()))
            .cell(node.advertise.to_string())
            .cell(node.allocs.to_string())
            .cell(format!("{} of {}", holds.cpu, has.cpu))
            .cell(node.used.map(|used| cores(used.cpu)).unwrap_or_default())
            .cell(format!("{} of {}", memory(holds.memory), memory(has.memory)))
            .cell(node.used.map(|used| memory(used.memory)).unwrap_or_default())
            .cell(node.version.clone())
            .cell(age(node.since, terminal.now));
    }
    table.render(terminal)
}
