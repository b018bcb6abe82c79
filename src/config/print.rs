//! A spec as KDL, so that it reads back the same.

use std::fmt::Write as _;
use std::time::Duration;

use mill_model::ports::{Port, Protocol};
use mill_model::spec::{
    ContainerSpec, HealthCheck, Place, Probe, ProjectSpec, Route, SecretFile, ServiceSpec, TaskSpec,
    UpdateOrder, VolumeKind, VolumeMount, defaults,
};
use mill_model::template::Template;

use crate::interpolate;
use crate::kdl::is_plain_word;
use crate::value::shell;

/// Writes a spec as a config file. What is as by default isn't written.
pub fn print(spec: &ProjectSpec) -> String {
    let mut page = Page { text: String::new() };
    page.text.push_str(&format!("project {}\n", text(spec.name.as_str())));
    for service in &spec.services {
        page.service(service);
    }
    for task in &spec.tasks {
        page.task(task);
    }
    page.text
}

struct Page {
    text: String,
}

/// Quotes a text, with escapes for all that KDL doesn't take as it is.
pub(crate) fn text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if crate::finding::visible(c).nth(1).is_some() => {
                let _ = write!(quoted, "\\u{{{:x}}}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn template(template: &Template) -> String {
    text(&interpolate::write(template))
}

fn templates(list: &[Template]) -> String {
    list.iter().map(template).collect::<Vec<_>>().join(" ")
}

fn texts(list: &[String]) -> String {
    list.iter().map(|item| text(item)).collect::<Vec<_>>().join(" ")
}

/// Without blanks: `1h30m`.
fn duration(duration: Duration) -> String {
    text(&humantime::format_duration(duration).to_string().replace(' ', ""))
}

fn flag(name: &str, value: bool) -> Option<String> {
    value.then(|| format!("{name}=#true"))
}

fn unless_default<T: PartialEq>(value: T, default: &T, write: impl FnOnce(T) -> String) -> Option<String> {
    (value != *default).then(|| write(value))
}

impl Page {
    fn line(&mut self, name: &str, rest: &str) {
        let _ = writeln!(self.text, "    {name} {rest}");
    }

    fn maybe(&mut self, name: &str, rest: Option<String>) {
        if let Some(rest) = rest {
            self.line(name, &rest);
        }
    }

    /// A line of properties; none, no line.
    fn properties(
        &mut self,
        name: &str,
        head: Option<String>,
        properties: impl IntoIterator<Item = Option<String>>,
    ) {
        let parts: Vec<String> = head.into_iter().chain(properties.into_iter().flatten()).collect();
        if !parts.is_empty() {
            self.line(name, &parts.join(" "));
        }
    }

    fn service(&mut self, service: &ServiceSpec) {
        let _ = writeln!(self.text, "\nservice {} {{", text(service.name.as_str()));
        let container = &service.container;
        self.program(container);
        for port in &container.ports {
            self.port(port);
        }
        self.maybe("replicas", unless_default(service.replicas, &1, |replicas| replicas.to_string()));
        self.resources(container);
        if let Some(health) = &service.health {
            self.health(health);
        }
        for route in &service.routes {
            self.route(route);
        }
        self.mounts(container);
        self.stop(container);
        self.update(service);
        if !service.depends_on.is_empty() {
            let names: Vec<String> = service.depends_on.iter().map(|name| text(name.as_str())).collect();
            self.line("depends-on", &names.join(" "));
        }
        self.places(&service.place);
        self.rights(container);
        self.text.push_str("}\n");
    }

    fn task(&mut self, task: &TaskSpec) {
        let _ = writeln!(self.text, "\ntask {} {{", text(task.name.as_str()));
        self.program(&task.container);
        self.resources(&task.container);
        self.maybe("timeout", unless_default(task.timeout, &defaults::TASK_TIMEOUT, duration));
        self.maybe("schedule", task.schedule.as_deref().map(text));
        self.mounts(&task.container);
        self.places(&task.place);
        self.text.push_str("}\n");
    }

    fn program(&mut self, container: &ContainerSpec) {
        self.line("image", &text(&container.image.to_string()));
        self.maybe("entrypoint", container.entrypoint.as_deref().map(templates));
        self.maybe("command", container.command.as_deref().map(templates));
    }

    fn port(&mut self, port: &Port) {
        let name = port.name.as_ref().map(|name| text(name.as_str()) + " ").unwrap_or_default();
        let protocol = if port.protocol == Protocol::Udp { " protocol=\"udp\"" } else { "" };
        self.line("port", &format!("{name}{}{protocol}", port.number));
    }

    fn resources(&mut self, container: &ContainerSpec) {
        let resources = container.resources;
        self.line("cpu", &resources.cpu.to_string());
        self.line("memory", &text(&resources.memory.to_string()));
        if container.env.is_empty() {
            return;
        }
        self.text.push_str("    env {\n");
        for variable in &container.env {
            let name = &variable.name;
            let name = if is_plain_word(name) { name.clone() } else { text(name) };
            let _ = writeln!(self.text, "        {name} {}", template(&variable.value));
        }
        self.text.push_str("    }\n");
    }

    fn health(&mut self, health: &HealthCheck) {
        let port = |port| Some(format!("port={port}"));
        let (probe, port) = match &health.probe {
            Probe::Http { path, port: number } => (Some(format!("path={}", template(path))), port(number)),
            Probe::Tcp { port: number } => (flag("tcp", true), port(number)),
            Probe::Grpc { port: number } => (flag("grpc", true), port(number)),
            Probe::Exec { .. } => (None, None),
        };
        let wait = |name: &str, value, default| {
            unless_default(value, &default, |value| format!("{name}={}", duration(value)))
        };
        let retries =
            unless_default(health.retries, &defaults::HEALTH_RETRIES, |retries| format!("retries={retries}"));
        let mut parts: Vec<String> = [
            probe,
            port,
            wait("interval", health.interval, defaults::HEALTH_INTERVAL),
            wait("timeout", health.timeout, defaults::HEALTH_TIMEOUT),
            retries,
            wait("start-period", health.start_period, defaults::HEALTH_START_PERIOD),
        ]
        .into_iter()
        .flatten()
        .collect();
        if let Probe::Exec { command } = &health.probe {
            parts.push(format!("{{\n        exec {}\n    }}", exec(command)));
        }
        self.line("health", &parts.join(" "));
    }

    fn route(&mut self, route: &Route) {
        let path = unless_default(route.path.as_str(), &"/", |path| format!("path={}", text(path)));
        let h2c = route.h2c.then(|| "protocol=\"h2c\"".to_owned());
        let port = Some(format!("port={}", route.port));
        self.properties(
            "route",
            Some(text(&route.host)),
            [path, flag("websocket", route.websocket), h2c, port],
        );
    }

    fn mounts(&mut self, container: &ContainerSpec) {
        for volume in &container.volumes {
            self.volume(volume);
        }
        for secret in &container.secrets {
            let SecretFile { name, path, owner, mode } = secret;
            let mut line = format!("{} path={}", text(name), text(path));
            if let Some(owner) = owner {
                line.push_str(&format!(" owner={}", text(owner)));
            }
            if *mode != defaults::SECRET_MODE {
                line.push_str(&format!(" mode=\"{mode:04o}\""));
            }
            self.line("secret", &line);
        }
    }

    fn volume(&mut self, volume: &VolumeMount) {
        let size = |size: &_| Some(format!("size={}", text(&ToString::to_string(size))));
        let (size, ephemeral, nfs) = match &volume.kind {
            VolumeKind::Persistent { size: bytes } => (size(bytes), false, None),
            VolumeKind::Ephemeral { size: bytes } => (bytes.as_ref().and_then(size), true, None),
            VolumeKind::Nfs { source } => (None, false, Some(format!("nfs={}", text(source)))),
        };
        let path = Some(format!("path={}", text(&volume.path)));
        let (ephemeral, read_only) = (flag("ephemeral", ephemeral), flag("read-only", volume.read_only));
        self.properties("volume", Some(text(volume.name.as_str())), [path, size, ephemeral, nfs, read_only]);
    }

    fn stop(&mut self, container: &ContainerSpec) {
        let stop = &container.stop;
        let signal = stop.signal.as_ref().map(|signal| format!("signal={}", text(signal)));
        let grace =
            unless_default(stop.grace, &defaults::STOP_GRACE, |grace| format!("grace={}", duration(grace)));
        let drain =
            unless_default(stop.drain, &defaults::STOP_DRAIN, |drain| format!("drain={}", duration(drain)));
        self.properties("stop", None, [signal, grace, drain]);
    }

    fn update(&mut self, service: &ServiceSpec) {
        let update = &service.update;
        let parallel =
            unless_default(update.parallel, &defaults::UPDATE_PARALLEL, |n| format!("parallel={n}"));
        let order = (update.order == UpdateOrder::StopFirst).then(|| "order=\"stop-first\"".to_owned());
        let deadline = unless_default(update.deadline, &defaults::UPDATE_DEADLINE, |d| {
            format!("deadline={}", duration(d))
        });
        self.properties("update", None, [parallel, order, deadline]);
    }

    fn places(&mut self, places: &[Place]) {
        for place in places {
            let written = match place {
                Place::Label { label, is } => format!("label={} is={}", text(label), text(is)),
                Place::Spread { label } => format!("spread={}", text(label)),
            };
            self.line("place", &written);
        }
    }

    fn rights(&mut self, container: &ContainerSpec) {
        self.maybe("user", container.user.as_deref().map(text));
        self.maybe("workdir", container.workdir.as_deref().map(text));
        self.maybe("read-only-root", container.read_only_root.then(|| "#true".to_owned()));
        for (name, list) in [
            ("cap-add", &container.cap_add),
            ("cap-drop", &container.cap_drop),
            ("devices", &container.devices),
        ] {
            self.maybe(name, (!list.is_empty()).then(|| texts(list)));
        }
    }
}

/// A program's words. A single one is read as a command line, so it is quoted for that.
fn exec(command: &[Template]) -> String {
    match command {
        [word] => {
            let word = interpolate::write(word);
            let quoted = shell::quote_word(&word).map(|quoted| quoted.into_owned());
            text(&quoted.unwrap_or(word))
        }
        words => templates(words),
    }
}

#[cfg(test)]
mod tests;
