//! `mill registry`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use mill_api::Api;
use mill_api::registries::{RegistryInfo, SetRegistry};
use mill_model::RegistryHost;

use super::error::CliError;
use super::exit::Exit;
use super::hidden::Wanted;
use super::reach::ReachArgs;
use super::ui::{Align, Table, Terminal, Ui, age};

/// Give the cluster credentials for the registries that images come from
#[derive(Debug, Args)]
pub(crate) struct RegistryArgs {
    #[command(subcommand)]
    command: RegistryCommand,
}

#[derive(Debug, Subcommand)]
enum RegistryCommand {
    /// Give credentials for a registry
    ///
    /// They are kept sealed to the cluster's key, and used for every image of that registry by every node. The password is
    /// asked for, and shown to nobody.
    Login(LoginArgs),
    /// Forget the credentials for a registry
    #[command(alias = "rm", alias = "remove", alias = "delete")]
    Logout(LogoutArgs),
    /// List the registries that there are credentials for, without the passwords
    #[command(alias = "ls")]
    List(ListArgs),
}

#[derive(Debug, Args)]
struct LoginArgs {
    /// The registry as images name it: `ghcr.io`, `registry.example.com:5000`, `docker.io`
    host: RegistryHost,

    /// As whom; asked for by default
    #[arg(short, long)]
    user: Option<String>,

    /// Take the password from stdin [env: MILL_REGISTRY_PASSWORD]
    #[arg(long)]
    password_stdin: bool,

    /// Take the password from this file
    #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
    password_file: Option<PathBuf>,

    #[command(flatten)]
    reach: ReachArgs,
}

#[derive(Debug, Args)]
struct LogoutArgs {
    /// The registry
    host: RegistryHost,

    #[command(flatten)]
    reach: ReachArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    reach: ReachArgs,
}

impl RegistryArgs {
    /// Whom it asks.
    pub(crate) const fn reach(&self) -> &ReachArgs {
        match &self.command {
            RegistryCommand::Login(args) => &args.reach,
            RegistryCommand::Logout(args) => &args.reach,
            RegistryCommand::List(args) => &args.reach,
        }
    }
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &RegistryArgs) -> Result<(), CliError> {
    match &args.command {
        RegistryCommand::Login(args) => login(ui, api, args).await,
        RegistryCommand::Logout(args) => {
            api.delete_registry(&args.host).await?;
            match ui.json {
                true => ui.answer(&serde_json::json!({}), |_, _| String::new()),
                false => ui.say(&format!("the cluster has no credentials for {} any more", args.host)),
            }
        }
        RegistryCommand::List(_) => ui.answer(&api.registries().await?, |all, terminal| list(all, terminal)),
    }
}

async fn login(ui: &mut Ui<'_>, api: &Api, args: &LoginArgs) -> Result<(), CliError> {
    let user = match &args.user {
        Some(user) => user.clone(),
        None => ask_user(ui)?,
    };
    let file = if args.password_stdin { Some(Path::new("-")) } else { args.password_file.as_deref() };
    let (option, variable) = ("--password-stdin", "MILL_REGISTRY_PASSWORD");
    let password = Wanted { what: "password", file, option, variable }.get(ui)?;
    let set = api.set_registry(&SetRegistry { host: args.host.clone(), user, password }).await?;
    match ui.json {
        true => ui.answer(&set, |_, _| String::new()),
        false => ui.say(&format!("images of {} are asked for as `{}` from now on", set.host, set.user)),
    }
}

fn ask_user(ui: &mut Ui<'_>) -> Result<String, CliError> {
    let Some(input) = &mut ui.asks else {
        return Err(CliError::usage("there is no user")
            .because("it would be asked for, and nobody can be asked here")
            .hint("`--user NAME` says it"));
    };
    write!(ui.talk, "User: ")?;
    ui.talk.flush()?;
    let mut user = String::new();
    input.read_line(&mut user)?;
    match user.trim() {
        "" => Err(CliError::new(Exit::Usage, "there is no user")
            .because("none was typed")
            .hint("`--user NAME`")),
        user => Ok(user.to_owned()),
    }
}

fn list(all: &[RegistryInfo], terminal: &Terminal) -> String {
    let heads = ["REGISTRY", "USER", "SET", "BY"].map(|head| (head, Align::Left));
    let mut table = Table::new(heads);
    for registry in all {
        let row = table.row().cell(registry.host.as_str()).cell(&registry.user);
        row.cell(age(registry.set_at, terminal.now)).cell(&registry.set_by);
    }
    table.render(terminal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{canned, golden};

    #[test]
    fn registries_are_listed_without_passwords() {
        golden::check("registries", &list(&canned::registries(), &canned::terminal()));
    }
}
