//! Capabilities: Docker's usual ones less `NET_RAW`, and what a config adds and takes away (product.md §2).

use std::collections::BTreeSet;

use super::SpecError;

/// What a container gets unasked. Docker's list without `CAP_NET_RAW`: on the node's own network it could listen to
/// everybody else's packets.
const DEFAULTS: [&str; 13] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// All that Linux has, by number (linux/capability.h).
const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The capabilities of a container, of those that the node itself has (`held`: a mask by number). As with Docker,
/// what is added by name wins over what is dropped.
pub(super) fn granted(
    add: &[String],
    drop: &[String],
    held: u64,
) -> Result<BTreeSet<&'static str>, SpecError> {
    let mut granted: BTreeSet<&'static str> = DEFAULTS.into();
    for name in drop {
        match known(name)? {
            Some(one) => _ = granted.remove(one),
            None => granted.clear(),
        }
    }
    for name in add {
        match known(name)? {
            Some(one) => _ = granted.insert(one),
            None => granted.extend(ALL),
        }
    }
    granted.retain(|name| held & bit(name) != 0);
    Ok(granted)
}

/// What `mill-init` has over what is granted to the program, to make itself that program: it owns its streams, drops
/// what is too much, and takes on user and groups. It ends what it has executed beside the container's own program.
const BECOMING: [&str; 5] = ["CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID"];

/// The capabilities of the container's first process, before it becomes its program.
pub(super) fn of_init(granted: &BTreeSet<&'static str>, held: u64) -> BTreeSet<&'static str> {
    granted.iter().copied().chain(BECOMING).filter(|name| held & bit(name) != 0).collect()
}

/// Capabilities as a mask by number.
pub(super) fn mask(names: &BTreeSet<&'static str>) -> u64 {
    names.iter().fold(0, |mask, name| mask | bit(name))
}

fn bit(name: &str) -> u64 {
    ALL.iter().position(|one| *one == name).map_or(0, |number| 1 << number)
}

/// The capability of this name, with or without `CAP_`; `None` for `ALL`.
fn known(name: &str) -> Result<Option<&'static str>, SpecError> {
    let upper = name.to_ascii_uppercase();
    if upper == "ALL" {
        return Ok(None);
    }
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let found = ALL.iter().find(|one| one.strip_prefix("CAP_") == Some(bare)).copied();
    found.map(Some).ok_or_else(|| SpecError::UnknownCapability { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(words: &str) -> Vec<String> {
        words.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn adding_and_dropping_follow_docker() {
        let without =
            |gone: &[&str]| DEFAULTS.into_iter().filter(|c| !gone.contains(c)).collect::<BTreeSet<_>>();
        let table = [
            ("", "", without(&[])),
            ("", "chown CAP_KILL", without(&["CAP_CHOWN", "CAP_KILL"])),
            ("", "ALL", BTreeSet::new()),
            ("NET_ADMIN", "all", ["CAP_NET_ADMIN"].into()),
            ("CHOWN", "CHOWN", without(&[])),
            ("ALL", "", ALL.into()),
        ];
        for (add, drop, wanted) in table {
            assert_eq!(granted(&texts(add), &texts(drop), u64::MAX).unwrap(), wanted, "+{add} -{drop}");
        }
        assert!(!granted(&[], &[], u64::MAX).unwrap().contains("CAP_NET_RAW"));
    }

    #[test]
    fn what_the_node_lacks_is_not_granted() {
        let granted = granted(&texts("ALL"), &[], 0b11).unwrap();
        assert_eq!(granted, ["CAP_CHOWN", "CAP_DAC_OVERRIDE"].into());
    }

    #[test]
    fn the_first_process_has_what_it_takes_to_become_the_program_as_far_as_the_node_has_it() {
        let none = granted(&[], &texts("ALL"), u64::MAX).unwrap();
        assert_eq!(of_init(&none, u64::MAX), BECOMING.into());
        assert_eq!(of_init(&none, 0b11), ["CAP_CHOWN"].into());
        let defaults = granted(&[], &[], u64::MAX).unwrap();
        assert_eq!(of_init(&defaults, u64::MAX), defaults, "which are among the usual ones");
        assert_eq!((mask(&defaults), mask(&none)), (0xa804_05fb, 0));
    }

    #[test]
    fn an_unknown_capability_is_named() {
        let error = granted(&texts("NET_ADMINN"), &[], u64::MAX).unwrap_err();
        assert_eq!(error.to_string(), "there is no capability `NET_ADMINN`");
    }
}
