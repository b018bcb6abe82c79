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

    /// Only those after this one
    #[arg(long, value_name = "ID")]
    since_id: Option<u64>,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &EventsArgs) -> Result<(), CliError> {
    if !args.follow {
        let events = api.events(args.since_id).await?;
        return match ui.json {
            true => ui.answer(&events, |_, _| String::new()),
            false => events.iter().try_for_each(|event| ui.line(event, render)),
        };
    }
    let mut stream = api.follow_events(args.since_id).await?;
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
    fn an_event_is_a_line() {
        let lines: Vec<String> =
            canned::events().iter().map(|event| render(event, &canned::terminal()) + "\n").collect();
        golden::check("events", &lines.concat());
    }
}
