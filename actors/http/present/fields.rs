//! Two texts of a service or task, field by field, as the config calls them.

use std::collections::BTreeMap;
use std::time::Duration;

use mill_api::plan::FieldChange;
use mill_config::interpolate::write;
use mill_model::spec::{HealthCheck, Place, Probe, Update, UpdateOrder, VolumeKind};
use mill_model::{ContainerSpec, ServiceSpec, TaskSpec, Template};

/// What is different between two texts of a service.
pub(in crate::http) fn of_service(from: &ServiceSpec, to: &ServiceSpec) -> Vec<FieldChange> {
    difference(&service(from), &service(to))
}

/// What is different between two texts of a task.
pub(in crate::http) fn of_task(from: &TaskSpec, to: &TaskSpec) -> Vec<FieldChange> {
    difference(&task(from), &task(to))
}

/// Fields with their values, in the order of the config.
#[derive(Default)]
struct Fields(Vec<(String, String)>);

impl Fields {
    fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    fn maybe(&mut self, name: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// A field that may be given several times is one list.
    fn list(&mut self, name: &str, values: impl Iterator<Item = String>) {
        let values: Vec<String> = values.collect();
        if !values.is_empty() {
            self.set(name, values.join(" "));
        }
    }
}

fn difference(from: &Fields, to: &Fields) -> Vec<FieldChange> {
    let old: BTreeMap<&str, &str> = from.0.iter().map(|(name, value)| (&**name, &**value)).collect();
    let new: BTreeMap<&str, &str> = to.0.iter().map(|(name, value)| (&**name, &**value)).collect();
    let gone = from.0.iter().filter(|(name, _)| !new.contains_key(&**name));
    let names = to.0.iter().chain(gone).map(|(name, _)| &**name);
    let change = |name: &str| FieldChange {
        field: name.to_owned(),
        from: old.get(name).map(|value| (*value).to_owned()),
        to: new.get(name).map(|value| (*value).to_owned()),
    };
    names.map(change).filter(|change| change.from != change.to).collect()
}

fn service(spec: &ServiceSpec) -> Fields {
    let mut fields = container(&spec.container);
    fields.set("replicas", spec.replicas.to_string());
    if let Some(check) = &spec.health {
        health(&mut fields, check);
    }
    for route in &spec.routes {
        let port = route.port;
        let kind = if route.websocket { " websocket" } else { "" };
        let h2c = if route.h2c { " h2c" } else { "" };
        fields.set(format!("route {}{}", route.host, route.path), format!("port {port}{kind}{h2c}"));
    }
    let Update { parallel, order, deadline } = &spec.update;
    fields.set("update parallel", parallel.to_string());
    fields.set(
        "update order",
        match order {
            UpdateOrder::StartFirst => "start-first",
            UpdateOrder::StopFirst => "stop-first",
        },
    );
    fields.set("update deadline", time(*deadline));
    fields.list("depends-on", spec.depends_on.iter().map(ToString::to_string));
    places(&mut fields, &spec.place);
    fields
}

fn task(spec: &TaskSpec) -> Fields {
    let mut fields = container(&spec.container);
    fields.set("timeout", time(spec.timeout));
    fields.maybe("schedule", spec.schedule.clone());
    places(&mut fields, &spec.place);
    fields
}

fn container(spec: &ContainerSpec) -> Fields {
    let mut fields = Fields::default();
    fields.set("image", spec.image.to_string());
    fields.maybe("entrypoint", spec.entrypoint.as_deref().map(argv));
    fields.maybe("command", spec.command.as_deref().map(argv));
    for variable in &spec.env {
        fields.set(format!("env {}", variable.name), write(&variable.value));
    }
    fields.set("cpu", spec.resources.cpu.to_string());
    fields.set("memory", spec.resources.memory.to_string());
    for port in &spec.ports {
        fields.set(format!("port {}", port.label()), format!("{}/{}", port.number, port.protocol));
    }
    for volume in &spec.volumes {
        let kind = match &volume.kind {
            VolumeKind::Persistent { size } => format!("size {size}"),
            VolumeKind::Ephemeral { size: Some(size) } => format!("ephemeral, size {size}"),
            VolumeKind::Ephemeral { size: None } => "ephemeral".to_owned(),
            VolumeKind::Nfs { source } => format!("nfs {source}"),
        };
        let read_only = if volume.read_only { ", read-only" } else { "" };
        fields.set(format!("volume {}", volume.name), format!("{} ({kind}{read_only})", volume.path));
    }
    for secret in &spec.secrets {
        let owner = secret.owner.as_ref().map(|owner| format!(" owner={owner}")).unwrap_or_default();
        fields.set(
            format!("secret {}", secret.name),
            format!("{}{owner} mode={:04o}", secret.path, secret.mode),
        );
    }
    for pin in &spec.pins {
        fields.set(format!("secret({})", pin.secret.name), pin.to_string());
    }
    fields.maybe("stop signal", spec.stop.signal.clone());
    fields.set("stop grace", time(spec.stop.grace));
    fields.set("stop drain", time(spec.stop.drain));
    fields.maybe("user", spec.user.clone());
    fields.maybe("workdir", spec.workdir.clone());
    fields.set("read-only-root", spec.read_only_root.to_string());
    fields.list("cap-add", spec.cap_add.iter().cloned());
    fields.list("cap-drop", spec.cap_drop.iter().cloned());
    fields.list("devices", spec.devices.iter().cloned());
    fields
}

fn health(fields: &mut Fields, check: &HealthCheck) {
    let (kind, value) = match &check.probe {
        Probe::Http { path, port } => ("path", format!("{} port {port}", write(path))),
        Probe::Tcp { port } => ("tcp", format!("port {port}")),
        Probe::Exec { command } => ("exec", argv(command)),
        Probe::Grpc { port } => ("grpc", format!("port {port}")),
    };
    fields.set(format!("health {kind}"), value);
    fields.set("health interval", time(check.interval));
    fields.set("health timeout", time(check.timeout));
    fields.set("health retries", check.retries.to_string());
    fields.set("health start-period", time(check.start_period));
}

fn places(fields: &mut Fields, places: &[Place]) {
    let place = |place: &Place| match place {
        Place::Label { label, is } => format!("{label}={is}"),
        Place::Spread { label } => format!("spread over {label}"),
    };
    fields.list("place", places.iter().map(place));
}

/// A program and its arguments, quoted so that their borders can be seen.
fn argv(words: &[Template]) -> String {
    words.iter().map(|word| format!("{:?}", write(word))).collect::<Vec<_>>().join(" ")
}

fn time(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests {
    use mill_model::spec::EnvVar;

    use super::*;
    use crate::http::tests::world::service as a_service;

    #[test]
    fn what_differs_is_named_as_the_config_names_it() {
        let from = a_service("web", "web:v1", 2);
        let mut to = from.clone();
        to.container.image = "web:v2".parse().unwrap();
        to.container.env.push(EnvVar { name: "A".into(), value: Template::text("1") });
        to.container.command = Some(vec![Template::text("a b"), Template::text("c")]);
        to.container.user = Some("app".into());
        to.replicas = 3;
        to.update.order = UpdateOrder::StopFirst;
        let said = |from: &ServiceSpec, to: &ServiceSpec| -> Vec<String> {
            let line = |change: &FieldChange| {
                let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
                format!("{}: {} → {}", change.field, value(&change.from), value(&change.to))
            };
            of_service(from, to).iter().map(line).collect()
        };
        assert_eq!(
            said(&from, &to),
            [
                "image: docker.io/library/web:v1 → docker.io/library/web:v2",
                r#"command: - → "a b" "c""#,
                "env A: - → 1",
                "user: - → app",
                "replicas: 2 → 3",
                "update order: start-first → stop-first",
            ]
        );
        assert_eq!(said(&to, &from).len(), 6);
        assert!(said(&to, &from).contains(&"env A: 1 → -".to_owned()));
        assert_eq!(said(&from, &from), [""; 0]);
    }
}
