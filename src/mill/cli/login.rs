//! `mill login`, `mill logout`

use std::path::{Path, PathBuf};

use clap::Args;
use mill_api::client::{Address, Api};
use mill_api::token::TokenKind;
use mill_api::tokens::Whoami;
use mill_api::trust::Trust;
use mill_api::{ClientError, Token};
use serde::Serialize;

use super::context;
use super::contexts::{self, Context, Contexts};
use super::error::CliError;
use super::exit::Exit;
use super::hidden::Wanted;
use super::ui::{Terminal, Ui};

/// Remember a cluster and the token for it, and use it from now on
///
/// The token is asked for, and shown to nobody. It carries the fingerprint of the cluster's CA, so that nobody can
/// pretend to be the cluster. It is kept in a file that only its owner can read.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Where the cluster's API is: `https://10.0.0.1:4400`
    url: String,

    /// What to call it; its node's name by default
    #[arg(long, value_name = "CONTEXT")]
    name: Option<String>,

    /// Take the token from this file, or with `-` from stdin [env: MILL_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Answer in JSON
    #[arg(long, help_heading = "Output and connection")]
    pub(crate) json: bool,
}

/// Forget a cluster and the token for it
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// What it is called; the one in use by default
    name: Option<String>,

    /// Answer in JSON
    #[arg(long, help_heading = "Output and connection")]
    pub(crate) json: bool,
}

/// Who is logged in, and where.
#[derive(Debug, Serialize)]
struct LoggedIn {
    context: String,
    url: String,
    #[serde(flatten)]
    who: Whoami,
}

pub(crate) async fn login(ui: &mut Ui<'_>, args: &LoginArgs) -> Result<(), CliError> {
    let address: Address = args.url.parse().map_err(|wrong: mill_api::client::AddressError| {
        CliError::usage("the address can't be used").source(&wrong).hint("`mill login https://10.0.0.1:4400`")
    })?;
    // Found out first: a token that can't be kept is better not typed.
    let path = contexts::path(&|name| std::env::var(name).ok())?;
    let mut contexts = Contexts::load(&path)?;
    let url = address.to_string();
    if let Some(name) = &args.name {
        context::check_name(name)?;
        if contexts.contexts.get(name).is_some_and(|other| other.url != url) {
            return Err(CliError::usage(format!("context `{name}` is another cluster's"))
                .because("its address is another one")
                .hint(format!("take another name, or forget that one: `mill logout {name}`")));
        }
    }
    let (option, variable) = ("--token-file", "MILL_TOKEN");
    let wanted = Wanted { what: "token", file: args.token_file.as_deref(), option, variable };
    let mut token = token(&wanted.get(ui)?)?;
    let api = Api::remote(address, token.clone(), &Trust::Pinned(token.ca)).map_err(|error| {
        CliError::new(Exit::Failed, "TLS can't be set up")
            .source(&error)
            .hint("this is a defect of Mill: please report it")
    })?;
    let who = api.whoami().await.map_err(|error| not_let_in(error, &url))?;
    let name = args.name.clone().unwrap_or_else(|| who.node.clone());
    // The cluster's CA may be another by now, and the one that the token carries trusted for a while only.
    token.ca = who.ca.unwrap_or(token.ca);
    let context = contexts.add(&name, Context { url: url.clone(), token });
    contexts.save(&path)?;
    ui.answer(&LoggedIn { context, url, who }, render)
}

/// A token as it was typed.
fn token(text: &str) -> Result<Token, CliError> {
    let token: Token = text.parse().map_err(|wrong: mill_api::token::TokenError| {
        CliError::usage("the token can't be used").source(&wrong).hint("copy it again, all of it")
    })?;
    match token.kind {
        TokenKind::Api => Ok(token),
        TokenKind::Join => Err(CliError::usage("the token can't be used")
            .because("it is one for machines that join the cluster")
            .hint("`mill token create`, as root on a node, makes one for people")),
    }
}

/// Nothing is kept of a login that failed.
fn not_let_in(error: ClientError, url: &str) -> CliError {
    let mut error = CliError::from(error);
    if error.exit == Exit::Refused {
        error.message = format!("not logged in to {url}: {}", error.message);
    }
    error
}

fn render(logged_in: &LoggedIn, _: &Terminal) -> String {
    let LoggedIn { context, url, who } = logged_in;
    let projects: Vec<&str> = who.projects.iter().flatten().map(mill_model::ProjectName::as_str).collect();
    let of = if projects.is_empty() { String::new() } else { format!(" of {}", projects.join(", ")) };
    let end = who.expires_at.map_or_else(String::new, |end| format!(", until {end}"));
    format!("logged in to {url} as `{}`, {}{of}{end}; context `{context}` is in use\n", who.name, who.role)
}

pub(crate) fn logout(ui: &mut Ui<'_>, args: &LogoutArgs) -> Result<(), CliError> {
    let path = contexts::path(&|name| std::env::var(name).ok())?;
    forget(ui, &path, args.name.as_deref())
}

/// Forgets a context, the current one if none is named.
pub(crate) fn forget(ui: &mut Ui<'_>, path: &Path, name: Option<&str>) -> Result<(), CliError> {
    let mut contexts = Contexts::load(path)?;
    let Some(name) = name.map(str::to_owned).or_else(|| contexts.current.clone()) else {
        return Err(CliError::usage("no context is in use")
            .because(format!("{} names none", path.display()))
            .hint("`mill context list` shows those that there are; name one"));
    };
    if contexts.contexts.remove(&name).is_none() {
        return Err(context::no_such(&contexts, &name));
    }
    if contexts.current.as_ref() == Some(&name) {
        contexts.current = None;
    }
    contexts.save(path)?;
    ui.say(&format!(
        "context `{name}` is forgotten; its token still opens, until it is revoked: `mill token revoke`"
    ))
}

#[cfg(test)]
mod tests {
    use mill_api::trust::Fingerprint;

    use super::*;
    use crate::cli::canned::Screen;

    fn context(url: &str) -> Context {
        Context { url: url.into(), token: Token::new(TokenKind::Api, [7; 20], Fingerprint::of(b"ca")) }
    }

    #[test]
    fn only_a_whole_token_for_people_is_taken() {
        let good = context("x").token;
        assert_eq!(token(&good.to_string()).unwrap(), good);
        let join = Token::new(TokenKind::Join, [7; 20], good.ca).to_string();
        for bad in ["", "mill_t_12", "hunter2", &join] {
            let error = token(bad).unwrap_err();
            assert_eq!(error.exit, Exit::Usage);
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn who_logs_out_of_the_cluster_in_use_uses_none() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("contexts.json");
        let mut contexts = Contexts::default();
        contexts.add("a", context("https://a:4400"));
        contexts.add("b", context("https://b:4400"));
        contexts.save(&path).unwrap();
        let mut screen = Screen::default();
        forget(&mut screen.ui(), &path, None).unwrap();
        let left = Contexts::load(&path).unwrap();
        assert_eq!((left.current, left.contexts.len()), (None, 1));
        assert!(screen.talk().contains("`b` is forgotten"));
        assert_eq!(forget(&mut screen.ui(), &path, None).unwrap_err().exit, Exit::Usage);
        let error = forget(&mut screen.ui(), &path, Some("c")).unwrap_err();
        assert!(error.hint.unwrap().contains("there are: a"));
        forget(&mut screen.ui(), &path, Some("a")).unwrap();
        assert_eq!(Contexts::load(&path).unwrap(), Contexts::default());
    }
}
