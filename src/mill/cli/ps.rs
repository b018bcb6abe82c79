//! `mill ps`

use clap::Args;
use mill_api::Api;
use mill_api::tasks::{Task, TaskQuery, TaskState};
use mill_model::ProjectName;

use super::error::CliError;
use super::reach::ReachArgs;
use super::ui::{Align, Colour, Table, Terminal, Ui, age};

/// Ended tasks that are shown unless all are asked for: those that somebody may just wonder about.
const ENDED_SHOWN: usize = 20;

/// List tasks: those that wait, run, and have ended lately
///
/// A task that has ended is kept with its exit code and its output for a day, the last 1,000 of them. `mill allocs` lists
/// the replicas of services.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Only of this project
    #[arg(short, long, value_name = "PROJECT")]
    project: Option<ProjectName>,

    /// All that have ended, not only the last 20
    #[arg(short, long)]
    all: bool,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &PsArgs) -> Result<(), CliError> {
    let query = TaskQuery { project: args.project.clone(), task: None, all: true };
    let mut tasks = api.tasks(&query).await?;
    let hidden = if args.all { 0 } else { keep_latest(&mut tasks) };
    if tasks.is_empty() {
        ui.say("no tasks; `mill spawn` and `mill run` begin them, `mill allocs` lists services' replicas")?;
    } else if hidden > 0 {
        ui.say(&format!("{hidden} more have ended; `--all` lists them"))?;
    }
    ui.answer(&tasks, |tasks, terminal| render(tasks, terminal))
}

/// Leaves out all but the latest of those that have ended; how many.
fn keep_latest(tasks: &mut Vec<Task>) -> usize {
    let before = tasks.len();
    let mut ended = 0;
    tasks.retain(|task| {
        ended += usize::from(task.state.is_over());
        !task.state.is_over() || ended <= ENDED_SHOWN
    });
    before - tasks.len()
}

const fn colour(state: TaskState) -> Colour {
    match state {
        TaskState::Succeeded => Colour::Green,
        TaskState::Waiting | TaskState::Running => Colour::Cyan,
        TaskState::Stopping | TaskState::Killed => Colour::Yellow,
        TaskState::Failed | TaskState::TimedOut => Colour::Red,
    }
}

pub(crate) fn render(tasks: &[Task], terminal: &Terminal) -> String {
    if tasks.is_empty() {
        return String::new();
    }
    let mut table = Table::new([
        ("TASK", Align::Left),
        ("OF", Align::Left),
        ("NODE", Align::Left),
        ("STATE", Align::Left),
        ("EXIT", Align::Right),
        ("ASKED", Align::Left),
        ("BY", Align::Left),
        ("REASON", Align::Left),
    ])
    .spare(&["BY", "NODE"]);
    for task in tasks {
        let by = match (&task.by, task.deploy) {
            (_, Some(deploy)) => format!("deploy #{deploy}"),
            (by, None) => by.clone().unwrap_or_default(),
        };
        table
            .row()
            .cell(task.id.to_string())
            .cell(task.workload.to_string())
            .cell(task.node.as_ref().map(ToString::to_string).unwrap_or_default())
            .painted(colour(task.state), state(task))
            .cell(task.exit_code.map(|code| code.to_string()).unwrap_or_default())
            .cell(age(task.asked_at, terminal.now))
            .cell(by)
            .cell(task.reason.clone().unwrap_or_default());
    }
    table.render(terminal)
}

/// In a word; of one that waits, for what.
fn state(task: &Task) -> String {
    match task.state {
        TaskState::Waiting => match task.pulling.as_ref().and_then(mill_api::Pulling::percent) {
            Some(percent) => format!("{} {percent}%", task.phase),
            None => task.phase.to_string(),
        },
        state => state.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{canned, golden};

    #[test]
    fn tasks_show_how_they_are_and_how_they_ended() {
        golden::check("ps", &render(&canned::tasks(), &canned::terminal()));
    }

    #[test]
    fn only_the_latest_ended_ones_are_shown() {
        let ended = canned::tasks().into_iter().find(|task| task.state.is_over()).unwrap();
        let mut tasks = vec![ended; ENDED_SHOWN + 7];
        tasks.extend(canned::tasks().into_iter().filter(|task| !task.state.is_over()));
        let all = tasks.len();
        assert_eq!((keep_latest(&mut tasks), tasks.len()), (7, all - 7));
    }
}
