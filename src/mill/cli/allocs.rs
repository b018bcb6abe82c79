//! `mill allocs`

use clap::Args;
use mill_api::allocs::{Alloc, AllocQuery};
use mill_api::{Api, Pulling};
use mill_model::{Phase, ProjectName};

use super::error::CliError;
use super::reach::ReachArgs;
use super::ui::{Align, Colour, Table, Terminal, Ui, age, cores, memory};

/// List the placed instances of services and tasks
#[derive(Debug, Args)]
pub(crate) struct AllocsArgs {
    /// Only of this service or task: `web` or `shop/web`
    #[arg(value_name = "SERVICE")]
    name: Option<String>,

    /// Only of this project
    #[arg(short, long, value_name = "PROJECT")]
    project: Option<ProjectName>,

    /// Ended ones too
    #[arg(short, long)]
    all: bool,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &AllocsArgs) -> Result<(), CliError> {
    let mut query = AllocQuery { project: args.project.clone(), service: None, all: args.all };
    if let Some(name) = &args.name {
        let workload = super::workload::find(api, name).await?;
        query.project = Some(workload.project);
        query.service = Some(workload.name);
    }
    let allocs = api.allocs(&query).await?;
    if allocs.is_empty() && !args.all {
        ui.say("none alive; `--all` lists those that have ended too")?;
    }
    ui.answer(&allocs, |allocs, terminal| render(allocs, terminal))
}

pub(crate) fn colour(phase: Phase) -> Colour {
    match phase {
        Phase::Healthy => Colour::Green,
        Phase::Pending | Phase::Pulling | Phase::Starting | Phase::Running | Phase::Stopping => Colour::Cyan,
        Phase::Waiting | Phase::Lost => Colour::Yellow,
        Phase::Unhealthy | Phase::Failed => Colour::Red,
        Phase::Stopped => Colour::Grey,
    }
}

/// Its phase; of a pull how far it is.
fn state(alloc: &Alloc) -> String {
    match alloc.pulling.as_ref().and_then(Pulling::percent) {
        Some(percent) => format!("{} {percent}%", alloc.phase),
        None => alloc.phase.to_string(),
    }
}

pub(crate) fn render(allocs: &[Alloc], terminal: &Terminal) -> String {
    if allocs.is_empty() {
        return String::new();
    }
    let mut table = Table::new([
        ("ALLOC", Align::Left),
        ("SERVICE", Align::Left),
        ("NODE", Align::Left),
        ("STATE", Align::Left),
        ("FOR", Align::Left),
        ("RESTARTS", Align::Right),
        ("CPU", Align::Right),
        ("MEMORY", Align::Right),
        ("PORTS", Align::Left),
        ("LAST END", Align::Left),
    ])
    .spare(&["CPU", "MEMORY", "NODE", "SERVICE"]);
    for alloc in allocs {
        let old = if alloc.old { " (old)" } else { "" };
        let ports: Vec<String> = alloc
            .ports
            .iter()
            .map(|port| format!("{} → {}", port.declared.label(), port.reached_at(alloc.address)))
            .collect();
        let since = age(alloc.since, terminal.now);
        let failure = alloc.last_end.as_ref().and_then(|end| end.failure.as_ref());
        table
            .row()
            .cell(format!("{}{old}", alloc.id))
            .cell(alloc.workload.to_string())
            .cell(alloc.node.to_string())
            .painted(colour(alloc.phase), state(alloc))
            .cell(since.strip_suffix(" ago").unwrap_or(&since))
            .cell(alloc.restarts.to_string())
            .cell(alloc.used.map(|used| cores(used.cpu)).unwrap_or_default())
            .cell(alloc.used.map(|used| memory(used.memory)).unwrap_or_default())
            .cell(ports.join(", "))
            .cell(failure.map(ToString::to_string).unwrap_or_default());
    }
    table.render(terminal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{canned, golden};

    #[test]
    fn allocs_show_their_ports_and_how_they_last_ended() {
        golden::check("allocs", &render(&canned::allocs(), &canned::terminal()));
    }

    #[test]
    fn an_alloc_that_waits_for_its_image_shows_how_much_of_it_is_there() {
        let mut alloc = canned::allocs().remove(0);
        alloc.phase = Phase::Pulling;
        for (bytes_total, shown) in [(0, "pulling"), (8, "pulling 25%")] {
            alloc.pulling = Some(Pulling { bytes_done: 2, bytes_total, ..Pulling::default() });
            assert_eq!(state(&alloc), shown);
        }
    }
}
