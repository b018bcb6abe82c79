//! What to do about a failure.

use mill_model::{AllocId, Failure};

/// What the check saw that made an alloc unhealthy, in words that go with "unhealthy". An earlier version's node
/// doesn't say.
pub(in crate::http) fn ailment(failure: Option<&Failure>) -> String {
    match failure {
        Some(Failure::Unhealthy { last }) => last.clone(),
        Some(other) => other.to_string(),
        None => "its health check fails".to_owned(),
    }
}

/// What a person can do about it.
pub(in crate::http) fn hint(failure: &Failure, alloc: Option<&AllocId>) -> String {
    let logs = || match alloc {
        Some(alloc) => format!("`mill logs {alloc} --all` shows what it wrote"),
        None => "`mill logs NAME --all` shows what it wrote".to_owned(),
    };
    match failure {
        Failure::Exited { code: 126 | 127 } => {
            format!("126 and 127 are a shell's word for a command that it can't run; {}", logs())
        }
        Failure::Exited { .. } | Failure::Signalled { .. } => logs(),
        Failure::OutOfMemory => "give it more `memory`, or make it use less".to_owned(),
        Failure::Unhealthy { .. } => {
            format!(
                "is `health` right (path, port, start-period), and does the program listen on $PORT? {}",
                logs()
            )
        }
        Failure::TimedOut => format!("give it a longer `timeout`; {}", logs()),
        Failure::NoSuchImage { .. } => "check the image's name and tag, and that it was pushed".to_owned(),
        Failure::PullFailed { .. } => {
            "can the node reach the registry, and may it read the image? `mill registry login HOST` gives it credentials".to_owned()
        }
        Failure::NoSuchCommand { .. } => "check `command` and `entrypoint` against the image".to_owned(),
        Failure::NoSuchUser { .. } => "check `user` against the image, or give a number".to_owned(),
        Failure::PortTaken { .. } => {
            "let the program listen on $PORT, or stop what holds the port".to_owned()
        }
        Failure::SecretUnavailable { .. } => {
            "the daemon's log on its node says more; `mill secret set NAME --roll` gives it another value"
                .to_owned()
        }
        Failure::Runtime { .. } | Failure::Vanished => {
            "`mill doctor` on its node looks at the container runtime".to_owned()
        }
    }
}
