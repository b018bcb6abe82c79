//! The service manager's units: whether they are there, as the package has them, enabled, watched, and running.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mill_api::doctor::{Check, Finding};

use super::host::said_by;

const DAEMON: &str = "mill.service";
const PLANE: &str = "mill-plane.service";
const DAEMONS_TEXT: &str = include_str!("../../package/mill.service");
const PLANES_TEXT: &str = include_str!("../../package/mill-plane.service");
/// Present where systemd is the first process (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";

/// Both units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Units {
    pub(super) daemon: Unit,
    pub(super) plane: Unit,
}

/// What systemd says of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) is_there: bool,
    /// Whether its file is that of this program's package.
    pub(super) is_ours: bool,
    /// Whether its file was changed since systemd read it.
    pub(super) is_stale: bool,
    pub(super) is_enabled: bool,
    pub(super) is_active: bool,
    pub(super) is_watched: bool,
}

/// `None`: systemd isn't here, or says nothing.
pub(super) async fn look() -> Option<Units> {
    if !Path::new(BOOTED).exists() {
        return None;
    }
    Some(Units { daemon: unit(DAEMON, DAEMONS_TEXT).await?, plane: unit(PLANE, PLANES_TEXT).await? })
}

async fn unit(name: &str, text: &str) -> Option<Unit> {
    let asked = "--property=LoadState,FragmentPath,NeedDaemonReload,UnitFileState,ActiveState,WatchdogUSec";
    let said = said_by("systemctl", &["show", asked, name]).await.filter(|said| said.status.success())?;
    Some(read(str::from_utf8(&said.stdout).ok()?, |path| {
        fs::read_to_string(path).is_ok_and(|file| file == text)
    }))
}

/// Reads lines `NAME=VALUE`.
fn read(said: &str, is_ours: impl Fn(&str) -> bool) -> Unit {
    let said: BTreeMap<&str, &str> = said.lines().filter_map(|line| line.split_once('=')).collect();
    let is = |name: &str, value: &str| said.get(name).is_some_and(|found| *found == value);
    Unit {
        is_there: is("LoadState", "loaded"),
        is_ours: said.get("FragmentPath").is_some_and(|path| is_ours(path)),
        is_stale: is("NeedDaemonReload", "yes"),
        is_enabled: is("UnitFileState", "enabled"),
        is_active: is("ActiveState", "active"),
        is_watched: said.get("WatchdogUSec").is_some_and(|time| !matches!(*time, "0" | "infinity" | "")),
    }
}

/// Nothing where there is no systemd: then `mill daemon` finds a plane or starts one by itself.
pub(super) fn judge(units: Option<&Units>) -> Vec<Finding> {
    let Some(Units { daemon, plane }) = units else { return vec![] };
    let mut findings = vec![installed(daemon, plane)];
    let running = match (plane.is_there, plane.is_active, daemon.is_active) {
        (true, true, _) => Finding::ok(Check::PlaneUnit, "it runs"),
        (true, false, false) => {
            Finding::ok(Check::PlaneUnit, "it doesn't run, and neither does the daemon's")
        }
        (true, false, true) => Finding::warn(
            Check::PlaneUnit,
            "it doesn't run, and the daemon's does",
            Check::PlaneUnit.advice().todo,
        ),
        (false, ..) => Finding::warn(
            Check::PlaneUnit,
            "not installed: a daemon started by hand brings a plane of its own",
            Check::Units.advice().todo,
        ),
    };
    findings.push(running);
    let unwatched: Vec<&str> = [(DAEMON, daemon), (PLANE, plane)]
        .into_iter()
        .filter(|(_, unit)| !unit.is_watched)
        .map(|(name, _)| name)
        .collect();
    findings.push(match unwatched.as_slice() {
        [] => Finding::ok(Check::Watchdog, "both units are watched"),
        unwatched => Finding::warn(
            Check::Watchdog,
            format!("off for {}", unwatched.join(" and ")),
            Check::Watchdog.advice().todo,
        ),
    });
    findings
}

fn installed(daemon: &Unit, plane: &Unit) -> Finding {
    let check = Check::Units;
    let named = |fits: fn(&Unit) -> bool| {
        let named = [(DAEMON, daemon), (PLANE, plane)].into_iter().filter(|(_, unit)| fits(unit));
        named.map(|(name, _)| name).collect::<Vec<_>>().join(" and ")
    };
    let missing = named(|unit| !unit.is_there);
    if !missing.is_empty() {
        let fix = "`apt-get install ./mill_VERSION_amd64.deb`: the package brings both";
        return Finding::warn(check, format!("{missing}: not installed"), fix);
    }
    let stale = named(|unit| unit.is_stale);
    if !stale.is_empty() {
        let fix = "`systemctl daemon-reload`, then `systemctl restart mill-plane mill`";
        return Finding::warn(check, format!("{stale}: changed since systemd read it"), fix);
    }
    let foreign = named(|unit| !unit.is_ours);
    if !foreign.is_empty() {
        return Finding::warn(
            check,
            format!("{foreign}: not as this version's package has it"),
            check.advice().todo,
        );
    }
    let disabled = named(|unit| !unit.is_enabled);
    if !disabled.is_empty() {
        let what = format!("{disabled}: not enabled, so not started after a reboot");
        return Finding::warn(check, what, "`systemctl enable mill mill-plane`");
    }
    Finding::ok(check, "both as the package has them, and enabled")
}

#[cfg(test)]
pub(super) mod tests {
    use mill_api::doctor::Level;

    use super::*;

    fn good() -> Unit {
        Unit {
            is_there: true,
            is_ours: true,
            is_stale: false,
            is_enabled: true,
            is_active: true,
            is_watched: true,
        }
    }

    pub(in super::super) fn well() -> Units {
        Units { daemon: good(), plane: good() }
    }

    pub(in super::super) fn broken() -> Units {
        let plane = Unit { is_ours: false, is_active: false, is_watched: false, ..good() };
        Units { daemon: good(), plane }
    }

    #[test]
    fn what_systemd_says_is_read_as_it_says_it() {
        let said = "LoadState=loaded\nFragmentPath=/usr/lib/systemd/system/mill.service\nNeedDaemonReload=no\n\
                    UnitFileState=enabled\nActiveState=active\nWatchdogUSec=20s\n";
        assert_eq!(read(said, |path| path.ends_with("/mill.service")), good());
        let missing = read("LoadState=not-found\nFragmentPath=\nWatchdogUSec=infinity\n", |_| false);
        assert!(!missing.is_there && !missing.is_watched && !missing.is_enabled);
        assert!(!read("WatchdogUSec=0\n", |_| true).is_watched);
    }

    #[test]
    fn each_trouble_of_a_unit_has_its_own_fix() {
        type Change = fn(&mut Units);
        let cases: [(Change, Check, &str); 7] = [
            (|units| units.plane.is_there = false, Check::Units, "apt-get install"),
            (|units| units.daemon.is_stale = true, Check::Units, "daemon-reload"),
            (|units| units.daemon.is_ours = false, Check::Units, "--reinstall"),
            (|units| units.daemon.is_enabled = false, Check::Units, "systemctl enable mill"),
            (|units| units.plane.is_active = false, Check::PlaneUnit, "systemctl enable --now mill-plane"),
            (|units| units.plane.is_there = false, Check::PlaneUnit, "--reinstall"),
            (|units| units.daemon.is_watched = false, Check::Watchdog, "WatchdogSec=0"),
        ];
        for (change, check, fix) in cases {
            let mut units = well();
            change(&mut units);
            let found = judge(Some(&units));
            let found = found.iter().find(|finding| finding.check == check.as_str()).unwrap();
            assert_eq!(found.level, Level::Warn, "{found:?}");
            assert!(found.fix.as_ref().unwrap().contains(fix), "{found:?}");
        }
        assert!(judge(Some(&well())).iter().all(|finding| finding.level == Level::Ok));
        assert_eq!(judge(None), []);
    }
}
