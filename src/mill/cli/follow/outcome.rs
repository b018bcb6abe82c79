//! The last word on a deploy.

use std::time::Duration;

use mill_api::deploys::{Action, Deploy};
use mill_api::progress::{FailedService, Outcome};

use super::board::Board;
use crate::cli::error::{Because, CliError};
use crate::cli::exit::Exit;
use crate::cli::ui::duration;

/// The last line of a deploy that did what it was asked to, or why it didn't.
pub(crate) fn outcome(deploy: &Deploy, board: &Board) -> Result<String, CliError> {
    let (project, id) = (&deploy.project, deploy.id);
    let Some((outcome, took)) = board.finished() else {
        return Err(CliError::new(
            Exit::Failed,
            format!("what became of deploy {project} #{id} isn't known"),
        )
        .because("its progress ended without an outcome")
        .hint(format!("`mill inspect '#{id}'` shows how it stands")));
    };
    match outcome {
        Outcome::Succeeded => Ok(done(deploy, board, *took)),
        Outcome::Failed { services } => Err(failed(deploy, board, services)),
        Outcome::Cancelled => {
            let error = CliError::new(Exit::Failed, format!("deploy {project} #{id} was cancelled"))
                .because("somebody called it off; what it had changed is as before")
                .hint(format!("`mill events` shows who; `mill history {project}` what runs now"));
            Err(CliError { cancelled: true, ..error })
        }
        Outcome::Replaced { by } => {
            Err(CliError::new(Exit::Failed, format!("deploy {project} #{id} was replaced by #{by}"))
                .because("somebody deployed with `--replace`")
                .hint(format!("`mill deploy --attach {by}` follows it")))
        }
    }
}

fn done(deploy: &Deploy, board: &Board, took: Duration) -> String {
    let (project, id) = (&deploy.project, deploy.id);
    let took = duration(took);
    let mut text = match &deploy.action {
        Action::Deploy if !board.changed() => format!("{project} is up to date: nothing changed"),
        Action::Deploy => format!("deployed {project} #{id} in {took}"),
        Action::Rollback { to } => format!("rolled back {project} to #{to} as #{id} in {took}"),
        Action::Scale { service, replicas } => {
            format!("scaled {project}/{service} to {replicas} as #{id} in {took}")
        }
        Action::Restart { service } => format!("restarted {project}/{service} as #{id} in {took}"),
        Action::Undeploy => format!("undeployed {project} in {took}"),
        Action::Roll { secret } => format!("rolled {secret} out in {project} as #{id} in {took}"),
    };
    for gap in gaps(board) {
        text.push_str(&format!("\n{gap}"));
    }
    text
}

/// What stop-first costs (product.md P3).
fn gaps(board: &Board) -> impl Iterator<Item = String> {
    let said =
        |(service, gap): &(_, Duration)| format!("{service} had no healthy replica for {}", duration(*gap));
    board.gaps().iter().map(said)
}

fn failed(deploy: &Deploy, board: &Board, services: &[FailedService]) -> CliError {
    let (project, id) = (&deploy.project, deploy.id);
    let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
    let message = format!("deploy {project} #{id} failed for {}", names.join(", "));
    let mut error = CliError::new(Exit::Failed, message);
    for service in services {
        let last = board.failure(&service.name);
        let mut reason = format!("{}: {}", service.name, service.reason);
        if let Some(last) = last {
            let alloc = last.alloc.as_ref().map(|alloc| format!("{alloc} ")).unwrap_or_default();
            let times = match last.attempt {
                0 | 1 => String::new(),
                attempts => format!(", attempt {attempts}"),
            };
            let detail = format!("{alloc}{}{times}", last.failure);
            if !service.reason.contains(&last.failure.to_string()) {
                reason.push_str(&format!(" ({detail})"));
            }
        }
        let log_tail = last.map(|last| last.log_tail.clone()).unwrap_or_default();
        error.because.push(Because { reason, log_tail });
    }
    for gap in gaps(board) {
        error = error.because(gap);
    }
    let hint = services.iter().find_map(|service| service.hint.clone()).unwrap_or_else(|| {
        let first = services.first().map_or_else(String::new, |service| format!("/{}", service.name));
        format!(
            "`mill logs {project}{first} --all` shows all that it wrote; deploy again when it is put right"
        )
    });
    error.hint(hint)
}
