//! The seccomp profile: what Docker's default one allows, given the container's capabilities.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::syscalls::{ALWAYS, BY_CAPABILITY, native};

/// `clone` flags that make namespaces: cgroup, UTS, IPC, user, PID, network, and mount (0x7E020000). Without
/// `CAP_SYS_ADMIN` none of them may be set.
const NAMESPACE_FLAGS: u64 = 0x7E02_0000;

const ENOSYS: u32 = 38;
const EPERM: u32 = 1;

/// `personality` values that change nothing dangerous: Linux, Linux 32, uname26 with each, and "tell".
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The profile for a container with these capabilities.
pub(super) fn profile(capabilities: &BTreeSet<&str>) -> Value {
    let mut rules = vec![allow(&words(ALWAYS)), allow(&words(native()))];
    rules.retain(|rule| rule["names"].as_array().is_some_and(|names| !names.is_empty()));
    // Families below 38, 39, and above 40: not AF_ALG (38: kernel crypto) and AF_VSOCK (40: the hypervisor).
    for (value, op) in [(38, "SCMP_CMP_LT"), (39, "SCMP_CMP_EQ"), (40, "SCMP_CMP_GT")] {
        rules.push(allow_if("socket", &json!({ "index": 0, "value": value, "op": op })));
    }
    for value in PERSONALITIES {
        rules.push(allow_if("personality", &json!({ "index": 0, "value": value, "op": "SCMP_CMP_EQ" })));
    }
    for (capability, names) in BY_CAPABILITY {
        if capabilities.contains(capability) {
            rules.push(allow(&words(&[names])));
        }
    }
    if !capabilities.contains("CAP_SYS_ADMIN") {
        let no_namespaces =
            json!({ "index": 0, "value": NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" });
        rules.push(allow_if("clone", &no_namespaces));
        // Its flags lie in memory where no filter sees them: "no such call" has the C library use `clone`.
        rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS }));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": architectures(),
        "syscalls": rules,
    })
}

fn architectures() -> Value {
    match std::env::consts::ARCH {
        "x86_64" => json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
        "aarch64" => json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]),
        // runc takes the architecture it runs on.
        _ => json!([]),
    }
}

fn words<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    lines.iter().flat_map(|line| line.split_whitespace()).collect()
}

fn allow(names: &[&str]) -> Value {
    json!({ "names": names, "action": "SCMP_ACT_ALLOW" })
}

fn allow_if(name: &str, condition: &Value) -> Value {
    json!({ "names": [name], "action": "SCMP_ACT_ALLOW", "args": [condition] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(profile: &Value, name: &str) -> bool {
        let rules = profile["syscalls"].as_array().unwrap();
        rules.iter().any(|rule| {
            rule["action"] == "SCMP_ACT_ALLOW"
                && rule.get("args").is_none()
                && rule["names"].as_array().unwrap().contains(&json!(name))
        })
    }

    #[test]
    fn capabilities_open_what_belongs_to_them_and_nothing_else() {
        let plain = profile(&BTreeSet::new());
        let table = [
            ("read", None),
            ("mount", Some("CAP_SYS_ADMIN")),
            ("unshare", Some("CAP_SYS_ADMIN")),
            ("clone3", Some("CAP_SYS_ADMIN")),
            ("chroot", Some("CAP_SYS_CHROOT")),
            ("bpf", Some("CAP_BPF")),
            ("init_module", Some("CAP_SYS_MODULE")),
            ("clock_settime", Some("CAP_SYS_TIME")),
        ];
        for (call, capability) in table {
            assert_eq!(allows(&plain, call), capability.is_none(), "{call}");
            if let Some(capability) = capability {
                assert!(allows(&profile(&[capability].into()), call), "{call} with {capability}");
            }
        }
        for never in
            ["kexec_load", "keyctl", "add_key", "userfaultfd", "io_uring_setup", "swapon", "pivot_root"]
        {
            assert!(!allows(&plain, never), "{never}");
        }
    }

    #[test]
    fn no_call_is_listed_twice() {
        let mut names = words(ALWAYS);
        names.extend(words(native()));
        let count = names.len();
        let unique: BTreeSet<&str> = names.into_iter().collect();
        assert_eq!(unique.len(), count);
    }
}
