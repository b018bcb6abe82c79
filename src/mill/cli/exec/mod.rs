//! `mill exec`

mod pump;
mod terminal;

use bytes::Bytes;
use clap::Args;
use mill_api::Api;
use mill_api::client::{ClientError, Exec, ExecHeard};
use mill_api::exec::{ExecAsk, ExecTold, TerminalSize};
use mill_model::limits::{EXEC_CHUNK_BYTES, EXEC_WINDOW_BYTES};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::CliError;
use super::exit::Exit;
use super::reach::ReachArgs;
use pump::{Input, Output, Written};
use terminal::Raw;

/// Run a program in a container
///
/// As the container's user and with its environment, beside its own program. On a terminal the program has one too, and
/// Ctrl-C is the program's to hear; elsewhere its input and both outputs are passed on as they are. Its exit code is
/// this command's; it ends when this command does.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mill exec web-7k2f -- sh\n  mill exec db -- pg_dump -U postgres shop > shop.sql\n  tar c conf | mill exec web -- tar x -C /etc"
)]
pub(crate) struct ExecArgs {
    /// An alloc (`web-7k2f`), or a service that runs one replica (`web`, `shop/web`)
    name: String,

    /// The program, a path or a name to be found in the image's PATH, and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,

    /// With a terminal, though this is none
    #[arg(short, long, conflicts_with = "no_tty")]
    tty: bool,

    /// With pipes, though this is a terminal
    #[arg(short = 'T', long)]
    no_tty: bool,

    /// Pass this command's input on, as it does without being told
    #[arg(short, long, conflicts_with = "no_input")]
    interactive: bool,

    /// Let the program read nothing
    #[arg(short = 'n', long)]
    no_input: bool,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(api: &Api, args: &ExecArgs) -> Result<(), CliError> {
    let terminal = (!args.no_tty && (args.tty || terminal::is_one())).then(terminal::size);
    // Before anything runs: what is told meanwhile isn't lost.
    let signals = Signals::hook()?;
    let mut exec = api.exec(&args.name).await?;
    exec.ask(&ExecAsk::Begin { command: args.command.clone(), terminal }).await?;
    match exec.next().await? {
        ExecHeard::Told(ExecTold::Began { .. }) => {}
        ExecHeard::Told(ExecTold::Failed { error, code }) => return Err(failed(error, code)),
        ExecHeard::Told(_) | ExecHeard::Output(_) | ExecHeard::Errors(_) => return Err(misunderstood()),
    }
    // From here on every way out goes through its end, which puts the terminal back.
    let raw = terminal.and_then(|_| Raw::enter());
    let code = Following::new(exec, args.no_input, terminal.is_some()).follow(signals).await;
    drop(raw);
    match code? {
        0 => Ok(()),
        code => Err(CliError::new(Exit::Program(code), "")),
    }
}

fn failed(error: mill_api::ApiError, code: Option<u8>) -> CliError {
    let error = CliError::from(ClientError::Refused(Box::new(error)));
    match code {
        Some(code) => CliError { exit: Exit::Program(code), ..error },
        None => error,
    }
}

fn misunderstood() -> CliError {
    CliError::new(Exit::Failed, "the answer isn't one to running a program")
        .because("the cluster runs another version of Mill")
        .hint("compare `mill --version` here and there")
}

/// What this process may be told while the program runs.
struct Signals {
    resized: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// What it was told.
enum Told {
    Resized,
    /// For the program to hear.
    PassOn(&'static str),
    /// To end, with this code.
    End(u8),
}

impl Signals {
    fn hook() -> Result<Self, CliError> {
        let hook = |kind| {
            signal(kind)
                .map_err(|error| CliError::new(Exit::Failed, "signals can't be received").source(&error))
        };
        Ok(Self {
            resized: hook(SignalKind::window_change())?,
            interrupt: hook(SignalKind::interrupt())?,
            quit: hook(SignalKind::quit())?,
            terminate: hook(SignalKind::terminate())?,
            hangup: hook(SignalKind::hangup())?,
        })
    }

    /// The next one. A terminal in raw mode makes none of its keys: there Ctrl-C is a byte like others.
    async fn told(&mut self) -> Told {
        tokio::select! {
            _ = self.resized.recv() => Told::Resized,
            _ = self.interrupt.recv() => Told::PassOn("SIGINT"),
            _ = self.quit.recv() => Told::PassOn("SIGQUIT"),
            _ = self.terminate.recv() => Told::End(143),
            _ = self.hangup.recv() => Told::End(129),
        }
    }
}

/// A program, and the streams that are passed on.
struct Following {
    exec: Exec,
    input: Option<Input>,
    output: Output,
    has_terminal: bool,
    /// Input that is on its way.
    on_way: usize,
    /// Output that was written, and the server doesn't know of yet.
    read: usize,
}

impl Following {
    fn new(exec: Exec, no_input: bool, has_terminal: bool) -> Self {
        let input = if no_input { Input::none() } else { Input::begin() };
        Self { exec, input: Some(input), output: Output::begin(), has_terminal, on_way: 0, read: 0 }
    }

    /// Until the program has ended: its exit code. An end that this process is told of is the program's too.
    async fn follow(mut self, mut signals: Signals) -> Result<u8, CliError> {
        loop {
            let has_room = self.on_way + EXEC_CHUNK_BYTES <= EXEC_WINDOW_BYTES;
            tokio::select! {
                heard = self.exec.next() => if let Some(code) = self.hear(heard?)? {
                    self.output.finish().await;
                    return Ok(code);
                },
                chunk = next(&mut self.input), if self.input.is_some() && has_room => self.pass_on(chunk).await?,
                written = self.output.written() => match written {
                    Written::Bytes(count) => self.wrote(count).await?,
                    // As a shell says it of a program that writes to a pipe nobody reads.
                    Written::Nobody => return Ok(141),
                },
                told = signals.told() => match told {
                    Told::Resized if self.has_terminal => self.exec.ask(&ExecAsk::Resize(terminal::size())).await?,
                    Told::Resized => {}
                    Told::PassOn(name) => self.exec.ask(&ExecAsk::Signal { name: name.to_owned() }).await?,
                    Told::End(code) => return Ok(code),
                },
            }
        }
    }

    /// Answers the exit code if that is what was heard.
    fn hear(&mut self, heard: ExecHeard) -> Result<Option<u8>, CliError> {
        match heard {
            ExecHeard::Output(bytes) => self.output.write(bytes, false),
            ExecHeard::Errors(bytes) => self.output.write(bytes, true),
            ExecHeard::Told(ExecTold::Read { bytes }) => self.on_way = self.on_way.saturating_sub(bytes),
            ExecHeard::Told(ExecTold::Ended { code }) => return Ok(Some(code)),
            ExecHeard::Told(ExecTold::Failed { error, code }) => return Err(failed(error, code)),
            ExecHeard::Told(ExecTold::Began { .. }) => {}
        }
        Ok(None)
    }

    /// Sends what was read, or says that there is no more.
    async fn pass_on(&mut self, chunk: Option<Bytes>) -> Result<(), CliError> {
        match chunk {
            Some(chunk) => {
                self.on_way += chunk.len();
                self.exec.input(&chunk).await;
            }
            None => {
                self.input = None;
                self.exec.ask(&ExecAsk::CloseInput).await?;
            }
        }
        Ok(())
    }

    /// Says what was read here, once it matters.
    async fn wrote(&mut self, count: usize) -> Result<(), CliError> {
        self.read += count;
        if self.read >= EXEC_WINDOW_BYTES / 4 {
            let bytes = std::mem::take(&mut self.read);
            self.exec.ask(&ExecAsk::Read { bytes }).await?;
        }
        Ok(())
    }
}

async fn next(input: &mut Option<Input>) -> Option<Bytes> {
    input.as_mut()?.next().await
}

/// Used where there is no terminal to ask.
const USUAL: TerminalSize = TerminalSize { columns: 80, rows: 24 };

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use mill_api::{ApiError, Code};

    use super::*;
    use crate::cli::{Cli, Command};

    fn read(line: &str) -> ExecArgs {
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Exec(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_follows_the_program_is_the_programs_own() {
        for (line, command, tty) in [
            ("mill exec web -- sh -c x", "sh -c x", false),
            ("mill exec web sh -c x", "sh -c x", false),
            ("mill exec -it web sh", "sh", true),
            ("mill exec web ls --json -n", "ls --json -n", false),
            ("mill exec --tty web -- -odd --", "-odd --", true),
        ] {
            let args = read(line);
            assert_eq!(
                (args.command.join(" ").as_str(), args.tty, args.name.as_str()),
                (command, tty, "web")
            );
            assert!(!args.reach.json && !args.no_input, "{line}");
        }
        assert!(Cli::try_parse_from(["mill", "exec", "web"]).is_err());
    }

    #[test]
    fn a_program_that_is_missing_ends_as_in_a_shell_and_says_why() {
        let error =
            failed(ApiError::new(Code::NotFound, "nothing could be run").because("no `nope`"), Some(127));
        assert_eq!((error.exit.code(), error.is_silent()), (127, false));
        let error = failed(ApiError::new(Code::Unavailable, "it stops"), None);
        assert_eq!(error.exit, Exit::Unreachable);
    }
}
