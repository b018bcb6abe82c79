//! Complaints while a file is read: gathered all, then given lines and columns.

use std::borrow::Cow;

use crate::code::Code;
use crate::complaint::{Complaint, Complaints, Related, Severity};
use crate::span::{Lines, Span};

/// How many complaints are kept; the rest is counted. More than anyone reads, few enough that a megabyte of
/// nonsense costs no memory.
const FINDINGS_MAX: usize = 100;

/// Proof that a complaint was made. Whatever can't be read becomes this, so that a file with a hole in it can't
/// pass for a good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Complained(());

/// A complaint that knows its bytes, not yet its line.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) code: Code,
    pub(crate) span: Span,
    message: String,
    reason: Cow<'static, str>,
    hint: Option<String>,
    related: Vec<(Span, String)>,
}

impl Finding {
    pub(crate) fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        let (message, reason) = (message.into(), Cow::Borrowed(code.reason()));
        Self { code, span, message, reason, hint: None, related: vec![] }
    }

    /// A reason better than the code's own.
    pub(crate) fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = reason.into();
        self
    }

    /// What to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What to do, if anything is known.
    pub(crate) fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// Another place that has to do with it.
    pub(crate) fn see(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }

    fn placed(self, file: &File<'_>, severity: Severity) -> Complaint {
        let place = |span| file.lines.place(file.text, span);
        let related = self.related.into_iter();
        Complaint {
            code: self.code,
            severity,
            file: file.name.to_owned(),
            place: place(self.span),
            message: tame(&self.message),
            reason: tame(&self.reason),
            hint: self.hint.as_deref().map(tame),
            related: related
                .map(|(span, label)| Related { place: place(span), label: tame(&label) })
                .collect(),
        }
    }
}

/// The file that findings are about.
pub(crate) struct File<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
    pub(crate) lines: &'a Lines,
}

/// Where findings gather.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    omitted: usize,
}

impl Findings {
    /// Adds an error.
    pub(crate) fn error(&mut self, finding: Finding) -> Complained {
        let repeated =
            self.errors.last().is_some_and(|last| last.code == finding.code && last.span == finding.span);
        match self.is_full() {
            _ if repeated => {}
            true => self.omitted += 1,
            false => self.errors.push(finding),
        }
        Complained(())
    }

    /// Adds a warning.
    pub(crate) fn warning(&mut self, finding: Finding) {
        if self.warnings.len() < FINDINGS_MAX {
            self.warnings.push(finding);
        }
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// The last kind of error.
    pub(crate) fn last(&self) -> Option<Code> {
        self.errors.last().map(|finding| finding.code)
    }

    /// Whether the next error will only be counted: costly hints needn't be looked for.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.len() >= FINDINGS_MAX
    }

    /// The errors, in the order of the file, if there is one.
    pub(crate) fn errors(self, file: &File<'_>) -> Option<Complaints> {
        if self.errors.is_empty() {
            return None;
        }
        let broken = self.errors.iter().any(|finding| finding.code.is_syntax());
        let mut kept: Vec<Finding> =
            self.errors.into_iter().filter(|finding| !(broken && finding.code.is_about_absence())).collect();
        kept.sort_by_key(|finding| finding.span.start);
        let list = kept.into_iter().map(|finding| finding.placed(file, Severity::Error)).collect();
        Some(Complaints { list, omitted: self.omitted })
    }

    /// Takes the warnings out, in the order of the file.
    pub(crate) fn take_warnings(&mut self, file: &File<'_>) -> Vec<Complaint> {
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.sort_by_key(|finding| finding.span.start);
        warnings.into_iter().map(|finding| finding.placed(file, Severity::Warning)).collect()
    }
}

/// What is said, whatever of the file is in it: bounded, and without characters that would act on a terminal.
fn tame(text: &str) -> String {
    const SAID_MAX: usize = 600;
    let mut tamed: String = text.chars().take(SAID_MAX).flat_map(visible).collect();
    if text.chars().nth(SAID_MAX).is_some() {
        tamed.push('…');
    }
    tamed
}

/// Text from the file inside a message: short, and without characters that would act on a terminal.
pub(crate) fn quote(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    if text.is_empty() {
        return "an empty text".to_owned();
    }
    let mut shown = String::from("`");
    for character in text.chars().take(SHOWN_MAX) {
        shown.extend(visible(character));
    }
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown.push('`');
    shown
}

/// A character as it may be shown: controls and those that turn the direction of writing are spelt out.
pub(crate) fn visible(character: char) -> impl Iterator<Item = char> {
    let acts = character.is_control()
        || matches!(character, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}');
    let plain = (!acts).then_some(character);
    let escaped = acts.then(|| character.escape_default());
    plain.into_iter().chain(escaped.into_iter().flatten())
}

/// The candidate that was probably meant.
pub(crate) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may differ: `replica`, `memroy`, `deamon`, and not just any short word.
    const WORD_MAX: usize = 64;
    if text.len() > WORD_MAX {
        return None;
    }
    let text = text.to_lowercase().replace('_', "-");
    let limit = (text.chars().count() / 3).max(1);
    let distance = |candidate: &str| match candidate.len().abs_diff(text.len()) > limit {
        true => usize::MAX,
        false => strsim::osa_distance(&text, candidate),
    };
    let best =
        candidates.into_iter().map(|candidate| (distance(candidate), candidate)).min_by_key(|(d, _)| *d);
    best.filter(|(distance, _)| *distance <= limit).map(|(_, candidate)| candidate)
}

/// "did you mean `x`?", if something similar is known.
pub(crate) fn did_you_mean<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(text, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// `a`, `b` and `c`
pub(crate) fn listed<T: AsRef<str>>(words: &[T]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quote(word.as_ref())).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_different_word_is_not() {
        let fields = ["replicas", "image", "env", "cpu", "depends-on"];
        for (slip, meant) in [
            ("replica", Some("replicas")),
            ("iamge", Some("image")),
            ("Image", Some("image")),
            ("depends_on", Some("depends-on")),
            ("environment", None),
            ("x", None),
            ("envs", Some("env")),
        ] {
            assert_eq!(nearest(slip, fields), meant, "{slip}");
        }
    }

    #[test]
    fn quoted_text_is_short_and_does_nothing_to_a_terminal() {
        assert_eq!(quote("web"), "`web`");
        assert_eq!(quote("a\u{1b}[31m\u{202e}b"), "`a\\u{1b}[31m\\u{202e}b`");
        assert_eq!(quote(&"x".repeat(99)).chars().count(), 63);
    }

    #[test]
    fn findings_are_bounded_and_counted() {
        let mut findings = Findings::default();
        for start in 0..250 {
            findings.error(Finding::new(Code::NoSpace, Span::new(start, start), "x"));
        }
        let lines = Lines::of("");
        let file = File { name: "f", text: "", lines: &lines };
        let complaints = findings.errors(&file).unwrap();
        assert_eq!((complaints.list.len(), complaints.omitted), (FINDINGS_MAX, 150));
    }
}
