//! One view on a node's fields, whether they are written as children or as properties.

use std::collections::BTreeMap;

use crate::code::Code;
use crate::finding::{Complained, Finding, Findings, quote};
use crate::kdl::{Entry, Node};
use crate::reference::{self, Served};
use crate::span::{Span, Spanned};

/// A field as it is written.
#[derive(Debug, Clone)]
pub(crate) struct Field<'a> {
    pub(crate) known: &'static reference::Field,
    /// Of its name.
    pub(crate) span: Span,
    /// Of its name and values.
    pub(crate) whole: Span,
    /// Its arguments, or the one value of a property.
    pub(crate) values: Vec<&'a Entry>,
    /// The node; `None`: it is a property.
    pub(crate) node: Option<&'a Node>,
}

/// The fields of one node, those that are known.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    found: Vec<Field<'a>>,
    first: BTreeMap<&'static str, usize>,
    known: &'static [reference::Field],
    /// Whose they are: "service `web`".
    pub(crate) owner: String,
    /// Where a field that is missing is missed.
    pub(crate) span: Span,
    /// Names that the grammar keeps for later.
    pub(crate) reserved: Vec<Spanned<String>>,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(known: &'static [reference::Field], owner: impl Into<String>, span: Span) -> Self {
        let (found, first) = (vec![], BTreeMap::new());
        Self { found, first, known, owner: owner.into(), span, reserved: vec![] }
    }

    /// Adds children.
    pub(crate) fn children(mut self, nodes: &'a [Node], out: &mut Findings) -> Self {
        for node in nodes {
            refuse_annotations(node, out);
            let name = &node.name;
            let values = node.entries.iter().filter(|entry| entry.key.is_none()).collect();
            self.add(
                (&name.value, name.span),
                |known| Field { known, span: name.span, whole: node.span, values, node: Some(node) },
                out,
            );
        }
        self
    }

    /// Adds properties.
    pub(crate) fn properties(mut self, node: &'a Node, out: &mut Findings) -> Self {
        for entry in &node.entries {
            let Some(key) = &entry.key else { continue };
            let whole = key.span.to(entry.span);
            self.add(
                (&key.value, key.span),
                |known| Field { known, span: key.span, whole, values: vec![entry], node: None },
                out,
            );
        }
        self
    }

    /// Both: the fields of `health`, `route` and the like.
    pub(crate) fn of(
        node: &'a Node,
        known: &'static reference::Field,
        owner: &str,
        out: &mut Findings,
    ) -> Self {
        let owner = format!("`{}` of {owner}", known.name);
        let children = node.block.as_ref().map_or(&[][..], |block| &block.nodes);
        Self::new(known.fields, owner, node.name.span).properties(node, out).children(children, out)
    }

    fn add(
        &mut self,
        (name, span): (&str, Span),
        make: impl FnOnce(&'static reference::Field) -> Field<'a>,
        out: &mut Findings,
    ) {
        let Some(known) = self.known.iter().find(|known| known.name == name) else {
            self.refuse_unknown(name, span, out);
            return;
        };
        let field = make(known);
        if known.served == Served::Reserved {
            self.reserved.push(Spanned::new(name.to_owned(), field.whole));
            return;
        }
        match self.first.get(known.name).and_then(|index| self.found.get(*index)) {
            Some(first) if !known.repeats => refuse_twice(known, span, first.span, out),
            Some(_) => self.found.push(field),
            None => {
                self.first.insert(known.name, self.found.len());
                self.found.push(field);
            }
        }
    }

    fn refuse_unknown(&self, name: &str, span: Span, out: &mut Findings) {
        let finding =
            Finding::new(Code::UnknownField, span, format!("{} has no field {}", self.owner, quote(name)));
        if out.is_full() {
            out.error(finding);
            return;
        }
        let all = || format!("it has {}", reference::names(self.known).join(", "));
        out.error(finding.hint(reference::suggest(name, self.known).unwrap_or_else(all)));
    }

    /// The field, if it is there.
    pub(crate) fn one(&self, name: &'static str) -> Option<&Field<'a>> {
        self.found.get(*self.first.get(name)?)
    }

    /// The field, or a complaint that it is missing.
    pub(crate) fn required(&self, name: &'static str, out: &mut Findings) -> Result<&Field<'a>, Complained> {
        if let Some(field) = self.one(name) {
            return Ok(field);
        }
        let example = self.known.iter().find(|known| known.name == name).map_or("", |known| known.example);
        let message = format!("{} has no `{name}`", self.owner);
        Err(out.error(
            Finding::new(Code::MissingField, self.span, message).hint(format!("for example `{example}`")),
        ))
    }

    /// All fields of a name that may be repeated.
    pub(crate) fn all<'b>(&'b self, name: &'static str) -> impl Iterator<Item = &'b Field<'a>> {
        self.found.iter().filter(move |field| field.known.name == name)
    }
}

fn refuse_twice(known: &reference::Field, span: Span, first: Span, out: &mut Findings) {
    let (code, message) = match known.name {
        "project" => (Code::SeveralProjects, "a second project".to_owned()),
        name => (Code::DuplicateField, format!("`{name}` is given twice")),
    };
    let hint = match known.name {
        "project" => "put it into a file of its own",
        "env" => "put all variables into one `env` block",
        _ => "remove one of them",
    };
    out.error(Finding::new(code, span, message).hint(hint).see(first, "first given here"));
}

/// Complains about each `(type)` of a node and its values.
pub(crate) fn refuse_annotations(node: &Node, out: &mut Findings) {
    let entries = node.entries.iter().filter_map(|entry| entry.annotation);
    for span in node.annotation.into_iter().chain(entries) {
        out.error(Finding::new(Code::TypeAnnotation, span, "a type annotation").hint("remove it"));
    }
}

impl Field<'_> {
    /// "for example `replicas 2`"
    pub(crate) fn example(&self) -> String {
        format!("for example `{}`", self.known.example)
    }

    /// Complains about a block and properties: the field has values only.
    pub(crate) fn refuse_fields(&self, out: &mut Findings) {
        let Some(node) = self.node else { return };
        for entry in &node.entries {
            if let Some(key) = &entry.key {
                let message = format!("`{}` has no property {}", self.known.name, quote(&key.value));
                out.error(Finding::new(Code::UnexpectedProperty, key.span, message).hint(self.example()));
            }
        }
        self.refuse_block(out);
    }

    fn refuse_block(&self, out: &mut Findings) {
        if let Some(block) = self.node.and_then(|node| node.block.as_ref()) {
            let message = format!("`{}` has no block", self.known.name);
            out.error(Finding::new(Code::UnexpectedBlock, block.span, message).hint(self.example()));
        }
    }

    /// Complains about arguments: the field has fields only.
    pub(crate) fn refuse_values(&self, out: &mut Findings) {
        if let Some(value) = self.values.first() {
            let message = format!("`{}` takes no value of its own", self.known.name);
            out.error(Finding::new(Code::ExtraValue, value.span, message).hint(self.example()));
        }
    }
}
