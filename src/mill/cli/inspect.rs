//! `mill inspect`

use std::fmt::Write as _;

use clap::Args;
use mill_api::Api;
use mill_api::inspect::Inspected;
use mill_config::interpolate;
use mill_model::template::{Part, Template};
use mill_model::{Bytes, Millicores};
use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::error::CliError;
use super::reach::ReachArgs;
use super::ui::{Colour, Terminal, Ui, memory, printable, transfer};

/// Show all that is known about one thing
///
/// A node, an alloc, a service (`web`, `shop/web`), a project or a deploy (`#14`), by its name or the start of it.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// What to look at
    name: String,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &InspectArgs) -> Result<(), CliError> {
    let inspected = api.inspect(&args.name).await?;
    ui.answer(&inspected, render)
}

/// The JSON as an outline: names, colons and indentation, nothing that is empty. What is short comes first.
fn render(inspected: &Inspected, terminal: &Terminal) -> String {
    let mut text = String::new();
    if let Ok(Value::Object(fields)) = serde_json::to_value(inspected) {
        write_fields(&mut text, &fields, 0, terminal);
    }
    text
}

fn write_fields(text: &mut String, fields: &Map<String, Value>, depth: usize, terminal: &Terminal) {
    let mut fields: Vec<(&String, &Value)> = fields.iter().filter(|(_, value)| !is_empty(value)).collect();
    fields.sort_by_key(|(_, value)| weight(value));
    for (name, value) in fields {
        let indent = "  ".repeat(depth);
        let painted = terminal.paint(Colour::Cyan, name);
        match value {
            value if template(value).is_some() => {
                let _ = writeln!(text, "{indent}{painted}: {}", scalar(name, value));
            }
            Value::Object(fields) => {
                let _ = writeln!(text, "{indent}{painted}:");
                write_fields(text, fields, depth + 1, terminal);
            }
            Value::Array(items) if weight(value) > 0 => {
                let _ = writeln!(text, "{indent}{painted}:");
                for item in items {
                    write_item(text, item, depth + 1, terminal);
                }
            }
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| scalar(name, item)).collect();
                let _ = writeln!(text, "{indent}{painted}: {}", items.join(", "));
            }
            value => {
                let _ = writeln!(text, "{indent}{painted}: {}", scalar(name, value));
            }
        }
    }
}

/// An item of a list: its first line behind a dash.
fn write_item(text: &mut String, item: &Value, depth: usize, terminal: &Terminal) {
    let mut inner = String::new();
    match item {
        Value::Object(fields) => write_fields(&mut inner, fields, 0, terminal),
        other => inner = scalar("", other) + "\n",
    }
    let indent = "  ".repeat(depth);
    for (number, line) in inner.lines().enumerate() {
        let dash = if number == 0 { "- " } else { "  " };
        let _ = writeln!(text, "{indent}{dash}{line}");
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}

/// 0: a line, 1: several, 2: a list of things.
fn weight(value: &Value) -> u8 {
    let is_thing = |item: &Value| (item.is_object() || item.is_array()) && template(item).is_none();
    match value {
        Value::Object(_) => 1,
        Value::Array(items) if template(value).is_none() && items.iter().any(is_thing) => 2,
        _ => 0,
    }
}

/// A text with references in it, as the config file has it.
fn template(value: &Value) -> Option<String> {
    let parts = value.as_array().filter(|parts| !parts.is_empty())?;
    let template = Template { parts: parts.iter().map(Part::deserialize).collect::<Result<_, _>>().ok()? };
    Some(interpolate::write(&template))
}

/// A value as people read it: cores and sizes by the names of their fields.
fn scalar(name: &str, value: &Value) -> String {
    if let Some(text) = template(value) {
        return printable(&text).into_owned();
    }
    match (name, value) {
        (_, Value::String(text)) => printable(text).into_owned(),
        ("bytes_done" | "bytes_total", Value::Number(bytes)) => transfer(bytes.as_u64().unwrap_or_default()),
        ("memory" | "size", Value::Number(bytes)) => memory(Bytes(bytes.as_u64().unwrap_or_default())),
        ("cpu", Value::Number(millis)) => {
            let millis = millis.as_u64().and_then(|millis| u32::try_from(millis).ok());
            Millicores(millis.unwrap_or_default()).to_string()
        }
        (_, other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use mill_api::inspect::WorkloadSpec;

    use super::*;
    use crate::cli::{canned, golden};

    #[test]
    fn words_and_variables_are_shown_as_the_file_has_them() {
        let text = r#"
            service "web" {
                image "web:v1"
                command "migrate" "--to" "${alloc.index}"
                env { URL "http://${service.db.address}/$$x"; EMPTY "" }
                health exec="pg_isready -U postgres"
            }
            service "db" { image "db:1"; port 5432; }"#;
        let source = mill_config::Source { file: "f", text, default_project: Some("shop") };
        let mut spec = mill_config::parse(&source).unwrap().spec;
        let spec = Box::new(WorkloadSpec::Service(spec.services.remove(0)));
        let service = Box::new(canned::services().remove(0));
        let shown = render(&Inspected::Service { service, spec, allocs: vec![] }, &canned::terminal());
        golden::check("inspect_service", &shown);
    }

    #[test]
    fn an_outline_shows_all_that_is_there() {
        let inspected = canned::inspected();
        golden::check("inspect", &render(&inspected, &canned::terminal()));
    }
}
