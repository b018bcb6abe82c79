//! `mill clean`

use std::future::Future;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::error::CliError;
use super::exit::Exit;
use super::ui::{Align, Colour, Table, Terminal, Ui, count};

/// Remove what Mill left on this machine: containers, images, mounts, state
///
/// For a machine that leaves for good, or whose daemon can't start any more. Refused while a daemon runs. Everything
/// that would be removed is listed first.
#[derive(Debug, Args)]
pub(crate) struct CleanArgs {
    /// Don't ask
    #[arg(short, long)]
    yes: bool,

    /// Where the node kept its data [env: MILL_DATA_DIR]
    #[arg(long, value_name = "DIR", default_value = super::node::DATA_DIR, hide_default_value = false)]
    pub(crate) data_dir: PathBuf,

    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Something that Mill left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Leftover {
    /// What it is: `container`, `snapshot`, `cgroup`, `mount`, `process`, `directory`.
    pub(crate) kind: &'static str,
    /// Its name or path.
    pub(crate) name: String,
}

/// What looks for leftovers and removes them: the drivers, put together.
pub(crate) trait Sweep {
    /// Why it can't.
    type Error: std::error::Error + 'static;

    /// The process of a daemon that is alive and owns them.
    fn owner(&self) -> impl Future<Output = Result<Option<u32>, Self::Error>>;

    /// All that is there, in the order in which it must be removed.
    fn find(&self) -> impl Future<Output = Result<Vec<Leftover>, Self::Error>>;

    /// Removes one. What is gone already is removed.
    fn remove(&self, leftover: &Leftover) -> impl Future<Output = Result<(), Self::Error>>;
}

/// Finds, asks, removes. What can't be removed doesn't keep the rest.
pub(crate) async fn run(ui: &mut Ui<'_>, sweep: &impl Sweep, args: &CleanArgs) -> Result<(), CliError> {
    let failed = |error: &dyn std::error::Error| {
        CliError::new(Exit::Failed, "what Mill left can't be found")
            .source(error)
            .hint("`mill doctor` looks for the cause")
    };
    if let Some(pid) = sweep.owner().await.map_err(|error| failed(&error))? {
        return Err(CliError::new(Exit::Refused, "nothing was removed")
            .because(format!("a daemon is alive here (process {pid}), and all this is its own"))
            .hint("`mill undeploy` stops what runs; `systemctl stop mill` ends the daemon, then clean"));
    }
    let leftovers = sweep.find().await.map_err(|error| failed(&error))?;
    ui.answer(&leftovers, |leftovers, terminal| render(leftovers, terminal))?;
    if leftovers.is_empty() {
        return ui.say("nothing is left here");
    }
    ui.confirm(&format!("Remove {}?", count(leftovers.len(), "thing")), args.yes)?;
    let mut error = CliError::new(Exit::Failed, "not everything could be removed");
    for leftover in &leftovers {
        if let Err(why) = sweep.remove(leftover).await {
            error = error.because(format!("{} {}", leftover.kind, leftover.name)).source(&why);
        }
    }
    match error.because.is_empty() {
        true => ui.say(&format!("removed {}", count(leftovers.len(), "thing"))),
        false => Err(error.hint("run it again: what was removed stays removed")),
    }
}

fn render(leftovers: &[Leftover], terminal: &Terminal) -> String {
    if leftovers.is_empty() {
        return String::new();
    }
    let mut table = Table::new([("KIND", Align::Left), ("NAME", Align::Left)]);
    for leftover in leftovers {
        table.row().painted(Colour::Yellow, leftover.kind).cell(leftover.name.clone());
    }
    table.render(terminal)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::cli::canned;

    struct Machine {
        owner: Option<u32>,
        stuck: &'static str,
        left: RefCell<Vec<Leftover>>,
    }

    impl Sweep for Machine {
        type Error = std::io::Error;
        async fn owner(&self) -> Result<Option<u32>, Self::Error> {
            Ok(self.owner)
        }
        async fn find(&self) -> Result<Vec<Leftover>, Self::Error> {
            Ok(self.left.borrow().clone())
        }
        async fn remove(&self, leftover: &Leftover) -> Result<(), Self::Error> {
            if leftover.name == self.stuck {
                return Err(std::io::Error::other("device is busy"));
            }
            self.left.borrow_mut().retain(|other| other != leftover);
            Ok(())
        }
    }

    fn machine(owner: Option<u32>, stuck: &'static str) -> Machine {
        let left = [("container", "web-7k2f.1"), ("mount", "/m"), ("directory", "/var/lib/mill")];
        let left = left.map(|(kind, name)| Leftover { kind, name: name.into() }).to_vec();
        Machine { owner, stuck, left: RefCell::new(left) }
    }

    async fn clean(machine: &Machine, yes: bool) -> (Result<(), CliError>, String) {
        let args = CleanArgs { yes, data_dir: "/var/lib/mill".into(), json: false };
        let mut screen = canned::Screen::default();
        let result = run(&mut screen.ui(), machine, &args).await;
        (result, screen.data())
    }

    #[tokio::test]
    async fn everything_is_listed_before_it_is_removed() {
        let machine = machine(None, "");
        let (refused, listed) = clean(&machine, false).await;
        assert_eq!(refused.unwrap_err().exit, Exit::Usage);
        assert!(listed.contains("web-7k2f.1") && listed.contains("/var/lib/mill"), "{listed}");
        assert_eq!(machine.left.borrow().len(), 3);
        clean(&machine, true).await.0.unwrap();
        assert!(machine.left.borrow().is_empty());
        clean(&machine, false).await.0.unwrap();
    }

    #[tokio::test]
    async fn a_living_daemon_is_left_alone() {
        let machine = machine(Some(77), "");
        let error = clean(&machine, true).await.0.unwrap_err();
        assert!(error.because[0].reason.contains("77"), "{error:?}");
        assert_eq!(machine.left.borrow().len(), 3);
    }

    #[tokio::test]
    async fn what_is_stuck_does_not_keep_the_rest() {
        let machine = machine(None, "/m");
        let error = clean(&machine, true).await.0.unwrap_err();
        assert_eq!(error.because.len(), 2, "{error:?}");
        assert_eq!(machine.left.borrow().len(), 1);
    }
}
