//! `mill doctor`

mod host;
mod judge;
mod units;
mod upkeep;

use std::path::PathBuf;

use clap::Args;
use mill_api::client;
use mill_api::doctor::{Check, Finding, Level, Report};
use mill_drivers::datapath::Mode;

use super::daemon::DaemonArgs;
use super::error::CliError;
use super::exit::Exit;
use super::node::{
    CGROUP_PARENT, CONFIG_FILE, CONTAINERD_SOCKET, Containerd, DATA_DIR, NodeArgs, NodeConfig,
};
use super::reach::{ReachArgs, Way};
use super::ui::{Colour, Terminal, Ui, count, printable};

/// Look at this machine, and at its daemon if one runs: can Mill work here, and if not, what to do
///
/// Every finding comes with why it matters and its fix. With `--addr` or `--context` another node is asked to look at its own.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Where the node keeps, or would keep, its data [env: MILL_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(ui: &mut Ui<'_>, args: &DoctorArgs) -> Result<(), CliError> {
    let report = match args.reach.way() {
        Ok(Way::Remote { .. }) => args.reach.api()?.doctor().await?,
        Ok(Way::Socket(_)) => {
            with_daemon(here(args).await, args.reach.api()?.doctor().await.map_err(CliError::from))
        }
        // No daemon and no context: nobody to ask. A wrong flag is an error all the same.
        Err(error) if error.exit == Exit::Unreachable => with_daemon(here(args).await, Err(error)),
        Err(error) => return Err(error),
    };
    ui.answer(&report, render)?;
    match report.is_failed() {
        false => Ok(()),
        true => Err(CliError::new(Exit::Failed, "Mill can't work here as things stand")
            .because(failures(&report))
            .hint("each finding above says what to do")),
    }
}

/// What of a machine a node uses.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Where it keeps its data.
    pub(crate) data_dir: PathBuf,
    /// Where its containerd listens; `None`: it brings its own.
    pub(crate) containerd: Option<PathBuf>,
    /// Where its API listens.
    pub(crate) port: u16,
    /// The cgroup that holds those of its containers.
    pub(crate) cgroup_parent: String,
    /// How its ports are mapped, if it runs and has chosen.
    pub(crate) mode: Option<Mode>,
}

impl Node {
    /// As it is set up.
    pub(crate) fn of(config: &NodeConfig) -> Self {
        let containerd = match &config.containerd {
            Containerd::Socket(socket) | Containerd::Auto(socket) => Some(socket.clone()),
            Containerd::Own => None,
        };
        Self {
            data_dir: config.data_dir.clone(),
            containerd,
            port: config.listen.port(),
            cgroup_parent: config.cgroup_parent.clone(),
            mode: None,
        }
    }
}

/// What the machine looks like to a node.
pub(crate) async fn findings(node: &Node) -> Vec<Finding> {
    judge::judge(&host::look(node).await)
}

/// What it looks like to the node that a daemon started here would be.
async fn here(args: &DoctorArgs) -> Report {
    let said = NodeArgs { data_dir: args.data_dir.clone(), ..NodeArgs::default() };
    let (node, wrong) = match DaemonArgs::of(None, said).resolve() {
        Ok(config) => (Node::of(&config), None),
        Err(error) => {
            let data_dir = args.data_dir.as_deref().unwrap_or(DATA_DIR).into();
            let (containerd, port) = (Some(CONTAINERD_SOCKET.into()), client::DEFAULT_PORT);
            let cgroup_parent = CGROUP_PARENT.to_owned();
            (Node { data_dir, containerd, port, cgroup_parent, mode: None }, Some(settings(&error)))
        }
    };
    Report { node: None, findings: wrong.into_iter().chain(findings(&node).await).collect() }
}

/// A daemon wouldn't start with these settings.
fn settings(error: &CliError) -> Finding {
    let why = error.because.iter().map(|because| because.reason.as_str());
    let what: Vec<&str> = std::iter::once(error.message.as_str()).chain(why).collect();
    let fix = error.hint.clone().unwrap_or_else(|| format!("put {CONFIG_FILE} right"));
    Finding::fail(Check::Settings, what.join(": "), fix)
}

/// Adds what the daemon found, where it knows more.
fn with_daemon(mut report: Report, daemon: Result<Report, CliError>) -> Report {
    match daemon {
        Ok(of_daemon) => {
            report.node = of_daemon.node;
            report.findings.push(Finding::ok(Check::Daemon, "it runs and answers"));
            for finding in of_daemon.findings {
                match report.findings.iter_mut().find(|ours| ours.check == finding.check) {
                    // It knows how it is set up.
                    Some(ours) => *ours = finding,
                    None => report.findings.push(finding),
                }
            }
        }
        Err(error) => {
            let why = error.because.first().map_or(error.message.as_str(), |because| &because.reason);
            let fix = Check::Daemon.advice().todo;
            report.findings.push(Finding::warn(Check::Daemon, format!("none answers here: {why}"), fix));
        }
    }
    report
}

fn failures(report: &Report) -> String {
    let failed: Vec<&str> =
        report.findings.iter().filter(|f| f.level == Level::Fail).map(|f| f.check.as_str()).collect();
    format!("{} failed: {}", count(failed.len(), "check"), failed.join(", "))
}

/// Narrower than this, what was seen goes below the name of the check and not beside it.
const NARROW: usize = 64;
/// Where text begins behind a level.
const INDENT: usize = 6;

fn render(report: &Report, terminal: &Terminal) -> String {
    let width = report.findings.iter().map(|finding| finding.check.chars().count()).max().unwrap_or_default();
    let is_narrow = terminal.width.is_some_and(|columns| columns < NARROW);
    let column = if is_narrow { INDENT } else { INDENT + width + 2 };
    let mut text = String::new();
    for finding in &report.findings {
        let (colour, word) = match finding.level {
            Level::Ok => (Colour::Green, "ok  "),
            Level::Warn => (Colour::Yellow, "warn"),
            Level::Fail => (Colour::Red, "FAIL"),
        };
        let gap = match is_narrow {
            true => format!("\n{:INDENT$}", ""),
            false => " ".repeat(width.saturating_sub(finding.check.chars().count()) + 2),
        };
        let what = hang(&finding.what, column, 0, terminal);
        text.push_str(&format!("{}  {}{gap}{what}\n", terminal.paint(colour, word), finding.check));
        for (head, colour, said) in
            [("why:", Colour::Grey, &finding.why), ("fix:", Colour::Cyan, &finding.fix)]
        {
            let Some(said) = said else { continue };
            let said = hang(said, column, head.len() + 1, terminal);
            text.push_str(&format!("{:column$}{} {said}\n", "", terminal.paint(colour, head)));
        }
    }
    text
}

/// Text that goes on at `column` in the next line when it reaches the border of a terminal; its first line has `used`
/// more before it.
fn hang(text: &str, column: usize, used: usize, terminal: &Terminal) -> String {
    let text = printable(text);
    let Some(columns) = terminal.width else { return text.into_owned() };
    let (mut hung, mut at) = (String::new(), column + used);
    for word in text.split(' ') {
        let length = word.chars().count();
        match hung.is_empty() {
            true => {}
            false if at + 1 + length > columns => {
                hung.push_str(&format!("\n{:column$}", ""));
                at = column;
            }
            false => {
                hung.push(' ');
                at += 1;
            }
        }
        hung.push_str(word);
        at += length;
    }
    hung
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{canned, golden};

    #[test]
    fn findings_come_with_their_fixes() {
        let report = Report { node: None, findings: judge::judge(&judge::tests::broken()) };
        golden::check("doctor", &render(&report, &canned::terminal()));
        assert!(report.is_failed());
        assert!(failures(&report).contains("containerd"));
        let narrow = Terminal { width: Some(40), ..canned::terminal() };
        golden::check("doctor_narrow", &render(&report, &narrow));
        for columns in [40, 80, 100] {
            let terminal = Terminal { width: Some(columns), ..canned::terminal() };
            let text = render(&report, &terminal);
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&text), words(&render(&report, &canned::terminal())), "nothing is lost");
            let longest = text.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(columns), "{longest:?} of {columns}:\n{text}");
        }
    }

    #[test]
    fn the_daemon_adds_what_it_knows_better() {
        let ours = Report {
            node: None,
            findings: vec![Finding::ok(Check::Disk, "fine"), Finding::ok(Check::Kernel, "fine")],
        };
        let daemons = Report {
            node: Some("node-1".parse().unwrap()),
            findings: vec![
                Finding::fail(Check::Disk, "writes fail", "look at dmesg"),
                Finding::ok(Check::Kernel, "6.1"),
                Finding::ok(Check::Clock, "kept"),
            ],
        };
        let both = with_daemon(ours.clone(), Ok(daemons));
        let levels: Vec<(&str, Level)> = both.findings.iter().map(|f| (f.check.as_str(), f.level)).collect();
        assert_eq!(
            levels,
            [("disk", Level::Fail), ("kernel", Level::Ok), ("daemon", Level::Ok), ("clock", Level::Ok)]
        );
        let alone =
            with_daemon(ours, Err(CliError::new(Exit::Unreachable, "no").because("connection refused")));
        assert_eq!(alone.findings[2].level, Level::Warn);
        assert!(!alone.is_failed(), "a machine before its first start is no failure");
    }

    #[test]
    fn settings_that_no_daemon_would_start_with_are_a_finding() {
        let wrong = NodeArgs { listen: Some("x".into()), ..NodeArgs::default() };
        let error = DaemonArgs::of(None, wrong).resolve_with(&|_| None, None).unwrap_err();
        let finding = settings(&error);
        assert!(finding.what.starts_with("--listen can't be `x`: "), "{finding:?}");
        assert!(finding.fix.unwrap().contains("0.0.0.0:4400"));
    }

    #[tokio::test]
    async fn this_machine_can_be_looked_at_without_a_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().to_owned();
        let node =
            Node { data_dir, containerd: None, port: 4400, cgroup_parent: CGROUP_PARENT.into(), mode: None };
        let findings = judge::judge(&host::look(&node).await);
        let of = |check: &str| findings.iter().find(|f| f.check == check).unwrap();
        assert!(of("kernel").what.contains('.'), "{:?}", of("kernel"));
        assert!(of("disk").what.contains("free"), "{:?}", of("disk"));
        assert!(findings.iter().all(|f| f.level == Level::Ok || f.fix.is_some()), "{findings:?}");
    }
}
