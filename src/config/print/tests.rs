use proptest::prelude::*;

use super::*;
use crate::strategies::project;
use crate::{Source, parse};

fn reread(text: &str) -> ProjectSpec {
    match parse(&Source { file: "printed", text, default_project: None }) {
        Ok(parsed) => parsed.spec,
        Err(complaints) => panic!("{text}\n{}", complaints.render(text, crate::Look::default())),
    }
}

proptest! {
    #[test]
    fn what_is_printed_reads_back_the_same(spec in project()) {
        let text = print(&spec);
        prop_assert_eq!(reread(&text), spec, "{}", text);
    }

    #[test]
    fn any_text_survives(value in "\\PC*|[\\x01-\\x{ffff}]{0,20}|[\"\\\\\n\r\t$\\{}#/ ]{0,20}") {
        let printed = text(&value);
        let document: kdl::KdlDocument = format!("a {printed}").parse().unwrap();
        prop_assert_eq!(document.nodes()[0].entries()[0].value().as_string(), Some(value.as_str()));
    }
}

#[test]
fn a_printed_file_looks_like_one_that_a_person_wrote() {
    let source = include_str!("../../../config-examples/shop.kdl");
    let spec = parse(&Source { file: "shop.kdl", text: source, default_project: None }).unwrap().spec;
    let wanted = r#"project "shop"

service "web" {
    image "registry.example.com/web:v1"
    port 3000
    replicas 2
    cpu 0.5
    memory "512M"
    env {
        DATABASE_URL "postgres://app:${secret(db.password)}@${service.db.address}/shop"
    }
    health path="/health" port=3000
    route "shop.example.com" port=3000
    route "shop.example.com" path="/ws" websocket=#true port=3000
    depends-on "db"
}

service "db" {
    image "docker.io/library/postgres:16"
    port 5432
    cpu 1
    memory "1G"
    env {
        POSTGRES_PASSWORD "${secret(db.password)}"
    }
    health interval="5s" start-period="1m" {
        exec "pg_isready" "-U" "postgres"
    }
    volume "db-data" path="/var/lib/postgresql/data" size="5G"
    volume "scratch" path="/tmp" ephemeral=#true
    update order="stop-first"
}

task "migrate" {
    image "registry.example.com/web:v1"
    command "migrate" "--to" "latest"
    cpu 0.5
    memory "256M"
    timeout "10m"
}
"#;
    assert_eq!(print(&spec), wanted);
}
