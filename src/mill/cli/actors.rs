//! `mill actors`

use clap::{Args, Subcommand};
use mill_api::actors::{Actor, ActorStatus, Actors};
use mill_api::client::ClientError;
use mill_api::names::closest;
use mill_api::{Api, Code};
use serde::Serialize;

use super::error::CliError;
use super::reach::ReachArgs;
use super::ui::{Align, Colour, Table, Terminal, Ui, age, micros};

/// Show both trees of actors of a node, live
///
/// The daemon's and the plane's: each actor's state, messages that wait, messages per second, how long all but one
/// in a hundred take, restarts and last error.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ActorsArgs {
    #[command(subcommand)]
    action: Option<Action>,

    /// What each tells of its state, too
    #[arg(short, long)]
    observed: bool,

    #[command(flatten)]
    reach: ReachArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    Restart(RestartArgs),
}

/// Have an actor started again by its supervisor
///
/// Harmless: it finds its work again, as after a crash.
#[derive(Debug, Args)]
struct RestartArgs {
    /// Which: a path as `mill actors` shows it, such as daemon/agent/images
    path: String,

    #[command(flatten)]
    reach: ReachArgs,
}

/// The answer to a restart, for programs.
#[derive(Serialize)]
struct Restarted<'a> {
    /// Which actor is started again.
    path: &'a str,
}

impl ActorsArgs {
    pub(crate) const fn reach(&self) -> &ReachArgs {
        match &self.action {
            Some(Action::Restart(args)) => &args.reach,
            None => &self.reach,
        }
    }
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &ActorsArgs) -> Result<(), CliError> {
    if let Some(Action::Restart(restart)) = &args.action {
        restart_actor(api, &restart.path).await?;
        return match ui.json {
            true => ui.answer(&Restarted { path: &restart.path }, |_, _| String::new()),
            false => ui.say(&format!("{} is started again", restart.path)),
        };
    }
    let actors = api.actors().await?;
    ui.answer(&actors, |actors, terminal| render(actors, args.observed, terminal))
}

async fn restart_actor(api: &Api, path: &str) -> Result<(), CliError> {
    let Err(error) = api.restart_actor(path).await else { return Ok(()) };
    let is_unknown = matches!(&error, ClientError::Refused(refused) if refused.code == Code::NotFound);
    let error = CliError::from(error);
    if !is_unknown {
        return Err(error);
    }
    // Without the trees the error stands as it is.
    let similar = api.actors().await.map(|actors| similar(&actors, path)).unwrap_or_default();
    Err(match similar.is_empty() {
        true => error,
        false => error.hint(format!("did you mean {}?", similar.join(" or "))),
    })
}

/// The actors whose paths end like one that isn't there, or nearly so.
fn similar(actors: &Actors, typed: &str) -> Vec<String> {
    fn paths<'a>(actor: &'a Actor, into: &mut Vec<&'a str>) {
        into.push(&actor.path);
        actor.children.iter().for_each(|child| paths(child, into));
    }
    let mut all = vec![];
    std::iter::once(&actors.daemon).chain(&actors.plane).for_each(|root| paths(root, &mut all));
    if all.contains(&typed) {
        return vec![];
    }
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let near = closest(&name(typed), all.iter().map(|path| name(path)));
    let similar = all.iter().filter(|path| near.contains(&name(path)));
    similar.take(3).map(|path| format!("`{path}`")).collect()
}

fn render(actors: &Actors, observed: bool, terminal: &Terminal) -> String {
    let mut table = Table::new([
        ("ACTOR", Align::Left),
        ("STATE", Align::Left),
        ("WAITING", Align::Right),
        ("RATE", Align::Right),
        ("P99", Align::Right),
        ("RESTARTS", Align::Right),
        ("LAST ERROR", Align::Left),
        ("OBSERVED", Align::Left),
    ]);
    for root in std::iter::once(&actors.daemon).chain(&actors.plane) {
        write_actor(&mut table, root, &Branch::default(), observed, terminal);
    }
    let mut text = table.render(terminal);
    if let Some(problem) = &actors.plane_problem {
        text.push_str(&terminal.paint(Colour::Red, &format!("plane: {problem}")));
        text.push('\n');
    }
    text
}

/// Where in the tree a line is: what stands before its name, and before its children's.
#[derive(Default)]
struct Branch {
    own: String,
    below: String,
}

fn write_actor(table: &mut Table, actor: &Actor, branch: &Branch, observed: bool, terminal: &Terminal) {
    let name = match branch.own.is_empty() {
        true => actor.path.as_str(),
        false => actor.path.rsplit('/').next().unwrap_or(&actor.path),
    };
    let (colour, state) = state(actor);
    let error =
        actor.last_error.as_ref().map(|error| format!("{} ({})", error.text, age(error.at, terminal.now)));
    let told = match observed && !actor.observed.is_null() {
        true => actor.observed.to_string(),
        false => String::new(),
    };
    table
        .row()
        .cell(format!("{}{name}", branch.own))
        .painted(colour, state)
        .cell(actor.mailbox_depth.to_string())
        .cell(format!("{:.1}/s", actor.rate))
        .cell(if actor.handled == 0 { "-".to_owned() } else { micros(actor.p99_us) })
        .cell(actor.restarts.to_string())
        .cell(error.unwrap_or_default())
        .cell(told);
    let last = actor.children.len().saturating_sub(1);
    for (index, child) in actor.children.iter().enumerate() {
        let (own, below) = if index == last { ("└── ", "    ") } else { ("├── ", "│   ") };
        let branch =
            Branch { own: format!("{}{own}", branch.below), below: format!("{}{below}", branch.below) };
        write_actor(table, child, &branch, observed, terminal);
    }
}

fn state(actor: &Actor) -> (Colour, String) {
    if let Some(busy) = &actor.busy_with {
        return (
            Colour::Yellow,
            format!("busy with {} for {}", busy.message, micros(busy.for_ms.saturating_mul(1000))),
        );
    }
    let colour = match actor.status {
        ActorStatus::Running => Colour::Green,
        ActorStatus::Starting => Colour::Cyan,
        ActorStatus::Restarting => Colour::Red,
        ActorStatus::Stopping | ActorStatus::Stopped => Colour::Grey,
    };
    (colour, actor.status.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{canned, golden};

    #[test]
    fn both_trees_are_drawn() {
        golden::check("actors", &render(&canned::actors(), false, &canned::terminal()));
        golden::check("actors_observed", &render(&canned::actors(), true, &canned::terminal()));
    }

    #[test]
    fn a_path_that_is_not_there_is_answered_with_those_that_end_alike() {
        let actors = canned::actors();
        for (typed, similar_ones) in [
            ("agent", vec!["`daemon/agent`"]),
            ("daemon/agnet", vec!["`daemon/agent`"]),
            ("daemon/agent", vec![]),
            ("nonsense", vec![]),
        ] {
            assert_eq!(similar(&actors, typed), similar_ones, "{typed}");
        }
    }

    #[test]
    fn a_plane_that_does_not_answer_is_no_reason_to_show_nothing() {
        let mut actors = canned::actors();
        actors.plane = None;
        actors.plane_problem = Some("no answer within 1s".into());
        let text = render(&actors, false, &canned::terminal());
        assert!(text.contains("daemon") && text.ends_with("plane: no answer within 1s\n"), "{text}");
    }
}
