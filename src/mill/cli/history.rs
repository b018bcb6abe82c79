//! `mill history`

use std::time::Duration;

use clap::Args;
use mill_api::Api;
use mill_api::deploys::{Action, DeployState};
use mill_api::projects::HistoryEntry;

use super::error::CliError;
use super::reach::ReachArgs;
use super::ui::{Align, Colour, Table, Terminal, Ui, age, duration, image};

/// List the deploys of a project, newest first
///
/// `mill rollback --to N` brings the config of one of them back.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Which project; by default that of the config file here, else the only one
    project: Option<String>,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &HistoryArgs) -> Result<(), CliError> {
    let project = super::workload::project(api, args.project.as_deref()).await?;
    let history = api.history(&project.name).await?;
    ui.answer(&history, |history, terminal| render(history, terminal))
}

pub(crate) fn colour(state: DeployState) -> Colour {
    match state {
        DeployState::Succeeded => Colour::Green,
        DeployState::Failed => Colour::Red,
        DeployState::RollingBack => Colour::Yellow,
        DeployState::Queued | DeployState::Running => Colour::Cyan,
        DeployState::Cancelled | DeployState::Replaced => Colour::Grey,
    }
}

fn render(history: &[HistoryEntry], terminal: &Terminal) -> String {
    let mut table = Table::new([
        ("DEPLOY", Align::Right),
        ("WHAT", Align::Left),
        ("STATE", Align::Left),
        ("WHEN", Align::Left),
        ("TOOK", Align::Right),
        ("BY", Align::Left),
        ("IMAGES", Align::Left),
        ("REASON", Align::Left),
    ])
    .spare(&["BY", "TOOK", "IMAGES"]);
    for entry in history {
        let what = match &entry.action {
            Action::Deploy => "deploy".to_owned(),
            Action::Rollback { to } => format!("rollback to #{to}"),
            Action::Scale { service, replicas } => format!("scale {service} to {replicas}"),
            Action::Restart { service } => format!("restart {service}"),
            Action::Undeploy => "undeploy".to_owned(),
            Action::Roll { secret } => format!("roll {secret}"),
        };
        let current = if entry.current { " (current)" } else { "" };
        let images: Vec<String> = entry.images.values().map(image).collect();
        table
            .row()
            .cell(format!("#{}", entry.id))
            .cell(what)
            .painted(colour(entry.state), format!("{}{current}", entry.state.as_str()))
            .cell(age(entry.started_at, terminal.now))
            .cell(entry.took_ms.map(|ms| duration(Duration::from_millis(ms))).unwrap_or_default())
            .cell(entry.by.clone().unwrap_or_default())
            .cell(images.join(", "))
            .cell(entry.reason.clone().unwrap_or_default());
    }
    table.render(terminal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{canned, golden};

    #[test]
    fn history_says_what_each_deploy_was_and_became() {
        golden::check("history", &render(&canned::history(), &canned::terminal()));
    }
}
