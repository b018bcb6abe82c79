//! `mill logs`

use std::time::Duration;

use clap::Args;
use mill_api::Api;
use mill_api::client::Heard;
use mill_api::logs::{LogLine, LogQuery, LogStream};

use super::error::CliError;
use super::follow::interrupted;
use super::reach::ReachArgs;
use super::ui::{Colour, Terminal, Ui, reader_gone};

/// Show what programs wrote
///
/// All replicas of a service on all nodes, in the order of time; also of a run that has crashed, and while the daemon
/// was down.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// A service, a task (`web`, `shop/web`) or an alloc (`web-7k2f`)
    name: String,

    /// Go on with new lines as they come
    #[arg(short, long)]
    follow: bool,

    /// At most so many last lines of each replica
    #[arg(short = 'n', long, value_name = "N", alias = "tail")]
    lines: Option<u64>,

    /// Only of this last stretch of time, such as 10m or 2h
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    since: Option<Duration>,

    /// Of the run before the current one
    #[arg(short, long, conflicts_with = "all")]
    previous: bool,

    /// Of every run that is kept, of ended replicas too
    #[arg(short, long)]
    all: bool,

    /// Only what was written there
    #[arg(long, value_name = "WHERE")]
    stream: Option<Wanted>,

    /// With the time of each line
    #[arg(short, long)]
    timestamps: bool,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Wanted {
    Stdout,
    Stderr,
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &LogsArgs) -> Result<(), CliError> {
    let query = LogQuery {
        name: args.name.clone(),
        follow: args.follow,
        n: args.lines,
        since: args.since,
        previous: args.previous,
        all: args.all,
        stream: args.stream.map(|wanted| match wanted {
            Wanted::Stdout => LogStream::Stdout,
            Wanted::Stderr => LogStream::Stderr,
        }),
    };
    let mut stream = api.logs(&query).await?;
    let mut interrupted = std::pin::pin!(interrupted());
    let mut gone = std::pin::pin!(reader_gone());
    let mut shown = Shown { timestamps: args.timestamps, only: args.name.clone(), width: 0 };
    let mut is_empty = true;
    loop {
        let heard = tokio::select! {
            heard = stream.next() => heard?,
            () = &mut interrupted => return Ok(()),
            () = &mut gone, if args.follow => return Ok(()),
        };
        match heard {
            Heard::Item(line) => {
                is_empty = false;
                ui.line(&line, |line, terminal| shown.render(line, terminal))?;
            }
            Heard::Lost { .. } => ui.say("connection lost; trying to get it back")?,
            Heard::Reset(reset) => ui.say(&reset.message)?,
            // Silence could be taken for a command that didn't look.
            Heard::End if is_empty => return ui.say(&nothing(args)),
            Heard::End => return Ok(()),
        }
    }
}

/// What there is to say when there is no line.
fn nothing(args: &LogsArgs) -> String {
    let name = &args.name;
    let Some(since) = args.since else {
        return match args.previous {
            true => format!("no earlier run of {name} is kept, or it wrote nothing"),
            false => format!("no lines of {name}; `--all` looks at ended replicas too"),
        };
    };
    format!("no lines of {name} in the last {}", humantime::format_duration(since))
}

/// How lines are shown.
struct Shown {
    timestamps: bool,
    /// The name that was asked for. An alloc's own lines needn't say whose they are.
    only: String,
    /// The longest alloc's name so far, so that lines begin at one column.
    width: usize,
}

/// Colours that tell allocs apart. None of them means anything.
const PALETTE: [u8; 8] = [36, 33, 32, 35, 34, 96, 93, 95];

impl Shown {
    /// What the program wrote is passed on as it is, colours and all: they are its own.
    fn render(&mut self, line: &LogLine, terminal: &Terminal) -> String {
        let mut text = String::new();
        if self.timestamps {
            text.push_str(&terminal.paint(Colour::Grey, &line.at.to_string()));
            text.push(' ');
        }
        let alloc = line.alloc.as_str();
        if alloc != self.only {
            self.width = self.width.max(alloc.len());
            let width = self.width;
            let head = format!("{alloc:<width$} |");
            match terminal.colour {
                true => text.push_str(&format!("\x1b[{}m{head}\x1b[0m ", colour_of(alloc))),
                false => text.push_str(&format!("{head} ")),
            }
        }
        text + &line.text
    }
}

/// The same colour for the same alloc, in every call.
fn colour_of(alloc: &str) -> u8 {
    let sum = alloc.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    PALETTE.get(sum % PALETTE.len()).copied().unwrap_or(36)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{canned, golden};

    fn render(only: &str, timestamps: bool, terminal: &Terminal) -> String {
        let mut shown = Shown { timestamps, only: only.into(), width: 0 };
        canned::log_lines().iter().map(|line| shown.render(line, terminal) + "\n").collect()
    }

    #[test]
    fn lines_say_whose_they_are_unless_only_one_was_asked_for() {
        golden::check("logs", &render("web", true, &canned::terminal()));
        let coloured = Terminal { colour: true, ..canned::terminal() };
        golden::check("logs_coloured", &render("web", false, &coloured));
        let own = render("web-7k2f", false, &canned::terminal());
        assert!(own.starts_with("listening on 3000\n"), "{own}");
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        use clap::Parser as _;
        for (line, says) in [
            ("web", "no lines of web; `--all` looks"),
            ("web --previous", "no earlier run of web is kept"),
            ("web --since 10m -p", "no lines of web in the last 10m"),
        ] {
            let words = ["mill", "logs"].into_iter().chain(line.split(' '));
            let crate::cli::Command::Logs(args) = crate::cli::Cli::try_parse_from(words).unwrap().command
            else {
                panic!("{line}")
            };
            assert!(nothing(&args).starts_with(says), "{line}: {}", nothing(&args));
        }
    }

    #[test]
    fn an_alloc_keeps_its_colour() {
        assert_eq!(colour_of("web-7k2f"), colour_of("web-7k2f"));
        let colours: std::collections::BTreeSet<u8> =
            ["web-7k2f", "web-7m3a", "db-2b2b", "web-22zz", "web-qqqq"].map(colour_of).into();
        assert!(colours.len() > 2, "{colours:?}");
    }
}
