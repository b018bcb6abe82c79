//! References in texts: `${secret(NAME)}`, `${service.NAME.address}`, `${alloc.id}`, `${node.name}`.
//!
//! `$$` is a dollar. A dollar before anything but `$` and `{` is itself, so that `sh -c "echo $HOME"` needs no care.

use mill_model::limits;
use mill_model::names::{NameError, PortName, ProjectName, WorkloadName};
use mill_model::secret::SecretName;
use mill_model::template::{Part, ServiceField, ServiceRef, Template};
use thiserror::Error;

use crate::finding::nearest;

/// Why a reference means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReferenceError {
    /// `${` without `}`.
    #[error("`${{` without its `}}`")]
    Unclosed,
    /// Not one of those that exist.
    #[error("no such reference")]
    Unknown,
    /// `secret(…)` with something that is no secret's name.
    #[error("not the name of a secret")]
    SecretName,
    /// A service, project or port with an impossible name.
    #[error("not a name")]
    Name(#[source] NameError),
    /// `service.NAME` without a part that services have.
    #[error("not a part of a service's address")]
    ServiceField,
}

/// A reference that means nothing, and where it is in its text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{error}")]
pub struct BadReference {
    /// Its first byte.
    pub offset: usize,
    /// Its length in bytes, dollar and braces included.
    pub length: usize,
    /// What is between the braces.
    pub inner: String,
    /// What is wrong with it.
    pub error: ReferenceError,
}

/// A piece of a text and where it is.
pub(crate) struct Piece {
    pub(crate) offset: usize,
    pub(crate) length: usize,
    pub(crate) part: Result<Part, BadReference>,
}

/// Reads a text with references.
///
/// # Errors
/// The first reference that means nothing.
pub fn read(text: &str) -> Result<Template, BadReference> {
    pieces(text).into_iter().map(|piece| piece.part).collect::<Result<Vec<_>, _>>().map(join)
}

/// Writes a text that [`read`] understands as `template`.
pub fn write(template: &Template) -> String {
    template.parts.iter().map(write_part).collect()
}

fn write_part(part: &Part) -> String {
    match part {
        Part::Text(text) => text.replace('$', "$$"),
        Part::Secret(name) => format!("${{secret({name})}}"),
        Part::Service(service) => write_service(service),
        Part::AllocId => "${alloc.id}".to_owned(),
        Part::AllocIndex => "${alloc.index}".to_owned(),
        Part::NodeName => "${node.name}".to_owned(),
    }
}

fn write_service(service: &ServiceRef) -> String {
    let project = service.project.as_ref().map(|project| format!("{project}/")).unwrap_or_default();
    let field = match &service.field {
        ServiceField::Address => "address".to_owned(),
        ServiceField::Host => "host".to_owned(),
        ServiceField::Port => "port".to_owned(),
        ServiceField::NamedPort(name) => format!("port({name})"),
    };
    format!("${{service.{project}{}.{field}}}", service.name)
}

/// Cuts a text at its references. Neighbouring texts are left for [`join`].
pub(crate) fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut offset = 0;
    while let Some(rest) = text.get(offset..).filter(|rest| !rest.is_empty()) {
        let (length, part) = next_piece(rest, offset);
        pieces.push(Piece { offset, length, part });
        offset += length;
    }
    pieces
}

/// The piece that `rest` begins with, and its length.
fn next_piece(rest: &str, offset: usize) -> (usize, Result<Part, BadReference>) {
    let plain = |text: &str, length| (length, Ok(Part::Text(text.to_owned())));
    if rest.starts_with("$$") {
        return plain("$", 2);
    }
    let Some(behind) = rest.strip_prefix("${") else {
        let dollar = usize::from(rest.starts_with('$'));
        let end = rest.get(dollar..).and_then(|tail| tail.find('$')).map_or(rest.len(), |end| end + dollar);
        return plain(rest.get(..end).unwrap_or(rest), end);
    };
    let Some(inner) = behind.split_once('}').map(|(inner, _)| inner) else {
        let bad = BadReference { offset, length: 2, inner: String::new(), error: ReferenceError::Unclosed };
        return (rest.len(), Err(bad));
    };
    let length = inner.len() + "${}".len();
    let part = reference(inner);
    (length, part.map_err(|error| BadReference { offset, length, inner: inner.to_owned(), error }))
}

fn reference(inner: &str) -> Result<Part, ReferenceError> {
    match inner {
        "alloc.id" => return Ok(Part::AllocId),
        "alloc.index" => return Ok(Part::AllocIndex),
        "node.name" => return Ok(Part::NodeName),
        _ => {}
    }
    if let Some(name) = argument(inner, "secret") {
        return match is_secret_name(name) {
            true => Ok(Part::Secret(name.to_owned())),
            false => Err(ReferenceError::SecretName),
        };
    }
    match inner.strip_prefix("service.") {
        Some(service) => service_reference(service).map(Part::Service),
        None => Err(ReferenceError::Unknown),
    }
}

/// `[PROJECT/]NAME.FIELD`. Names have no dots.
fn service_reference(text: &str) -> Result<ServiceRef, ReferenceError> {
    let (target, field) = text.split_once('.').ok_or(ReferenceError::ServiceField)?;
    let (project, name) = match target.split_once('/') {
        Some((project, name)) => (Some(ProjectName::new(project).map_err(ReferenceError::Name)?), name),
        None => (None, target),
    };
    let name = WorkloadName::new(name).map_err(ReferenceError::Name)?;
    let field = match (field, argument(field, "port")) {
        ("address", _) => ServiceField::Address,
        ("host", _) => ServiceField::Host,
        ("port", _) => ServiceField::Port,
        (_, Some(port)) => ServiceField::NamedPort(PortName::new(port).map_err(ReferenceError::Name)?),
        _ => return Err(ReferenceError::ServiceField),
    };
    Ok(ServiceRef { project, name, field })
}

/// The `x` of `word(x)`.
fn argument<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.strip_prefix(word)?.strip_prefix('(')?.strip_suffix(')')
}

/// Whether a text can name a secret.
pub fn is_secret_name(text: &str) -> bool {
    SecretName::new(text).is_ok()
}

/// Joins neighbouring texts, as [`Template`] wants it.
pub(crate) fn join(parts: Vec<Part>) -> Template {
    let mut joined: Vec<Part> = Vec::new();
    for part in parts {
        match (joined.last_mut(), part) {
            (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
            (_, part) => joined.push(part),
        }
    }
    Template { parts: joined }
}

impl BadReference {
    /// Why it means nothing, in a sentence.
    pub(crate) fn reason(&self) -> String {
        match &self.error {
            ReferenceError::Unclosed => "a reference ends with `}`".to_owned(),
            ReferenceError::Unknown => {
                "Mill knows `${secret(NAME)}`, `${service.NAME.address}` (or `host`, `port`, `port(PORTNAME)`), \
                 `${alloc.id}`, `${alloc.index}` and `${node.name}`"
                    .to_owned()
            }
            ReferenceError::SecretName => {
                let most = limits::SECRET_NAME_LENGTH_MAX;
                format!("a secret's name has letters, digits, `.`, `_` and `-`, begins with none of `.-`, and has at most {most} of them")
            }
            ReferenceError::Name(why) => why.to_string(),
            ReferenceError::ServiceField => {
                "of a service one can ask `address` (host and port), `host`, `port` and `port(PORTNAME)`".to_owned()
            }
        }
    }

    /// What to do.
    pub(crate) fn hint(&self) -> String {
        let inner = &self.inner;
        let escaped = "a dollar that the program should see is doubled: `$$";
        match &self.error {
            ReferenceError::Unclosed => format!("add `}}`; {escaped}{{`"),
            ReferenceError::Unknown if inner.len() > 60 => format!("{escaped}{{…}}`"),
            ReferenceError::Unknown => match inner.strip_prefix("secret.") {
                Some(name) => format!("did you mean `${{secret({name})}}`?"),
                None => match nearest(inner, ["alloc.id", "alloc.index", "node.name"]) {
                    Some(meant) => format!("did you mean `${{{meant}}}`?"),
                    None => format!("{escaped}{{{inner}}}`"),
                },
            },
            ReferenceError::SecretName => "for example `${secret(db.password)}`".to_owned(),
            ReferenceError::Name(_) => {
                "for example `${service.db.address}`, `${service.shop/db.port(metrics)}`".to_owned()
            }
            ReferenceError::ServiceField => {
                let name = inner.strip_prefix("service.").and_then(|rest| rest.split('.').next());
                match name.filter(|name| !name.is_empty() && name.len() <= 40) {
                    Some(name) => format!("for example `${{service.{name}.address}}`"),
                    None => "for example `${service.db.address}`".to_owned(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(project: Option<&str>, name: &str, field: ServiceField) -> Part {
        let project = project.map(|project| ProjectName::new(project).unwrap());
        Part::Service(ServiceRef { project, name: WorkloadName::new(name).unwrap(), field })
    }

    #[test]
    fn references_are_cut_out_of_their_text() {
        let text = |text: &str| Part::Text(text.to_owned());
        for (written, parts) in [
            ("", vec![]),
            ("plain", vec![text("plain")]),
            ("a$$b$c$", vec![text("a$b$c$")]),
            ("$$${alloc.id}$$", vec![text("$"), Part::AllocId, text("$")]),
            ("${alloc.id}${alloc.index}", vec![Part::AllocId, Part::AllocIndex]),
            ("${node.name}", vec![Part::NodeName]),
            ("x${secret(a.b_c-1)}y", vec![text("x"), Part::Secret("a.b_c-1".to_owned()), text("y")]),
            ("${service.db.address}", vec![service(None, "db", ServiceField::Address)]),
            ("${service.shop/db.host}", vec![service(Some("shop"), "db", ServiceField::Host)]),
            ("${service.db.port}", vec![service(None, "db", ServiceField::Port)]),
            (
                "${service.db.port(pg)}",
                vec![service(None, "db", ServiceField::NamedPort(PortName::new("pg").unwrap()))],
            ),
            ("$${x}", vec![text("${x}")]),
        ] {
            let template = read(written).unwrap();
            assert_eq!(template.parts, parts, "{written}");
            assert_eq!(read(&write(&template)), Ok(template), "{written}");
        }
    }

    #[test]
    fn a_reference_that_means_nothing_is_found_at_its_place() {
        for (written, offset, length, error) in [
            ("a${", 1, 2, ReferenceError::Unclosed),
            ("é${HOME}", 2, 7, ReferenceError::Unknown),
            ("${}", 0, 3, ReferenceError::Unknown),
            ("${ alloc.id }", 0, 13, ReferenceError::Unknown),
            ("${secret()}", 0, 11, ReferenceError::SecretName),
            ("${secret(a b)}", 0, 14, ReferenceError::SecretName),
            ("${secret(../x)}", 0, 15, ReferenceError::SecretName),
            ("${service.db}", 0, 13, ReferenceError::ServiceField),
            ("${service.db.name}", 0, 18, ReferenceError::ServiceField),
            ("${service.DB.port}", 0, 18, ReferenceError::Name(NameError::Character { character: 'D' })),
            ("${service.a/b/c.port}", 0, 21, ReferenceError::Name(NameError::Character { character: '/' })),
            ("${service.db.port()}", 0, 20, ReferenceError::Name(NameError::Empty)),
        ] {
            let bad = read(written).unwrap_err();
            assert_eq!((bad.offset, bad.length, bad.error), (offset, length, error), "{written}");
        }
    }
}
