//! What a machine is kept up with: its clock, its swap, the files that may be open, the pool of ports.

use std::path::Path;

use mill_api::doctor::{Check, Finding};
use mill_drivers::cgroups::Cgroups;
use mill_drivers::sockets::Listener;
use rustix::process::{Resource, getrlimit};

use super::host::said_by;

/// A container has two pipes of its output, an actor and its checks: this is enough for some thousand.
const OPEN_FILES_GOOD: u64 = 16_384;
/// Listeners that a finding names.
const NAMED_MAX: usize = 3;

/// Whether memory can reach a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swap {
    /// There is none.
    None,
    /// Containers are held to none of it.
    Limited,
    /// They can't be held.
    Unlimited,
}

pub(super) fn files_allowed() -> Option<u64> {
    // Without a number there is no limit.
    getrlimit(Resource::Nofile).current.or(Some(u64::MAX))
}

pub(super) fn look_at_swap() -> Swap {
    let swaps = std::fs::read_to_string(Path::new("/proc/swaps")).unwrap_or_default();
    match (has_swap(&swaps), Cgroups::detect("/mill")) {
        (false, _) => Swap::None,
        (true, Ok(cgroups)) if cgroups.limits_swap() => Swap::Limited,
        (true, _) => Swap::Unlimited,
    }
}

/// `/proc/swaps` begins with a line of heads.
fn has_swap(swaps: &str) -> bool {
    swaps.lines().skip(1).any(|line| !line.trim().is_empty())
}

/// What the kernel thinks of its clock, as timedatectl(1) tells: any time service tells the kernel.
pub(super) async fn is_clock_kept() -> Option<bool> {
    let said = said_by("timedatectl", &["show", "--property=NTPSynchronized", "--value"]).await?;
    match str::from_utf8(&said.stdout).ok()?.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

pub(super) fn open_files(allowed: u64) -> Finding {
    let check = Check::OpenFiles;
    match allowed {
        u64::MAX => Finding::ok(check, "as many as there are"),
        OPEN_FILES_GOOD.. => Finding::ok(check, format!("{allowed} at most")),
        _ => Finding::warn(check, format!("{allowed} at most"), check.advice().todo),
    }
}

pub(super) fn swap(swap: Swap) -> Finding {
    let check = Check::Swap;
    match swap {
        Swap::None => Finding::ok(check, "none"),
        Swap::Limited => Finding::ok(check, "there is some, and containers are held to none of it"),
        Swap::Unlimited => Finding::warn(
            check,
            "there is some, and the kernel can't keep containers from it",
            check.advice().todo,
        ),
    }
}

pub(super) fn clock(kept: Option<bool>) -> Finding {
    let check = Check::Clock;
    match kept {
        Some(true) => Finding::ok(check, "kept by a time service"),
        Some(false) => Finding::warn(check, "no time service keeps it", check.advice().todo),
        None => Finding::ok(
            check,
            "whether a time service keeps it isn't known here: there is no timedatectl to ask",
        ),
    }
}

pub(super) fn pool(strangers: &Result<Vec<Listener>, String>) -> Finding {
    let check = Check::PortPool;
    match strangers {
        Ok(none) if none.is_empty() => Finding::ok(check, "no other program listens there"),
        Ok(some) => {
            let named: Vec<String> = some
                .iter()
                .take(NAMED_MAX)
                .map(|listener| format!("{} is held by {listener}", listener.port))
                .collect();
            let more = some.len().saturating_sub(named.len());
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            Finding::warn(check, format!("{}{more}", named.join(", ")), check.advice().todo)
        }
        Err(why) => Finding::warn(check, why.clone(), "is /proc mounted?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_what_stands_below_the_heads() {
        assert!(!has_swap("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"));
        assert!(!has_swap(""));
        assert!(has_swap("Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition 8 0 -2\n"));
    }
}
