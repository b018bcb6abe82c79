//! `mill deploy`

use clap::Args;
use mill_api::Api;
use mill_model::DeployId;

use super::error::CliError;
use super::exit::Exit;
use super::follow;
use super::reach::ReachArgs;
use super::source::{FileArgs, refused};
use super::ui::Ui;

/// Bring a project to what its config file says
///
/// Services that are so already aren't touched; those that left the file are stopped. What fails is rolled back: the
/// old version runs on at full count, the reason and the last log lines are printed, and the exit code is 1.
/// Ctrl-C leaves the deploy running; `--attach` returns to it.
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,

    /// Take the place of a deploy of the same project that is under way, instead of waiting for it
    #[arg(long)]
    replace: bool,

    /// Return at once; `--attach N` follows it
    #[arg(short, long)]
    detach: bool,

    /// Follow deploy N, from its beginning
    #[arg(long, value_name = "N", value_parser = super::parse_deploy, conflicts_with_all = ["replace", "detach", "images", "cancel"])]
    attach: Option<DeployId>,

    /// Call deploy N off, or the one of this project that is under way: everything is as before
    #[arg(
        long,
        value_name = "N",
        num_args = 0..=1,
        value_parser = super::parse_deploy,
        conflicts_with_all = ["replace", "images"]
    )]
    cancel: Option<Option<DeployId>>,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(ui: &mut Ui<'_>, args: &DeployArgs) -> Result<(), CliError> {
    if let Some(id) = args.attach {
        let api = args.reach.api()?;
        let deploy = api.deploy_status(id).await?;
        return follow::to_the_end(ui, &api, &deploy, follow::interrupted()).await;
    }
    if let Some(cancel) = args.cancel {
        let api = args.reach.api()?;
        return call_off(ui, &api, args, cancel).await;
    }
    // Before any connection: a bad file is refused whole, and needs no cluster for that.
    let request = args.file.request(ui, args.replace)?;
    let api = args.reach.api()?;
    let deploy = api.deploy(&request).await.map_err(|error| refused(error, &request))?;
    follow::begun(ui, &api, &deploy, args.detach).await
}

async fn call_off(
    ui: &mut Ui<'_>,
    api: &Api,
    args: &DeployArgs,
    id: Option<DeployId>,
) -> Result<(), CliError> {
    let id = match id {
        Some(id) => id,
        None => {
            let project = super::workload::project_of(api, &args.file).await?;
            project.deploying.ok_or_else(|| {
                CliError::new(Exit::Refused, format!("no deploy of {} is under way", project.name))
                    .because("there is nothing to call off")
                    .hint(format!(
                        "`mill rollback {}` brings the config before the current one back",
                        project.name
                    ))
            })?
        }
    };
    let deploy = api.cancel(id).await?;
    match follow::begun(ui, api, &deploy, args.detach).await {
        // It was called off, as asked for: that is success here.
        Err(error) if error.cancelled => ui.say(&format!("cancelled {} #{id}", deploy.project)),
        other => other,
    }
}
