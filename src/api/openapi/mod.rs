//! The API as OpenAPI 3.1 describes it: `GET /v1/openapi.json`.
//!
//! # Why
//!
//! - **From what is there already.** Routes, who may ask them and what they do are [`ROUTES`]; shapes are the types'
//!   own JSON Schemas (`schemars`: 2020-12, which is what 3.1 speaks; `utoipa` would want a second description beside
//!   each handler, and of 3.1 knows only a part); examples are values that the program's tests made (`examples.json`).
//!   What is left to say stands in `routes`, and a test fails where it says nothing.
//! - **Made when it is asked for.** It is needed seldom, takes a few milliseconds, and would be a quarter of a megabyte
//!   of memory for ever.
//! - **An answer's codes are part of its schema.** So a test that holds answers against the document sees a refusal that
//!   isn't in it, not only a status that isn't.

mod routes;
mod shapes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use mill_model::limits::IDEMPOTENCY_KEY_CHARS_MAX;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::error::{ApiError, Code};
use crate::paths::{Access, ROUTES, Route};
use crate::sse;
use shapes::{Said, Shape};

/// A value of each shape, as a server sends it or takes it; written by the tests of the program.
const EXAMPLES: &str = include_str!("examples.json");

/// What this version of the API is called: the version of the program that serves it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The whole document.
pub fn document() -> Value {
    let mut writer = Writer::new();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in &ROUTES {
        let operation = writer.operation(route);
        paths.entry(route.path).or_default().insert(route.method.to_lowercase(), operation);
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Mill",
            "version": VERSION,
            "description": INTRODUCTION,
            "license": { "name": "Apache License 2.0", "identifier": "Apache-2.0" },
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{
            "url": "https://{node}:4400",
            "description": "A node of the cluster. Its certificate is signed by the cluster's own CA.",
            "variables": { "node": { "default": "localhost", "description": "Any node's address." } },
        }],
        "security": [{ "token": [] }],
        "tags": tags(),
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`mill token create` makes one. The node's root-only socket asks for none.",
                },
            },
            "schemas": writer.definitions(),
        },
    });
    unlink(&mut document);
    document
}

const INTRODUCTION: &str = "Mill's HTTP API. JSON throughout; moments are RFC 3339, durations are milliseconds and \
    say so in their name. Fields are only ever added: ignore those that you don't know. A stream is server-sent events, \
    one JSON document in each `data`; it goes on where it was cut when asked with `Last-Event-ID`, and ends with an \
    event `end`: a body that just stops was cut. An event `reset` (its data: `Reset`) says that what came after that id is \
    forgotten in part, and from where the stream goes on. A path that is asked with a method that it hasn't answers 405, \
    `bad_method`, and says in `Allow` which it has.";

const KEY: &str = "A random text that stands for this request. The same request with the same key is done once within 24 \
    hours, over restarts of the daemon too, and answered as the first time, with `Idempotency-Replayed: true` where no \
    handler looked again; another request with it is a conflict. The cluster remembers the last 2,000.";

struct Writer {
    /// Of what comes in.
    taken: SchemaGenerator,
    /// Of what goes out: it has every field that is always there among those required.
    sent: SchemaGenerator,
    examples: Map<String, Value>,
}

impl Writer {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self {
            taken: settings().for_deserialize().into_generator(),
            sent: settings().for_serialize().into_generator(),
            // A test reads it; what couldn't be read would be a document without examples.
            examples: serde_json::from_str(EXAMPLES).unwrap_or_default(),
        }
    }

    fn operation(&mut self, route: &'static Route) -> Value {
        let mut operation = json!({
            "operationId": operation_id(route),
            "tags": [tag(route)],
            "summary": route.does,
            "description": description(route),
            "responses": self.responses(route),
            "x-mill-access": access(route.access),
        });
        let Value::Object(fields) = &mut operation else { return operation };
        let parameters = self.parameters(route);
        if !parameters.is_empty() {
            fields.insert("parameters".to_owned(), parameters.into());
        }
        if let Said::One(shape) = shapes::said(route.takes) {
            let schema = (shape.schema)(&mut self.taken);
            let body = json!({
                "required": true,
                "content": { "application/json": self.content(shape, &schema.to_value()) },
            });
            fields.insert("requestBody".to_owned(), body);
        }
        if route.is_local() {
            fields.insert("security".to_owned(), json!([]));
        }
        operation
    }

    fn parameters(&mut self, route: &'static Route) -> Vec<Value> {
        let names = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let mut parameters: Vec<Value> = names
            .map(|name| {
                let schema = shapes::segment(name, &mut self.taken).to_value();
                let says = routes::segment(name);
                json!({ "name": name, "in": "path", "required": true, "description": says, "schema": schema })
            })
            .collect();
        if let Some(query) = routes::query(route) {
            parameters.extend(query_parameters(&query(&mut self.taken).to_value()));
        }
        if is_stream(route) {
            parameters.push(json!({
                "name": "Last-Event-ID",
                "in": "header",
                "required": false,
                "description": "Where to go on: the `id` of the last event that came. Empty or absent: from the beginning.",
                "schema": { "type": "string" },
            }));
        }
        if route.is_done_once() {
            parameters.push(json!({
                "name": "Idempotency-Key",
                "in": "header",
                "required": false,
                "description": KEY,
                "schema": { "type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_CHARS_MAX, "pattern": "^[!-~]+$" },
            }));
        }
        parameters
    }

    fn responses(&mut self, route: &'static Route) -> Value {
        let mut responses = Map::new();
        let (status, success) = self.success(route);
        responses.insert(status.to_owned(), success);
        let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
        for code in routes::refusals(route) {
            by_status.entry(code.status().as_u16()).or_default().push(code);
        }
        for (status, codes) in by_status {
            responses.insert(status.to_string(), self.refusal(&codes));
        }
        Value::Object(responses)
    }

    fn success(&mut self, route: &'static Route) -> (&'static str, Value) {
        let answers = shapes::said(route.answers);
        let content = match &answers {
            Said::Messages(shape) => {
                // They are no body; their shape is among the components all the same.
                let (asked, told) = (shapes::said(route.takes), (shape.schema)(&mut self.sent));
                let asked = asked.shape().map(|shape| (shape.schema)(&mut self.taken));
                let switched = json!({
                    "description": "The connection is a WebSocket from here on: subprotocol `mill.exec.v1`.",
                    "x-mill-messages": { "told": told, "asked": asked },
                });
                return ("101", switched);
            }
            Said::Nothing => json!({ "application/json": { "schema": { "type": "object" }, "example": {} } }),
            Said::One(shape) => {
                let schema = (shape.schema)(&mut self.sent).to_value();
                json!({ "application/json": self.content(shape, &schema) })
            }
            Said::List(shape) => json!({ "application/json": self.list(shape) }),
            Said::Stream(shape) => json!({ "text/event-stream": self.stream(shape) }),
            Said::ListOrStream(shape) => json!({
                "application/json": self.list(shape),
                "text/event-stream": self.stream(shape),
            }),
        };
        ("200", json!({ "description": routes::answer(route), "content": content }))
    }

    fn content(&self, shape: &Shape, schema: &Value) -> Value {
        json!({ "schema": schema, "example": self.example(shape) })
    }

    fn list(&mut self, shape: &Shape) -> Value {
        let schema = (shape.schema)(&mut self.sent).to_value();
        json!({ "schema": { "type": "array", "items": schema }, "example": [self.example(shape)] })
    }

    /// One event: 3.1 has no words for a stream, and readers take the schema for that of each event, as 3.2 says it.
    fn stream(&mut self, shape: &Shape) -> Value {
        let item = (shape.schema)(&mut self.sent).to_value();
        let reset = self.sent.subschema_for::<sse::Reset>().to_value();
        let refusal = self.sent.subschema_for::<ApiError>().to_value();
        let events = [
            event("An item.", &["message"], &["id", "data"], &item),
            event("The stream is complete.", &[sse::END], &["event"], &json!({ "type": "object" })),
            event("Something is missing.", &[sse::RESET], &["event", "data"], &reset),
            event("The stream ends, since it failed.", &[sse::ERROR], &["event", "data"], &refusal),
        ];
        json!({
            "schema": { "description": "One server-sent event.", "anyOf": events },
            "example": { "id": "7", "data": self.example(shape).to_string() },
        })
    }

    fn example(&self, shape: &Shape) -> Value {
        self.examples.get(shape.name).cloned().unwrap_or_default()
    }

    fn refusal(&mut self, codes: &[Code]) -> Value {
        let schema = self.sent.subschema_for::<ApiError>().to_value();
        let meanings: Vec<String> =
            codes.iter().map(|code| format!("`{}`: {}", word(*code), code.meaning())).collect();
        let words: Vec<String> = codes.iter().copied().map(word).collect();
        let examples: Map<String, Value> = codes
            .iter()
            .map(|code| (word(*code), json!({ "value": ApiError::new(*code, code.meaning()) })))
            .collect();
        let mut refusal = json!({
            "description": meanings.join("; "),
            "content": { "application/json": {
                "schema": { "allOf": [schema, { "properties": { "code": { "enum": words } } }] },
                "examples": examples,
            } },
        });
        if codes.contains(&Code::Overloaded)
            && let Value::Object(fields) = &mut refusal
        {
            let wait = json!({ "Retry-After": {
                "description": "When to ask again, in seconds; absent: in a moment.",
                "schema": { "type": "integer", "minimum": 1 },
            } });
            fields.insert("headers".to_owned(), wait);
        }
        refusal
    }

    /// Every shape that was named. What comes in and what goes out share names only where they are the same.
    fn definitions(&mut self) -> Map<String, Value> {
        let mut all = self.taken.take_definitions(true);
        all.extend(self.sent.take_definitions(true));
        all
    }
}

/// The schema of an event whose `data` is JSON.
fn event(says: &str, names: &[&str], required: &[&str], data: &Value) -> Value {
    json!({
        "type": "object",
        "description": says,
        "properties": {
            "id": { "type": "string" },
            "event": { "enum": names },
            "data": { "type": "string", "contentMediaType": "application/json", "contentSchema": data },
        },
        "required": required,
    })
}

/// The properties of a query's shape, one parameter each.
fn query_parameters(schema: &Value) -> Vec<Value> {
    let required = |name: &str| {
        let list = schema.get("required").and_then(Value::as_array);
        list.is_some_and(|list| list.iter().any(|one| one == name))
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    let each = properties.into_iter().flatten().map(|(name, schema)| {
        let mut schema = schema.clone();
        let says = schema.as_object_mut().and_then(|fields| fields.remove("description"));
        json!({
            "name": name, "in": "query", "required": required(name), "description": says,
            "schema": without_null(schema),
        })
    });
    each.collect()
}

/// A query has no way to say `null`: what isn't there is left out.
fn without_null(mut schema: Value) -> Value {
    let Some(fields) = schema.as_object_mut() else { return schema };
    fields.remove("default");
    let null = json!({ "type": "null" });
    if let Some(one) = fields.get("anyOf").and_then(Value::as_array) {
        let left: Vec<Value> = one.iter().filter(|one| **one != null).cloned().collect();
        if let [only] = left.as_slice() {
            return only.clone();
        }
    }
    if let Some(Value::Array(kinds)) = fields.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            fields.insert("type".to_owned(), only);
        }
    }
    schema
}

fn is_stream(route: &Route) -> bool {
    matches!(shapes::said(route.answers), Said::Stream(_) | Said::ListOrStream(_))
}

fn description(route: &'static Route) -> String {
    format!("Who may: {}.{}", route.access.who(), routes::details(route))
}

/// `get_projects_project_history`
fn operation_id(route: &Route) -> String {
    let words =
        route.path.split('/').skip(2).map(|part| part.trim_matches(['{', '}']).replace(['-', '.'], "_"));
    let words: Vec<String> = words.collect();
    format!("{}_{}", route.method.to_lowercase(), words.join("_"))
}

/// The first word of the path behind `/v1`.
fn tag(route: &Route) -> &'static str {
    route.path.split('/').nth(2).unwrap_or_default()
}

fn tags() -> Vec<Value> {
    let mut names: Vec<&str> = ROUTES.iter().map(tag).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| json!({ "name": name })).collect()
}

/// Who may, in a word.
const fn access(access: Access) -> &'static str {
    match access {
        Access::See => "see",
        Access::SeeAll => "see all",
        Access::Deploy => "deploy",
        Access::DeployAll => "deploy all",
        Access::Admin => "admin",
        Access::Local => "socket only",
    }
}

fn word(code: Code) -> String {
    let word = serde_json::to_value(code).ok();
    word.and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Takes the links out of texts that were written for the types' own documentation.
fn unlink(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "description" => {
                        *text = text.replace("[`", "`").replace("`]", "`");
                    }
                    _ => unlink(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(unlink),
        _ => {}
    }
}
