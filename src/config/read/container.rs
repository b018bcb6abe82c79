//! What services and tasks share: the fields that make a container.

use std::num::NonZeroU16;

use mill_model::image::{ImageError, ImageRef};
use mill_model::limits;
use mill_model::names::PortName;
use mill_model::ports::Protocol;
use mill_model::resources::Millicores;
use mill_model::spec::{Place, Stop, defaults};

use super::fields::{Field, Fields, refuse_annotations};
use super::named;
use super::values::{self, Read, flag, missing, plain, single, text, texts, wrong_type};
use crate::check;
use crate::code::Code;
use crate::draft::{Argv, Container, Port, SecretFile, Templated, Variable, Volume, VolumeKind};
use crate::finding::{Complained, Finding, Findings, quote};
use crate::interpolate;
use crate::kdl::{Entry, Node, Value, float, integer};
use crate::span::Spanned;
use crate::value::{capability, device, label, mode, name, nfs, path, signal, user, variable};

pub(super) fn read(fields: &Fields<'_>, out: &mut Findings) -> Container {
    let (mut ports, mut ports_broken) = (vec![], None);
    for read in fields.all("port").map(|field| port(field, &fields.owner, out)) {
        match read {
            Ok(port) => ports.push(port),
            Err(complained) => ports_broken = Some(complained),
        }
    }
    let entrypoint = fields.one("entrypoint").and_then(|field| argv(field, out));
    let command = fields.one("command").and_then(|field| argv(field, out));
    if entrypoint.is_none() {
        check::command::one_word(command.as_ref(), out);
    }
    Container {
        image: fields.required("image", out).and_then(|field| image(field, out)),
        entrypoint,
        command,
        env: fields.one("env").map_or(vec![], |field| env(field, out)),
        cpu: fields.one("cpu").and_then(|field| cpu(field, out).ok()),
        memory: fields
            .one("memory")
            .and_then(|field| values::size(field, limits::MEMORY_BYTES_MIN, out).ok()),
        ports,
        ports_broken,
        volumes: fields.all("volume").filter_map(|field| volume(field, &fields.owner, out).ok()).collect(),
        secrets: fields.all("secret").filter_map(|field| secret(field, &fields.owner, out).ok()).collect(),
        stop: fields.one("stop").map_or_else(default_stop, |field| stop(field, &fields.owner, out)),
        user: fields.one("user").and_then(|field| user::read(field, out).ok()),
        workdir: fields.one("workdir").and_then(|field| workdir(field, out)),
        read_only_root: fields
            .one("read-only-root")
            .is_some_and(|field| flag(field, out).is_ok_and(|flag| flag.value)),
        cap_add: capabilities(fields, "cap-add", out),
        cap_drop: capabilities(fields, "cap-drop", out),
        devices: devices(fields, out),
    }
}

fn image(field: &Field<'_>, out: &mut Findings) -> Result<Spanned<ImageRef>, Complained> {
    let text = text(field, out)?;
    let image = text.value.parse().map(|image| Spanned::new(image, text.span));
    image.map_err(|error: ImageError| {
        let finding =
            Finding::new(Code::BadImage, text.span, format!("{} names no image", quote(&text.value)));
        let lower = text.value.to_lowercase();
        let lower = lower.split_once("://").map_or(lower.as_str(), |(_, name)| name);
        let meant = (lower.len() < 60 && lower.parse::<ImageRef>().is_ok())
            .then(|| format!("did you mean \"{lower}\"?"));
        out.error(finding.because(error.to_string()).hint(field.example()).maybe_hint(meant))
    })
}

/// A program and its arguments; references may be in them.
fn argv(field: &Field<'_>, out: &mut Findings) -> Option<Argv> {
    field.refuse_fields(out);
    if field.values.is_empty() {
        missing(field, out);
    }
    let words: Vec<Templated> =
        field.values.iter().filter_map(|entry| word(field, entry, out).ok()).collect();
    refuse_no_program(field, &words, out);
    Some(Argv { words })
}

fn word(field: &Field<'_>, entry: &Entry, out: &mut Findings) -> Result<Templated, Complained> {
    let text = values::entry_text(field, entry, out)?;
    values::templated(text, out)
}

pub(super) fn refuse_no_program(field: &Field<'_>, words: &[Templated], out: &mut Findings) {
    let Some(first) = words.first().filter(|first| first.template.parts.is_empty()) else { return };
    let finding = Finding::new(
        Code::EmptyText,
        first.span,
        format!("`{}` begins with an empty text", field.known.name),
    );
    out.error(finding.because("its first text is the program").hint(field.example()));
}

fn env(field: &Field<'_>, out: &mut Findings) -> Vec<Variable> {
    field.refuse_values(out);
    let Some(node) = field.node else { return vec![] };
    let mut variables = Vec::new();
    for entry in &node.entries {
        if let Some(key) = &entry.key {
            let name = variable::read(key, out);
            let value = word(field, entry, out);
            variables.extend(name.and_then(|name| Ok(Variable { name, value: value? })));
        }
    }
    for child in node.block.iter().flat_map(|block| &block.nodes) {
        refuse_annotations(child, out);
        let Ok(name) = variable::read(&child.name, out) else { continue };
        let value = variable_value(field, child, out);
        variables.extend(value.map(|value| Variable { name, value }));
    }
    variables
}

/// A variable isn't written like a field. Who writes a secret so is told how it is written.
fn refuse_property(child: &Node, out: &mut Findings) -> Option<Complained> {
    let name = &child.name.value;
    let (key, value) = child.entries.iter().find_map(|entry| Some((entry.key.as_ref()?, &entry.value)))?;
    let message = format!("the variable {} has a property", quote(name));
    let hint = match (key.value.as_ref(), value) {
        ("secret", Value::Text(secret)) => {
            format!("the value of a secret is written {name} \"${{secret({})}}\"", secret.value)
        }
        _ => "give each variable a line of its own".to_owned(),
    };
    let finding = Finding::new(Code::UnexpectedProperty, key.span, message);
    Some(out.error(finding.because("a variable has one text as its value").hint(hint)))
}

fn variable_value(field: &Field<'_>, child: &Node, out: &mut Findings) -> Result<Templated, Complained> {
    let name = &child.name.value;
    let finding = |code, span, message: String| {
        Finding::new(code, span, message).because("a variable has one text as its value")
    };
    if let Some(block) = &child.block {
        let message = format!("the variable {} has a block", quote(name));
        out.error(
            finding(Code::UnexpectedBlock, block.span, message).hint("give each variable a line of its own"),
        );
    }
    let refused = refuse_property(child, out);
    let values: Vec<&Entry> = child.entries.iter().filter(|entry| entry.key.is_none()).collect();
    match values.as_slice() {
        [entry] => match &entry.value {
            Value::Text(_) | Value::Bad(_) => word(field, entry, out),
            other => {
                let message = format!("the variable {} is {}, not text", quote(name), other.kind());
                let hint = match other {
                    Value::Number(number) if number.len() < 40 => format!("put it into quotes: \"{number}\""),
                    Value::Bool(value) => format!("put it into quotes: \"{value}\""),
                    _ => "for an empty value write \"\"".to_owned(),
                };
                Err(out.error(finding(Code::WrongType, entry.span, message).hint(hint)))
            }
        },
        [] => Err(refused.unwrap_or_else(|| {
            let message = format!("the variable {} has no value", quote(name));
            out.error(
                finding(Code::MissingValue, child.name.span, message).hint("for an empty value write \"\""),
            )
        })),
        [_, extra, ..] => {
            let message = format!("the variable {} has several values", quote(name));
            Err(out.error(
                finding(Code::ExtraValue, extra.span, message).hint("put all of it into one pair of quotes"),
            ))
        }
    }
}

fn cpu(field: &Field<'_>, out: &mut Findings) -> Read<Millicores> {
    let entry = single(field, out)?;
    let Value::Number(written) = &entry.value else { return Err(wrong_type(field, entry, out)) };
    let millis = float(written) * 1000.0;
    let (least, most) = (Millicores(limits::CPU_MILLIS_MIN), Millicores(limits::CPU_MILLIS_MAX));
    if !(f64::from(least.0) - 1e-6..=f64::from(most.0)).contains(&millis) {
        return Err(values::out_of_range(field, entry, (least, most), out));
    }
    if (millis - millis.round()).abs() > 1e-6 {
        let finding =
            Finding::new(Code::OutOfRange, entry.span, "`cpu` is finer than a thousandth of a core");
        let finding = finding.because("processor time is given out in thousandths of a core");
        return Err(out.error(finding.hint(field.example())));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the bounds checked above"
    )]
    let millis = Millicores(millis.round() as u32);
    Ok(Spanned::new(millis, entry.span))
}

/// `port 80`, `port "http" 80`
fn port(field: &Field<'_>, owner: &str, out: &mut Findings) -> Result<Port, Complained> {
    let node = field.node.ok_or_else(|| missing(field, out))?;
    let inner = Fields::of(node, field.known, owner, out);
    let (label, number) = match field.values.as_slice() {
        [number] => (None, number),
        [label, number] => (Some(label), number),
        [] => return Err(missing(field, out)),
        [_, _, extra, ..] => {
            let finding =
                Finding::new(Code::ExtraValue, extra.span, "`port` takes a number, or a name and a number");
            return Err(out.error(finding.hint("give each port a line of its own")));
        }
    };
    let protocol = inner.one("protocol").map(|field| protocol(field, out)).transpose()?.unwrap_or_default();
    let name = label.map(|label| port_name(field, label, out)).transpose()?;
    let whole = if let Value::Number(written) = &number.value { integer(written) } else { None };
    let whole = whole.ok_or_else(|| wrong_type(field, number, out))?;
    let bound = Some(whole).and_then(|number| u16::try_from(number).ok()).and_then(NonZeroU16::new);
    let bound = bound.ok_or_else(|| values::out_of_range(field, number, (1, u16::MAX), out))?;
    Ok(Port { name, number: Spanned::new(bound, number.span), protocol })
}

fn port_name(field: &Field<'_>, entry: &Entry, out: &mut Findings) -> Read<PortName> {
    let text = plain(field, entry, out)?;
    let name: Spanned<PortName> = name::read("port", &text.value, text.span, out)?;
    if text.value.bytes().all(|b| b.is_ascii_digit()) {
        let finding =
            Finding::new(Code::BadName, text.span, format!("{} can't name a port", quote(&text.value)));
        let finding =
            finding.because("a port without a name is called by its number, so a name needs a letter");
        return Err(out.error(finding.hint("for example `port \"metrics\" 9090`")));
    }
    Ok(name)
}

fn protocol(field: &Field<'_>, out: &mut Findings) -> Result<Protocol, Complained> {
    choice(field, &[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)], out).map(|protocol| protocol.value)
}

/// One of a few words.
pub(super) fn choice<T: Copy>(field: &Field<'_>, words: &[(&'static str, T)], out: &mut Findings) -> Read<T> {
    let text = text(field, out)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
        return Ok(Spanned::new(*value, text.span));
    }
    let message = format!("`{}` takes {}, not {}", field.known.name, field.known.takes, quote(&text.value));
    let meant = crate::finding::did_you_mean(&text.value, words.iter().map(|(word, _)| *word));
    Err(out.error(Finding::new(Code::BadChoice, text.span, message).hint(field.example()).maybe_hint(meant)))
}

fn volume(field: &Field<'_>, owner: &str, out: &mut Findings) -> Result<Volume, Complained> {
    let name = named(field, out).and_then(|text| name::read("volume", &text.value, text.span, out));
    let node = field.node.ok_or_else(|| missing(field, out))?;
    let inner = Fields::of(node, field.known, owner, out);
    let path = inner.required("path", out).and_then(|field| text(field, out));
    let path = path.and_then(|path| path::read_mount(path, out));
    let read_only = inner.one("read-only").is_some_and(|field| flag(field, out).is_ok_and(|flag| flag.value));
    let kind = volume_kind(&inner, out);
    Ok(Volume { name: name?, path: path?, kind, read_only })
}

fn volume_kind(fields: &Fields<'_>, out: &mut Findings) -> Result<VolumeKind, Complained> {
    let size = fields.one("size").map(|field| values::size(field, 1, out)).transpose();
    let ephemeral = fields.one("ephemeral").map(|field| flag(field, out)).transpose();
    let source =
        fields.one("nfs").map(|field| text(field, out).and_then(|text| nfs::read(text, out))).transpose();
    let (size, ephemeral, source) = (size?, ephemeral?.is_some_and(|flag| flag.value), source?);
    let refuse = |message: &str, hint: &str| Finding::new(Code::VolumeKind, fields.span, message).hint(hint);
    match (size, ephemeral, source) {
        (Some(size), false, None) => Ok(VolumeKind::Persistent { size }),
        (size, true, None) => Ok(VolumeKind::Ephemeral { size: size.map(|size| size.value) }),
        (None, false, Some(source)) => Ok(VolumeKind::Nfs { source }),
        (None, false, None) => Err(out.error(refuse(
            "a volume without a size",
            "add `size=\"5G\"` to keep its contents, or `ephemeral=#true` to begin empty with each replica",
        ))),
        (_, true, Some(_)) => {
            Err(out.error(refuse("a volume both ephemeral and of a file server", "remove one of them")))
        }
        (Some(_), false, Some(_)) => Err(out.error(refuse(
            "a volume with a size and of a file server",
            "remove `size`: the server decides it",
        ))),
    }
}

fn secret(field: &Field<'_>, owner: &str, out: &mut Findings) -> Result<SecretFile, Complained> {
    let name = named(field, out).and_then(|text| match interpolate::is_secret_name(&text.value) {
        true => Ok(text),
        false => {
            let message = format!("{} names no secret", quote(&text.value));
            Err(out.error(Finding::new(Code::BadSecretName, text.span, message).hint(field.example())))
        }
    });
    let node = field.node.ok_or_else(|| missing(field, out))?;
    let inner = Fields::of(node, field.known, owner, out);
    let path = inner.required("path", out).and_then(|field| text(field, out));
    let path = path.and_then(|path| path::read_mount(path, out));
    let owner = inner.one("owner").map(|field| user::read(field, out)).transpose();
    let mode =
        inner.one("mode").map(|field| text(field, out).and_then(|text| mode::read(&text, out))).transpose();
    let mode = mode?.map_or(defaults::SECRET_MODE, |mode| mode.value);
    Ok(SecretFile { name: name?, path: path?, owner: owner?, mode })
}

fn default_stop() -> Stop {
    Stop { signal: None, grace: defaults::STOP_GRACE, drain: defaults::STOP_DRAIN }
}

fn stop(field: &Field<'_>, owner: &str, out: &mut Findings) -> Stop {
    field.refuse_values(out);
    let mut stop = default_stop();
    let Some(node) = field.node else { return stop };
    let inner = Fields::of(node, field.known, owner, out);
    stop.signal = inner.one("signal").and_then(|field| signal::read(field, out).ok());
    let mut wait =
        |name| inner.one(name).and_then(|field| values::duration(field, std::time::Duration::ZERO, out).ok());
    let (grace, drain) = (wait("grace"), wait("drain"));
    stop.grace = grace.map_or(stop.grace, |grace| grace.value);
    stop.drain = drain.map_or(stop.drain, |drain| drain.value);
    stop
}

fn workdir(field: &Field<'_>, out: &mut Findings) -> Option<String> {
    let text = text(field, out).ok()?;
    path::read(text, out).ok().map(|path| path.value)
}

fn capabilities(fields: &Fields<'_>, name: &'static str, out: &mut Findings) -> Vec<Spanned<String>> {
    let written: Vec<Spanned<String>> = fields.all(name).flat_map(|field| texts(field, out)).collect();
    let read =
        written.iter().filter_map(|text| capability::read(text, name == "cap-drop", out).ok()).collect();
    check::lists::without_duplicates(name, read, out)
}

fn devices(fields: &Fields<'_>, out: &mut Findings) -> Vec<Spanned<String>> {
    let written: Vec<Spanned<String>> = fields.all("devices").flat_map(|field| texts(field, out)).collect();
    let read = written.into_iter().filter_map(|text| device::read(text, out).ok()).collect();
    check::lists::without_duplicates("devices", read, out)
}

/// `place label="zone" is="a"`, `place spread="zone"`
pub(super) fn place(fields: &Fields<'_>, out: &mut Findings) -> Vec<Spanned<Place>> {
    fields.all("place").filter_map(|field| one_place(field, &fields.owner, out).ok()).collect()
}

fn one_place(field: &Field<'_>, owner: &str, out: &mut Findings) -> Result<Spanned<Place>, Complained> {
    field.refuse_values(out);
    let node = field.node.ok_or_else(|| missing(field, out))?;
    let inner = Fields::of(node, field.known, owner, out);
    let mut text = |name| inner.one(name).map(|field| label::read(field, out)).transpose();
    let (label, is, spread) = (text("label"), text("is"), text("spread"));
    let place = match (label?, is?, spread?) {
        (Some(label), Some(is), None) => Place::Label { label, is },
        (None, None, Some(label)) => Place::Spread { label },
        _ => {
            let finding = Finding::new(Code::PlaceKind, field.whole, "this place is of no kind, or of two");
            return Err(
                out.error(finding.hint("write `place label=\"zone\" is=\"a\"` or `place spread=\"zone\"`"))
            );
        }
    };
    Ok(Spanned::new(place, field.whole))
}
