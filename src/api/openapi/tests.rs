//! The document says all of every route, and its examples are what they are examples of.

use serde_json::{Map, Value};

use super::shapes::{SHAPES, said};
use super::{Writer, document, routes};
use crate::paths::ROUTES;

fn operations(document: &Value) -> impl Iterator<Item = (String, &Map<String, Value>)> {
    let paths = document["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap();
        methods.iter().map(move |(method, it)| (format!("{method} {path}"), it.as_object().unwrap()))
    })
}

#[test]
fn every_route_is_described_with_an_example_and_its_refusals() {
    let document = document();
    assert_eq!(operations(&document).count(), ROUTES.len());
    let mut ids: Vec<&str> = vec![];
    for (name, operation) in operations(&document) {
        let text = |field: &str| operation[field].as_str().unwrap_or_default();
        assert!(!text("summary").is_empty() && text("description").starts_with("Who may: "), "{name}");
        ids.push(text("operationId"));
        for parameter in operation.get("parameters").and_then(Value::as_array).into_iter().flatten() {
            let says = parameter["description"].as_str().unwrap_or_default();
            assert!(!says.is_empty(), "{name}: {}", parameter["name"]);
        }
        let responses = operation["responses"].as_object().unwrap();
        for status in ["401", "403", "429", "500", "503"] {
            assert!(responses.contains_key(status), "{name} {status}");
        }
        let success = responses.get("200").or(responses.get("101")).unwrap();
        assert!(!success["description"].as_str().unwrap().is_empty(), "{name}");
        let contents = success.get("content").and_then(Value::as_object);
        for content in contents.into_iter().flatten().map(|(_, content)| content) {
            assert!(content.get("schema").is_some(), "{name}");
            assert!(content.get("example").is_some_and(|example| !example.is_null()), "{name}");
        }
        if let Some(body) = operation.get("requestBody") {
            assert!(!body["content"]["application/json"]["example"].is_null(), "{name}");
        }
    }
    ids.sort_unstable();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all, "no two operations have one id");
}

#[test]
fn every_word_of_the_table_that_names_a_shape_is_one() {
    for route in &ROUTES {
        for words in [route.takes, route.answers] {
            let named = words.split([' ', ';']).find(|word| word.starts_with(char::is_uppercase));
            assert_eq!(named, said(words).shape().map(|shape| shape.name), "{route:?}");
        }
        assert_eq!(route.takes.starts_with("query:"), routes::query(route).is_some(), "{route:?}");
    }
}

#[test]
fn a_query_has_the_parameters_that_the_table_names() {
    for route in ROUTES.iter().filter(|route| route.takes.starts_with("query:")) {
        let mut writer = Writer::new();
        let parameters = writer.parameters(route);
        let of_query = parameters.iter().filter(|parameter| parameter["in"] == "query");
        let mut names: Vec<&str> = of_query.map(|parameter| parameter["name"].as_str().unwrap()).collect();
        let mut said: Vec<&str> = route.takes.trim_start_matches("query: ").split(", ").collect();
        names.sort_unstable();
        said.sort_unstable();
        assert_eq!(names, said, "{route:?}");
    }
}

#[test]
fn every_example_reads_as_its_type() {
    let writer = Writer::new();
    for shape in SHAPES {
        let example = writer.examples.get(shape.name).unwrap_or_else(|| panic!("{}: no example", shape.name));
        // What passes over a WebSocket is shown as several messages.
        match example.as_array() {
            Some(messages) => messages.iter().for_each(|message| {
                (shape.read)(message).unwrap_or_else(|error| panic!("{}: {error}", shape.name));
            }),
            None => (shape.read)(example).unwrap_or_else(|error| panic!("{}: {error}", shape.name)),
        }
    }
    assert_eq!(writer.examples.len(), SHAPES.len(), "no example is nobody's");
}

#[test]
fn what_comes_in_and_what_goes_out_share_a_name_only_where_they_are_the_same() {
    let mut writer = Writer::new();
    for route in &ROUTES {
        writer.operation(route);
    }
    let (taken, sent) = (writer.taken.take_definitions(true), writer.sent.take_definitions(true));
    for (name, schema) in &taken {
        assert!(sent.get(name).is_none_or(|other| other == schema), "{name}");
        // Where two types had one name, the second would be called so.
        assert!(!name.ends_with(|c: char| c.is_ascii_digit()), "{name}");
    }
    for name in sent.keys() {
        assert!(!name.ends_with(|c: char| c.is_ascii_digit()), "{name}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(value: &Value, document: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(to)) = fields.get("$ref") {
                    let pointer = to.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{to}");
                }
                fields.values().for_each(|value| check(value, document));
            }
            Value::Array(values) => values.iter().for_each(|value| check(value, document)),
            _ => {}
        }
    }
    let document = document();
    check(&document, &document);
}
