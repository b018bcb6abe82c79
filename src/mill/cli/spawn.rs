//! `mill spawn`

use std::collections::BTreeMap;

use clap::Args;
use mill_api::Api;
use mill_api::allocs::WorkloadKind;
use mill_api::names::Known;
use mill_api::tasks::{SpawnRequest, Task};
use mill_model::{ImageRef, Workload};

use super::attach;
use super::error::CliError;
use super::reach::ReachArgs;
use super::ui::Ui;

/// Run a task of a deployed project once
///
/// As it was deployed, save what is given here. Its id is the answer; with `--wait` its output is passed on and its exit
/// code is this command's, Mill's own failures being 125. It is never started again.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mill spawn migrate\n  mill spawn shop/migrate --wait -- --to v2\n  mill spawn report -e DAY=2026-11-22 --memory 1G --timeout 2h"
)]
pub(crate) struct SpawnArgs {
    /// The task, `migrate` or `shop/migrate`
    #[arg(value_name = "TASK")]
    name: String,

    /// Its arguments instead of those that it was deployed with
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    command: Vec<String>,

    /// Follow it to its end
    #[arg(short, long)]
    wait: bool,

    /// Another image
    #[arg(long, value_name = "IMAGE")]
    image: Option<ImageRef>,

    #[command(flatten)]
    changes: ChangeArgs,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

/// What `spawn` and `run` both take.
#[derive(Debug, Default, Args)]
pub(crate) struct ChangeArgs {
    /// A variable; `${secret(NAME)}` in it is filled in, `$$` is a dollar
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,

    /// Cores that it reserves and can't exceed
    #[arg(long, value_name = "CORES")]
    cpu: Option<f64>,

    /// Memory that it reserves and can't exceed, such as 512M
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,

    /// After this it is stopped and has failed, such as 10m; 1h unless it is said
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,

    /// The program instead of the image's
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,

    /// As whom it runs: `user`, `user:group`, by name or number
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,

    /// Where it starts
    #[arg(long, value_name = "PATH")]
    workdir: Option<String>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a variable is given as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl ChangeArgs {
    /// What is asked for, without what it is asked of.
    pub(crate) fn request(&self, command: &[String]) -> SpawnRequest {
        SpawnRequest {
            command: (!command.is_empty()).then(|| command.to_vec()),
            entrypoint: self.entrypoint.clone().map(|program| vec![program]),
            env: self.env.iter().cloned().collect::<BTreeMap<_, _>>(),
            cpu: self.cpu,
            memory: self.memory.clone(),
            timeout: self.timeout.clone(),
            user: self.user.clone(),
            workdir: self.workdir.clone(),
            ..SpawnRequest::default()
        }
    }
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &SpawnArgs) -> Result<(), CliError> {
    match args.wait {
        true => spawn(ui, api, args).await.map_err(attach::of_mill),
        false => spawn(ui, api, args).await,
    }
}

async fn spawn(ui: &mut Ui<'_>, api: &Api, args: &SpawnArgs) -> Result<(), CliError> {
    let Workload { project, name } = find(api, &args.name).await?;
    let request = SpawnRequest {
        project: Some(project),
        task: Some(name),
        image: args.image.clone(),
        ..args.changes.request(&args.command)
    };
    let task = api.spawn(&request).await?;
    match args.wait {
        true => attach::to_the_end(ui, api, task).await,
        false => spawned(ui, &task),
    }
}

/// Its id, alone: for scripts.
pub(crate) fn spawned(ui: &mut Ui<'_>, task: &Task) -> Result<(), CliError> {
    if let (Some(reason), false) = (&task.reason, ui.json) {
        ui.say(&format!("{} waits: {reason}", task.id))?;
    }
    ui.answer(task, |task, _| format!("{}\n", task.id))
}

/// The task called so; a service only if there is no such task.
async fn find(api: &Api, name: &str) -> Result<Workload, CliError> {
    let services = api.services().await?;
    let of = |kind: Option<WorkloadKind>| {
        let of_kind = services.iter().filter(|service| kind.is_none_or(|kind| service.kind == kind));
        of_kind.map(|service| service.workload.clone()).collect()
    };
    let tasks = Known { workloads: of(Some(WorkloadKind::Task)), ..Known::default() };
    let all = Known { workloads: of(None), ..Known::default() };
    Ok(tasks.workload(name).or_else(|error| all.workload(name).map_err(|_| error))?)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::{Cli, Command};

    #[test]
    fn what_follows_the_task_is_the_tasks_own() {
        let line = "mill spawn shop/migrate -w -e A=1=2 -e B= --cpu 0.5 -m 64M -- --to v2 --json";
        let Command::Spawn(args) = Cli::try_parse_from(line.split(' ')).unwrap().command else { panic!() };
        let request = args.changes.request(&args.command);
        assert_eq!(request.command.unwrap(), ["--to", "v2", "--json"]);
        assert_eq!((request.env["A"].as_str(), request.env["B"].as_str()), ("1=2", ""));
        assert_eq!((request.cpu, request.memory.as_deref(), args.wait), (Some(0.5), Some("64M"), true));
        assert!(!args.reach.json);
        assert!(Cli::try_parse_from(["mill", "spawn", "x", "-e", "A"]).is_err());
    }
}
