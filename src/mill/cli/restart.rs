//! `mill restart`

use clap::Args;
use mill_api::Api;

use super::error::CliError;
use super::follow;
use super::reach::ReachArgs;
use super::ui::Ui;

/// Replace a service's replicas by new ones of the same version
///
/// As a deploy does it: one after the other, the new one healthy before the old one stops.
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// The service, `web` or `shop/web`
    #[arg(value_name = "SERVICE")]
    name: String,

    /// Return at once; `mill deploy --attach N` follows it
    #[arg(short, long)]
    detach: bool,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &RestartArgs) -> Result<(), CliError> {
    let workload = super::workload::find(api, &args.name).await?;
    let deploy = api.restart(&workload).await?;
    follow::begun(ui, api, &deploy, args.detach).await
}
