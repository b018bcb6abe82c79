//! `mill events`

use clap::Args;
use mill_api::Api;
use mill_api::client::Heard;
use mill_api::events::Event;

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

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &EventsArgs) -> Result<(), CliError> {
    if !args.follow {
        let mut events = api.events(args.since_id).await?;
        events.drain(..events.len().saturating_sub(args.lines.unwrap_or(usize::MAX)));
        return match ui.json {
            true => ui.answer(&events, |_, _| String::new()),
            false => events.iter().try_for_each(|event| ui.line(event, render)),
        };
    }
    let since = match args.lines {
        None => args.since_id,
        Some(lines) => before_last(lines, &api.events(args.since_id).await?).or(args.since_id),
    };
    let mut stream = api.follow_events(since).await?;
    let mut interrupted = std::pin::pin!(interrupted());
    let mut gone = std::pin::pin!(reader_gone());
    loop {
        let heard = tokio::select! {
            heard = stream.next() => heard?,
            () = &mut interrupted => return Ok(()),
            () = &mut gone => return Ok(()),
        };
        match heard {
            Heard::Item(event) => ui.line(&event, render)?,
            Heard::Lost { .. } => ui.say("connection lost; trying to get it back")?,
            Heard::End => return Ok(()),
        }
    }
}

/// The event that stands before the last `lines`; `None`: there are no more than those.
fn before_last(lines: usize, events: &[Event]) -> Option<u64> {
    let before = events.len().checked_sub(lines)?.checked_sub(1)?;
    events.get(before).map(|event| event.id)
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
        let events = canned::events();
        let last = events.last().unwrap().id;
        assert_eq!(before_last(0, &events), Some(last));
        assert_eq!(before_last(1, &events), Some(events[events.len() - 2].id));
        for all in [events.len(), events.len() + 1] {
            assert_eq!(before_last(all, &events), None);
        }
        assert_eq!(before_last(3, &[]), None);
    }

    #[test]
    fn an_event_is_a_line() {
        let lines: Vec<String> =
            canned::events().iter().map(|event| render(event, &canned::terminal()) + "\n").collect();
        golden::check("events", &lines.concat());
    }
}
