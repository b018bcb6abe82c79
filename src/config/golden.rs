//! Bad files and what is said about them, word for word.
//!
//! `golden/NAME.kdl` beside `NAME.txt` (as drawn) and `NAME.json`. `UPDATE_GOLDEN=1` writes these two anew. Every
//! file is read, held against what is served and against a small cluster; all complaints count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mill_model::names::{PortName, ProjectName, Workload, WorkloadName};
use mill_model::ports::{Port, Protocol};
use mill_model::resources::{Bytes, Millicores, Resources};
use mill_model::secret::SecretName;
use mill_model::spec::ProjectSpec;

use crate::{ClusterFacts, Code, Complaints, Look, parse_bytes};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// Two nodes: one with more cores, one with more memory; and a project with one service.
fn facts() -> ClusterFacts {
    let node = |cpu, memory: u64| Resources { cpu: Millicores(cpu), memory: Bytes(memory << 30) };
    let auth =
        Workload { project: ProjectName::new("accounts").unwrap(), name: WorkloadName::new("auth").unwrap() };
    let worker = Workload { name: WorkloadName::new("worker").unwrap(), ..auth.clone() };
    let port = |name: &str, number: u16| Port {
        name: Some(PortName::new(name).unwrap()),
        number: number.try_into().unwrap(),
        protocol: Protocol::Tcp,
    };
    ClusterFacts {
        nodes: vec![node(8000, 4), node(2000, 16)],
        services_elsewhere: [(auth, vec![port("http", 80), port("grpc", 9000)]), (worker, vec![])].into(),
        secrets: ["db.password", "tls.key"].map(|name| SecretName::new(name).unwrap()).into(),
    }
}

/// Files that are too long to be kept.
fn made() -> Vec<(&'static str, String)> {
    let services = |count: usize| {
        (0..count).map(|n| format!("service \"s{n}\" {{ image \"x\" }}\n")).collect::<String>()
    };
    let fields = |field: &dyn Fn(usize) -> String, count: usize| {
        let fields: String = (0..count).map(|n| format!("    {}\n", field(n))).collect();
        format!("service \"web\" {{\n    image \"x\"\n{fields}}}\n")
    };
    vec![
        ("made-file-too-large", "// nothing\n".repeat(100_000)),
        ("made-too-many-services", services(501)),
        ("made-too-many-ports", fields(&|n| format!("port {}", n + 1), 65)),
        (
            "made-too-many-variables",
            fields(
                &|n| format!("env {{ {} }}", (0..501 - n).map(|v| format!("V{v} \"\";")).collect::<String>()),
                1,
            ),
        ),
        ("made-too-many-bytes", fields(&|_| format!("env BIG=\"{}\"", "x".repeat(600_000)), 1)),
        ("made-too-many-complaints", fields(&|n| format!("field-{n} 1"), 120)),
        (
            "made-long-line",
            format!(
                "service \"web\" {{ image \"x\"; env {}; replica 2; }}",
                (0..80).map(|n| format!("V{n}=\"value\" ")).collect::<String>()
            ),
        ),
        ("made-path-too-long", fields(&|_| format!("workdir \"/{}\"", "a".repeat(5000)), 1)),
    ]
}

fn judge(name: &str, bytes: &[u8]) -> Complaints {
    // The project's name is part of most files; three are about its absence.
    let default = match name {
        "no-project-name" => None,
        "no-project-name-in-directory" => Some("日本"),
        "project-renamed" => Some("My_Shop"),
        _ => Some("shop"),
    };
    match parse_bytes("mill.kdl", bytes, default) {
        Err(complaints) => complaints,
        Ok(parsed) => {
            let undigested = parsed.images_without_digest(&nowhere(&parsed.spec));
            [parsed.warnings.clone(), parsed.unserved(), parsed.against(&facts()), undigested].concat().into()
        }
    }
}

/// What a registry that has nothing says.
fn nowhere(spec: &ProjectSpec) -> BTreeMap<WorkloadName, String> {
    let services = spec.services.iter().map(|service| (&service.name, &service.container.image));
    let images = services.chain(spec.tasks.iter().map(|task| (&task.name, &task.container.image)));
    let gone = images.filter(|(_, image)| image.registry == "nowhere.test");
    gone.map(|(name, image)| (name.clone(), format!("no such image: the registry has no `{image}`")))
        .collect()
}

fn inputs() -> Vec<(String, Vec<u8>)> {
    let mut inputs: Vec<(String, Vec<u8>)> =
        made().into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes())).collect();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "kdl") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            inputs.push((name, std::fs::read(&path).unwrap()));
        }
    }
    inputs.sort();
    inputs
}

#[test]
fn every_bad_file_gets_its_complaints_word_for_word() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let inputs = inputs();
    assert!(inputs.len() >= 80, "only {} bad files", inputs.len());
    let mut wrong = vec![];
    for (name, bytes) in &inputs {
        let complaints = judge(name, bytes);
        assert!(!complaints.list.is_empty(), "{name} is not bad at all");
        let drawn = complaints.render(&String::from_utf8_lossy(bytes), Look::default());
        let json = serde_json::to_string_pretty(&complaints).unwrap() + "\n";
        for (extension, is) in [("txt", drawn), ("json", json)] {
            let path = folder().join(format!("{name}.{extension}"));
            if update {
                std::fs::write(&path, &is).unwrap();
            } else if std::fs::read_to_string(&path).unwrap_or_default() != is {
                wrong.push(format!("{name}.{extension} is now:\n{is}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\nUPDATE_GOLDEN=1 writes them anew; read them before.", wrong.join("\n"));
}

#[test]
fn every_kind_of_complaint_is_in_the_table() {
    let seen: BTreeSet<Code> = inputs()
        .iter()
        .flat_map(|(name, bytes)| judge(name, bytes).list)
        .map(|complaint| complaint.code)
        .collect();
    let unseen: Vec<&Code> = Code::ALL.iter().filter(|code| !seen.contains(code)).collect();
    assert!(unseen.is_empty(), "no bad file leads to {unseen:?}");
}

#[test]
fn no_golden_file_is_left_behind() {
    let known: BTreeSet<String> = inputs().into_iter().map(|(name, _)| name).collect();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(known.contains(&name), "{} belongs to no bad file", path.display());
    }
}
