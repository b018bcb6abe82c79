//! A task that no file describes: what somebody asks for in a request becomes a file's text, so that it is held against
//! every rule that a file is, and reads its texts as a file's are read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mill_model::image::ImageRef;
use mill_model::names::{ProjectName, WorkloadName};
use mill_model::spec::{EnvVar, TaskSpec};

use crate::complaint::Complaints;
use crate::print::text;
use crate::{Parsed, Source, parse};

/// What was asked for. What is absent is the task's that it is laid over, or as by default.
#[derive(Debug, Clone, Copy)]
pub struct Inline<'a> {
    /// Whose it is.
    pub project: &'a ProjectName,
    /// What it is called.
    pub name: &'a WorkloadName,
    /// What it runs.
    pub image: &'a ImageRef,
    /// Instead of the image's.
    pub entrypoint: Option<&'a [String]>,
    /// Instead of the image's.
    pub command: Option<&'a [String]>,
    /// Environment variables.
    pub env: &'a BTreeMap<String, String>,
    /// Cores.
    pub cpu: Option<f64>,
    /// As a file has it: `512M`.
    pub memory: Option<&'a str>,
    /// As a file has it: `10m`.
    pub timeout: Option<&'a str>,
    /// `user`, `user:group`.
    pub user: Option<&'a str>,
    /// Absolute path.
    pub workdir: Option<&'a str>,
}

/// Called so in complaints.
const FILE: &str = "request";

impl Inline<'_> {
    /// It as a file with one task.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(&self) -> Result<Parsed, Complaints> {
        parse(&Source { file: FILE, text: &self.written(), default_project: None })
    }

    /// `base` with what was asked for in the place of its own, from the task that [`Inline::parse`] read.
    #[must_use]
    pub fn over(&self, base: TaskSpec, parsed: &Parsed) -> TaskSpec {
        let Some(asked) = parsed.spec.tasks.first().cloned() else { return base };
        let rights = parsed.spec.services.first().map(|service| &service.container);
        let mut task = base;
        let (container, wanted) = (&mut task.container, asked.container);
        container.image = wanted.image;
        container.entrypoint = wanted.entrypoint.or(container.entrypoint.take());
        container.command = wanted.command.or(container.command.take());
        for variable in wanted.env {
            put(&mut container.env, variable);
        }
        if self.cpu.is_some() {
            container.resources.cpu = wanted.resources.cpu;
        }
        if self.memory.is_some() {
            container.resources.memory = wanted.resources.memory;
        }
        if self.timeout.is_some() {
            task.timeout = asked.timeout;
        }
        if let Some(rights) = rights {
            container.user = rights.user.clone().or(container.user.take());
            container.workdir = rights.workdir.clone().or(container.workdir.take());
        }
        task
    }

    fn written(&self) -> String {
        let mut page = format!("project {}\n", text(self.project.as_str()));
        let _ = writeln!(page, "task {} {{", text(self.name.as_str()));
        let _ = writeln!(page, "    image {}", text(&self.image.to_string()));
        let words = |words: &[String]| words.iter().map(|word| text(word)).collect::<Vec<_>>().join(" ");
        let fields = [
            ("entrypoint", self.entrypoint.map(words)),
            ("command", self.command.filter(|words| !words.is_empty()).map(words)),
            ("cpu", self.cpu.map(|cores| cores.to_string())),
            ("memory", self.memory.map(text)),
            ("timeout", self.timeout.map(text)),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                let _ = writeln!(page, "    {name} {value}");
            }
        }
        if !self.env.is_empty() {
            page.push_str("    env {\n");
            for (name, value) in self.env {
                let _ = writeln!(page, "        {} {}", text(name), text(value));
            }
            page.push_str("    }\n");
        }
        page.push_str("}\n");
        self.rights(&mut page);
        page
    }

    /// A file's tasks don't have these; its services do, by the same rules.
    fn rights(&self, page: &mut String) {
        if self.user.is_none() && self.workdir.is_none() {
            return;
        }
        let other = if self.name.as_str() == "rights" { "rights-2" } else { "rights" };
        let _ = writeln!(page, "service \"{other}\" {{\n    image {}", text(&self.image.to_string()));
        // Of which no node can have too little.
        page.push_str("    cpu 0.01\n    memory \"8M\"\n");
        for (name, value) in [("user", self.user), ("workdir", self.workdir)] {
            if let Some(value) = value {
                let _ = writeln!(page, "    {name} {}", text(value));
            }
        }
        page.push_str("}\n");
    }
}

fn put(env: &mut Vec<EnvVar>, variable: EnvVar) {
    match env.iter_mut().find(|known| known.name == variable.name) {
        Some(known) => *known = variable,
        None => env.push(variable),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Asked {
        project: ProjectName,
        name: WorkloadName,
        image: ImageRef,
        env: BTreeMap<String, String>,
    }

    fn asked() -> Asked {
        let (project, name) = ("shop".parse().unwrap(), "migrate".parse().unwrap());
        Asked { project, name, image: "web:2".parse().unwrap(), env: BTreeMap::new() }
    }

    impl Asked {
        fn inline(&self) -> Inline<'_> {
            let Self { project, name, image, env } = self;
            Inline {
                project,
                name,
                image,
                entrypoint: None,
                command: None,
                env,
                cpu: None,
                memory: None,
                timeout: None,
                user: None,
                workdir: None,
            }
        }
    }

    #[test]
    fn what_is_asked_for_is_laid_over_a_task_and_the_rest_stays() {
        let base = "task \"migrate\" { image \"web:1\"; command \"a\" \"b\"; cpu 0.5; memory \"64M\"; timeout \"10m\"; env { A \"1\"; B \"2\"; }; }";
        let base = parse(&Source { file: "f", text: base, default_project: Some("shop") }).unwrap();
        let base = base.spec.tasks[0].clone();
        let mut asked = asked();
        asked.env =
            [("B".to_owned(), "${secret(key)} $$x \"q\"\n".to_owned()), ("C".into(), "3".into())].into();
        let command = ["x y".to_owned(), "--flag".to_owned()];
        let inline = Inline {
            command: Some(&command),
            memory: Some("128M"),
            timeout: Some("90s"),
            user: Some("1000:1000"),
            workdir: Some("/srv"),
            ..asked.inline()
        };
        let task = inline.over(base.clone(), &inline.parse().unwrap());
        let container = &task.container;
        assert_eq!(container.image, "web:2".parse().unwrap());
        assert_eq!(container.command.as_ref().unwrap().len(), 2);
        assert_eq!(container.env.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["A", "B", "C"]);
        assert_eq!(crate::interpolate::write(&container.env[1].value), "${secret(key)} $$x \"q\"\n");
        assert_eq!(container.resources.cpu, base.container.resources.cpu);
        assert_eq!(container.resources.memory.0, 128 << 20);
        assert_eq!(task.timeout, Duration::from_secs(90));
        assert_eq!(
            (container.user.as_deref(), container.workdir.as_deref()),
            (Some("1000:1000"), Some("/srv"))
        );
        let bare = self::asked();
        let plain = bare.inline().over(base.clone(), &bare.inline().parse().unwrap());
        assert_eq!((plain.timeout, plain.container.command), (base.timeout, base.container.command));
    }

    #[test]
    fn what_a_file_may_not_say_a_request_may_not_either() {
        let env = |name: &str| Asked { env: [(name.to_owned(), "x".to_owned())].into(), ..asked() };
        for (what, wrong) in [
            ("a name", env("A=B").inline().parse().is_err()),
            (
                "a reference",
                Asked { env: [("A".into(), "${nope(x)}".into())].into(), ..asked() }
                    .inline()
                    .parse()
                    .is_err(),
            ),
            ("cores", Inline { cpu: Some(-1.0), ..asked().inline() }.parse().is_err()),
            ("endless cores", Inline { cpu: Some(f64::INFINITY), ..asked().inline() }.parse().is_err()),
            ("memory", Inline { memory: Some("a lot"), ..asked().inline() }.parse().is_err()),
            ("a timeout", Inline { timeout: Some("soon"), ..asked().inline() }.parse().is_err()),
            ("a directory", Inline { workdir: Some("srv"), ..asked().inline() }.parse().is_err()),
            ("no entrypoint", Inline { entrypoint: Some(&[]), ..asked().inline() }.parse().is_err()),
        ] {
            assert!(wrong, "{what}");
        }
        assert!(asked().inline().parse().is_ok());
    }
}
