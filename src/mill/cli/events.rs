//! `mill events`

use clap::Args;
use mill_api::Api;
use mill_api::audit::AuditRecord;
use mill_api::client::{Follow, Heard};
use mill_api::events::Event;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::CliError;
use super::follow::interrupted;
use super::reach::ReachArgs;
use super::ui::{Colour, Terminal, Ui, printable, reader_gone};

/// Show what happened in the cluster, and with `-f` what happens
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Go on with new events as they come
    #[arg(short, long)]
    follow: bool,

    /// Only the last ones, so many of them; with `-f` before the new ones
    #[arg(short = 'n', long, value_name = "LINES")]
    lines: Option<usize>,

    /// Only those after this one
    #[arg(long, value_name = "ID")]
    since_id: Option<u64>,

    /// What was done, by which token, from where; refused writes are in the log of the node that refused them
    #[arg(long)]
    audit: bool,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &EventsArgs) -> Result<(), CliError> {
    match args.audit {
        true => {
            let all = async |since| api.audit(since).await.map_err(CliError::from);
            if !args.follow {
                return args.listed(ui, all(args.since_id).await?, render_audit);
            }
            let since = args.since(all, |record: &AuditRecord| record.id).await?;
            followed(ui, api.follow_audit(since).await?, render_audit).await
        }
        false => {
            let all = async |since| api.events(since).await.map_err(CliError::from);
            if !args.follow {
                return args.listed(ui, all(args.since_id).await?, render);
            }
            let since = args.since(all, |event: &Event| event.id).await?;
            followed(ui, api.follow_events(since).await?, render).await
        }
    }
}

impl EventsArgs {
    /// The last of all that there are.
    fn listed<T: Serialize>(
        &self,
        ui: &mut Ui<'_>,
        mut all: Vec<T>,
        render: fn(&T, &Terminal) -> String,
    ) -> Result<(), CliError> {
        all.drain(..all.len().saturating_sub(self.lines.unwrap_or(usize::MAX)));
        match ui.json {
            true => ui.answer(&all, |_, _| String::new()),
            false => all.iter().try_for_each(|one| ui.line(one, render)),
        }
    }

    /// After which number to begin.
    async fn since<T>(
        &self,
        all: impl AsyncFnOnce(Option<u64>) -> Result<Vec<T>, CliError>,
        id: impl Fn(&T) -> u64,
    ) -> Result<Option<u64>, CliError> {
        let Some(lines) = self.lines else { return Ok(self.since_id) };
        let ids: Vec<u64> = all(self.since_id).await?.iter().map(id).collect();
        Ok(before_last(lines, &ids).or(self.since_id))
    }
}

async fn followed<T: Serialize + DeserializeOwned>(
    ui: &mut Ui<'_>,
    mut stream: Follow<T>,
    render: fn(&T, &Terminal) -> String,
) -> Result<(), CliError> {
    let mut interrupted = std::pin::pin!(interrupted());
    let mut gone = std::pin::pin!(reader_gone());
    loop {
        let heard = tokio::select! {
            heard = stream.next() => heard?,
            () = &mut interrupted => return Ok(()),
            () = &mut gone => return Ok(()),
        };
        match heard {
            Heard::Item(one) => ui.line(&one, render)?,
            Heard::Lost { .. } => ui.say("connection lost; trying to get it back")?,
            Heard::Reset(reset) => ui.say(&reset.message)?,
            Heard::End => return Ok(()),
        }
    }
}

/// The number that stands before the last `lines`; `None`: there are no more than those.
fn before_last(lines: usize, ids: &[u64]) -> Option<u64> {
    let before = ids.len().checked_sub(lines)?.checked_sub(1)?;
    ids.get(before).copied()
}

fn render_audit(record: &AuditRecord, terminal: &Terminal) -> String {
    let at = record.at.to_string();
    let made = record.made.as_ref().map(|made| format!("  -> {}", printable(made))).unwrap_or_default();
    format!(
        "{}  {:<16}  {:<16}  {}{made}",
        terminal.paint(Colour::Grey, &at),
        printable(&record.token),
        printable(&record.from),
        printable(&record.what),
    )
}

fn render(event: &Event, terminal: &Terminal) -> String {
    let at = event.at.to_string();
    let bad = ["fail", "lost", "crash", "unhealthy", "down"].iter().any(|word| event.kind.contains(word));
    let kind = format!("{:<18}", event.kind);
    let colour = if bad { Colour::Red } else { Colour::Green };
    let subject = match (&event.alloc, &event.project, &event.service, &event.node) {
        (Some(alloc), ..) => alloc.to_string(),
        (_, Some(project), Some(service), _) => format!("{project}/{service}"),
        (_, Some(project), ..) => project.to_string(),
        (.., Some(node)) => node.to_string(),
        _ => "-".to_owned(),
    };
    format!(
        "{}  {}  {subject:<16}  {}",
        terminal.paint(Colour::Grey, &at),
        terminal.paint(colour, &kind),
        printable(&event.message)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{canned, golden};

    #[test]
    fn the_last_lines_begin_after_the_event_before_them() {
        for (lines, ids, before) in [
            (0, &[3, 5, 9][..], Some(9)),
            (1, &[3, 5, 9], Some(5)),
            (3, &[3, 5, 9], None),
            (4, &[3, 5, 9], None),
            (3, &[], None),
        ] {
            assert_eq!(before_last(lines, ids), before, "{lines}");
        }
    }

    #[test]
    fn a_record_of_the_audit_log_is_a_line() {
        let lines: Vec<String> =
            canned::audit().iter().map(|record| render_audit(record, &canned::terminal()) + "\n").collect();
        golden::check("audit", &lines.concat());
    }

    #[test]
    fn an_event_is_a_line() {
        let lines: Vec<String> =
            canned::events().iter().map(|event| render(event, &canned::terminal()) + "\n").collect();
        golden::check("events", &lines.concat());
    }
}
