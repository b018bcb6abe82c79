//! How a service's health is asked for.

use std::time::Duration;

use mill_model::limits;
use mill_model::spec::defaults;

use super::container::refuse_no_program;
use super::fields::{Field, Fields};
use super::ports;
use super::values::{self, entry_text, flag, missing, single, templated};
use crate::code::Code;
use crate::draft::{Container, Health, Probe, Templated};
use crate::finding::{Complained, Finding, Findings, listed, quote};
use crate::value::shell;

/// Shortest wait for a check's answer.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// The kinds, by the field that asks for each.
const KINDS: [&str; 4] = ["path", "tcp", "exec", "grpc"];

pub(super) fn read(
    field: &Field<'_>,
    owner: &str,
    container: &Container,
    out: &mut Findings,
) -> Result<Health, Complained> {
    let refused = refuse_argument(field, out);
    let node = field.node.ok_or_else(|| missing(field, out))?;
    let inner = Fields::of(node, field.known, owner, out);
    let mut wait = |name, least| inner.one(name).and_then(|field| values::duration(field, least, out).ok());
    let interval = wait("interval", limits::HEALTH_INTERVAL_MIN);
    let timeout = wait("timeout", TIMEOUT_MIN);
    let start_period = wait("start-period", Duration::ZERO);
    let retries =
        inner.one("retries").and_then(|f| values::count(f, 1..=limits::HEALTH_RETRIES_MAX, out).ok());
    Ok(Health {
        probe: refused.map_or_else(|| probe(&inner, container, out), Err)?,
        interval: interval.map_or(defaults::HEALTH_INTERVAL, |interval| interval.value),
        timeout: timeout.map_or(defaults::HEALTH_TIMEOUT, |timeout| timeout.value),
        retries: retries.map_or(defaults::HEALTH_RETRIES, |retries| retries.value),
        start_period: start_period.map_or(defaults::HEALTH_START_PERIOD, |period| period.value),
    })
}

/// `health "/health"`: likely, and easily put right.
fn refuse_argument(field: &Field<'_>, out: &mut Findings) -> Option<Complained> {
    let value = field.values.first()?;
    let written = match &value.value {
        crate::kdl::Value::Text(text) if text.value.starts_with('/') && text.value.len() < 60 => {
            format!("did you mean `health path=\"{}\"`?", text.value)
        }
        _ => field.example(),
    };
    let finding = Finding::new(Code::ExtraValue, value.span, "`health` takes no value of its own");
    Some(out.error(finding.because("it must say how health is asked for").hint(written)))
}

fn probe(fields: &Fields<'_>, container: &Container, out: &mut Findings) -> Result<Probe, Complained> {
    let mut asked = Vec::new();
    for kind in KINDS {
        let Some(field) = fields.one(kind) else { continue };
        let wanted = match kind {
            "tcp" | "grpc" => flag(field, out)?.value,
            _ => true,
        };
        if wanted {
            asked.push(field);
        }
    }
    match asked.as_slice() {
        [] => {
            let finding = Finding::new(Code::HealthKind, fields.span, "this check doesn't say what to ask");
            Err(out.error(finding.hint("for example `health path=\"/health\"`, or `health tcp=#true`")))
        }
        [field] => one_probe(field, fields, container, out),
        [first, second, ..] => {
            let names: Vec<&str> = asked.iter().map(|field| field.known.name).collect();
            let finding =
                Finding::new(Code::HealthKind, second.span, format!("{} in one check", listed(&names)));
            Err(out.error(finding.hint("keep one of them").see(first.span, "first asked here")))
        }
    }
}

fn one_probe(
    field: &Field<'_>,
    fields: &Fields<'_>,
    container: &Container,
    out: &mut Findings,
) -> Result<Probe, Complained> {
    if field.known.name == "exec" {
        if let Some(port) = fields.one("port") {
            let finding =
                Finding::new(Code::UnexpectedProperty, port.span, "a port for a check that runs a program");
            let finding =
                finding.because("the program runs inside the container and finds the port by itself");
            out.error(finding.hint("remove `port`"));
        }
        return command(field, out).map(|command| Probe::Exec { command });
    }
    let path = (field.known.name == "path").then(|| path(field, out));
    let port = ports::resolve(fields.one("port"), container, (field.span, "this check"), out);
    match (path, field.known.name) {
        (Some(path), _) => Ok(Probe::Http { path: path?, port: port? }),
        (None, "tcp") => Ok(Probe::Tcp { port: port? }),
        (None, _) => Ok(Probe::Grpc { port: port? }),
    }
}

fn path(field: &Field<'_>, out: &mut Findings) -> Result<Templated, Complained> {
    let entry = single(field, out)?;
    let text = entry_text(field, entry, out)?;
    if !text.value.starts_with('/') {
        let finding = Finding::new(
            Code::HealthPath,
            text.span,
            format!("{} doesn't begin with `/`", quote(&text.value)),
        );
        let hint = match text.value.as_str() {
            url if url.contains("://") => {
                "write the path alone; who is asked is settled by `port`".to_owned()
            }
            path if path.len() < 60 => format!("did you mean \"/{path}\"?"),
            _ => field.example(),
        };
        return Err(out.error(finding.hint(hint)));
    }
    if let Some((at, character)) = text.value.char_indices().find(|(_, c)| !c.is_ascii_graphic()) {
        let span = text.place_of(at, character.len_utf8());
        let finding =
            Finding::new(Code::HealthPath, span, format!("{} in a path", quote(&character.to_string())));
        let finding = finding.because("the path is sent as it is, and HTTP allows no such character in it");
        return Err(out.error(finding.hint("encode it: a space is `%20`")));
    }
    templated(text, out)
}

/// One text, which is cut into words, or a text for each word.
fn command(field: &Field<'_>, out: &mut Findings) -> Result<Vec<Templated>, Complained> {
    field.refuse_fields(out);
    let texts: Vec<_> =
        field.values.iter().map(|entry| entry_text(field, entry, out)).collect::<Result<_, _>>()?;
    let words = match texts.as_slice() {
        [] => return Err(missing(field, out)),
        [line] => shell::read(line, out)?,
        words => words.iter().map(|word| (*word).clone()).collect(),
    };
    if words.is_empty() {
        let finding = Finding::new(Code::EmptyText, field.whole, "`exec` is empty");
        return Err(out.error(finding.because("its first word is the program").hint(field.example())));
    }
    let words: Vec<Templated> = words.iter().map(|word| templated(word, out)).collect::<Result<_, _>>()?;
    refuse_no_program(field, &words, out);
    Ok(words)
}
