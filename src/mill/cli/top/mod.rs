//! `mill top`
//!
//! Two looks at counters make rates ([`rates`]); those make a page ([`page`]), which is printed, or drawn again and again
//! on a terminal that is put back as it was ([`screen`]).

mod page;
mod rates;
mod screen;

use std::time::Duration;

use clap::{Args, ValueEnum};
use mill_api::Api;
use mill_api::top::Top;
use mill_model::ProjectName;
use tokio::time::Instant;

use super::error::CliError;
use super::reach::ReachArgs;
use super::ui::Ui;
use page::View;
use rates::{Sample, Since};
use screen::{Key, Screen};

/// Show what nodes and allocs use, live: processor, memory, restarts
///
/// CPU is in cores, and in per cent of what the alloc reserved, which it can't exceed. Memory is without page cache that
/// can be dropped, as `docker stats` counts it. Numbers are those of the node that is asked.
///
/// Keys: c, m, n and r sort by cpu, memory, name and restarts; the arrows, j and k move; q ends. Without a terminal one
/// table is printed.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Only of this project
    #[arg(short, long, value_name = "PROJECT")]
    project: Option<ProjectName>,

    /// What comes first
    #[arg(short, long, value_enum, default_value_t, value_name = "BY")]
    sort: Sort,

    /// Print one table and end
    #[arg(short = 'n', long)]
    once: bool,

    /// Time between two looks, 500ms at least; numbers are the mean over it
    #[arg(short, long, value_name = "DURATION", default_value = "1s", value_parser = every)]
    every: Duration,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

/// What comes first.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Sort {
    /// What uses most processor time
    #[default]
    Cpu,
    /// What uses most memory
    Memory,
    /// By project, service and number
    Name,
    /// What was restarted most often
    Restarts,
}

impl Sort {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Name => "name",
            Self::Restarts => "restarts",
        }
    }
}

fn every(text: &str) -> Result<Duration, String> {
    let shortest = mill_model::Tempo::default().usage_shared_for;
    let every = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match every < shortest {
        true => Err(format!("nodes look every {} at most", humantime::format_duration(shortest))),
        false => Ok(every),
    }
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &TopArgs) -> Result<(), CliError> {
    let draws = ui.data_terminal.width.is_some() && std::env::var("TERM").is_ok_and(|term| term != "dumb");
    if ui.json || args.once || !draws {
        let sample = once(api, args).await?;
        return ui.answer(&sample, page::whole);
    }
    live(ui, api, args).await
}

/// The mean between two looks.
async fn once(api: &Api, args: &TopArgs) -> Result<Sample, CliError> {
    let first = api.top().await?;
    let second = loop {
        tokio::time::sleep(args.every).await;
        let next = api.top().await?;
        // Somebody else may have had the node look just before.
        if next.at_us != first.at_us {
            break next;
        }
    };
    let mut sample = rates::sample(&Since::of(&first), &second, args.project.as_ref());
    rates::sort(&mut sample.allocs, args.sort);
    Ok(sample)
}

/// Looks and draws until somebody has seen enough.
async fn live(ui: &mut Ui<'_>, api: &Api, args: &TopArgs) -> Result<(), CliError> {
    let first = api.top().await?;
    let terminal = ui.data_terminal.clone();
    let mut state = State::new(args, &first);
    let mut screen = Screen::enter()?;
    let mut ends = std::pin::pin!(screen::told_to_end());
    let mut due = Instant::now() + Duration::from_millis(500).min(args.every);
    loop {
        screen.draw(&page::screen(&state.view, &state.sample, screen.size(), &terminal))?;
        let look = async {
            tokio::time::sleep_until(due).await;
            api.top().await
        };
        tokio::select! {
            looked = look => {
                due = Instant::now() + args.every;
                state.looked(looked.map_err(CliError::from));
            }
            key = screen.key() => match key {
                Key::Quit => break,
                key => state.pressed(key, screen.size().rows),
            },
            () = &mut ends => break,
        }
    }
    Ok(())
}

/// What is on the screen.
struct State<'a> {
    args: &'a TopArgs,
    since: Since,
    sample: Sample,
    view: View,
}

impl<'a> State<'a> {
    fn new(args: &'a TopArgs, first: &Top) -> Self {
        let since = Since::of(first);
        let sample = rates::sample(&since, first, args.project.as_ref());
        let mut state = Self { args, since, sample, view: View::new(args.sort) };
        rates::sort(&mut state.sample.allocs, args.sort);
        state
    }

    fn looked(&mut self, looked: Result<Top, CliError>) {
        match looked {
            // The same look again, which says nothing new.
            Ok(top) if top.at_us == self.since.at_us() && top.node == self.sample.node => {}
            Ok(top) => {
                self.sample = rates::sample(&self.since, &top, self.args.project.as_ref());
                self.since = Since::of(&top);
                self.view.trouble = None;
                rates::sort(&mut self.sample.allocs, self.view.sort);
            }
            // What was seen last stays, and it is asked again: a daemon that is restarted is back in a moment.
            Err(error) => self.view.trouble = Some(error.message),
        }
    }

    fn pressed(&mut self, key: Key, rows: usize) {
        let last = self.sample.allocs.len().saturating_sub(1);
        let page = rows.saturating_sub(8).max(1);
        match key {
            Key::Sort(sort) => {
                self.view.sort = sort;
                self.view.first = 0;
                rates::sort(&mut self.sample.allocs, sort);
            }
            Key::Up => self.view.first = self.view.first.saturating_sub(1),
            Key::Down => self.view.first = (self.view.first + 1).min(last),
            Key::PageUp => self.view.first = self.view.first.saturating_sub(page),
            Key::PageDown => self.view.first = (self.view.first + page).min(last),
            Key::Quit | Key::Other => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ui::Terminal;
    use crate::cli::{canned, golden};

    #[test]
    fn a_table_for_scripts_and_a_page_for_terminals() {
        let (first, second) = canned::tops();
        let mut sample = rates::sample(&Since::of(&first), &second, None);
        rates::sort(&mut sample.allocs, Sort::Cpu);
        golden::check("top", &page::whole(&sample, &canned::terminal()));
        let mut view = View::new(Sort::Cpu);
        let terminal = Terminal { width: Some(80), ..canned::terminal() };
        let size = screen::Size { columns: 80, rows: 24 };
        golden::check("top_on_a_terminal", &page::screen(&view, &sample, size, &terminal).join("\n"));
        view.trouble = Some("no daemon answers at /run/mill/mill.sock".into());
        let narrow = Terminal { width: Some(40), colour: true, ..canned::terminal() };
        let size = screen::Size { columns: 40, rows: 10 };
        let lines = page::screen(&view, &sample, size, &narrow);
        assert_eq!(lines.len(), 10, "{lines:#?}");
        golden::check("top_narrow", &lines.join("\n"));
    }

    #[test]
    fn keys_sort_and_move_within_what_there_is() {
        let (first, second) = canned::tops();
        let args = TopArgs {
            project: None,
            sort: Sort::Cpu,
            once: false,
            every: Duration::from_secs(1),
            reach: ReachArgs::default(),
        };
        let mut state = State::new(&args, &first);
        assert!(state.sample.allocs.iter().all(|row| row.cpu.is_none()), "one look is no rate");
        state.looked(Ok(second.clone()));
        let firsts = |state: &State<'_>| state.sample.allocs[0].id.to_string();
        assert_eq!(firsts(&state), "web-7k2f");
        for (sort, id) in [(Sort::Memory, "db-2b2b"), (Sort::Restarts, "web-9x9x"), (Sort::Name, "db-2b2b")] {
            state.pressed(Key::Sort(sort), 24);
            assert_eq!(firsts(&state), id, "{}", sort.as_str());
        }
        for _ in 0..9 {
            state.pressed(Key::Down, 24);
        }
        assert_eq!(state.view.first, 2);
        state.pressed(Key::PageUp, 24);
        assert_eq!(state.view.first, 0);
        state.looked(Err(CliError::usage("gone")));
        assert_eq!((state.view.trouble.as_deref(), firsts(&state).as_str()), (Some("gone"), "db-2b2b"));
        state.looked(Ok(second));
        assert!(state.view.trouble.is_some(), "the look from before isn't news");
    }

    #[test]
    fn nobody_looks_more_often_than_nodes_do() {
        assert_eq!(every("2s"), Ok(Duration::from_secs(2)));
        for wrong in ["100ms", "x", ""] {
            assert!(every(wrong).is_err(), "{wrong}");
        }
    }
}
