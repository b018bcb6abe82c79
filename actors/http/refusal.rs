//! Refusals: what went wrong inside, in the words of the API (product.md P10).

use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use mill_api::{ApiError, Code};
use mill_fsm::{Rejected, SecretUser};
use mill_model::DeployId;

use crate::kit::AskError;
use crate::raft::ProposeError;

/// A refusal as an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) ApiError);

impl<E: Into<ApiError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, wait) = (self.0.code.status(), self.0.retry_after_s);
        let mut response = (status, axum::Json(self.0)).into_response();
        if let Some(seconds) = wait {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// There is no such deploy.
pub(super) fn no_such_deploy(id: DeployId) -> ApiError {
    ApiError::new(Code::NotFound, format!("there is no deploy #{id}"))
        .because("it never was, or its project's history has grown past it")
        .hint("`mill history PROJECT` lists a project's deploys")
}

/// A question to the log that has no answer. Whether the write was done isn't known in the last two cases.
pub(super) fn unanswered(error: &AskError) -> ApiError {
    let look = "`mill status` and `mill events` show whether it was done";
    let (code, hint) = match error {
        AskError::Unreachable(_) => (Code::Unavailable, "nothing was written: try again in a moment"),
        AskError::Full { .. } => (Code::Overloaded, "nothing was written: try again in a moment"),
        AskError::Deadline { .. } => (Code::Deadline, look),
        AskError::Dropped { .. } => (Code::Crashed, look),
    };
    ApiError::new(code, "the write wasn't confirmed").because(error.to_string()).hint(hint)
}

/// A write that the log didn't carry out, or isn't known to have.
pub(super) fn not_proposed(error: ProposeError) -> ApiError {
    let (code, hint) = match error {
        ProposeError::Rejected(rejected) => return rejected_write(&rejected),
        ProposeError::NotLeader { leader: Some(_) } => {
            (Code::Unavailable, "ask the node that leads: `mill status` names it")
        }
        ProposeError::NotLeader { leader: None } => {
            (Code::Unavailable, "the cluster has no leader at the moment: try again in a few seconds")
        }
        ProposeError::Overloaded => (Code::Overloaded, "nothing was written: try again in a moment"),
        ProposeError::TooLong { .. } => {
            (Code::TooLarge, "cut the project in two: each has a config of its own")
        }
        ProposeError::Uncertain => {
            (Code::Deadline, "`mill status` and `mill events` show whether it was done")
        }
        ProposeError::Halted => {
            (Code::Unavailable, "install the version of mill that the other nodes run, and start it again")
        }
    };
    ApiError::new(code, "the write wasn't carried out").because(error.to_string()).hint(hint)
}

/// Says which trouble of the log's is behind a refusal (product.md §6: a full disk).
pub(super) fn in_trouble(refused: ApiError, trouble: &str) -> ApiError {
    let reason =
        refused.reason.as_ref().map_or_else(|| trouble.to_owned(), |why| format!("{why}: {trouble}"));
    refused.because(reason).hint(
        "what runs goes on; writes are taken as soon as the disk takes them again: `mill doctor` looks at it",
    )
}

/// A command that the state machine refused.
fn rejected_write(rejected: &Rejected) -> ApiError {
    let said = rejected.to_string();
    let plain = |code, hint: &str| ApiError::new(code, said.clone()).hint(hint);
    match rejected {
        Rejected::AlreadyBootstrapped => {
            plain(Code::Conflict, "`mill status` shows the cluster that this node belongs to")
        }
        Rejected::NotBootstrapped => plain(Code::Unavailable, "`mill init` makes a cluster of this node"),
        Rejected::NoSuchNode(_) => plain(Code::NotFound, "`mill nodes` lists the nodes"),
        Rejected::NameTaken(_) => plain(Code::Conflict, "give this node another name"),
        Rejected::NoSuchProject(_) => plain(Code::NotFound, "`mill services` lists what there is"),
        Rejected::NoSuchWorkload(_) => plain(Code::NotFound, "`mill services` lists what there is"),
        Rejected::NoSuchDeploy(id) => no_such_deploy(*id),
        Rejected::DeployEnded(id) => ApiError::new(Code::Conflict, format!("deploy #{id} has ended"))
            .because("only a deploy that waits or is under way can be called off")
            .hint("`mill rollback PROJECT` brings the config before it back"),
        Rejected::DeployUnderWay(id) => {
            ApiError::new(Code::Conflict, format!("deploy #{id} of this project is under way or waits"))
                .because("what it leads to isn't known before its end")
                .hint(format!(
                    "`mill deploy --attach {id}` waits for its end, `mill deploy --cancel {id}` calls it off"
                ))
        }
        Rejected::TooManyDeploys => plain(
            Code::Overloaded,
            "wait for them, or let this one take the place of them all: `mill deploy --replace`",
        ),
        Rejected::KindChanged(_) => plain(Code::Conflict, "deploy without it first, then again with it"),
        Rejected::ProjectInUse(_) => plain(Code::Conflict, "`mill undeploy` stops it first"),
        Rejected::NoSuchSecret(_)
        | Rejected::SecretGone(_)
        | Rejected::SecretOfAnother(_)
        | Rejected::SecretUsed { .. }
        | Rejected::SecretSize { .. }
        | Rejected::TooManySecrets
        | Rejected::SecretsFull => about_secret(rejected),
        Rejected::TooManyTasks { .. }
        | Rejected::TasksFull
        | Rejected::NotATask(_)
        | Rejected::Replica(_)
        | Rejected::NoSuchTask(_) => about_task(rejected),
        Rejected::KeyReused => ApiError::new(Code::Conflict, said)
            .because(
                "a key stands for one request, for a day: to do it again, or something else, takes another",
            )
            .hint(
                "nothing was changed; give each request a new random key, and the same to a repetition of it",
            ),
        Rejected::NoCapacity { .. } => plain(Code::Unplaceable, "`mill nodes` shows what is free"),
        Rejected::TokenNameTaken(_)
        | Rejected::TokenExists
        | Rejected::TooManyTokens
        | Rejected::NoSuchToken(_)
        | Rejected::LastAdmin(_)
        | Rejected::CaRetiring(_)
        | Rejected::TooManyRegistries
        | Rejected::NoSuchRegistry(_) => about_access(rejected),
        // What only the leader itself proposes, and what nothing proposes: a defect, in words.
        Rejected::DeployUnfinished(_)
        | Rejected::StepBackwards { .. }
        | Rejected::AllocExists(_)
        | Rejected::VersionUnknown(_)
        | Rejected::WrongProject => {
            plain(Code::Conflict, "`mill status` shows how things stand; try again if it still makes sense")
        }
        Rejected::Invariant(broken) => ApiError::new(Code::Crashed, said)
            .because(broken.to_string())
            .hint("nothing was changed; this is a defect of Mill: please report it"),
    }
}

fn about_secret(rejected: &Rejected) -> ApiError {
    let said = rejected.to_string();
    let plain = |code, hint: &str| ApiError::new(code, said.clone()).hint(hint);
    match rejected {
        Rejected::NoSuchSecret(_) => plain(Code::NotFound, "`mill secret list` lists the secrets"),
        Rejected::SecretGone(pin) => ApiError::new(Code::Conflict, said.clone())
            .because("it was deleted since, and nothing can be started without it")
            .hint(format!("set it anew and deploy: `mill secret set {}`", pin.secret)),
        Rejected::SecretOfAnother(_) => {
            plain(Code::Conflict, "a project uses its own secrets and shared ones: `mill secret list`")
        }
        Rejected::SecretUsed { users, .. } => ApiError::new(Code::Conflict, said.clone())
            .because(format!("it is used by {}", listed(users)))
            .hint("take it out of their config and deploy; then nothing can be without it"),
        Rejected::SecretSize { .. } => {
            plain(Code::TooLarge, "a larger file belongs into an image or a volume")
        }
        // There are too many of them, or they are too large.
        _ => plain(Code::Conflict, "`mill secret list` shows them; `mill secret delete` makes room"),
    }
}

fn about_task(rejected: &Rejected) -> ApiError {
    let said = rejected.to_string();
    let plain = |code, hint: &str| ApiError::new(code, said.clone()).hint(hint);
    match rejected {
        Rejected::NotATask(_) => {
            plain(Code::Conflict, "tasks and services share one set of names: give it another, with `--name`")
        }
        Rejected::Replica(_) => {
            plain(Code::BadRequest, "`mill restart SERVICE` replaces it, `mill scale` has fewer of them")
                .because("it would be started again at once")
        }
        Rejected::NoSuchTask(_) => plain(Code::NotFound, "`mill ps --all` lists the tasks"),
        // There are too many of them.
        _ => plain(Code::Overloaded, "wait for some of them to end, or kill them: `mill ps` lists them"),
    }
}

fn about_access(rejected: &Rejected) -> ApiError {
    let said = rejected.to_string();
    let plain = |code, hint: &str| ApiError::new(code, said.clone()).hint(hint);
    match rejected {
        Rejected::TokenNameTaken(_) => {
            plain(Code::Conflict, "give this one another name; `mill token list` shows those that there are")
        }
        Rejected::TokenExists => plain(Code::Conflict, "nothing was made: try again"),
        Rejected::TooManyTokens => plain(
            Code::Conflict,
            "revoke those that nobody uses: `mill token list` shows when each was last used",
        ),
        Rejected::NoSuchToken(_) => plain(Code::NotFound, "`mill token list` shows those that there are"),
        Rejected::LastAdmin(name) => plain(
            Code::Conflict,
            &format!(
                "make another one first, or revoke it as root on a node, where another can be made: `mill token revoke {name}`"
            ),
        )
        .because("without it nobody could make or revoke tokens over the network"),
        Rejected::CaRetiring(until) => ApiError::new(Code::Conflict, "the cluster's CA was changed lately")
            .because(format!("the one before it is trusted until {until}, and two at a time are enough"))
            .hint("wait until then; `mill cert list` shows both"),
        Rejected::TooManyRegistries => {
            plain(Code::Conflict, "forget those that nothing is pulled from: `mill registry list`")
        }
        // There are no such credentials.
        _ => plain(Code::NotFound, "`mill registry list` shows those that it has credentials for"),
    }
}

/// Most users of a secret that an answer names.
const USERS_SHOWN: usize = 10;

fn listed(users: &[SecretUser]) -> String {
    let shown: Vec<String> = users.iter().take(USERS_SHOWN).map(|user| format!("`{user}`")).collect();
    match users.len().saturating_sub(USERS_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mill_fsm::{Broken, StepState};
    use mill_model::{NodeId, Pin, TokenId};

    use super::*;
    use crate::kit::Path;

    fn every_rejection() -> Vec<(Rejected, Code)> {
        let alloc = || "web-7k2f".parse().unwrap();
        let job = || mill_model::Workload { project: "shop".parse().unwrap(), name: "web".parse().unwrap() };
        let deploy = DeployId(7);
        let secret = || "shop/db.password".parse().unwrap();
        vec![
            (Rejected::AlreadyBootstrapped, Code::Conflict),
            (Rejected::NotBootstrapped, Code::Unavailable),
            (Rejected::NoSuchNode(NodeId(1)), Code::NotFound),
            (Rejected::NameTaken(NodeId(1)), Code::Conflict),
            (Rejected::NoSuchProject("shop".parse().unwrap()), Code::NotFound),
            (Rejected::NoSuchWorkload("web".parse().unwrap()), Code::NotFound),
            (Rejected::NoSuchDeploy(deploy), Code::NotFound),
            (Rejected::DeployEnded(deploy), Code::Conflict),
            (Rejected::DeployUnfinished(deploy), Code::Conflict),
            (Rejected::DeployUnderWay(deploy), Code::Conflict),
            (Rejected::TooManyDeploys, Code::Overloaded),
            (Rejected::StepBackwards { from: StepState::Done, to: StepState::Waiting }, Code::Conflict),
            (Rejected::AllocExists(alloc()), Code::Conflict),
            (Rejected::VersionUnknown(alloc()), Code::Conflict),
            (Rejected::TooManyTasks { project: "shop".parse().unwrap() }, Code::Overloaded),
            (Rejected::TasksFull, Code::Overloaded),
            (Rejected::NotATask(job()), Code::Conflict),
            (Rejected::Replica(alloc()), Code::BadRequest),
            (Rejected::NoSuchTask(alloc()), Code::NotFound),
            (Rejected::NoCapacity { node: NodeId(1), alloc: alloc() }, Code::Unplaceable),
            (Rejected::ProjectInUse("shop".parse().unwrap()), Code::Conflict),
            (Rejected::KindChanged("web".parse().unwrap()), Code::Conflict),
            (Rejected::WrongProject, Code::Conflict),
            (Rejected::NoSuchSecret(secret()), Code::NotFound),
            (Rejected::SecretGone(Pin { secret: secret(), version: 2 }), Code::Conflict),
            (Rejected::SecretOfAnother(secret()), Code::Conflict),
            (
                Rejected::SecretUsed { secret: secret(), users: vec![SecretUser::Deploy(deploy)] },
                Code::Conflict,
            ),
            (Rejected::SecretSize { length: 1 << 20 }, Code::TooLarge),
            (Rejected::TooManySecrets, Code::Conflict),
            (Rejected::SecretsFull, Code::Conflict),
            (Rejected::TokenNameTaken("ci".parse().unwrap()), Code::Conflict),
            (Rejected::TokenExists, Code::Conflict),
            (Rejected::TooManyTokens, Code::Conflict),
            (Rejected::NoSuchToken(TokenId(1)), Code::NotFound),
            (Rejected::LastAdmin("init".parse().unwrap()), Code::Conflict),
            (Rejected::CaRetiring(mill_model::Timestamp(1)), Code::Conflict),
            (Rejected::TooManyRegistries, Code::Conflict),
            (Rejected::NoSuchRegistry("r.test".parse().unwrap()), Code::NotFound),
            (Rejected::KeyReused, Code::Conflict),
            (Rejected::Invariant(Broken::Index), Code::Crashed),
        ]
    }

    #[test]
    fn every_rejection_has_a_code_a_sentence_and_a_hint() {
        for (rejected, code) in every_rejection() {
            let error = not_proposed(ProposeError::Rejected(rejected.clone()));
            assert_eq!(error.code, code, "{rejected:?}");
            assert!(!error.message.is_empty() && error.hint.is_some(), "{rejected:?}");
        }
    }

    #[test]
    fn every_lost_write_says_whether_it_may_have_been_done() {
        let path = || Path::from("daemon/raft".to_owned());
        let unreachable = crate::kit::Unreachable { path: path() };
        for (error, code, done) in [
            (unanswered(&AskError::Unreachable(unreachable)), Code::Unavailable, false),
            (unanswered(&AskError::Full { path: path(), waiting: 9 }), Code::Overloaded, false),
            (
                unanswered(&AskError::Deadline { path: path(), deadline: Duration::from_secs(1) }),
                Code::Deadline,
                true,
            ),
            (unanswered(&AskError::Dropped { path: path() }), Code::Crashed, true),
            (not_proposed(ProposeError::Uncertain), Code::Deadline, true),
            (not_proposed(ProposeError::Overloaded), Code::Overloaded, false),
            (not_proposed(ProposeError::NotLeader { leader: None }), Code::Unavailable, false),
            (not_proposed(ProposeError::NotLeader { leader: Some(NodeId(2)) }), Code::Unavailable, false),
            (not_proposed(ProposeError::TooLong { length: 9, limit: 8 }), Code::TooLarge, false),
            (not_proposed(ProposeError::Halted), Code::Unavailable, false),
        ] {
            assert_eq!(error.code, code);
            assert!(error.reason.is_some(), "{error:?}");
            let says = error.hint.as_ref().is_some_and(|hint| hint.contains("whether it was done"));
            assert_eq!(says, done, "{error:?}");
        }
    }
}
