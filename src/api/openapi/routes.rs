//! What the table of routes doesn't say: queries as types, which refusals a route has, and what its stream is.

use schemars::{JsonSchema as _, Schema, SchemaGenerator};

use super::shapes::{Said, said};
use crate::allocs::AllocQuery;
use crate::error::Code;
use crate::events::EventQuery;
use crate::logs::LogQuery;
use crate::paths::{self, Route};
use crate::secrets::ValueQuery;
use crate::tasks::TaskQuery;

/// The type of a route's query.
pub(super) fn query(route: &Route) -> Option<fn(&mut SchemaGenerator) -> Schema> {
    match (route.method, route.path) {
        ("GET", paths::ALLOCS) => Some(AllocQuery::json_schema),
        ("GET", paths::TASKS) => Some(TaskQuery::json_schema),
        ("GET", paths::LOGS) => Some(LogQuery::json_schema),
        ("GET", paths::EVENTS | paths::AUDIT) => Some(EventQuery::json_schema),
        ("GET", paths::SECRET_VALUE | paths::SHARED_SECRET_VALUE) => Some(ValueQuery::json_schema),
        _ => None,
    }
}

/// What a `{name}` of a path means.
pub(super) fn segment(name: &str) -> &'static str {
    match name {
        "project" => "The project's name.",
        "service" => "The service's or task's name.",
        "secret" => "The secret's name.",
        "id" => "The deploy's number.",
        "token" => "The token's name or number.",
        "task" => "The task's id, or as much of its beginning as means one.",
        "host" => "The registry's host, with a port if need be.",
        "anything" => {
            "A node, project, service, task, alloc or deploy, by any name that means one: `shop/web`, `web-7k2f`, `#14`."
        }
        "name" => "An alloc, or a service with one replica, by any name that means one.",
        _ => "",
    }
}

/// What comes back, in a sentence.
pub(super) fn answer(route: &Route) -> String {
    match said(route.answers) {
        Said::Nothing if route.answers == "{}" => "It was done.".to_owned(),
        _ => format!("{}.", route.answers),
    }
}

/// Every code that a route can answer with, in the order of [`Code::ALL`].
pub(super) fn refusals(route: &Route) -> Vec<Code> {
    let may = |code: &Code| is_everyones(*code) || is_its_kinds(route, *code) || is_its_own(route, *code);
    Code::ALL.into_iter().filter(may).collect()
}

/// What the gate and the server say, whatever is asked.
const fn is_everyones(code: Code) -> bool {
    matches!(
        code,
        Code::Unauthorized | Code::Forbidden | Code::Overloaded | Code::Unavailable | Code::Crashed
    )
}

/// What follows from what it takes and does.
fn is_its_kinds(route: &Route, code: Code) -> bool {
    let (named, writes) = (route.path.contains('{'), route.is_write());
    let takes = !route.takes.is_empty();
    match code {
        Code::BadRequest => named || takes || route.is_done_once(),
        Code::NotFound => named,
        Code::TooLarge | Code::Conflict | Code::Deadline => writes,
        _ => false,
    }
}

/// What only some say.
fn is_its_own(route: &Route, code: Code) -> bool {
    match (route.method, route.path) {
        ("POST", paths::DEPLOYS) => matches!(code, Code::BadConfig | Code::NoImage | Code::NotYet),
        ("POST", paths::PLAN) => {
            matches!(code, Code::BadConfig | Code::NoImage | Code::NotYet | Code::TooLarge)
        }
        ("POST", paths::TASKS) => matches!(code, Code::NotFound | Code::BadConfig | Code::NoImage),
        ("POST", paths::ACTORS_RESTART) => matches!(code, Code::NotFound),
        ("GET", paths::LOGS) => matches!(code, Code::NotFound | Code::Ambiguous),
        ("GET", paths::INSPECT | paths::EXEC | paths::TASK) | ("POST", paths::KILL | paths::SIGNAL) => {
            matches!(code, Code::Ambiguous)
        }
        _ => false,
    }
}

/// What else is to be known, each sentence after a blank.
pub(super) fn details(route: &Route) -> &'static str {
    match route.path {
        paths::EVENTS => {
            " With `follow` a stream whose event ids are the events' numbers. They are counted by the replicated state, \
             and mean the same after a restart and at every node."
        }
        paths::AUDIT => {
            " With `follow` a stream whose event ids are the records' numbers. They are counted by the replicated state, \
             and mean the same after a restart and at every node."
        }
        paths::PROGRESS => {
            " Event ids are the numbers of the cluster's events that tell the same, valid after a restart and at every \
             node. Where some of them were forgotten since, it is told how each service stands instead."
        }
        paths::LOGS => {
            " Event ids are opaque: the moment up to which everything was sent, and how many lines of each alloc were sent \
             at that moment. Both are kept with the lines, so an id is valid after a restart of the daemon. Where \
             lines after it were removed since, to make room or with their alloc, it is said."
        }
        paths::EXEC => {
            " Text messages are JSON, binary ones carry a stream: their first byte is 0 for input, 1 for output, 2 for \
             errors. Neither side sends more than it was told to have been read."
        }
        paths::DEPLOYS => {
            " A request that finds everything as it asks for begins no deploy: its answer is over already and has the \
             number of the deploy that brought the project there."
        }
        _ => "",
    }
}
