//! References of health checks and routes to the ports of their service.

use std::num::NonZeroU16;

use mill_model::ports::Protocol;

use super::fields::Field;
use super::values::{plain, single, wrong_type};
use crate::code::Code;
use crate::draft::{Container, Port};
use crate::finding::{Complained, Finding, Findings, did_you_mean, listed, quote};
use crate::kdl::{Value, integer};
use crate::span::{Span, Spanned};

/// The TCP port that a field names, or the first one. `asker` says who needs it, and where.
pub(super) fn resolve(
    field: Option<&Field<'_>>,
    container: &Container,
    asker: (Span, &str),
    out: &mut Findings,
) -> Result<NonZeroU16, Complained> {
    let Some(field) = field else { return first(container, asker, out) };
    let label = label(field, out)?;
    let named: Vec<&Port> = container.ports.iter().filter(|port| is_called(port, &label.value)).collect();
    // DNS is asked on 53 by UDP and TCP: one number, two ports.
    let tcp = named.iter().find(|port| port.protocol == Protocol::Tcp);
    match (tcp.or(named.first()), container.ports_broken) {
        (Some(port), _) => tcp_only(port, label.span, out),
        (None, Some(complained)) => Err(complained),
        (None, None) => {
            let labels: Vec<String> = container.ports.iter().map(Port::label).collect();
            let finding = Finding::new(
                Code::UnknownPort,
                label.span,
                format!("there is no port {}", quote(&label.value)),
            );
            let hint = match labels.as_slice() {
                [] => "declare it: `port 8080`".to_owned(),
                _ => did_you_mean(&label.value, labels.iter().map(String::as_str))
                    .unwrap_or_else(|| format!("the service declares {}", listed(&labels))),
            };
            Err(out.error(finding.hint(hint)))
        }
    }
}

fn first(
    container: &Container,
    (span, asker): (Span, &str),
    out: &mut Findings,
) -> Result<NonZeroU16, Complained> {
    match (container.ports.first(), container.ports_broken) {
        (_, Some(complained)) => Err(complained),
        (Some(port), None) => tcp_only(port, span, out),
        (None, None) => {
            let finding =
                Finding::new(Code::NoPort, span, format!("{asker} needs a port, and the service has none"));
            Err(out.error(finding.hint("declare what the program listens on: `port 8080`")))
        }
    }
}

fn tcp_only(port: &Port, span: Span, out: &mut Findings) -> Result<NonZeroU16, Complained> {
    if port.protocol == Protocol::Tcp {
        return Ok(port.number.value);
    }
    let finding = Finding::new(Code::NotTcp, span, format!("port `{}` is UDP", port.label()));
    Err(out.error(finding.hint("name a TCP port: `port=\"http\"`").see(port.number.span, "declared here")))
}

fn is_called(port: &Port, label: &str) -> bool {
    port.name.as_ref().is_some_and(|name| name.value.as_str() == label)
        || port.number.value.to_string() == label
}

fn label(field: &Field<'_>, out: &mut Findings) -> Result<Spanned<String>, Complained> {
    let entry = single(field, out)?;
    let label = match &entry.value {
        Value::Number(number) => integer(number).map_or_else(|| number.clone(), |number| number.to_string()),
        Value::Text(_) => plain(field, entry, out)?.value.clone(),
        _ => return Err(wrong_type(field, entry, out)),
    };
    Ok(Spanned::new(label, entry.span))
}
