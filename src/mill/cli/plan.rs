//! `mill plan`

use std::fmt::Write as _;

use clap::Args;
use mill_api::allocs::WorkloadKind;
use mill_api::plan::{Change, FieldChange, Plan, PlannedService};

use super::error::CliError;
use super::exit::Exit;
use super::reach::ReachArgs;
use super::source::{FileArgs, refused};
use super::ui::{Colour, Terminal, Ui, count, image};

/// Show what a deploy would do, where, and what stands in its way
///
/// Nothing is changed.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    file: FileArgs,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(ui: &mut Ui<'_>, args: &PlanArgs) -> Result<(), CliError> {
    // Before any connection: a bad file is refused whole, and needs no cluster for that.
    let request = args.file.request(ui, false)?;
    let plan = args.reach.api()?.plan(&request).await.map_err(|error| refused(error, &request))?;
    ui.answer(&plan, render)?;
    match plan.is_refused() {
        false => Ok(()),
        true => {
            Err(CliError::new(Exit::Refused, format!("{} can't be deployed as things stand", plan.project))
                .because("some of it has no place, as shown above")
                .hint("change the file, or make room; nothing was changed"))
        }
    }
}

fn render(plan: &Plan, terminal: &Terminal) -> String {
    let changes = plan.services.iter().filter(|service| service.change != Change::Unchanged).count();
    let now = plan.current.map(|id| format!(" (now #{id})")).unwrap_or_default();
    let mut text = match changes {
        0 => format!("{}{now}: up to date, a deploy would change nothing\n", plan.project),
        _ => format!("{}{now}: {}\n", plan.project, count(changes, "change")),
    };
    if let Some(behind) = plan.behind {
        let _ =
            writeln!(text, "deploy #{behind} is under way: this one would wait for it, or `--replace` it");
    }
    let width = plan.services.iter().map(|service| service.name.as_str().len()).max().unwrap_or_default();
    for service in &plan.services {
        write_service(&mut text, service, width, terminal);
    }
    text
}

fn write_service(text: &mut String, service: &PlannedService, width: usize, terminal: &Terminal) {
    let (mark, colour) = match &service.change {
        Change::Create { .. } | Change::Run { .. } => ("+", Colour::Green),
        Change::Change { .. } | Change::Settings { .. } | Change::Scale { .. } => ("~", Colour::Yellow),
        Change::Remove => ("-", Colour::Red),
        Change::Unchanged => ("=", Colour::Grey),
    };
    let name = service.name.as_str();
    let line = format!("{mark} {name:<width$}  {}", what(service));
    let _ = writeln!(text, "  {}", terminal.paint(colour, line.trim_end()));
    if let Change::Change { fields } | Change::Settings { fields } | Change::Run { fields } = &service.change
    {
        for field in fields {
            write_field(text, field, terminal);
        }
    }
    for warning in &service.warnings {
        let _ = writeln!(text, "      {} {}", terminal.paint(Colour::Yellow, "warning:"), warning.message);
        if let Some(hint) = &warning.hint {
            let _ = writeln!(text, "      {} {hint}", terminal.paint(Colour::Cyan, "hint:"));
        }
    }
    if let Some(refusal) = &service.refusal {
        let _ = writeln!(text, "      {} {}", terminal.paint(Colour::Red, "refused:"), refusal.reason);
        for node in &refusal.nodes {
            let _ = writeln!(text, "        {}: {}", node.node, node.reason);
        }
        if let Some(hint) = &refusal.hint {
            let _ = writeln!(text, "      {} {hint}", terminal.paint(Colour::Cyan, "hint:"));
        }
    }
}

/// `create, 2 of nginx:1.27 on node-1`
fn what(service: &PlannedService) -> String {
    let image = service.image.as_ref().map(image).unwrap_or_default();
    let places: Vec<String> = service
        .placements
        .iter()
        .map(|place| match place.replicas {
            1 => place.node.to_string(),
            replicas => format!("{replicas} on {}", place.node),
        })
        .collect();
    let places = if places.is_empty() { String::new() } else { format!(" → {}", places.join(", ")) };
    match &service.change {
        Change::Create { replicas } => {
            format!("create  {} of {image}{places}", count(*replicas as usize, "replica"))
        }
        Change::Run { .. } => format!("run     {image}{places}"),
        Change::Change { .. } => format!("change{places}"),
        Change::Settings { .. } => "change, running containers stay".to_owned(),
        Change::Scale { from, to } => format!("scale   {from} → {to}{places}"),
        Change::Remove => "remove".to_owned(),
        Change::Unchanged => match service.kind {
            WorkloadKind::Service => "unchanged".to_owned(),
            WorkloadKind::Task => "unchanged, not run again".to_owned(),
        },
    }
}

fn write_field(text: &mut String, field: &FieldChange, terminal: &Terminal) {
    let unset = || "(not set)".to_owned();
    let (from, to) = (field.from.clone().unwrap_or_else(unset), field.to.clone().unwrap_or_else(unset));
    let _ = writeln!(
        text,
        "      {}  {} → {}",
        field.field,
        terminal.paint(Colour::Red, &from),
        terminal.paint(Colour::Green, &to)
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{canned, golden};

    #[test]
    fn a_plan_shows_each_change_field_by_field_and_each_obstacle() {
        golden::check("plan", &render(&canned::plan(), &canned::terminal()));
        let mut nothing = canned::plan();
        nothing.services.retain(|service| service.change == Change::Unchanged);
        assert!(nothing.is_empty());
        assert!(render(&nothing, &canned::terminal()).starts_with("shop (now #13): up to date"));
    }
}
