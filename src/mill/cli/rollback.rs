//! `mill rollback`

use clap::Args;
use mill_api::Api;
use mill_model::DeployId;

use super::error::CliError;
use super::follow;
use super::reach::ReachArgs;
use super::ui::Ui;

/// Bring an earlier config of a project back
///
/// A deploy like any other, of the config and the very images that an earlier deploy ran. Tasks aren't run again.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// Which project; by default that of the config file here, else the only one
    project: Option<String>,

    /// To this deploy of `mill history`; by default the last one before the current that succeeded
    #[arg(long, value_name = "N", value_parser = super::parse_deploy)]
    to: Option<DeployId>,

    /// Return at once; `mill deploy --attach N` follows it
    #[arg(short, long)]
    detach: bool,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &RollbackArgs) -> Result<(), CliError> {
    let project = super::workload::project(api, args.project.as_deref()).await?;
    let deploy = api.rollback(&project.name, args.to).await?;
    follow::begun(ui, api, &deploy, args.detach).await
}
