//! Capabilities of Linux (capabilities(7), as of 6.18).

use crate::code::Code;
use crate::finding::{Finding, Findings, nearest, quote};
use crate::read::Read;
use crate::span::Spanned;

const CAPABILITIES: &[&str] = &[
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// Stands for all of them; only to be dropped.
pub(crate) const ALL: &str = "ALL";

/// A capability as specs write it: upper case, without `CAP_`.
pub(crate) fn read(text: &Spanned<String>, dropped: bool, out: &mut Findings) -> Read<String> {
    let upper = text.value.to_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if CAPABILITIES.contains(&bare) || (dropped && bare == ALL) {
        return Ok(Spanned::new(bare.to_owned(), text.span));
    }
    if bare == ALL {
        let finding = Finding::new(Code::BadCapability, text.span, "all capabilities can't be added at once");
        let finding = finding.because("a program with all of them owns the node");
        return Err(out.error(finding.hint("name those that it needs: `cap-add \"NET_ADMIN\" \"SYS_NICE\"`")));
    }
    let message = format!("{} is no capability", quote(&text.value));
    let finding = Finding::new(Code::BadCapability, text.span, message);
    if out.is_full() {
        return Err(out.error(finding));
    }
    // `nearest` compares in the spelling of fields.
    let fields: Vec<String> = CAPABILITIES.iter().map(|name| name.to_lowercase().replace('_', "-")).collect();
    let meant =
        nearest(bare, fields.iter().map(String::as_str)).map(|field| field.to_uppercase().replace('-', "_"));
    let hint = meant
        .map_or("`man 7 capabilities` lists them".to_owned(), |meant| format!("did you mean `{meant}`?"));
    Err(out.error(finding.hint(hint)))
}
