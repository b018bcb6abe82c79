//! `mill init`

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use clap::Args;
use mill_api::Api;
use mill_api::daemon::{InitRequest, Initialized};
use mill_model::NodeName;

use super::contexts::{self, Context, Contexts};
use super::error::CliError;
use super::reach::ReachArgs;
use super::ui::{Terminal, Ui};

/// Make a new cluster of this machine's daemon
///
/// Speaks to the daemon over its root-only socket and returns when the node is ready. The admin token is printed
/// once, and kept in the CLI's contexts on this machine.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// What to call this node; as the daemon was told, else its host name, by default
    #[arg(long)]
    name: Option<NodeName>,

    /// Address at which other machines and published ports are reached
    #[arg(long, value_name = "ADDRESS")]
    advertise: Option<IpAddr>,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &InitArgs) -> Result<(), CliError> {
    // Found out first: a token that can't be kept is better not made.
    let path = contexts::path(&|name| std::env::var(name).ok())?;
    let mut contexts = Contexts::load(&path)?;
    let request = InitRequest { name: args.name.clone(), advertise: args.advertise };
    let answer = api.init(&request).await?;
    ui.answer(&answer, render)?;
    remember(&mut contexts, &path, &answer)?;
    let name = contexts.current.unwrap_or_default();
    ui.say(&format!("context `{name}` written to {}", path.display()))
}

fn remember(contexts: &mut Contexts, path: &Path, answer: &Initialized) -> Result<(), CliError> {
    let context = Context { url: answer.url.clone(), token: answer.admin_token.clone() };
    contexts.add(answer.node.as_str(), context);
    contexts.save(path)?;
    Ok(())
}

fn render(answer: &Initialized, _: &Terminal) -> String {
    let mut text =
        format!("Node:        {} at {}\nAdmin token: {}\n", answer.node, answer.url, answer.admin_token);
    if let Some(join) = &answer.join_token {
        let _ = writeln!(text, "Join token:  {join}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{canned, golden};

    #[test]
    fn a_new_cluster_shows_its_token_and_is_remembered() {
        let answer = canned::initialized();
        golden::check("init", &render(&answer, &Terminal::plain()));
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("contexts.json");
        remember(&mut Contexts::default(), &path, &answer).unwrap();
        let kept = Contexts::load(&path).unwrap();
        assert_eq!(kept.current.as_deref(), Some("node-1"));
        assert_eq!(kept.contexts["node-1"], Context { url: answer.url, token: answer.admin_token });
    }
}
