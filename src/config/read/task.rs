//! Tasks.

use std::time::Duration;

use mill_model::spec::defaults;

use super::fields::{Field, Fields};
use super::{container, head, text, values};
use crate::draft::{Kind, Task, Workload};
use crate::finding::Findings;
use crate::reference::TASK;
use crate::value::schedule;

/// Shortest time that a task is given: starting a container takes a tenth of it.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);

pub(super) fn read(field: &Field<'_>, out: &mut Findings) -> Workload {
    let head = head(field, out);
    let fields = Fields::new(TASK, head.owner, head.span).children(head.nodes, out);
    let timeout = fields.one("timeout").and_then(|field| values::duration(field, TIMEOUT_MIN, out).ok());
    let schedule = fields.one("schedule").and_then(|field| {
        let text = text(field, out).ok()?;
        schedule::read(text, out).ok()
    });
    let timeout = timeout.map_or(defaults::TASK_TIMEOUT, |timeout| timeout.value);
    Workload {
        name: head.name,
        span: head.span,
        container: container::read(&fields, out),
        kind: Kind::Task(Task { timeout, schedule }),
        place: container::place(&fields, out),
        reserved: fields.reserved,
    }
}
