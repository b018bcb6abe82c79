//! `mill clean`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use mill_drivers::containerd::chain;
use mill_drivers::containers::own::OwnError;
use mill_drivers::sweep::{Found, Left, MachineSweep, Owner, Place, Sweep, SweepError};
use mill_drivers::systemd::service_of;
use mill_model::Tempo;

use super::daemon::DaemonArgs;
use super::error::CliError;
use super::exit::Exit;
use super::node::{CONTAINERD_SOCKET, Containerd, DATA_DIR, DEV_DATA_DIR, NodeArgs, NodeConfig};
use super::ui::{Align, Colour, Table, Terminal, Ui, count};

/// Remove what Mill left on this machine: containers, images, mounts, logs
///
/// For a machine that leaves for good, or whose daemon can't start any more: end the daemon and the plane first, it is
/// refused while one lives. Everything that would be removed is listed, then you are asked; without a terminal nothing
/// is removed unless `--yes` says so. What isn't Mill's stays, also beside it. The node itself, who it is with its keys
/// and its log, stays too unless `--data` says otherwise: a daemon that starts again would run its services again.
/// Killed in the middle, or run twice, it does no harm.
#[derive(Debug, Default, Args)]
pub(crate) struct CleanArgs {
    /// Don't ask
    #[arg(short, long)]
    yes: bool,

    /// Remove the node itself too: who it is, its keys, its log, and a containerd of its own. What its cluster knows is
    /// lost if no other node has it
    #[arg(long)]
    data: bool,

    /// End a containerd of Mill's own too, and remove what it keeps
    #[arg(long)]
    own_containerd: bool,

    /// Where the node kept its data; by default /var/lib/mill, or if there is none /var/lib/mill-dev, where `mill dev`
    /// keeps it [env: MILL_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,

    /// The daemon's control socket [env: MILL_SOCKET]
    #[arg(long, value_name = "PATH")]
    socket: Option<String>,

    /// The plane's control socket [env: MILL_PLANE_SOCKET]
    #[arg(long, value_name = "PATH")]
    plane_socket: Option<String>,

    /// Socket of the containerd that the node used; by default the system's, if there is one [env: MILL_CONTAINERD]
    #[arg(long, value_name = "PATH")]
    containerd: Option<String>,

    /// Cgroup of all the node's containers; by default /mill [env: MILL_CGROUP_PARENT]
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,

    /// The daemon's settings file, if it had another than /etc/mill/node.kdl [env: MILL_NODE_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl CleanArgs {
    /// The home that is meant, as a daemon with the same settings would have it.
    fn place(&self) -> Result<Place, CliError> {
        let said = NodeArgs {
            // Never seen; a machine whose own name is none for a node can be cleaned too.
            name: Some("clean".to_owned()),
            data_dir: self.data_dir.clone(),
            socket: self.socket.clone(),
            plane_socket: self.plane_socket.clone(),
            containerd: self.containerd.clone(),
            cgroup_parent: self.cgroup_parent.clone(),
            ..NodeArgs::default()
        };
        let config = DaemonArgs::of(self.config.clone(), said).resolve()?;
        Ok(self.place_of(config, &|path| path.exists()))
    }

    fn place_of(&self, config: NodeConfig, exists: &dyn Fn(&Path) -> bool) -> Place {
        let (real, dev) = (Path::new(DATA_DIR), Path::new(DEV_DATA_DIR));
        let data = match config.data_dir {
            data if data == real && !exists(real) && exists(dev) => dev.to_owned(),
            data => data,
        };
        let default = Path::new(CONTAINERD_SOCKET);
        // One that was named has to be there; the machine's may be.
        let containerds = match config.containerd {
            Containerd::Own => vec![],
            Containerd::Socket(socket) | Containerd::Auto(socket) => {
                Some(socket).filter(|socket| socket != default || exists(default)).into_iter().collect()
            }
        };
        Place {
            data,
            socket: config.socket,
            plane_socket: config.plane_socket,
            containerds,
            cgroup_parent: config.cgroup_parent,
            with_data: self.data,
            own_containerd: self.own_containerd,
        }
    }
}

/// Cleans this machine.
pub(crate) async fn clean(ui: &mut Ui<'_>, args: &CleanArgs) -> Result<(), CliError> {
    let place = args.place()?;
    if !mill_drivers::host::is_root() {
        return Err(CliError::new(Exit::Failed, "nothing was removed")
            .because("containers, mounts and cgroups are root's")
            .hint("try again with sudo"));
    }
    let (of_dev, looked) = (Path::new(DEV_DATA_DIR), place.data.clone());
    run(ui, MachineSweep::new(place, Arc::new(Tempo::default())), args).await?;
    match args.data_dir.is_none() && looked != of_dev && of_dev.exists() {
        true => ui.say(&format!("`mill clean --data-dir {DEV_DATA_DIR}` cleans up after `mill dev`")),
        false => Ok(()),
    }
}

async fn run(ui: &mut Ui<'_>, mut sweep: impl Sweep, args: &CleanArgs) -> Result<(), CliError> {
    let done = look_and_remove(ui, &mut sweep, args).await;
    let closed = sweep.close().await.map_err(|error| failed("not everything was put back in order", &error));
    done.and(closed)
}

/// Finds, asks, removes. What can't be removed doesn't keep the rest.
async fn look_and_remove(ui: &mut Ui<'_>, sweep: &mut impl Sweep, args: &CleanArgs) -> Result<(), CliError> {
    let not_found = |error| failed("what Mill left can't be found", &error);
    let owners = sweep.claim().await.map_err(not_found)?;
    if !owners.is_empty() {
        let mut error = CliError::new(Exit::Refused, "nothing was removed");
        for owner in &owners {
            error = error.because(format!("{owner} is alive, and what is here is its own"));
        }
        let end = how_to_end(&owners, &service_of);
        return Err(error.hint(format!("`mill undeploy` stops what runs; `{end}` ends them; then clean")));
    }
    let found = sweep.find().await.map_err(not_found)?;
    ui.answer(&found, |found, terminal| render(&found.left, terminal))?;
    for left in &found.foreign {
        ui.say(&format!("not Mill's, and stays: {left}"))?;
    }
    if found.left.is_empty() {
        return ui.say("nothing is left here");
    }
    ui.confirm(&format!("Remove {}?", count(found.left.len(), "thing")), args.yes)?;
    remove(ui, sweep, &found).await
}

/// The command that ends them. What systemd started it would start again.
fn how_to_end(owners: &[Owner], service_of: &dyn Fn(u32) -> Option<String>) -> String {
    let (mut services, mut processes) = (BTreeSet::new(), vec![]);
    for pid in owners.iter().filter_map(|owner| owner.pid) {
        match service_of(pid) {
            Some(service) => drop(services.insert(service)),
            None => processes.push(pid.to_string()),
        }
    }
    let services: Vec<String> = services.into_iter().collect();
    let command =
        |program: &str, of: Vec<String>| (!of.is_empty()).then(|| format!("{program} {}", of.join(" ")));
    let commands = [command("systemctl stop", services), command("kill", processes)];
    commands.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

async fn remove(ui: &mut Ui<'_>, sweep: &mut impl Sweep, found: &Found) -> Result<(), CliError> {
    let mut error = CliError::new(Exit::Failed, "not everything could be removed");
    for left in &found.left {
        if let Err(why) = sweep.remove(left).await {
            error = error.because(format!("{left}: {}", chain(&why)));
        }
    }
    match error.because.len() {
        0 => ui.say(&format!("removed {}", count(found.left.len(), "thing"))),
        stuck => {
            ui.say(&format!("removed {}", count(found.left.len() - stuck, "thing")))?;
            Err(error.hint("put that right and run it again: what was removed stays removed"))
        }
    }
}

fn failed(message: &str, why: &SweepError) -> CliError {
    let hint = match why {
        SweepError::Containerd { .. } => {
            "`systemctl start containerd`, or `--containerd PATH` for another; what it holds can't be removed without it"
        }
        SweepError::Own { source: OwnError::Foreign { .. } } => {
            "clean that home first: `mill clean --own-containerd --data-dir DIR` with its directory"
        }
        SweepError::Own { .. } => {
            "`--own-containerd` removes it with all that it keeps, without looking into it"
        }
        _ => "`mill doctor` looks for the cause",
    };
    CliError::new(Exit::Failed, message).because(chain(why)).hint(hint)
}

fn render(left: &[Left], terminal: &Terminal) -> String {
    if left.is_empty() {
        return String::new();
    }
    let mut table = Table::new([("KIND", Align::Left), ("NAME", Align::Left)]);
    for left in left {
        table.row().painted(Colour::Yellow, left.kind.word()).cell(left.name.clone());
    }
    table.render(terminal)
}

#[cfg(test)]
mod tests {
    use mill_drivers::sweep::{FakeSweep, Kind};

    use super::*;
    use crate::cli::canned::Screen;

    fn machine() -> FakeSweep {
        FakeSweep::of(&[
            (Kind::Container, "web-7k2f.1"),
            (Kind::Mount, "/m"),
            (Kind::Directory, "/var/lib/mill/allocs/web-7k2f"),
        ])
    }

    async fn clean(machine: &FakeSweep, yes: bool) -> (Result<(), CliError>, Screen) {
        let args = CleanArgs { yes, ..CleanArgs::default() };
        let mut screen = Screen::default();
        let result = run(&mut screen.ui(), machine.clone(), &args).await;
        (result, screen)
    }

    #[tokio::test]
    async fn everything_is_listed_before_it_is_removed() {
        let machine = machine();
        machine.add_foreign(Kind::Container, "theirs");
        let (refused, screen) = clean(&machine, false).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        assert!(refused.hint.unwrap().contains("--yes"));
        assert!(screen.data().contains("web-7k2f.1") && screen.data().contains("/var/lib/mill"));
        assert!(!screen.data().contains("theirs") && screen.talk().contains("container theirs"));
        assert_eq!((machine.left().len(), machine.closed()), (3, 1));
        clean(&machine, true).await.0.unwrap();
        assert!(machine.left().is_empty());
        let (again, screen) = clean(&machine, false).await;
        again.unwrap();
        assert!(screen.talk().contains("nothing is left"));
    }

    #[tokio::test]
    async fn whoever_lives_here_is_named_and_left_alone() {
        let machine = machine();
        machine.occupy(Owner { pid: Some(77), what: "`mill plane`".to_owned(), data: None });
        let error = clean(&machine, true).await.0.unwrap_err();
        assert_eq!(error.exit, Exit::Refused);
        assert!(error.because[0].reason.starts_with("`mill plane` (process 77) is alive"), "{error:?}");
        assert!(error.hint.unwrap().contains("`kill 77`"));
        assert_eq!(machine.left().len(), 3);
    }

    #[test]
    fn what_systemd_would_start_again_is_stopped_by_it() {
        let owner = |pid| Owner { pid: Some(pid), what: "`mill plane`".to_owned(), data: None };
        let service_of = |pid| match pid {
            1 => Some("mill.service".to_owned()),
            2 => Some("mill-plane.service".to_owned()),
            _ => None,
        };
        for (pids, command) in [
            (&[1, 2][..], "systemctl stop mill-plane.service mill.service"),
            (&[2, 77], "systemctl stop mill-plane.service; kill 77"),
            (&[77, 78], "kill 77 78"),
        ] {
            let owners: Vec<Owner> = pids.iter().copied().map(owner).collect();
            assert_eq!(how_to_end(&owners, &service_of), command);
        }
    }

    #[tokio::test]
    async fn what_is_stuck_does_not_keep_the_rest() {
        let machine = machine();
        machine.make_stuck("/m");
        let (result, screen) = clean(&machine, true).await;
        let error = result.unwrap_err();
        assert_eq!(error.because.len(), 1, "{error:?}");
        assert!(error.because[0].reason.starts_with("mount /m: failed to remove /m: "), "{error:?}");
        assert!(screen.talk().contains("removed 2 things"));
        assert_eq!(machine.left().len(), 1);
    }

    #[test]
    fn the_home_that_is_meant_is_the_daemons_and_else_the_one_that_is_there() {
        let place = |args: NodeArgs, there: &'static [&'static str]| {
            let exists = |path: &Path| there.iter().any(|known| path == Path::new(known));
            let config = DaemonArgs::of(None, args).resolve_with(&|_| None, None).unwrap();
            let place = CleanArgs::default().place_of(config, &exists);
            (place.data.display().to_string(), place.containerds.len())
        };
        let none = NodeArgs::default;
        let named = |socket: &str| NodeArgs { containerd: Some(socket.to_owned()), ..none() };
        for (args, there, data, containerds) in [
            (none(), &[DATA_DIR, DEV_DATA_DIR, CONTAINERD_SOCKET][..], DATA_DIR, 1),
            (none(), &[DEV_DATA_DIR], DEV_DATA_DIR, 0),
            (none(), &[], DATA_DIR, 0),
            (NodeArgs { data_dir: Some("/d".into()), ..none() }, &[DEV_DATA_DIR], "/d", 0),
            (named("/named.sock"), &[], DATA_DIR, 1),
            (named("own"), &[CONTAINERD_SOCKET], DATA_DIR, 0),
            (named("auto"), &[CONTAINERD_SOCKET], DATA_DIR, 1),
        ] {
            assert_eq!(place(args, there), (data.to_owned(), containerds));
        }
    }
}
