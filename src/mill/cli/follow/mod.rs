//! Following a deploy to its end.
//!
//! Progress is talk: it goes to stderr, drawn in place where that is a terminal. The outcome is the answer and goes
//! to stdout. With `--json` each event is a line of JSON on stdout, the last one being the outcome.

mod board;
mod draw;
mod outcome;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use mill_api::Api;
use mill_api::client::Heard;
use mill_api::deploys::Deploy;
use mill_api::progress::{Progress, Step};
use mill_model::Timestamp;
use tokio::time::Instant;

use super::error::CliError;
use super::exit::Exit;
use super::ui::{Terminal, Ui};
use board::{Board, Row};
use draw::Live;

/// How often the times of what is under way are drawn: tenths of a second are shown.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// How often at most a line says how far pulls are, where nothing can be drawn: a log of a slow pull stays short.
const PULL_LINE_EVERY: Duration = Duration::from_secs(3);

/// Shows a deploy that was just begun; follows it to its end unless `detach`.
///
/// One that is over already was never begun: nothing would have changed.
pub(crate) async fn begun(ui: &mut Ui<'_>, api: &Api, deploy: &Deploy, detach: bool) -> Result<(), CliError> {
    for warning in &deploy.warnings {
        ui.say(&format!("warning: {}", warning.message))?;
    }
    if deploy.state.is_over() {
        return ui.answer(deploy, |deploy, _| unchanged(deploy));
    }
    if !detach {
        return to_the_end(ui, api, deploy, interrupted()).await;
    }
    ui.answer(deploy, |deploy, _| {
        let (project, id) = (&deploy.project, deploy.id);
        format!("{project} #{id} is under way; `mill deploy --attach {id}` follows it\n")
    })
}

/// `web  unchanged`, and that this was all.
fn unchanged(deploy: &Deploy) -> String {
    let width = deploy.services.iter().map(|service| service.name.as_str().len()).max().unwrap_or_default();
    let lines =
        deploy.services.iter().map(|service| format!("  {:<width$}  unchanged\n", service.name.as_str()));
    format!("{}nothing changed in {}\n", lines.collect::<String>(), deploy.project)
}

/// Ends at Ctrl-C. Where signals can't be had, never.
pub(crate) async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Follows a deploy to its end, or until interrupted.
pub(crate) async fn to_the_end(
    ui: &mut Ui<'_>,
    api: &Api,
    deploy: &Deploy,
    interrupted: impl Future<Output = ()>,
) -> Result<(), CliError> {
    let mut interrupted = pin!(interrupted);
    let mut stream = api.progress(deploy.id).await?;
    let mut view = View::new(ui);
    loop {
        let heard = {
            let mut next = pin!(stream.next());
            loop {
                tokio::select! {
                    heard = &mut next => break heard,
                    () = &mut interrupted => return Err(view.leave(deploy)),
                    () = tokio::time::sleep(DRAW_EVERY), if view.live.is_some() => view.redraw(),
                }
            }
        };
        match heard {
            Ok(Heard::Item(progress)) => view.show(ui, &progress)?,
            Ok(Heard::Lost { .. }) => view.write(ui, "  connection lost; trying to get it back")?,
            Ok(Heard::Reset(reset)) => view.write(ui, &format!("  {}", reset.message))?,
            Ok(Heard::End) => break,
            Err(error) => {
                view.clear();
                let id = deploy.id;
                let mut error = CliError::from(error);
                error.hint = Some(format!(
                    "the deploy goes on without you: `mill deploy --attach {id}` returns to it"
                ));
                return Err(error);
            }
        }
    }
    view.clear();
    let text = outcome::outcome(deploy, &view.board)?;
    if !ui.json {
        writeln!(ui.data, "{text}")?;
    }
    Ok(())
}

/// A board and where it is shown.
struct View {
    board: Board,
    live: Option<Live>,
    terminal: Terminal,
    /// The last event's time, and when it came: the server's clock, as well as it is known.
    heard: Option<(Timestamp, Instant)>,
    announced: Vec<Row>,
    /// When a line last said how far a pull is, by the server's clock; at first when the first pull began.
    pull_line_at: Option<Timestamp>,
}

impl View {
    fn new(ui: &Ui<'_>) -> Self {
        Self {
            board: Board::default(),
            live: ui.live.then(Live::new),
            terminal: ui.talk_terminal.clone(),
            heard: None,
            announced: vec![],
            pull_line_at: None,
        }
    }

    fn show(&mut self, ui: &mut Ui<'_>, progress: &Progress) -> Result<(), CliError> {
        let written = self.board.apply(progress);
        self.heard = Some((progress.at, Instant::now()));
        if ui.json {
            return ui.line(progress, |_, _| String::new());
        }
        let width = self.board.service_width();
        for row in &written {
            self.write(ui, &draw::line(row, row.took, width, &self.terminal))?;
        }
        match self.live {
            Some(_) => self.redraw(),
            None => {
                self.announce(ui)?;
                self.tell_pull(ui, progress)?;
            }
        }
        Ok(())
    }

    /// Without a drawing, what may take for ever is written when it begins.
    fn announce(&mut self, ui: &mut Ui<'_>) -> Result<(), CliError> {
        let open: Vec<Row> = self.board.open().iter().filter(|row| row.is_announced()).cloned().collect();
        let width = self.board.service_width();
        for row in open.iter().filter(|row| !self.announced.contains(row)) {
            writeln!(ui.talk, "{}", draw::line(row, None, width, &self.terminal))?;
        }
        self.announced = open;
        Ok(())
    }

    /// Without a drawing, a pull that takes long says at times how far it is.
    fn tell_pull(&mut self, ui: &mut Ui<'_>, progress: &Progress) -> Result<(), CliError> {
        let Step::Pulling { node, .. } = &progress.step else { return Ok(()) };
        let last = *self.pull_line_at.get_or_insert(progress.at);
        let row = self.board.pull(progress.service.as_ref(), node);
        let Some(row) = row.filter(|_| progress.at.since(last) >= PULL_LINE_EVERY) else { return Ok(()) };
        self.pull_line_at = Some(progress.at);
        let took = Some(Board::open_for(row, progress.at));
        writeln!(ui.talk, "{}", draw::line(row, took, self.board.service_width(), &self.terminal))?;
        Ok(())
    }

    fn write(&self, ui: &mut Ui<'_>, line: &str) -> Result<(), CliError> {
        match &self.live {
            Some(live) => live.write(line)?,
            None => writeln!(ui.talk, "{line}")?,
        }
        Ok(())
    }

    fn redraw(&mut self) {
        let now = self.heard.map_or(Timestamp(0), |(at, since)| at.after(since.elapsed()));
        let lines = draw::open_lines(&self.board, now, &self.terminal);
        if let Some(live) = &mut self.live {
            live.draw(&lines);
        }
    }

    fn clear(&mut self) {
        if let Some(live) = &mut self.live {
            live.draw(&[]);
        }
    }

    fn leave(&mut self, deploy: &Deploy) -> CliError {
        self.clear();
        let (project, id) = (&deploy.project, deploy.id);
        CliError::new(Exit::Interrupted, format!("left deploy {project} #{id}; it goes on")).hint(format!(
            "`mill deploy --attach {id}` returns to it, `mill deploy --cancel {id}` calls it off"
        ))
    }
}
