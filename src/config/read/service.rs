//! Services: what they have beyond a container.

use std::time::Duration;

use mill_model::limits;
use mill_model::names::WorkloadName;
use mill_model::spec::{UpdateOrder, defaults};

use super::container::{self, choice};
use super::fields::{Field, Fields};
use super::values::{self, flag, missing, text, texts};
use super::{head, health, named, ports};
use crate::check;
use crate::draft::{Container, Kind, Route, Service, Update, Workload};
use crate::finding::{Complained, Findings};
use crate::kdl::{Entry, Value};
use crate::reference::SERVICE;
use crate::span::Spanned;
use crate::value::{host, name};

/// Shortest deadline of an update: starting a container takes a tenth of it.
const DEADLINE_MIN: Duration = Duration::from_secs(1);

pub(super) fn read(field: &Field<'_>, out: &mut Findings) -> Workload {
    let head = head(field, out);
    let mut fields = Fields::new(SERVICE, head.owner, head.span).children(head.nodes, out);
    let container = container::read(&fields, out);
    let replicas = replicas(&mut fields, out);
    let service = Service {
        replicas,
        health: fields
            .one("health")
            .and_then(|field| health::read(field, &fields.owner, &container, out).ok()),
        routes: fields
            .all("route")
            .filter_map(|field| route(field, &fields.owner, &container, out).ok())
            .collect(),
        update: fields
            .one("update")
            .map_or_else(|| default_update(&fields), |field| update(field, &fields, out)),
        depends_on: depends_on(&fields, out),
    };
    Workload {
        name: head.name,
        span: head.span,
        container,
        kind: Kind::Service(Box::new(service)),
        place: container::place(&fields, out),
        reserved: fields.reserved,
    }
}

/// A number, or the word that is kept for later.
fn replicas(fields: &mut Fields<'_>, out: &mut Findings) -> Spanned<u32> {
    let Some(field) = fields.one("replicas") else { return Spanned::new(1, fields.span) };
    let per_node = |entry: &&Entry| matches!(&entry.value, Value::Text(text) if text.value == "per-node");
    if let [entry] = field.values.as_slice()
        && per_node(entry)
    {
        let reserved = Spanned::new("replicas \"per-node\"".to_owned(), field.whole);
        fields.reserved.push(reserved);
        return Spanned::new(1, fields.span);
    }
    values::count(field, 0..=limits::REPLICAS_MAX, out).unwrap_or(Spanned::new(1, fields.span))
}

fn route(
    field: &Field<'_>,
    owner: &str,
    container: &Container,
    out: &mut Findings,
) -> Result<Route, Complained> {
    let host = named(field, out).and_then(|text| host::read(&text, out));
    let node = field.node.ok_or_else(|| missing(field, out))?;
    let inner = Fields::of(node, field.known, owner, out);
    let path = inner.one("path").map(|field| text(field, out).and_then(|text| host::read_prefix(&text, out)));
    let websocket = inner.one("websocket").is_some_and(|field| flag(field, out).is_ok_and(|flag| flag.value));
    let protocol = inner.one("protocol").map(|field| choice(field, &[("http", false), ("h2c", true)], out));
    let h2c = protocol.transpose().map(|protocol| protocol.is_some_and(|protocol| protocol.value));
    let port = ports::resolve(inner.one("port"), container, (field.span, "a route"), out);
    Ok(Route {
        host: host?,
        path: path.transpose()?.unwrap_or_else(|| "/".to_owned()),
        websocket,
        h2c: h2c?,
        port: port?,
        span: field.whole,
        reserved: inner.reserved,
    })
}

fn default_update(fields: &Fields<'_>) -> Update {
    Update {
        parallel: Spanned::new(defaults::UPDATE_PARALLEL, fields.span),
        order: None,
        deadline: defaults::UPDATE_DEADLINE,
    }
}

fn update(field: &Field<'_>, fields: &Fields<'_>, out: &mut Findings) -> Update {
    field.refuse_values(out);
    let mut update = default_update(fields);
    let Some(node) = field.node else { return update };
    let inner = Fields::of(node, field.known, &fields.owner, out);
    let words = [("start-first", UpdateOrder::StartFirst), ("stop-first", UpdateOrder::StopFirst)];
    if let Some(parallel) =
        inner.one("parallel").and_then(|f| values::count(f, 1..=limits::REPLICAS_MAX, out).ok())
    {
        update.parallel = parallel;
    }
    update.order = inner.one("order").and_then(|field| choice(field, &words, out).ok());
    if let Some(deadline) = inner.one("deadline").and_then(|f| values::duration(f, DEADLINE_MIN, out).ok()) {
        update.deadline = deadline.value;
    }
    update
}

fn depends_on(fields: &Fields<'_>, out: &mut Findings) -> Vec<Spanned<WorkloadName>> {
    let written: Vec<Spanned<String>> =
        fields.all("depends-on").flat_map(|field| texts(field, out)).collect();
    let read = |text: Spanned<String>| name::read("service or task", &text.value, text.span, out).ok();
    let names = written.into_iter().filter_map(read).collect();
    check::lists::without_duplicates("depends-on", names, out)
}
