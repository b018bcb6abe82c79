//! `mill kill`

use clap::Args;
use mill_api::Api;
use mill_api::tasks::{SignalRequest, Task, TaskState};

use super::error::CliError;
use super::exit::Exit;
use super::reach::ReachArgs;
use super::ui::Ui;

/// Stop tasks
///
/// Each gets its stop signal, and SIGKILL if it hasn't ended after its grace. One that waits for a place never gets one.
/// With `--signal` each is sent that and nothing else: what comes of it is the program's.
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// The tasks, as `mill ps` lists them: `migrate-7k2f`, or as much of it as means one
    #[arg(required = true, value_name = "TASK")]
    names: Vec<String>,

    /// Only send this signal: `HUP`, `USR1`, `9`
    #[arg(long, short, value_name = "SIGNAL")]
    signal: Option<String>,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &KillArgs) -> Result<(), CliError> {
    let mut failed: Option<CliError> = None;
    let mut killed = vec![];
    for name in &args.names {
        let asked = match &args.signal {
            None => api.kill(name).await,
            Some(signal) => api.signal(name, &SignalRequest { signal: signal.clone() }).await,
        };
        match asked {
            Ok(task) => killed.push(task),
            Err(error) => {
                let error = CliError::from(error);
                if let Some(before) = failed.replace(error) {
                    ui.say(&format!("error: {}", before.message))?;
                }
            }
        }
    }
    if !killed.is_empty() {
        let line = |task: &Task| match &args.signal {
            None => line(task),
            Some(signal) => format!("{} was sent {signal}\n", task.id),
        };
        ui.answer(&killed, |tasks, _| tasks.iter().map(line).collect())?;
    }
    failed.map_or(Ok(()), |error| Err(CliError { exit: worst(error.exit), ..error }))
}

const fn worst(exit: Exit) -> Exit {
    match exit {
        Exit::Ok => Exit::Failed,
        other => other,
    }
}

fn line(task: &Task) -> String {
    let id = &task.id;
    match task.state {
        TaskState::Stopping | TaskState::Waiting | TaskState::Running => format!("{id} is being stopped\n"),
        state => format!("{id} {}\n", state.as_str()),
    }
}
