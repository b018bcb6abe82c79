//! `mill secret`

mod value;
mod which;

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use mill_api::Api;
use mill_api::secrets::{Secret, SecretHistory, SecretSet, SecretUse};

use super::error::CliError;
use super::exit::Exit;
use super::follow;
use super::reach::ReachArgs;
use super::ui::{Align, Colour, Table, Terminal, Ui, age};
use which::WhichArgs;

/// Set, list, roll and delete secrets
///
/// A config names one as `${secret(db.password)}` in `env`, or as a file: `secret "tls.key" path="/run/tls.key"`. Each
/// service runs with the version that its deploy found; setting another one touches nothing that runs until the next
/// deploy, or `--roll`. A project's own secret goes before a shared one of the same name.
#[derive(Debug, Args)]
pub(crate) struct SecretArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    #[command(alias = "create", alias = "put", alias = "add")]
    Set(SetArgs),
    #[command(alias = "show", alias = "view")]
    Get(GetArgs),
    #[command(alias = "ls")]
    List(ListArgs),
    #[command(alias = "versions")]
    History(OneArgs),
    #[command(alias = "rotate")]
    Roll(RollArgs),
    #[command(alias = "rm", alias = "remove")]
    Delete(DeleteArgs),
}

/// Set a secret: its first version, or a new one
///
/// The value is asked for on a terminal. Says which services use it; none of them is touched without `--roll`.
#[derive(Debug, Args)]
struct SetArgs {
    #[command(flatten)]
    which: WhichArgs,

    /// The value; `-` reads it from stdin, as it comes. Written here, others on this machine can read it
    #[arg(value_name = "VALUE")]
    value: Option<String>,

    /// Read the value from a file, as it is
    #[arg(short, long, value_name = "FILE", conflicts_with = "value")]
    file: Option<PathBuf>,

    /// Bring it to what uses it, as a deploy does: the new replica healthy before the old one stops
    #[arg(long)]
    roll: bool,

    /// With `--roll`: return at once; `mill deploy --attach N` follows it
    #[arg(short, long, requires = "roll")]
    detach: bool,

    #[command(flatten)]
    reach: ReachArgs,
}

/// Print a secret's value, and nothing else
#[derive(Debug, Args)]
struct GetArgs {
    #[command(flatten)]
    which: WhichArgs,

    /// This version of `mill secret history`; by default the newest
    #[arg(long = "version", value_name = "N")]
    number: Option<u32>,

    #[command(flatten)]
    reach: ReachArgs,
}

/// List the secrets with who uses them; no values
#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    reach: ReachArgs,
}

/// List the versions of a secret that are kept, newest first; no values
#[derive(Debug, Args)]
struct OneArgs {
    #[command(flatten)]
    which: WhichArgs,

    #[command(flatten)]
    reach: ReachArgs,
}

/// Bring the newest version of a secret to everything that uses it
///
/// A deploy for each project: the new replica healthy before the old one stops, and all as before if that fails. Tasks
/// get it with their next run.
#[derive(Debug, Args)]
struct RollArgs {
    #[command(flatten)]
    which: WhichArgs,

    /// Return at once; `mill deploy --attach N` follows it
    #[arg(short, long)]
    detach: bool,

    #[command(flatten)]
    reach: ReachArgs,
}

/// Delete a secret that nothing uses
///
/// Take it out of the config and deploy first; a version that only the history names is deleted with it, and can't be
/// rolled back to then.
#[derive(Debug, Args)]
struct DeleteArgs {
    #[command(flatten)]
    which: WhichArgs,

    /// Don't ask
    #[arg(short, long)]
    yes: bool,

    #[command(flatten)]
    reach: ReachArgs,
}

impl SecretArgs {
    /// Whom it asks.
    pub(crate) const fn reach(&self) -> &ReachArgs {
        match &self.what {
            What::Set(args) => &args.reach,
            What::Get(args) => &args.reach,
            What::List(args) => &args.reach,
            What::History(args) => &args.reach,
            What::Roll(args) => &args.reach,
            What::Delete(args) => &args.reach,
        }
    }
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &SecretArgs) -> Result<(), CliError> {
    // Values pass through this process: a crash must not write them to a disk.
    mill_drivers::host::forbid_core_dumps();
    match &args.what {
        What::Set(args) => set(ui, api, args).await,
        What::Get(args) => get(ui, api, args).await,
        What::List(_) => list(ui, api).await,
        What::History(args) => {
            let secret = args.which.known(&api.secrets().await?)?;
            let history = api.secret_history(&secret).await?;
            ui.answer(&history, render_history)
        }
        What::Roll(args) => {
            let secret = args.which.known(&api.secrets().await?)?;
            roll(ui, api, &secret, args.detach).await
        }
        What::Delete(args) => delete(ui, api, args).await,
    }
}

async fn set(ui: &mut Ui<'_>, api: &Api, args: &SetArgs) -> Result<(), CliError> {
    let secret = args.which.to_set(&api.secrets().await?)?;
    let value = match (&args.value, &args.file) {
        (Some(text), _) if text == "-" => value::from_stdin()?,
        (Some(text), _) => {
            ui.say("warning: a value on the command line can be read by others on this machine; `-`, `--file` or no value at all (it is asked for) keep it")?;
            value::of_text(text)?
        }
        (None, Some(file)) => value::from_file(file)?,
        (None, None) => value::asked_for(ui, &secret)?,
    };
    let done = api.set_secret(&secret, value).await?;
    for warning in &done.warnings {
        let hint = warning.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        ui.say(&format!("warning: {}{hint}", warning.message))?;
    }
    match (args.roll, ui.json) {
        // What follows is a stream of lines.
        (true, true) => ui.line(&done, |_, _| String::new())?,
        _ => ui.answer(&done, |done, _| render_set(done, args.roll))?,
    }
    match args.roll {
        true => roll(ui, api, &secret, args.detach).await,
        false => Ok(()),
    }
}

async fn get(ui: &mut Ui<'_>, api: &Api, args: &GetArgs) -> Result<(), CliError> {
    let secret = args.which.known(&api.secrets().await?)?;
    let value = api.secret_value(&secret, args.number).await?;
    if ui.json {
        return ui.answer(&value, |_, _| String::new());
    }
    ui.data.write_all(value.bytes().expose())?;
    // A prompt behind it would hide whether there is one in the value.
    if ui.data_terminal.width.is_some() && !value.bytes().expose().ends_with(b"\n") {
        writeln!(ui.data)?;
    }
    ui.data.flush()?;
    Ok(())
}

async fn list(ui: &mut Ui<'_>, api: &Api) -> Result<(), CliError> {
    let secrets = api.secrets().await?;
    if secrets.is_empty() {
        ui.say("no secrets; `mill secret set NAME` sets one")?;
    }
    ui.answer(&secrets, |secrets, terminal| render(secrets, terminal))
}

async fn delete(ui: &mut Ui<'_>, api: &Api, args: &DeleteArgs) -> Result<(), CliError> {
    let secret = args.which.known(&api.secrets().await?)?;
    ui.confirm(&format!("Delete the secret {secret} in all its versions?"), args.yes)?;
    let deleted = api.delete_secret(&secret).await?;
    ui.answer(&deleted, |deleted, _| format!("deleted {}\n", deleted.secret))
}

async fn roll(
    ui: &mut Ui<'_>,
    api: &Api,
    secret: &mill_model::SecretId,
    detach: bool,
) -> Result<(), CliError> {
    let rolled = api.roll_secret(secret).await?;
    if rolled.deploys.is_empty() && rolled.refused.is_empty() {
        ui.say(&format!("everything that uses {secret} runs with its newest version"))?;
    }
    let mut result = Ok(());
    for deploy in &rolled.deploys {
        // The others go on, whatever became of one.
        result = result.and(follow::begun(ui, api, deploy, detach).await);
    }
    for refused in rolled.refused {
        let mut error = CliError::new(Exit::Refused, format!("{secret} is set, and not everywhere in use"));
        error = error.because(refused.message);
        if let Some(hint) = refused.hint {
            error = error.because(hint);
        }
        result = result.and(Err(error.hint(format!("then `mill secret roll {secret}`"))));
    }
    result
}

fn users(used_by: &[SecretUse]) -> String {
    let user = |user: &SecretUse| match user.version {
        Some(version) => format!("{} (v{version})", user.workload),
        None => format!("{} (not yet)", user.workload),
    };
    used_by.iter().map(user).collect::<Vec<_>>().join(", ")
}

fn render_set(done: &SecretSet, roll: bool) -> String {
    let Secret { secret, version, used_by, .. } = &done.secret;
    let mut text = format!("{secret} has version {version}\n");
    let _ = match used_by.is_empty() {
        true => writeln!(text, "nothing uses it"),
        false => writeln!(text, "used by {}", users(used_by)),
    };
    if !roll && used_by.iter().any(|user| user.version != Some(*version)) {
        let _ = writeln!(
            text,
            "what runs is as before: the next deploy brings it, or `mill secret roll {secret}`"
        );
    }
    text
}

fn render(secrets: &[Secret], terminal: &Terminal) -> String {
    if secrets.is_empty() {
        return String::new();
    }
    let mut table = Table::new([
        ("SECRET", Align::Left),
        ("SCOPE", Align::Left),
        ("VERSION", Align::Right),
        ("SET", Align::Left),
        ("BY", Align::Left),
        ("USED BY", Align::Left),
    ])
    .spare(&["BY", "SCOPE"]);
    for secret in secrets {
        let behind = secret.used_by.iter().any(|user| user.version != Some(secret.version));
        table
            .row()
            .cell(secret.secret.to_string())
            .cell(secret.secret.scope.to_string())
            .cell(format!("v{}", secret.version))
            .cell(age(secret.set_at, terminal.now))
            .cell(secret.by.clone().unwrap_or_default())
            .painted(if behind { Colour::Yellow } else { Colour::Green }, users(&secret.used_by));
    }
    table.render(terminal)
}

fn render_history(history: &SecretHistory, terminal: &Terminal) -> String {
    let mut table = Table::new([
        ("VERSION", Align::Right),
        ("SET", Align::Left),
        ("BY", Align::Left),
        ("USED BY", Align::Left),
        ("DEPLOYS", Align::Left),
    ])
    .spare(&["BY"]);
    for version in &history.versions {
        let used_by: Vec<String> = version.used_by.iter().map(ToString::to_string).collect();
        let deploys: Vec<String> = version.deploys.iter().map(|deploy| format!("#{deploy}")).collect();
        table
            .row()
            .cell(format!("v{}", version.version))
            .cell(age(version.set_at, terminal.now))
            .cell(version.by.clone().unwrap_or_default())
            .cell(used_by.join(", "))
            .cell(deploys.join(", "));
    }
    table.render(terminal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{canned, golden};

    #[test]
    fn secrets_are_listed_with_who_uses_them_and_who_is_behind() {
        golden::check("secrets", &render(&canned::secrets(), &canned::terminal()));
        golden::check("secret_history", &render_history(&canned::secret_history(), &canned::terminal()));
    }

    #[test]
    fn setting_one_says_what_it_touches() {
        let done = |secret: Secret| SecretSet { secret, warnings: vec![] };
        let secrets = canned::secrets();
        let said: Vec<String> = secrets.into_iter().map(|secret| render_set(&done(secret), false)).collect();
        golden::check("secret_set", &said.join("--\n"));
    }
}
