//! Words of other tools, and of later versions of Mill: what to say when someone types one.

use clap::Command;
use mill_api::names::closest;

use super::CliError;

/// What a first word that is no command deserves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// A command of a later version.
    Later,
    /// What another tool calls it; here it is this.
    Called(&'static str),
    /// No tool's that is known: the commands, if any, that it is nearly one of.
    Slip(Vec<String>),
}

impl Word {
    /// What whoever typed it is told.
    pub(crate) fn answer(&self, typed: &str) -> CliError {
        let unknown = || CliError::usage(format!("there is no `mill {typed}`"));
        match self {
            Self::Later => CliError::usage(format!("`mill {typed}` is not yet in this version"))
                .because("a later version of Mill has it")
                .hint(LIST),
            Self::Called(here) => {
                unknown().because("Mill calls it something else").hint(format!("did you mean `{here}`?"))
            }
            Self::Slip(near) if near.is_empty() => unknown().hint(LIST),
            Self::Slip(near) => unknown().hint(format!("did you mean {}?", near.join(" or "))),
        }
    }
}

const LIST: &str = "`mill --help` lists what there is";

/// Commands that later versions have (product.md §8).
const LATER: [&str; 21] = [
    "join",
    "leave",
    "upgrade",
    "recover",
    "backup",
    "project",
    "port-forward",
    "volume",
    "routes",
    "mesh",
    "dns",
    "node",
    "drain",
    "resume",
    "remove",
    "rebalance",
    "console",
    "up",
    "down",
    "compose",
    "unseal",
];

/// docker's, nomad's and kubectl's words, the longer ones first.
const CALLED: [(&str, &str); 42] = [
    ("job run", "mill deploy -f FILE"),
    ("job plan", "mill plan -f FILE"),
    ("job stop", "mill undeploy PROJECT"),
    ("job status", "mill services"),
    ("job history", "mill history"),
    ("job revert", "mill rollback --to N"),
    ("job scale", "mill scale SERVICE N"),
    ("job", "mill deploy -f FILE"),
    ("alloc logs", "mill logs ALLOC"),
    ("alloc status", "mill inspect ALLOC"),
    ("alloc", "mill allocs"),
    ("stack deploy", "mill deploy -f FILE"),
    ("stack rm", "mill undeploy PROJECT"),
    ("stack ps", "mill allocs"),
    ("stack", "mill services"),
    ("service ls", "mill services"),
    ("service ps", "mill allocs SERVICE"),
    ("service scale", "mill scale SERVICE N"),
    ("service update", "mill deploy --image SERVICE=IMAGE"),
    ("service rollback", "mill rollback"),
    ("service logs", "mill logs SERVICE"),
    ("service", "mill services"),
    ("node ls", "mill nodes"),
    ("node status", "mill nodes"),
    ("rollout undo", "mill rollback"),
    ("rollout restart", "mill restart SERVICE"),
    ("rollout history", "mill history"),
    ("rollout status", "mill deploy --attach N"),
    ("rollout", "mill history"),
    ("get nodes", "mill nodes"),
    ("get pods", "mill allocs"),
    ("get", "mill services"),
    ("apply", "mill deploy -f FILE"),
    ("create", "mill deploy -f FILE"),
    ("diff", "mill plan -f FILE"),
    ("delete", "mill undeploy PROJECT"),
    ("rm", "mill undeploy PROJECT"),
    ("stop", "mill scale SERVICE 0"),
    ("info", "mill status"),
    ("stats", "mill top"),
    ("system prune", "mill clean"),
    ("agent", "mill daemon"),
];

/// What `words`, the command line without its options, deserve.
pub(crate) fn look_up(words: &[String]) -> Option<Word> {
    let first = words.first()?;
    let two = words.get(1).map(|second| format!("{first} {second}"));
    let called =
        |text: &str| CALLED.iter().find(|(word, _)| *word == text).map(|(_, here)| Word::Called(here));
    two.and_then(|two| called(&two))
        .or_else(|| LATER.contains(&first.as_str()).then_some(Word::Later))
        .or_else(|| called(first))
}

/// The commands of `program` that `typed` is a slip of, by their names, be it of another word for them.
pub(crate) fn slip_of(typed: &str, program: &Command) -> Word {
    let names = |command: &Command| -> Vec<String> {
        std::iter::once(command.get_name()).chain(command.get_all_aliases()).map(str::to_owned).collect()
    };
    // Said twice; it is near `kill`, and nobody should be led there.
    if typed == program.get_name() {
        return Word::Slip(vec![]);
    }
    let near = closest(typed, program.get_subcommands().flat_map(names));
    let mut ours: Vec<String> = near
        .iter()
        .filter_map(|word| program.find_subcommand(word))
        .map(|command| format!("`mill {}`", command.get_name()))
        .collect();
    ours.dedup();
    Word::Slip(ours)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn words_of_other_tools_lead_to_ours() {
        for (typed, word) in [
            ("apply", Some(Word::Called("mill deploy -f FILE"))),
            ("job run", Some(Word::Called("mill deploy -f FILE"))),
            ("rollout undo", Some(Word::Called("mill rollback"))),
            ("node ls", Some(Word::Called("mill nodes"))),
            ("node drain", Some(Word::Later)),
            ("volume create x", Some(Word::Later)),
            ("down", Some(Word::Later)),
            ("frobnicate", None),
            ("", None),
        ] {
            let words: Vec<String> = typed.split_whitespace().map(str::to_owned).collect();
            assert_eq!(look_up(&words), word, "{typed}");
        }
    }

    #[test]
    fn what_is_suggested_exists_and_what_is_later_does_not() {
        let command = <Cli as clap::CommandFactory>::command();
        let ours: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        for (word, here) in CALLED {
            let target = here.split(' ').nth(1).unwrap();
            assert!(ours.contains(&target), "{word} leads to {here}");
            assert!(!ours.contains(&word), "{word} is a command of ours");
        }
        for later in LATER {
            assert!(!ours.contains(&later), "{later} is here already");
            assert!(Cli::try_parse_from(["mill", later]).is_err());
        }
    }
}
