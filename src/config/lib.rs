//! Text → specs, and good complaints (product.md §2).
//!
//! [`parse`] reads a file whole: syntax (`kdl/`), fields (`read/`, with `value/` for what has rules of its own),
//! rules over the project (`check/`), and says everything that is wrong at once, each with place, reason and
//! hint ([`complaint`]). [`print()`] writes a spec so that it reads back the same.
//!
//! No clock, no disk, no environment: the caller reads the file. Nothing in a file can make this panic, recurse
//! without bound, or take more than time in proportion to its length.

mod check;
mod code;
pub mod complaint;
mod draft;
mod finding;
mod inline;
pub mod interpolate;
mod kdl;
mod lower;
mod print;
mod read;
pub mod reference;
mod render;
mod served;
mod span;
mod value;

#[cfg(test)]
mod document;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod soup;
#[cfg(test)]
mod strategies;

use std::collections::BTreeMap;

use mill_model::image::ImageRef;
use mill_model::limits;
use mill_model::names::WorkloadName;
use mill_model::spec::ProjectSpec;

pub use check::cluster::ClusterFacts;
pub use complaint::{Code, Complaint, Complaints, Severity};
pub use inline::Inline;
pub use print::print;
pub use reference::reference;
pub use render::Look;

use draft::Project;
use finding::{File, Finding, Findings};
use span::{Lines, Span};

/// A config file, read by the caller.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// What to call it in complaints.
    pub file: &'a str,
    /// What it says.
    pub text: &'a str,
    /// The name of the directory that holds it: the project's name where the file says none.
    pub default_project: Option<&'a str>,
}

/// A file that is right.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// What it asks for.
    pub spec: ProjectSpec,
    /// What someone should look at nevertheless.
    pub warnings: Vec<Complaint>,
    file: String,
    text: String,
    lines: Lines,
    draft: Project,
}

/// Reads a config file.
///
/// Fields that this version doesn't serve are accepted and checked; before a deploy ask [`Parsed::unserved`].
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(source: &Source<'_>) -> Result<Parsed, Complaints> {
    let mut out = Findings::default();
    let lines = Lines::of(source.text);
    let file = File { name: source.file, text: source.text, lines: &lines };
    if source.text.len() > limits::CONFIG_BYTES_MAX {
        let message = format!("the file has {} bytes", source.text.len());
        out.error(Finding::new(Code::FileTooLarge, Span::default(), message).hint("is this the right file?"));
        return Err(out.errors(&file).unwrap_or_default());
    }
    let nodes = kdl::parse(source.text, &mut out);
    let draft = read::project(&nodes, source.default_project, &mut out);
    check::project(&draft, &mut out);
    let spec = lower::project(&draft);
    let warnings = out.take_warnings(&file);
    match (out.errors(&file), spec) {
        (None, Ok(spec)) => {
            let (file, text) = (source.file.to_owned(), source.text.to_owned());
            Ok(Parsed { spec, warnings, file, text, lines, draft })
        }
        (complaints, _) => {
            let mut complaints = complaints.unwrap_or_default();
            complaints.list.extend(warnings);
            Err(complaints)
        }
    }
}

/// Reads a config file of which not even the encoding is known.
///
/// # Errors
/// As [`parse`]; bytes that aren't UTF-8 too.
pub fn parse_bytes(file: &str, bytes: &[u8], default_project: Option<&str>) -> Result<Parsed, Complaints> {
    let error = match str::from_utf8(bytes) {
        Ok(text) => return parse(&Source { file, text, default_project }),
        Err(error) => error,
    };
    let at = error.valid_up_to();
    let text = bytes.get(..at).map(String::from_utf8_lossy).unwrap_or_default();
    let mut out = Findings::default();
    let byte = bytes.get(at).copied().unwrap_or_default();
    let message = format!("the byte 0x{byte:02x} begins no character");
    let finding = Finding::new(Code::NotUtf8, Span::new(at, at), message);
    let utf16 = bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]);
    let hint = if utf16 { "this looks like UTF-16: save it as UTF-8" } else { "save the file as UTF-8" };
    out.error(finding.hint(hint));
    Err(out.errors(&File { name: file, text: &text, lines: &Lines::of(&text) }).unwrap_or_default())
}

/// Checks a spec that didn't come from a file, by every rule that a file is held against.
///
/// # Errors
/// Everything that is wrong with it; places are those of its text, as [`print()`] writes it.
pub fn validate(spec: &ProjectSpec) -> Result<Parsed, Complaints> {
    parse(&Source { file: "spec", text: &print(spec), default_project: None })
}

impl Parsed {
    /// What this version of Mill doesn't serve. A deploy is refused with these.
    pub fn unserved(&self) -> Vec<Complaint> {
        self.look(|out| served::check(&self.draft, out))
    }

    /// The spec, for a deploy. There is no way around what isn't served: part of it isn't even in the spec.
    ///
    /// # Errors
    /// What this version of Mill doesn't serve.
    pub fn deployable(&self) -> Result<&ProjectSpec, Complaints> {
        match self.unserved() {
            unserved if unserved.is_empty() => Ok(&self.spec),
            unserved => Err(unserved.into()),
        }
    }

    /// What only the cluster can tell to be wrong.
    pub fn against(&self, facts: &ClusterFacts) -> Vec<Complaint> {
        self.look(|out| check::cluster::check(&self.draft, facts, out))
    }

    /// What is wrong with images that only their registries know: of which services or tasks, and why. Each complaint
    /// is at the image in the file, also where another image was given in its place.
    pub fn images_without_digest(&self, why: &BTreeMap<WorkloadName, String>) -> Vec<Complaint> {
        self.look(|out| {
            for workload in &self.draft.workloads {
                let Ok(name) = &workload.name else { continue };
                let Some(reason) = why.get(&name.value) else { continue };
                let span = workload.container.image.as_ref().map_or(workload.span, |image| image.span);
                let message = format!("the image of {} `{}` can't be resolved", workload.what(), name.value);
                out.error(Finding::new(Code::NoDigest, span, message).because(reason.clone()));
            }
        })
    }

    /// Replaces the image of a service or task: `--image web=registry.example.com/web:v2`. Says whether there is one
    /// of this name.
    pub fn set_image(&mut self, workload: &WorkloadName, image: &ImageRef) -> bool {
        let services = self.spec.services.iter_mut().map(|service| (&service.name, &mut service.container));
        let tasks = self.spec.tasks.iter_mut().map(|task| (&task.name, &mut task.container));
        let found = services.chain(tasks).find(|(name, _)| *name == workload);
        found.map(|(_, container)| container.image = image.clone()).is_some()
    }

    fn look(&self, check: impl FnOnce(&mut Findings)) -> Vec<Complaint> {
        let mut out = Findings::default();
        check(&mut out);
        let file = File { name: &self.file, text: &self.text, lines: &self.lines };
        out.errors(&file).map(|complaints| complaints.list).unwrap_or_default()
    }
}
