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
    let name = alloc.map_or("NAME", AllocId::as_str);
    let todo = match failure {
        // Another name is meant there: the secret's.
        Failure::SecretUnavailable { secret, .. } => {
            failure.kind().advice().todo.replace("NAME", &secret.secret.to_string())
        }
        _ => failure.kind().advice().todo.replace("NAME", name),
    };
    match failure {
        Failure::Exited { code: 126 | 127 } => {
            format!("126 and 127 are a shell's word for a command that it can't run; {todo}")
        }
        _ => todo,
    }
}
