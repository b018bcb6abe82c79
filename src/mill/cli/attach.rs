//! Following a task to its end: what it writes is passed on, its exit code becomes this command's.
//!
//! Its output comes by way of its log, line by line. So it isn't lost when the daemon starts again, and whoever comes
//! later reads the same; a line is passed on when it is whole.

use std::time::Duration;

use mill_api::Api;
use mill_api::client::{ClientError, Heard};
use mill_api::logs::{LogLine, LogQuery, LogStream};
use mill_api::tasks::{Task, TaskState};
use mill_model::{AllocId, Tempo};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::error::CliError;
use super::exit::Exit;
use super::ui::Ui;

/// How often a task is looked at that hasn't begun yet.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often at most a line says how far its image is, or what it waits for.
const SAY_EVERY: Duration = Duration::from_secs(3);

/// What Mill's own failures end with where a program's exit code is expected: docker's.
const NOT_RUN: u8 = 125;

/// An error of Mill's own, told apart from the program's.
pub(crate) fn of_mill(error: CliError) -> CliError {
    match error.exit {
        Exit::Failed | Exit::Usage | Exit::Unreachable | Exit::Refused => {
            CliError { exit: Exit::Program(NOT_RUN), ..error }
        }
        Exit::Ok | Exit::Interrupted | Exit::Program(_) => error,
    }
}

/// Follows a task to its end. The first Ctrl-C kills it, the second leaves it to itself.
pub(crate) async fn to_the_end(ui: &mut Ui<'_>, api: &Api, task: Task) -> Result<(), CliError> {
    let mut following = Following { api, id: task.id.clone(), told: Told::hook()?, killed: false };
    let begun = following.begins(ui, task).await?;
    if begun.node.is_some() {
        following.output(ui).await?;
    }
    let ended = following.ends(ui).await?;
    if ui.json {
        ui.line(&ended, |_, _| String::new())?;
    }
    outcome(&ended)
}

/// How the command ends.
fn outcome(task: &Task) -> Result<(), CliError> {
    let code = task.exit_code.unwrap_or(NOT_RUN);
    let id = &task.id;
    match (task.state, code) {
        (TaskState::Succeeded, 0) => Ok(()),
        // It said itself what is wrong.
        (TaskState::Failed, code) if code < NOT_RUN => Err(CliError::new(Exit::Program(code), "")),
        (state, code) => {
            let error = CliError::new(Exit::Program(code), format!("{id} {}", state.as_str()));
            let error = task.reason.iter().fold(error, |error, reason| error.because(reason.clone()));
            Err(error.hint(format!("`mill logs {id}` has what it wrote, `mill inspect {id}` all else")))
        }
    }
}

/// What this process is told.
struct Told {
    interrupt: Signal,
    terminate: Signal,
}

impl Told {
    fn hook() -> Result<Self, CliError> {
        let hook = |kind| {
            signal(kind)
                .map_err(|error| CliError::new(Exit::Failed, "signals can't be received").source(&error))
        };
        Ok(Self { interrupt: hook(SignalKind::interrupt())?, terminate: hook(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

struct Following<'a> {
    api: &'a Api,
    id: AllocId,
    told: Told,
    killed: bool,
}

impl Following<'_> {
    /// Until its program runs, or never will.
    async fn begins(&mut self, ui: &mut Ui<'_>, mut task: Task) -> Result<Task, CliError> {
        let begin = Instant::now();
        let mut said = (begin, String::new());
        loop {
            let waits = task.state == TaskState::Waiting;
            if !waits {
                return Ok(task);
            }
            let about = match (&task.pulling, &task.reason) {
                (Some(pulling), _) => format!("{}: pulling {pulling}", self.id),
                (None, Some(reason)) => format!("{} waits: {reason}", self.id),
                (None, None) => String::new(),
            };
            if !about.is_empty() && about != said.1 && (said.1.is_empty() || said.0.elapsed() >= SAY_EVERY) {
                ui.say(&about)?;
                said = (Instant::now(), about);
            }
            task = self.look(ui, LOOK_EVERY).await?;
        }
    }

    /// Passes on what it writes, until it has ended and all of it was passed on.
    async fn output(&mut self, ui: &mut Ui<'_>) -> Result<(), CliError> {
        let query = LogQuery { name: self.id.to_string(), follow: true, ..LogQuery::default() };
        let mut stream = self.api.logs(&query).await?;
        loop {
            let heard = tokio::select! {
                heard = stream.next() => Some(heard?),
                () = self.told.next() => None,
            };
            match heard {
                None => self.interrupted(ui).await?,
                Some(Heard::Item(line)) => write(ui, &line)?,
                Some(Heard::Lost { .. }) => ui.say("connection lost; trying to get it back")?,
                Some(Heard::Reset(reset)) => ui.say(&reset.message)?,
                Some(Heard::End) => return Ok(()),
            }
        }
    }

    async fn ends(&mut self, ui: &mut Ui<'_>) -> Result<Task, CliError> {
        loop {
            let task = self.look(ui, Duration::ZERO).await?;
            if task.state.is_over() {
                return Ok(task);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// How it is after a pause. A daemon that starts again is waited for.
    async fn look(&mut self, ui: &mut Ui<'_>, pause: Duration) -> Result<Task, CliError> {
        let until = Instant::now() + Tempo::default().api_reconnect_for;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.told.next() => self.interrupted(ui).await?,
        }
        loop {
            match self.api.task(self.id.as_str()).await {
                Ok(task) => return Ok(task),
                Err(error) if error.is_unreachable() && Instant::now() < until => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Err(error) => return Err(self.lost(error)),
            }
        }
    }

    fn lost(&self, error: ClientError) -> CliError {
        let id = &self.id;
        CliError {
            hint: Some(format!("it goes on without you: `mill logs -f {id}`, `mill kill {id}`")),
            ..error.into()
        }
    }

    /// Kills it at the first time; at the second leaves.
    async fn interrupted(&mut self, ui: &mut Ui<'_>) -> Result<(), CliError> {
        let id = self.id.clone();
        if self.killed {
            return Err(CliError::new(Exit::Interrupted, format!("{id} is left to itself"))
                .because("it was told to stop, and hasn't ended yet")
                .hint(format!("`mill ps` shows it, `mill logs -f {id}` what it writes")));
        }
        self.killed = true;
        ui.say(&format!("stopping {id}; Ctrl-C again leaves it to itself"))?;
        match self.api.kill(id.as_str()).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.lost(error)),
        }
    }
}

fn write(ui: &mut Ui<'_>, line: &LogLine) -> Result<(), CliError> {
    if ui.json {
        return ui.line(line, |_, _| String::new());
    }
    match line.stream {
        LogStream::Stdout => {
            writeln!(ui.data, "{}", line.text)?;
            ui.data.flush()?;
        }
        LogStream::Stderr => writeln!(ui.talk, "{}", line.text)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::canned;

    #[test]
    fn the_command_ends_as_its_program_did_and_says_what_that_did_not_say() {
        for (state, code, exit, silent) in [
            (TaskState::Failed, 3, 3, true),
            (TaskState::Failed, 137, 137, false),
            (TaskState::TimedOut, 124, 124, false),
            (TaskState::Killed, 143, 143, false),
            (TaskState::Failed, 125, 125, false),
        ] {
            let task = Task { state, exit_code: Some(code), ..canned::tasks().remove(0) };
            let error = outcome(&task).unwrap_err();
            assert_eq!((error.exit.code(), error.is_silent()), (exit, silent), "{state:?}");
        }
        let done = Task { state: TaskState::Succeeded, exit_code: Some(0), ..canned::tasks().remove(0) };
        assert!(outcome(&done).is_ok());
    }

    #[test]
    fn mills_own_failures_are_told_apart_from_the_programs() {
        for (exit, code) in
            [(Exit::Refused, 125), (Exit::Usage, 125), (Exit::Program(1), 1), (Exit::Interrupted, 130)]
        {
            assert_eq!(of_mill(CliError::new(exit, "no")).exit.code(), code);
        }
    }
}
