//! `mill context`

use std::path::Path;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::contexts::{self, Contexts};
use super::error::CliError;
use super::login;
use super::ui::{Align, Colour, Table, Terminal, Ui};

/// Choose among the clusters that were logged in to
#[derive(Debug, Args)]
pub(crate) struct ContextArgs {
    #[command(subcommand)]
    command: Option<ContextCommand>,

    /// Answer in JSON
    #[arg(long, global = true, help_heading = "Output and connection")]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
enum ContextCommand {
    /// List the clusters that were logged in to
    #[command(alias = "ls")]
    List,
    /// Use this one from now on
    #[command(alias = "switch")]
    Use {
        /// What it is called
        name: String,
    },
    /// Show where one leads and whom it trusts
    Show {
        /// What it is called; the one in use by default
        name: Option<String>,
    },
    /// Forget one, and the token for it
    #[command(alias = "rm", alias = "delete")]
    Remove {
        /// What it is called
        name: String,
    },
}

/// A context, without its token.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    url: String,
    /// SHA-256 of the CA's certificate.
    ca: String,
    in_use: bool,
}

pub(crate) fn run(ui: &mut Ui<'_>, args: &ContextArgs) -> Result<(), CliError> {
    on(ui, &contexts::path(&|name| std::env::var(name).ok())?, args)
}

fn on(ui: &mut Ui<'_>, path: &Path, args: &ContextArgs) -> Result<(), CliError> {
    let mut contexts = Contexts::load(path)?;
    match &args.command {
        None | Some(ContextCommand::List) => ui.answer(&all(&contexts), |all, terminal| list(all, terminal)),
        Some(ContextCommand::Use { name }) => {
            if !contexts.contexts.contains_key(name) {
                return Err(no_such(&contexts, name));
            }
            contexts.current = Some(name.clone());
            contexts.save(path)?;
            ui.say(&format!("context `{name}` is in use"))
        }
        Some(ContextCommand::Show { name }) => {
            let Some(name) = name.as_ref().or(contexts.current.as_ref()) else {
                return Err(CliError::usage("no context is in use")
                    .because(format!("{} names none", path.display()))
                    .hint("`mill context use NAME` chooses one, `mill login URL` makes one"));
            };
            let shown = all(&contexts).into_iter().find(|shown| shown.name == *name);
            ui.answer(&shown.ok_or_else(|| no_such(&contexts, name))?, show)
        }
        Some(ContextCommand::Remove { name }) => login::forget(ui, path, Some(name)),
    }
}

fn all(contexts: &Contexts) -> Vec<Shown> {
    let shown = contexts.contexts.iter().map(|(name, context)| Shown {
        name: name.clone(),
        url: context.url.clone(),
        ca: context.token.ca.to_string(),
        in_use: contexts.current.as_ref() == Some(name),
    });
    shown.collect()
}

fn list(all: &[Shown], terminal: &Terminal) -> String {
    let mut table = Table::new([("NAME", Align::Left), ("URL", Align::Left), ("IN USE", Align::Left)]);
    for shown in all {
        let row = table.row().cell(&shown.name).cell(&shown.url);
        row.painted(Colour::Green, if shown.in_use { "yes" } else { "" });
    }
    table.render(terminal)
}

fn show(shown: &Shown, _: &Terminal) -> String {
    let Shown { name, url, ca, in_use } = shown;
    let in_use = if *in_use { ", in use" } else { "" };
    format!("Name: {name}{in_use}\nURL:  {url}\nCA:   sha256 {ca}\n")
}

/// There is no such context.
pub(crate) fn no_such(contexts: &Contexts, name: &str) -> CliError {
    let known: Vec<&str> = contexts.contexts.keys().map(String::as_str).collect();
    let hint = match known.as_slice() {
        [] => "there is none yet: `mill login URL` makes one".to_owned(),
        _ => format!("there are: {}", known.join(", ")),
    };
    CliError::usage(format!("there is no context `{name}`"))
        .because("nobody logged in under that name")
        .hint(hint)
}

/// A name that can be typed again.
pub(crate) fn check_name(name: &str) -> Result<(), CliError> {
    let sign = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    match !name.is_empty() && name.len() <= 100 && name.chars().all(sign) && !name.starts_with('-') {
        true => Ok(()),
        false => Err(CliError::usage("a context can't be called so")
            .because("a name has letters, digits, `-`, `_`, `.` and `@`, and begins with no `-`")
            .hint("`mill login URL --name prod`")),
    }
}

#[cfg(test)]
mod tests {
    use mill_api::Token;
    use mill_api::token::TokenKind;
    use mill_api::trust::Fingerprint;

    use super::*;
    use crate::cli::canned::Screen;
    use crate::cli::contexts::Context;

    fn args(command: Option<ContextCommand>) -> ContextArgs {
        ContextArgs { command, json: false }
    }

    #[test]
    fn contexts_are_listed_chosen_and_shown_without_their_tokens() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("contexts.json");
        let mut contexts = Contexts::default();
        for (name, secret) in [("prod", 0xaa), ("test", 0xbb)] {
            let token = Token::new(TokenKind::Api, [secret; 20], Fingerprint::of(b"ca"));
            contexts.add(name, Context { url: format!("https://{name}:4400"), token });
        }
        contexts.save(&path).unwrap();
        let mut screen = Screen::default();
        on(&mut screen.ui(), &path, &args(Some(ContextCommand::Use { name: "prod".into() }))).unwrap();
        on(&mut screen.ui(), &path, &args(None)).unwrap();
        on(&mut screen.ui(), &path, &args(Some(ContextCommand::Show { name: None }))).unwrap();
        let shown = screen.data();
        assert!(shown.contains("prod  https://prod:4400  yes"), "{shown}");
        assert!(shown.contains("Name: prod, in use"), "{shown}");
        assert!(!shown.contains("aaaaaaaa") && !shown.contains("mill_t_"), "{shown}");
        for command in [
            ContextCommand::Use { name: "dev".into() },
            ContextCommand::Show { name: Some("dev".into()) },
            ContextCommand::Remove { name: "dev".into() },
        ] {
            let error = on(&mut screen.ui(), &path, &args(Some(command))).unwrap_err();
            assert_eq!(error.hint.as_deref(), Some("there are: prod, test"));
        }
        on(&mut screen.ui(), &path, &args(Some(ContextCommand::Remove { name: "prod".into() }))).unwrap();
        let error =
            on(&mut screen.ui(), &path, &args(Some(ContextCommand::Show { name: None }))).unwrap_err();
        assert!(error.hint.unwrap().contains("mill context use"));
    }

    #[test]
    fn a_name_can_be_typed_again() {
        for good in ["prod", "node-1", "ann@prod.eu"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-x", "a b", "a\u{7}", "é"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
