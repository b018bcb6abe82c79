//! `mill undeploy`

use clap::Args;
use mill_api::Api;

use super::error::CliError;
use super::follow;
use super::reach::ReachArgs;
use super::ui::{Ui, count};

/// Stop everything of a project and forget it
///
/// Its history is forgotten a day later; persistent volumes are kept.
#[derive(Debug, Args)]
pub(crate) struct UndeployArgs {
    /// Which project; by default that of the config file here, else the only one
    project: Option<String>,

    /// Don't ask
    #[arg(short, long)]
    yes: bool,

    /// Return at once; `mill deploy --attach N` follows it
    #[arg(short, long)]
    detach: bool,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &UndeployArgs) -> Result<(), CliError> {
    let project = super::workload::project(api, args.project.as_deref()).await?;
    let all = usize::try_from(project.services.saturating_add(project.tasks)).unwrap_or(usize::MAX);
    let what = count(all, "service");
    ui.confirm(&format!("Stop and forget project {} with its {what}?", project.name), args.yes)?;
    let deploy = api.undeploy(&project.name).await?;
    follow::begun(ui, api, &deploy, args.detach).await
}
