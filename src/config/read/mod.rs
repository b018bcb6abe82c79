//! From the tree of nodes to a draft: one short function per field.

mod container;
mod fields;
mod health;
mod ports;
mod service;
mod task;
mod values;

use mill_model::names::{ProjectName, WorkloadName};

use crate::code::Code;
use crate::draft::{Project, Workload};
use crate::finding::{Complained, Finding, Findings, quote};
use crate::kdl::Node;
use crate::reference::FILE;
use crate::span::{Span, Spanned};
use crate::value::name;

pub(crate) use fields::{Field, Fields};
pub(crate) use values::{Read, check_nul, plain, single, text, wrong_type};

/// Reads a whole file.
pub(crate) fn project(nodes: &[Node], default_name: Option<&str>, out: &mut Findings) -> Project {
    let start = nodes.first().map_or(Span::default(), |node| node.name.span);
    let fields = Fields::new(FILE, "the file", start).children(nodes, out);
    let name = project_name(&fields, default_name, out);
    let mut workloads: Vec<Workload> = fields.all("service").map(|field| service::read(field, out)).collect();
    workloads.extend(fields.all("task").map(|field| task::read(field, out)));
    workloads.sort_by_key(|workload| workload.span.start);
    Project { name, workloads }
}

fn project_name(
    fields: &Fields<'_>,
    default: Option<&str>,
    out: &mut Findings,
) -> Result<ProjectName, Complained> {
    if let Some(field) = fields.one("project") {
        let text = text(field, out)?;
        return name::read("project", &text.value, text.span, out).map(|name| name.value);
    }
    let directory = default.unwrap_or_default();
    let likeness = name::likeness(directory).and_then(|likeness| ProjectName::new(likeness).ok());
    let Some(found) = likeness else {
        let message = match directory {
            "" => "the project has no name".to_owned(),
            directory => {
                format!("the project has no name, and the directory {} gives none", quote(directory))
            }
        };
        let finding = Finding::new(Code::NoProjectName, fields.span, message);
        return Err(out.error(finding.hint("add a first line: `project \"shop\"`")));
    };
    if found.as_str() != directory {
        let message = format!("the project is called `{found}`, after the directory {}", quote(directory));
        let finding = Finding::new(Code::ProjectRenamed, fields.span, message);
        out.warning(finding.hint(format!("say it in the file: `project \"{found}\"`")));
    }
    Ok(found)
}

/// The head of a service or task: its name.
struct Head<'a> {
    name: Result<Spanned<WorkloadName>, Complained>,
    /// Its name, or the word before it.
    span: Span,
    /// "service `web`"
    owner: String,
    nodes: &'a [Node],
}

fn head<'a>(field: &Field<'a>, out: &mut Findings) -> Head<'a> {
    let what = field.known.name;
    let text = named(field, out);
    let name = text.and_then(|text| name::read(what, &text.value, text.span, out));
    if let Some(node) = field.node {
        for entry in &node.entries {
            let Some(key) = &entry.key else { continue };
            let message = format!("{} as a property of a {what}", quote(&key.value));
            let finding = Finding::new(Code::UnexpectedProperty, key.span, message);
            let place = if node.block.is_some() { "inside the braces" } else { "inside braces" };
            out.error(finding.hint(format!("write it {place}, on a line of its own")));
        }
    }
    let span = name.as_ref().map_or(field.span, |name| name.span);
    let owner = match &name {
        Ok(name) => format!("{what} `{}`", name.value),
        Err(_) => format!("this {what}"),
    };
    let block = field.node.and_then(|node| node.block.as_ref());
    Head { name, span, owner, nodes: block.map_or(&[], |block| &block.nodes) }
}

/// The one text that follows a field which has fields too: the name of a service, volume, secret.
fn named(field: &Field<'_>, out: &mut Findings) -> Result<Spanned<String>, Complained> {
    match field.values.as_slice() {
        [] => Err(values::missing(field, out)),
        [entry, rest @ ..] => {
            if let Some(extra) = rest.first() {
                let message = format!("`{}` takes one value before its fields", field.known.name);
                out.error(Finding::new(Code::ExtraValue, extra.span, message).hint(field.example()));
            }
            plain(field, entry, out).map(|text| Spanned::new(text.value.clone(), text.span))
        }
    }
}
