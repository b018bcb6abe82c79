//! `mill doctor`

mod host;
mod judge;
mod listeners;

use std::path::PathBuf;

use clap::Args;
use mill_api::doctor::{Finding, Level, Report};

use super::error::CliError;
use super::exit::Exit;
use super::node::DATA_DIR;
use super::reach::{ReachArgs, Way};
use super::ui::{Colour, Terminal, Ui, count};

/// Look at this machine, and at its daemon if one runs: can Mill work here, and if not, what to do
///
/// Every finding comes with its fix. With `--addr` or `--context` another node is asked to look at its own.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Where the node keeps, or would keep, its data [env: MILL_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

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

/// What the machine looks like to a node that keeps its data at `data_dir`.
pub(crate) async fn findings(data_dir: &std::path::Path) -> Vec<Finding> {
    judge::judge(&host::look(data_dir).await)
}

async fn here(args: &DoctorArgs) -> Report {
    let from_env = || std::env::var_os("MILL_DATA_DIR").map(PathBuf::from);
    let data_dir = args.data_dir.clone().or_else(from_env).unwrap_or_else(|| DATA_DIR.into());
    Report { node: None, findings: findings(&data_dir).await }
}

/// Adds what the daemon found, where it knows more.
fn with_daemon(mut report: Report, daemon: Result<Report, CliError>) -> Report {
    match daemon {
        Ok(of_daemon) => {
            report.node = of_daemon.node;
            report.findings.push(Finding::ok("daemon", "it runs and answers"));
            for finding in of_daemon.findings {
                match report.findings.iter_mut().find(|ours| ours.check == finding.check) {
                    Some(ours) if finding.level != Level::Ok => *ours = finding,
                    Some(_) => {}
                    None => report.findings.push(finding),
                }
            }
        }
        Err(error) => {
            let why = error.because.first().map_or(error.message.as_str(), |because| &because.reason);
            let fix = "`systemctl start mill`, or `mill dev` to try Mill out";
            report.findings.push(Finding::warn("daemon", format!("none answers here: {why}"), fix));
        }
    }
    report
}

fn failures(report: &Report) -> String {
    let failed: Vec<&str> =
        report.findings.iter().filter(|f| f.level == Level::Fail).map(|f| f.check.as_str()).collect();
    format!("{} failed: {}", count(failed.len(), "check"), failed.join(", "))
}

fn render(report: &Report, terminal: &Terminal) -> String {
    let width = report.findings.iter().map(|finding| finding.check.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for finding in &report.findings {
        let (colour, word) = match finding.level {
            Level::Ok => (Colour::Green, "ok  "),
            Level::Warn => (Colour::Yellow, "warn"),
            Level::Fail => (Colour::Red, "FAIL"),
        };
        let check = &finding.check;
        text.push_str(&format!("{}  {check:<width$}  {}\n", terminal.paint(colour, word), finding.what));
        if let Some(fix) = &finding.fix {
            text.push_str(&format!("      {:width$}  {} {fix}\n", "", terminal.paint(Colour::Cyan, "fix:")));
        }
    }
    text
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
    }

    #[test]
    fn the_daemon_adds_what_it_knows_better() {
        let ours =
            Report { node: None, findings: vec![Finding::ok("disk", "fine"), Finding::ok("kernel", "fine")] };
        let daemons = Report {
            node: Some("node-1".parse().unwrap()),
            findings: vec![
                Finding::fail("disk", "writes fail", "look at dmesg"),
                Finding::ok("kernel", "6.1"),
                Finding::ok("raft", "leads"),
            ],
        };
        let both = with_daemon(ours.clone(), Ok(daemons));
        let levels: Vec<(&str, Level)> = both.findings.iter().map(|f| (f.check.as_str(), f.level)).collect();
        assert_eq!(
            levels,
            [("disk", Level::Fail), ("kernel", Level::Ok), ("daemon", Level::Ok), ("raft", Level::Ok)]
        );
        let alone =
            with_daemon(ours, Err(CliError::new(Exit::Unreachable, "no").because("connection refused")));
        assert_eq!(alone.findings[2].level, Level::Warn);
        assert!(!alone.is_failed(), "a machine before its first start is no failure");
    }

    #[tokio::test]
    async fn this_machine_can_be_looked_at_without_a_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let findings = judge::judge(&host::look(directory.path()).await);
        let of = |check: &str| findings.iter().find(|f| f.check == check).unwrap();
        assert!(of("kernel").what.contains('.'), "{:?}", of("kernel"));
        assert!(of("disk").what.contains("free"), "{:?}", of("disk"));
        assert!(findings.iter().all(|f| f.level == Level::Ok || f.fix.is_some()), "{findings:?}");
    }
}
