//! `mill init`

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use clap::Args;
use mill_api::daemon::{InitRequest, Initialized};
use mill_model::NodeName;

use super::contexts::{self, Context, Contexts};
use super::error::CliError;
use super::exit::Exit;
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

pub(crate) async fn run(ui: &mut Ui<'_>, args: &InitArgs) -> Result<(), CliError> {
    let api = args.reach.api().map_err(no_daemon)?;
    // Found out first: a token that can't be kept is better not made.
    let path = contexts::path(&|name| std::env::var(name).ok())?;
    let mut contexts = Contexts::load(&path)?;
    let request = InitRequest { name: args.name.clone(), advertise: args.advertise };
    let answer = api.init(&request).await.map_err(|error| no_daemon(error.into()))?;
    ui.answer(&answer, render)?;
    remember(&mut contexts, &path, &answer)?;
    let name = contexts.current.unwrap_or_default();
    ui.say(&format!("context `{name}` written to {}", path.display()))
}

/// Other commands may find a cluster elsewhere; this one needs a daemon here.
fn no_daemon(error: CliError) -> CliError {
    match error.exit {
        Exit::Unreachable => CliError {
            message: "there is no daemon here to make a cluster of".to_owned(),
            hint: Some(
                "start it: `systemctl start mill`, or `mill daemon &`; `mill dev` is daemon and cluster in one"
                    .to_owned(),
            ),
            ..error
        },
        _ => error,
    }
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
    fn without_a_daemon_it_says_how_to_start_one_and_other_refusals_are_left_alone() {
        let error =
            no_daemon(CliError::new(Exit::Unreachable, "no cluster").because("no socket").hint("addr"));
        assert!(error.hint.unwrap().contains("`mill daemon &`") && error.because[0].reason == "no socket");
        let error = no_daemon(CliError::new(Exit::Refused, "a cluster already").hint("see"));
        assert_eq!((error.message.as_str(), error.hint.as_deref()), ("a cluster already", Some("see")));
    }

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
