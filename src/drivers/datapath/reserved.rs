//! The pool's ports, reserved: the kernel gives none of them to a program that asks for any port.
//!
//! What stood there before is kept in a file that, like the setting itself, doesn't survive a reboot.

use std::fs;
use std::io;
use std::path::Path;

use mill_model::limits::MAPPED_PORTS;

/// The kernel's setting, that of this network namespace (ip-sysctl): `8080,20000-29999`.
pub(super) const SETTING: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Reserves the pool, beside what is reserved; whether it wasn't. `kept`: where the setting before is kept.
pub(super) fn reserve(setting: &Path, kept: &Path) -> io::Result<bool> {
    let before = fs::read_to_string(setting)?;
    let before = before.trim();
    if covers(before, *MAPPED_PORTS.start(), *MAPPED_PORTS.end()) {
        return Ok(false);
    }
    if !kept.exists() {
        if let Some(folder) = kept.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(kept, before)?;
    }
    let pool = format!("{}-{}", MAPPED_PORTS.start(), MAPPED_PORTS.end());
    let wanted = if before.is_empty() { pool } else { format!("{before},{pool}") };
    fs::write(setting, wanted)?;
    Ok(true)
}

/// Puts back what stood there before.
pub(super) fn restore(setting: &Path, kept: &Path) -> io::Result<()> {
    match fs::read_to_string(kept) {
        Ok(before) => {
            // An empty list has to be said with a line's end.
            fs::write(setting, format!("{before}\n"))?;
            fs::remove_file(kept)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether a list of ports and ranges, in ascending order as the kernel prints it, has all of these in one.
fn covers(list: &str, first: u16, last: u16) -> bool {
    list.split(',').any(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let within = |from: u16, to: u16| from <= first && last <= to;
        from.trim().parse().ok().zip(to.trim().parse().ok()).is_some_and(|(from, to)| within(from, to))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_is_added_to_what_is_reserved_and_taken_away_again() {
        for (before, during) in [
            ("", "20000-29999"),
            ("8080,9148", "8080,9148,20000-29999"),
            ("20000-29998", "20000-29998,20000-29999"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let (setting, kept) = (dir.path().join("setting"), dir.path().join("run/kept"));
            fs::write(&setting, format!("{before}\n")).unwrap();
            assert!(reserve(&setting, &kept).unwrap());
            assert_eq!(fs::read_to_string(&setting).unwrap(), during);
            // Somebody's own change, while Mill runs.
            fs::write(&setting, "1\n").unwrap();
            assert!(reserve(&setting, &kept).unwrap());
            restore(&setting, &kept).unwrap();
            assert_eq!(fs::read_to_string(&setting).unwrap(), format!("{before}\n"));
            restore(&setting, &kept).unwrap();
        }
    }

    #[test]
    fn what_is_reserved_already_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (setting, kept) = (dir.path().join("setting"), dir.path().join("kept"));
        fs::write(&setting, "1,19999-30000\n").unwrap();
        assert!(!reserve(&setting, &kept).unwrap());
        assert!(!kept.exists());
    }
}
