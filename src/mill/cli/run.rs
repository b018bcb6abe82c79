//! `mill run`

use clap::Args;
use mill_api::Api;
use mill_api::tasks::SpawnRequest;
use mill_model::{ImageRef, ProjectName, WorkloadName};

use super::attach;
use super::error::CliError;
use super::reach::ReachArgs;
use super::spawn::{ChangeArgs, spawned};
use super::ui::Ui;

/// Run an image once, with its output here
///
/// What it writes to stdout and stderr is written there, line by line; its exit code is this command's, Mill's own
/// failures being 125. Ctrl-C stops it, a second one leaves it to itself. It has no terminal and reads nothing:
/// `mill exec` gives a program both. It is listed as any task by `mill ps`, and never started again.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mill run alpine -- echo hello\n  mill run -e PGPASSWORD='${secret(db.password)}' postgres:16 -- pg_dump -h db shop > shop.sql\n  mill run --detach --timeout 6h registry.example.com/import:v3"
)]
pub(crate) struct RunArgs {
    /// Its image
    #[arg(value_name = "IMAGE")]
    image: ImageRef,

    /// Its arguments instead of the image's
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    command: Vec<String>,

    /// Return at once with its id
    #[arg(short, long)]
    detach: bool,

    /// Whose it is: secrets are this project's, and those who may deploy it may run it [default: default]
    #[arg(short, long, value_name = "PROJECT")]
    project: Option<ProjectName>,

    /// What it is called; without it after its image
    #[arg(long, value_name = "NAME")]
    name: Option<WorkloadName>,

    #[command(flatten)]
    changes: ChangeArgs,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &RunArgs) -> Result<(), CliError> {
    let request = SpawnRequest {
        project: args.project.clone(),
        name: args.name.clone(),
        image: Some(args.image.clone()),
        ..args.changes.request(&args.command)
    };
    if args.detach {
        return spawned(ui, &api.spawn(&request).await?);
    }
    let attached = async {
        let task = api.spawn(&request).await?;
        attach::to_the_end(ui, api, task).await
    };
    attached.await.map_err(attach::of_mill)
}
