//! `mill token`

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use mill_api::Api;
use mill_api::tokens::{CreateToken, CreatedToken, TokenInfo};
use mill_model::{ProjectName, RoleName, TokenName};

use super::error::CliError;
use super::reach::ReachArgs;
use super::ui::{Align, Colour, Table, Terminal, Ui, age, ahead};

/// Make, list and revoke the tokens that open the API
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token, which is shown this once
    ///
    /// A viewer sees everything but secrets' values and who may do what. A deployer also changes projects, sets and gets
    /// their secrets and runs programs in their containers: all projects, or those that are named, and then sees no
    /// others. An admin may everything.
    ///
    /// As root on a node no token is needed to make one: that is the way back in when the last admin token is lost.
    Create(CreateArgs),
    /// List the tokens, without what proves them
    #[command(alias = "ls")]
    List(ListArgs),
    /// Revoke a token: from then on it is good for nothing
    ///
    /// The last admin token can only be revoked as root on a node.
    #[command(alias = "rm", alias = "remove", alias = "delete")]
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// What it may do: viewer, deployer or admin
    #[arg(long, value_parser = parse_role)]
    role: RoleName,

    /// Hold a deployer to this project; give it again for more
    #[arg(long = "project", value_name = "PROJECT")]
    projects: Vec<ProjectName>,

    /// How long it lives: `30d`, `12h`; until it is revoked by default
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    expires: Option<Duration>,

    /// What to call it in lists and in the audit log; its role and a number by default
    #[arg(long)]
    name: Option<TokenName>,

    #[command(flatten)]
    reach: ReachArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    reach: ReachArgs,
}

#[derive(Debug, Args)]
struct RevokeArgs {
    /// Its name or number, as `mill token list` shows them
    token: String,

    #[command(flatten)]
    reach: ReachArgs,
}

impl TokenArgs {
    /// Whom it asks.
    pub(crate) const fn reach(&self) -> &ReachArgs {
        match &self.command {
            TokenCommand::Create(args) => &args.reach,
            TokenCommand::List(args) => &args.reach,
            TokenCommand::Revoke(args) => &args.reach,
        }
    }
}

fn parse_role(text: &str) -> Result<RoleName, String> {
    let found = RoleName::ALL.into_iter().find(|role| role.as_str() == text);
    found.ok_or_else(|| "a role is viewer, deployer or admin".to_owned())
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &TokenArgs) -> Result<(), CliError> {
    match &args.command {
        TokenCommand::Create(args) => create(ui, api, args).await,
        TokenCommand::List(_) => ui.answer(&api.tokens().await?, |tokens, terminal| list(tokens, terminal)),
        TokenCommand::Revoke(args) => {
            let revoked = api.revoke_token(&args.token).await?;
            match ui.json {
                true => ui.answer(&revoked, |_, _| String::new()),
                false => ui.say(&format!("token `{}` is revoked", revoked.name)),
            }
        }
    }
}

async fn create(ui: &mut Ui<'_>, api: &Api, args: &CreateArgs) -> Result<(), CliError> {
    if args.role != RoleName::Deployer && !args.projects.is_empty() {
        return Err(CliError::usage(format!("a {} can't be held to projects", args.role))
            .because("only deployers are")
            .hint("leave `--project` away, or make it `--role deployer`"));
    }
    let request = CreateToken {
        role: args.role,
        projects: Some(args.projects.iter().cloned().collect()).filter(|_| !args.projects.is_empty()),
        name: args.name.clone(),
        expires_in_ms: args.expires.map(|life| u64::try_from(life.as_millis()).unwrap_or(u64::MAX)),
    };
    let made = api.create_token(&request).await?;
    ui.answer(&made, created)?;
    match ui.json {
        true => Ok(()),
        false => ui.say("it isn't shown again; `mill login URL` takes it"),
    }
}

fn created(made: &CreatedToken, _: &Terminal) -> String {
    let mut text = format!("Token: {}\nName:  {}, {}\n", made.token, made.info.name, may(&made.info));
    if let Some(end) = made.info.expires_at {
        let _ = writeln!(text, "Ends:  {end}");
    }
    text
}

/// What a token may do, in words.
pub(crate) fn may(token: &TokenInfo) -> String {
    match &token.projects {
        None => token.role.to_string(),
        Some(projects) => {
            let projects: Vec<&str> = projects.iter().map(ProjectName::as_str).collect();
            format!("{} of {}", token.role, projects.join(", "))
        }
    }
}

fn list(tokens: &[TokenInfo], terminal: &Terminal) -> String {
    let heads = ["ID", "NAME", "MAY", "MADE", "BY", "ENDS", "USED HERE"].map(|head| (head, Align::Left));
    let mut table = Table::new(heads).spare(&["ID", "BY", "MADE"]);
    for token in tokens {
        let row = table.row().cell(token.id.to_string()).cell(token.name.as_str()).cell(may(token));
        row.cell(age(token.created_at, terminal.now)).cell(&token.created_by);
        match token.expires_at {
            _ if token.expired => row.painted(Colour::Red, "expired"),
            Some(end) => row.cell(ahead(end, terminal.now)),
            None => row.cell("never"),
        };
        match &token.last_used {
            Some(used) => row.cell(format!("{} from {}", age(used.at, terminal.now), used.from)),
            None => row.cell("-"),
        };
    }
    table.render(terminal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{canned, golden};

    #[test]
    fn tokens_are_shown_with_what_they_may_and_when_they_were_used() {
        golden::check("tokens", &list(&canned::tokens(), &canned::terminal()));
        golden::check("token_created", &created(&canned::created_token(), &canned::terminal()));
    }

    #[test]
    fn a_role_is_one_of_three_words() {
        assert_eq!(parse_role("deployer"), Ok(RoleName::Deployer));
        assert!(parse_role("root").unwrap_err().contains("viewer, deployer or admin"));
    }
}
