//! `mill completions`, and what the scripts that it prints ask back.
//!
//! # Why
//! A shell's script only knows that `mill` is asked, in [`ASKED_BY`], with the words so far. What can follow comes from
//! the definitions that read the command line, and for names from the cluster ([`names`]): no script lists what changes.

mod names;

use std::ffi::{OsStr, OsString};
use std::io::Write as _;

use clap::{Args, Command, CommandFactory as _};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use super::error::CliError;
use super::exit::Exit;
use super::reach::ReachArgs;
use super::ui::Ui;
use super::{Cli, PROGRAM};
use names::Names;

/// In this variable a script says which shell it is for: then `mill` completes, and does nothing else.
const ASKED_BY: &str = "MILL_COMPLETE";

/// zsh reads the script as the function `_mill` at the first completion of a session, which is to be answered too.
const ZSH_FIRST: &str = "if [[ ${funcstack[1]} == _mill ]]; then _clap_dynamic_completer_mill \"$@\"; fi\n";

/// Print completions for a shell
///
/// They complete commands, options, and the names of what there is: services, allocs, tasks, secrets and the like, for
/// which the cluster is asked.
///
/// bash: `mill completions bash > /etc/bash_completion.d/mill`;
/// zsh: `mill completions zsh > "${fpath[1]}/_mill"`;
/// fish: `mill completions fish > ~/.config/fish/completions/mill.fish`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    shell: Wanted,
}

/// Shells that are tested.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Wanted {
    Bash,
    Zsh,
    Fish,
}

impl Wanted {
    const ALL: [Self; 3] = [Self::Bash, Self::Zsh, Self::Fish];

    const fn shell(self) -> &'static dyn EnvCompleter {
        match self {
            Self::Bash => &Bash,
            Self::Zsh => &Zsh,
            Self::Fish => &Fish,
        }
    }
}

pub(crate) fn run(ui: &mut Ui<'_>, args: &CompletionsArgs) -> Result<(), CliError> {
    args.shell.shell().write_registration(ASKED_BY, PROGRAM, PROGRAM, PROGRAM, &mut *ui.data)?;
    if let Wanted::Zsh = args.shell {
        ui.data.write_all(ZSH_FIRST.as_bytes())?;
    }
    Ok(())
}

/// Answers a shell that asks what can follow; `None`: none asks.
///
/// Whatever goes wrong, nothing is said: it would end up on the line that somebody types.
pub(crate) fn answer(args: impl IntoIterator<Item = OsString>) -> Option<Exit> {
    let asked_by = std::env::var_os(ASKED_BY).filter(|shell| !shell.is_empty())?;
    let known =
        Wanted::ALL.into_iter().find(|wanted| asked_by.to_str().is_some_and(|name| wanted.shell().is(name)));
    // `mill -- mill logs we`
    let words: Vec<OsString> = args.into_iter().skip_while(|word| word != "--").skip(1).collect();
    let (Some(wanted), false) = (known, words.is_empty()) else { return Some(Exit::Usage) };
    let mut command = with_names(Cli::command(), &words);
    command.build();
    let mut text = vec![];
    let here = std::env::current_dir().ok();
    let completed = wanted.shell().write_complete(&mut command, words, here.as_deref(), &mut text);
    match completed.and_then(|()| std::io::stdout().write_all(&text)) {
        Ok(()) => Some(Exit::Ok),
        Err(_) => Some(Exit::Failed),
    }
}

/// The command line's definitions, with what each argument is a name of.
fn with_names(command: Command, words: &[OsString]) -> Command {
    let reach = reach(words);
    attach(command, "", &reach)
}

fn attach(command: Command, path: &str, reach: &ReachArgs) -> Command {
    let command = command.mut_args(|arg| match Names::of(path, arg.get_id().as_str()) {
        Some(names) => {
            let reach = reach.clone();
            let complete = move |current: &OsStr| candidates(names, &reach, current);
            arg.add(ArgValueCompleter::new(complete))
        }
        None => arg,
    });
    command.mut_subcommands(|sub| {
        let path = format!("{path} {}", sub.get_name());
        attach(sub, path.trim_start(), reach)
    })
}

fn candidates(names: Names, reach: &ReachArgs, current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return vec![] };
    let names = names.that_begin(current, reach);
    names
        .into_iter()
        .map(|(name, about)| CompletionCandidate::new(name).help(about.map(Into::into)))
        .collect()
}

/// Whom the words say to ask.
fn reach(words: &[OsString]) -> ReachArgs {
    let said = |option: &str| {
        let mut words = words.iter().filter_map(|word| word.to_str()).take_while(|word| *word != "--");
        let at_once = words.clone().find_map(|word| word.strip_prefix(option)?.strip_prefix('='));
        let then = || words.by_ref().skip_while(|word| *word != option).nth(1);
        at_once.or_else(then).filter(|value| !value.is_empty()).map(str::to_owned)
    };
    ReachArgs {
        json: false,
        context: said("--context"),
        addr: said("--addr"),
        socket: said("--socket").map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(words: &[&str]) -> Vec<String> {
        let words: Vec<OsString> = words.iter().map(Into::into).collect();
        let mut command = with_names(Cli::command(), &words);
        command.build();
        let last = words.len() - 1;
        let found = clap_complete::engine::complete(&mut command, words, last, None).unwrap();
        found.iter().map(|candidate| candidate.get_value().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn commands_options_and_values_are_completed() {
        assert_eq!(complete(&["mill", "depl"]), ["deploy"]);
        assert_eq!(complete(&["mill", "logs", "--foll"]), ["--follow"]);
        assert_eq!(complete(&["mill", "completions", "z"]), ["zsh"]);
        assert_eq!(complete(&["mill", "secret", "ro"]), ["roll"]);
        assert!(!complete(&["mill", ""]).contains(&"man".to_owned()), "it is for whoever builds packages");
    }

    #[test]
    fn nobody_is_asked_but_whom_the_line_says() {
        let words = |words: &[&str]| reach(&words.iter().map(Into::into).collect::<Vec<_>>());
        assert_eq!(words(&["mill", "--context", "far", "logs", ""]).context.as_deref(), Some("far"));
        assert_eq!(
            words(&["mill", "logs", "--socket=/s", "we"]).socket.as_deref(),
            Some(std::path::Path::new("/s"))
        );
        assert_eq!(words(&["mill", "exec", "web", "--", "x", "--addr", "y"]).addr, None);
        assert_eq!(words(&["mill", "logs", "--context"]).context, None);
    }

    #[test]
    fn without_a_cluster_names_are_completed_by_nothing() {
        for words in [
            &["mill", "logs", "--socket", "/nothing/here", "we"][..],
            &["mill", "inspect", "--addr", "nowhere", "x"],
            &["mill", "secret", "get", "--socket", "/nothing/here", ""],
        ] {
            let found = complete(words);
            assert!(found.iter().all(|word| word.starts_with('-')), "{words:?}: {found:?}");
        }
    }

    #[test]
    fn each_script_asks_back_as_its_shell() {
        for wanted in Wanted::ALL {
            let mut screen = crate::cli::canned::Screen::default();
            run(&mut screen.ui(), &CompletionsArgs { shell: wanted }).unwrap();
            let asks = screen.data().contains(&format!("{ASKED_BY}={}", wanted.shell().name()))
                || screen.data().contains(&format!("{ASKED_BY}=\"{}\"", wanted.shell().name()));
            assert!(asks, "{wanted:?}: {}", screen.data());
        }
    }
}
