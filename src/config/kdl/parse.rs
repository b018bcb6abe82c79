//! Nodes, entries and blocks.

use mill_model::limits;

use super::cursor::{Cursor, is_newline, is_word};
use super::tree::{Block, Entry, Node, Text, Value};
use crate::code::Code;
use crate::finding::{Complained, Finding, Findings, quote};
use crate::span::{BYTE_ORDER_MARK, Span};

/// Reads a document. What isn't KDL is complained about, and read as it was probably meant.
pub(crate) fn parse(text: &str, out: &mut Findings) -> Vec<Node> {
    let mut parser = Parser { cursor: Cursor::new(text), out, depth: 0, abandoned: false };
    if parser.cursor.peek() == Some(BYTE_ORDER_MARK) {
        parser.cursor.bump();
    }
    parser.nodes(None)
}

pub(super) struct Parser<'a, 'o> {
    pub(super) cursor: Cursor<'a>,
    pub(super) out: &'o mut Findings,
    depth: usize,
    /// Too deep: the rest of the text isn't read, and its missing braces are no news.
    abandoned: bool,
}

/// A node while its entries are read.
struct Open {
    name: Option<Text>,
    annotation: Option<Span>,
    entries: Vec<Entry>,
    block: Option<Block>,
    span: Span,
}

impl Parser<'_, '_> {
    pub(super) fn complain(&mut self, finding: Finding) -> Complained {
        self.out.error(finding)
    }

    /// Nodes up to the end of the block that `open` began, or of the document.
    fn nodes(&mut self, open: Option<Span>) -> Vec<Node> {
        let mut nodes = Vec::new();
        loop {
            self.cursor.line_space(self.out);
            match (self.cursor.peek(), open) {
                (None, None) => return nodes,
                (None, Some(_)) if self.abandoned || self.swallowed() => return nodes,
                (None, Some(brace)) => {
                    self.complain(
                        Finding::new(Code::UnclosedBlock, brace, "this block doesn't end").hint("add `}`"),
                    );
                    return nodes;
                }
                (Some('}'), Some(_)) => {
                    self.cursor.bump();
                    return nodes;
                }
                (Some('}'), None) => self.stray_brace(),
                (Some('/'), _) if self.cursor.looks_at("/-") => {
                    self.slashdash();
                    if self.cursor.peek().is_some_and(|c| c != '}') {
                        let dropped = self.node();
                        self.check_version(dropped);
                    }
                }
                _ => nodes.extend(self.node()),
            }
        }
    }

    /// Whether a text or comment without an end took the rest of the file with it.
    fn swallowed(&self) -> bool {
        matches!(self.out.last(), Some(Code::UnclosedString | Code::UnclosedComment))
    }

    /// `/- kdl-version 1`: the mark that a file may carry.
    fn check_version(&mut self, dropped: Option<Node>) {
        let Some(node) = dropped.filter(|node| node.name.value == "kdl-version" && self.depth == 0) else {
            return;
        };
        if !matches!(node.entries.as_slice(), [Entry { value: Value::Number(number), .. }] if number == "2") {
            let finding = Finding::new(Code::OldVersion, node.span, "this file says that it isn't KDL 2");
            self.complain(finding.hint("write it in KDL 2, or remove this line if it is"));
        }
    }

    fn stray_brace(&mut self) {
        let start = self.cursor.at();
        self.cursor.bump();
        let span = self.cursor.since(start);
        self.complain(
            Finding::new(Code::StrayBrace, span, "a `}` too many")
                .hint("remove it, or look above for a `{` that is missing or closed too early"),
        );
    }

    /// `/-` and the space behind it. Whatever follows is read and dropped by the caller.
    fn slashdash(&mut self) {
        let start = self.cursor.at();
        self.cursor.eat("/-");
        let span = self.cursor.since(start);
        self.cursor.line_space(self.out);
        if matches!(self.cursor.peek(), None | Some('}')) {
            self.complain(
                Finding::new(Code::DanglingSlashdash, span, "`/-` with nothing behind it").hint("remove it"),
            );
        }
    }

    fn node(&mut self) -> Option<Node> {
        let start = self.cursor.at();
        let annotation = self.annotation().unwrap_or_default();
        let name = self.name();
        let mut node =
            Open { name, annotation, entries: vec![], block: None, span: self.cursor.since(start) };
        self.rest_of_node(&mut node);
        Some(Node {
            name: node.name?,
            annotation: node.annotation,
            entries: node.entries,
            block: node.block,
            span: node.span,
        })
    }

    /// A node's name. Without one, whatever stands there is skipped, and the caller drops the node.
    fn name(&mut self) -> Option<Text> {
        let start = self.cursor.at();
        match self.cursor.peek()? {
            '{' => {
                let span = Span::new(start, start + 1);
                self.complain(
                    Finding::new(Code::NoName, span, "a block without a field")
                        .hint("write the field's name on the same line, before `{`"),
                );
                None
            }
            '=' => None,
            _ => match self.value() {
                Value::Text(text) => Some(text),
                Value::Bad(_) => None,
                other => {
                    let span = self.cursor.since(start);
                    let message = format!("{} where a field's name should be", other.kind());
                    self.complain(
                        Finding::new(Code::NoName, span, message)
                            .hint("if this value belongs to the line above, write it there"),
                    );
                    None
                }
            },
        }
    }

    fn rest_of_node(&mut self, node: &mut Open) {
        let mut after_block = false;
        let mut spaced = node.name.is_none();
        loop {
            spaced |= self.cursor.node_space(self.out);
            match self.cursor.peek() {
                None | Some('}') => return,
                Some(c) if c == ';' || is_newline(c) || self.cursor.looks_at("//") => return,
                Some('/') if self.cursor.looks_at("/-") => {
                    self.slashdash();
                    spaced = self.dropped();
                    continue;
                }
                Some('{') => {
                    let block = self.block();
                    if after_block {
                        self.complain(
                            Finding::new(Code::AfterBlock, block.span, "a second block")
                                .hint("write the fields of both into one block"),
                        );
                    }
                    node.block
                        .get_or_insert(Block { nodes: vec![], span: block.span })
                        .nodes
                        .extend(block.nodes);
                    after_block = true;
                }
                Some('=') => {
                    self.equals_sign(node);
                    spaced = true;
                    continue;
                }
                Some(_) if after_block => {
                    let span = Span::new(self.cursor.at(), self.cursor.at() + 1);
                    self.complain(
                        Finding::new(Code::AfterBlock, span, "something behind a block, on the same line")
                            .hint("begin a new line after `}`"),
                    );
                    return;
                }
                Some(',') if !spaced => self.comma(),
                Some(_) => {
                    if !spaced && self.cursor.peek().is_some_and(|c| is_word(c) || matches!(c, '"' | '#')) {
                        let at = self.cursor.at();
                        self.complain(
                            Finding::new(
                                Code::NoSpace,
                                Span::new(at, at + 1),
                                "a space is missing before this",
                            )
                            .hint("add a space; a `\"` within text is written `\\\"`"),
                        );
                    }
                    let (entry, trailing) = self.entry();
                    spaced = trailing || matches!(entry.value, Value::Bad(_));
                    node.span = node.span.to(entry.span);
                    node.entries.push(entry);
                    continue;
                }
            }
            spaced = false;
        }
    }

    fn comma(&mut self) {
        let start = self.cursor.at();
        self.cursor.bump();
        let span = self.cursor.since(start);
        self.complain(Finding::new(Code::NoSpace, span, "a comma").hint("remove it; a space is enough"));
    }

    /// What `/-` comments out within a node. Says whether space was read behind it.
    fn dropped(&mut self) -> bool {
        match self.cursor.peek() {
            None | Some('}') => false,
            Some('{') => {
                self.block();
                false
            }
            Some('=') => {
                self.cursor.bump();
                false
            }
            Some(_) => self.entry().1,
        }
    }

    /// `name = value`, as other languages write it: said, and read as `name value`.
    fn equals_sign(&mut self, node: &Open) {
        let start = self.cursor.at();
        self.cursor.bump();
        let span = self.cursor.since(start);
        self.cursor.node_space(self.out);
        let name = node.name.as_ref().map_or("name", |name| name.value.as_str());
        let rest = self.cursor.rest();
        let value = rest.find(char::is_whitespace).and_then(|end| rest.get(..end)).unwrap_or("…");
        let hint = match name.len() + value.len() {
            0..60 => format!("write `{name} {value}`"),
            _ => "write the name and its value with a space between".to_owned(),
        };
        self.complain(Finding::new(Code::EqualsSign, span, "`=` behind a field's name").hint(hint));
    }

    fn block(&mut self) -> Block {
        let start = self.cursor.at();
        self.cursor.bump();
        let span = self.cursor.since(start);
        if self.depth >= limits::CONFIG_DEPTH_MAX {
            self.complain(
                Finding::new(Code::TooDeep, span, "blocks within blocks, too many")
                    .hint("look for `{` that were meant to be closed"),
            );
            self.cursor.skip_to_end();
            self.abandoned = true;
            return Block { nodes: vec![], span };
        }
        self.depth += 1;
        let nodes = self.nodes(Some(span));
        self.depth -= 1;
        Block { nodes, span }
    }

    /// An argument or a property. Says too whether space was read behind it.
    fn entry(&mut self) -> (Entry, bool) {
        let start = self.cursor.at();
        let annotation = match self.annotation() {
            Ok(annotation) => annotation,
            Err(bad) => {
                let span = self.cursor.since(start);
                return (Entry { key: None, annotation: None, value: Value::Bad(bad), span }, true);
            }
        };
        let value = self.value();
        let span = self.cursor.since(start);
        let argument = |value| Entry { key: None, annotation, value, span };
        let Value::Text(key) = value else { return (argument(value), false) };
        let spaced = self.cursor.node_space(self.out);
        if annotation.is_some() || self.cursor.peek() != Some('=') {
            return (argument(Value::Text(key)), spaced);
        }
        (self.property(key), false)
    }

    /// The value of a property; the cursor is at its `=`.
    fn property(&mut self, key: Text) -> Entry {
        self.cursor.bump();
        let equals = key.span.to(self.cursor.since(self.cursor.at()));
        self.cursor.node_space(self.out);
        let annotation = match self.annotation() {
            Ok(annotation) => annotation,
            Err(bad) => {
                return Entry { span: key.span, key: Some(key), annotation: None, value: Value::Bad(bad) };
            }
        };
        let start = self.cursor.at();
        let ended = |c: char| is_newline(c) || matches!(c, ';' | '{' | '}' | '=');
        let rest = self.cursor.rest();
        let next_property =
            rest.find(|c| !is_word(c)).is_some_and(|end| rest.get(end..).is_some_and(|r| r.starts_with('=')));
        if self.cursor.peek().is_none_or(ended) || self.cursor.looks_at("//") || next_property {
            let message = format!("{} has no value", quote(&key.value));
            let bad = self.complain(
                Finding::new(Code::NoPropertyValue, equals, message)
                    .hint("write its value behind `=`, or remove it"),
            );
            return Entry { span: key.span, key: Some(key), annotation, value: Value::Bad(bad) };
        }
        let value = self.value();
        Entry { key: Some(key), annotation, value, span: self.cursor.since(start) }
    }
}
