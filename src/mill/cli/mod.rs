//! The command line: one file per command.
//!
//! A command's `Args` doc is its help text. Answers go to stdout, all else to stderr; `--json` makes answers JSON. An
//! error says what, why and what to do, and ends with one of [`exit::Exit`]'s codes.
//!
//! `daemon`, `dev` and `plane` are only read here: `main` runs them, since they are the program itself.

mod actors;
mod allocs;
mod attach;
mod cert;
mod clean;
mod complete;
mod context;
mod daemon;
mod deploy;
mod dev;
pub(crate) mod doctor;
mod error;
mod events;
mod exec;
mod exit;
mod follow;
mod hidden;
mod history;
mod init;
mod inspect;
mod kill;
mod login;
mod logs;
mod man;
mod nodes;
mod ps;
mod reach;
mod registry;
mod restart;
mod rollback;
mod run;
mod scale;
mod secret;
mod services;
mod source;
mod spawn;
mod status;
mod token;
mod top;
mod undeploy;
mod why;
mod words;
mod workload;

mod contexts;
pub(crate) mod node;
mod plan;
mod plane;
mod ui;

#[cfg(test)]
mod canned;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, Parser, Subcommand};
use mill_model::DeployId;

use clean::CleanArgs;
pub(crate) use complete::answer as complete;
pub(crate) use error::CliError;
pub(crate) use exit::Exit;
pub(crate) use node::NodeConfig;
pub(crate) use plane::PlaneConfig;
use reach::ReachArgs;

/// What it is called.
const PROGRAM: &str = "mill";

/// Run containers on one to fifty machines
#[derive(Debug, Parser)]
#[command(
    name = PROGRAM,
    version,
    max_term_width = 100,
    after_help = exit::HELP,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(alias = "validate")]
    Plan(Box<plan::PlanArgs>),
    Deploy(Box<deploy::DeployArgs>),
    Rollback(rollback::RollbackArgs),
    History(history::HistoryArgs),
    Scale(scale::ScaleArgs),
    Restart(restart::RestartArgs),
    Undeploy(undeploy::UndeployArgs),
    #[command(alias = "secrets")]
    Secret(Box<secret::SecretArgs>),

    Run(Box<run::RunArgs>),
    Spawn(Box<spawn::SpawnArgs>),
    #[command(alias = "tasks")]
    Ps(ps::PsArgs),
    Kill(kill::KillArgs),

    Status(status::StatusArgs),
    #[command(alias = "service-list", alias = "ls")]
    Services(services::ServicesArgs),
    #[command(alias = "pods")]
    Allocs(allocs::AllocsArgs),
    Nodes(nodes::NodesArgs),
    #[command(alias = "describe", alias = "show")]
    Inspect(inspect::InspectArgs),
    #[command(alias = "explain")]
    Why(why::WhyArgs),
    #[command(alias = "log")]
    Logs(logs::LogsArgs),
    Events(events::EventsArgs),
    Exec(exec::ExecArgs),
    Top(top::TopArgs),
    Actors(actors::ActorsArgs),

    Login(login::LoginArgs),
    Logout(login::LogoutArgs),
    #[command(alias = "contexts")]
    Context(context::ContextArgs),
    #[command(alias = "tokens")]
    Token(token::TokenArgs),
    #[command(alias = "registries")]
    Registry(registry::RegistryArgs),
    #[command(alias = "certs")]
    Cert(cert::CertArgs),

    Init(init::InitArgs),
    Dev(dev::DevArgs),
    Daemon(Box<daemon::DaemonArgs>),
    Plane(plane::PlaneArgs),
    Doctor(doctor::DoctorArgs),
    Clean(CleanArgs),
    #[command(alias = "completion")]
    Completions(complete::CompletionsArgs),
    #[command(hide = true)]
    Man(man::ManArgs),
}

/// What was typed, as far as the command line itself can't do it.
pub(crate) enum Invocation {
    /// A command that asks a cluster, or looks at this machine: [`run()`] does it.
    Client(Client),
    /// The daemon.
    Daemon(Box<NodeConfig>),
    /// Daemon and cluster in one.
    Dev(Box<NodeConfig>),
    /// The plane.
    Plane(PlaneConfig),
    /// Nothing is left to do but to end: help was printed, or the command line was wrong.
    Over(Exit),
}

/// A command for [`run()`].
pub(crate) struct Client(Command);

/// Reads the command line. What is wrong with it is said here.
pub(crate) fn read(args: impl IntoIterator<Item = OsString>) -> Invocation {
    let args: Vec<OsString> = args.into_iter().collect();
    match Cli::try_parse_from(&args) {
        Ok(cli) => invocation(cli.command).unwrap_or_else(|error| Invocation::Over(report(&error, false))),
        Err(wrong) => Invocation::Over(match (misread(&wrong, &args), wants_json(&args)) {
            (Some(error), json) => report(&error, json),
            (None, true) if wrong.use_stderr() => report(&usage(&wrong), true),
            (None, _) => {
                // Nobody is left to tell when even this can't be written.
                drop(wrong.print());
                if wrong.use_stderr() { Exit::Usage } else { Exit::Ok }
            }
        }),
    }
}

/// Whether JSON was asked for on a line that can't be read.
fn wants_json(args: &[OsString]) -> bool {
    args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json")
}

/// clap's complaint for a program: its first paragraph says what is wrong, its tips and its usage what to do.
fn usage(wrong: &clap::Error) -> CliError {
    let text = wrong.to_string();
    let mut paragraphs = text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let message = paragraphs.next().unwrap_or_default();
    let error = CliError::usage(message.strip_prefix("error: ").unwrap_or(&message));
    let advice = |part: &str| {
        part.strip_prefix("tip: ").or_else(|| part.strip_prefix("For more information, ")).map(str::to_owned)
    };
    paragraphs.fold(error, |error, part| match (part.starts_with("Usage: "), &error.hint, advice(&part)) {
        (true, _, _) => error.because(part),
        (false, None, Some(advice)) => error.hint(advice),
        _ => error,
    })
}

fn invocation(command: Command) -> Result<Invocation, CliError> {
    Ok(match command {
        Command::Daemon(args) => Invocation::Daemon(Box::new(args.resolve()?)),
        Command::Dev(args) => Invocation::Dev(Box::new(args.resolve()?)),
        Command::Plane(args) => Invocation::Plane(args.resolve()?),
        other => Invocation::Client(Client(other)),
    })
}

/// For a first word that is no command, a better answer than clap's.
fn misread(wrong: &clap::Error, args: &[OsString]) -> Option<CliError> {
    if wrong.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(typed)) = wrong.get(ContextKind::InvalidSubcommand) else { return None };
    let words: Vec<String> = args
        .iter()
        .skip(1)
        .skip_while(|arg| arg.to_str() != Some(typed))
        .filter(|arg| !is_option(arg))
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let is_first = words.len() == args.iter().skip(1).filter(|arg| !is_option(arg)).count();
    let slip = || is_first.then(|| words::slip_of(typed, &Cli::command()));
    words::look_up(&words).or_else(slip).map(|word| word.answer(typed))
}

fn is_option(arg: &OsString) -> bool {
    arg.to_str().is_some_and(|arg| arg.starts_with('-'))
}

/// Runs a command to its end.
pub(crate) async fn run(client: &Client) -> Exit {
    let Client(command) = client;
    let json = command.wants_json();
    let mut process = ui::Process::new(json);
    match Box::pin(run_on(&mut process.ui(), command)).await {
        Ok(()) => Exit::Ok,
        Err(error) => report(&error, json),
    }
}

async fn run_on(ui: &mut ui::Ui<'_>, command: &Command) -> Result<(), CliError> {
    match command {
        Command::Plan(args) => return plan::run(ui, args).await,
        Command::Deploy(args) => return deploy::run(ui, args).await,
        Command::Doctor(args) => return doctor::run(ui, args).await,
        Command::Clean(args) => return clean::clean(ui, args).await,
        Command::Completions(args) => return complete::run(ui, args),
        Command::Man(args) => return man::run(args),
        Command::Init(args) => return init::run(ui, args).await,
        Command::Login(args) => return login::login(ui, args).await,
        Command::Logout(args) => return login::logout(ui, args),
        Command::Context(args) => return context::run(ui, args),
        _ => {}
    }
    let Some(reach) = command.reach() else { return Ok(()) };
    let api = &reach.api()?;
    match command {
        Command::Rollback(args) => rollback::run(ui, api, args).await,
        Command::History(args) => history::run(ui, api, args).await,
        Command::Scale(args) => scale::run(ui, api, args).await,
        Command::Restart(args) => restart::run(ui, api, args).await,
        Command::Undeploy(args) => undeploy::run(ui, api, args).await,
        Command::Secret(args) => secret::run(ui, api, args).await,
        Command::Run(args) => run::run(ui, api, args).await,
        Command::Spawn(args) => spawn::run(ui, api, args).await,
        Command::Ps(args) => ps::run(ui, api, args).await,
        Command::Kill(args) => kill::run(ui, api, args).await,
        Command::Status(args) => status::run(ui, api, args).await,
        Command::Services(args) => services::run(ui, api, args).await,
        Command::Allocs(args) => allocs::run(ui, api, args).await,
        Command::Nodes(args) => nodes::run(ui, api, args).await,
        Command::Inspect(args) => inspect::run(ui, api, args).await,
        Command::Why(args) => why::run(ui, api, args).await,
        Command::Logs(args) => logs::run(ui, api, args).await,
        Command::Events(args) => events::run(ui, api, args).await,
        Command::Exec(args) => exec::run(api, args).await,
        Command::Top(args) => top::run(ui, api, args).await,
        Command::Actors(args) => actors::run(ui, api, args).await,
        Command::Token(args) => token::run(ui, api, args).await,
        Command::Registry(args) => registry::run(ui, api, args).await,
        Command::Cert(args) => cert::run(ui, api, args).await,
        _ => Ok(()),
    }
}

impl Command {
    /// Whether the answer is to be JSON.
    const fn wants_json(&self) -> bool {
        match self {
            Self::Clean(args) => args.json,
            Self::Login(args) => args.json,
            Self::Logout(args) => args.json,
            Self::Context(args) => args.json,
            other => match other.reach() {
                Some(reach) => reach.json,
                None => false,
            },
        }
    }

    /// Whom the command asks; `None`: nobody.
    const fn reach(&self) -> Option<&ReachArgs> {
        Some(match self {
            Self::Plan(args) => &args.reach,
            Self::Deploy(args) => &args.reach,
            Self::Rollback(args) => &args.reach,
            Self::History(args) => &args.reach,
            Self::Scale(args) => &args.reach,
            Self::Restart(args) => &args.reach,
            Self::Undeploy(args) => &args.reach,
            Self::Secret(args) => args.reach(),
            Self::Run(args) => &args.reach,
            Self::Spawn(args) => &args.reach,
            Self::Ps(args) => &args.reach,
            Self::Kill(args) => &args.reach,
            Self::Status(args) => &args.reach,
            Self::Services(args) => &args.reach,
            Self::Allocs(args) => &args.reach,
            Self::Nodes(args) => &args.reach,
            Self::Inspect(args) => &args.reach,
            Self::Why(args) => &args.reach,
            Self::Logs(args) => &args.reach,
            Self::Events(args) => &args.reach,
            Self::Exec(args) => &args.reach,
            Self::Top(args) => &args.reach,
            Self::Actors(args) => args.reach(),
            Self::Token(args) => args.reach(),
            Self::Registry(args) => args.reach(),
            Self::Cert(args) => args.reach(),
            Self::Init(args) => &args.reach,
            Self::Doctor(args) => &args.reach,
            Self::Login(_) | Self::Logout(_) | Self::Context(_) => return None,
            Self::Dev(_) | Self::Daemon(_) | Self::Plane(_) | Self::Clean(_) => return None,
            Self::Completions(_) | Self::Man(_) => return None,
        })
    }
}

/// Says an error: on stderr for people, on stdout for programs that asked for JSON.
pub(crate) fn report(error: &CliError, json: bool) -> Exit {
    let mut process = ui::Process::new(json);
    let ui = process.ui();
    if !error.is_silent() {
        // Nobody is left to tell when even this can't be written.
        drop(match json {
            true => writeln!(ui.data, "{}", error.json()),
            false => write!(ui.talk, "{}", error.render(&ui.talk_terminal)),
        });
    }
    error.exit
}

/// Says something to a person, beside all answers.
pub(crate) fn say(text: &str) {
    let mut process = ui::Process::new(false);
    // Nobody is left to tell when even this can't be written.
    drop(process.ui().say(text));
}

/// `14` or `#14`
fn parse_deploy(text: &str) -> Result<DeployId, String> {
    let number = text.strip_prefix('#').unwrap_or(text);
    number.parse().map(DeployId).map_err(|_| "a deploy is a number, as `mill history` lists them".to_owned())
}
