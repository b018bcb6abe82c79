//! What is listed is listed once.

use std::collections::BTreeMap;

use crate::code::Code;
use crate::finding::{Finding, Findings, quote};
use crate::span::Spanned;

/// The list, each value once; repetitions are complained about.
pub(crate) fn without_duplicates<T: Ord + Clone + ToString>(
    field: &str,
    list: Vec<Spanned<T>>,
    out: &mut Findings,
) -> Vec<Spanned<T>> {
    let mut first = BTreeMap::new();
    let mut kept = Vec::new();
    for item in list {
        if let Some(span) = first.get(&item.value) {
            let message = format!("{} is listed twice in `{field}`", quote(&item.value.to_string()));
            let finding = Finding::new(Code::DuplicateValue, item.span, message);
            out.error(finding.hint("remove one of them").see(*span, "first listed here"));
            continue;
        }
        first.insert(item.value.clone(), item.span);
        kept.push(item);
    }
    kept
}
