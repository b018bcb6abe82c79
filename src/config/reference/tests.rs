use super::*;
use crate::{Source, parse};

fn accept(text: &str) {
    let source = Source { file: "mill.kdl", text, default_project: Some("shop") };
    let parsed = parse(&source);
    assert!(parsed.is_ok(), "{text}\n{}", parsed.unwrap_err());
}

/// What the example of a field needs beside it.
fn companions(name: &str) -> &'static str {
    match name {
        "health" | "route" => "port \"http\" 80\n",
        _ => "",
    }
}

#[test]
fn every_example_is_accepted_where_it_belongs() {
    let others = "service \"db\" { image \"x\" }\ntask \"migrate\" { image \"x\" }\n";
    for field in SERVICE {
        let image = if field.name == "image" { "" } else { "image \"x\"\n" };
        accept(&format!(
            "{others}service \"web\" {{\n{image}{}{}\n}}",
            companions(field.name),
            field.example
        ));
    }
    for field in TASK {
        let image = if field.name == "image" { "" } else { "image \"x\"\n" };
        accept(&format!("task \"a\" {{\n{image}{}\n}}", field.example));
    }
}

#[test]
fn what_the_reference_calls_served_is_what_a_deploy_takes() {
    let others = "service \"db\" { image \"x\" }\ntask \"migrate\" { image \"x\" }\n";
    for (what, fields) in [("service", SERVICE), ("task", TASK)] {
        for field in fields.iter().filter(|field| field.name != "image") {
            let body = format!("image \"x\"\n{}{}", companions(field.name), field.example);
            let text = format!("{others}{what} \"web\" {{\n{body}\n}}");
            let parsed =
                parse(&Source { file: "mill.kdl", text: &text, default_project: Some("shop") }).unwrap();
            assert_eq!(parsed.deployable().is_ok(), field.served == Served::Now, "{text}");
        }
    }
}

#[test]
fn every_example_of_a_property_is_accepted_as_property_and_as_child() {
    for (owner, start, needs) in [
        ("port", "port 80", ""),
        ("health", "health", "path=\"/h\""),
        ("route", "route \"a.b\"", ""),
        ("volume", "volume \"v\"", "path=\"/v\" ephemeral=#true"),
        ("secret", "secret \"s\"", "path=\"/s\""),
        ("stop", "stop", ""),
        ("update", "update", ""),
    ] {
        let known = SERVICE.iter().find(|field| field.name == owner).unwrap();
        for field in known.fields {
            let needs: Vec<&str> = match field.name {
                "path" | "tcp" | "exec" | "grpc" if owner == "health" => vec![],
                "size" | "nfs" => vec!["path=\"/v\""],
                _ => needs.split(' ').filter(|need| !need.starts_with(field.name)).collect(),
            };
            let needs = needs.join(" ");
            let port = if owner == "port" { "" } else { "port \"http\" 80\n" };
            let child = field.example.replacen('=', " ", 1);
            accept(&format!("service \"web\" {{\nimage \"x\"\n{port}{start} {needs} {}\n}}", field.example));
            accept(&format!("service \"web\" {{\nimage \"x\"\n{port}{start} {needs} {{ {child} }}\n}}"));
        }
    }
}

#[test]
fn a_foreign_or_misplaced_name_is_explained() {
    for (name, known, hint) in [
        ("environment", SERVICE, "did you mean `env`?"),
        ("image:", SERVICE, "write `image` without the colon"),
        ("Replica", SERVICE, "did you mean `replicas`?"),
        ("interval", SERVICE, "`interval` belongs into `health`"),
        ("depends_on", TASK, "`depends-on` belongs into a service"),
        ("timeout", SERVICE, "`timeout` belongs into a task or `health` or `route`"),
        ("services", FILE, "did you mean `service`?"),
    ] {
        assert_eq!(suggest(name, known).as_deref(), Some(hint), "{name}");
    }
    assert_eq!(suggest("quux", SERVICE), None);
}

#[test]
fn the_reference_shows_every_field() {
    let text = reference();
    for field in FILE.iter().chain(SERVICE).chain(TASK).chain(HEALTH).chain(ROUTE).chain(VOLUMES) {
        assert!(text.contains(&format!("| `{}` |", field.name)), "{}", field.name);
    }
    assert!(text.lines().all(|line| !line.starts_with("| ") || line.matches(" | ").count() == 4), "{text}");
}
