//! `mill why`

use std::fmt::Write as _;

use clap::Args;
use mill_api::Api;
use mill_api::why::{Reason, Why};

use super::error::CliError;
use super::reach::ReachArgs;
use super::ui::{Colour, Terminal, Ui, age, duration, printable};
use super::{allocs, services};

/// Say why a service isn't as wanted, and what to do about it
#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// The service or task: `web` or `shop/web`
    #[arg(value_name = "SERVICE")]
    name: String,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &WhyArgs) -> Result<(), CliError> {
    let workload = super::workload::find(api, &args.name).await?;
    let why = api.why(&workload).await?;
    ui.answer(&why, render)
}

fn render(why: &Why, terminal: &Terminal) -> String {
    let service = &why.service;
    let state = terminal.paint(services::colour(service.state), service.state.as_str());
    let mut text =
        format!("{}: {state}, {} of {} healthy\n", service.workload, service.healthy, service.wanted);
    if why.reasons.is_empty() {
        text.push_str("it is as wanted\n");
    }
    for reason in &why.reasons {
        text.push('\n');
        write_reason(&mut text, reason, terminal);
    }
    let allocs = allocs::render(&why.allocs, terminal);
    if !allocs.is_empty() {
        let _ = write!(text, "\n{allocs}");
    }
    text
}

fn write_reason(text: &mut String, reason: &Reason, terminal: &Terminal) {
    let alloc = reason.alloc.as_ref().map(|alloc| format!("{alloc}: ")).unwrap_or_default();
    let since = reason.since.map(|at| format!(" ({})", age(at, terminal.now))).unwrap_or_default();
    let what = format!("{alloc}{}", printable(&reason.what));
    let _ = writeln!(text, "{}{since}", terminal.paint(Colour::Red, &what));
    for node in &reason.nodes {
        let _ = writeln!(text, "  {}: {}", node.node, node.reason);
    }
    for line in &reason.log_tail {
        let _ = writeln!(text, "  {} {}", terminal.paint(Colour::Grey, "|"), printable(line));
    }
    if let Some(at) = reason.next_try {
        let _ = writeln!(text, "  tried again in {}", duration(at.since(terminal.now)));
    }
    if let Some(hint) = &reason.hint {
        let _ = writeln!(text, "  {} {hint}", terminal.paint(Colour::Cyan, "hint:"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{canned, golden};

    #[test]
    fn each_reason_comes_with_its_evidence_and_a_way_out() {
        golden::check("why", &render(&canned::why(), &canned::terminal()));
        let mut well = canned::why();
        well.reasons.clear();
        assert!(render(&well, &canned::terminal()).contains("it is as wanted"));
    }
}
