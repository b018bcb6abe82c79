//! `mill services`

use clap::Args;
use mill_api::Api;
use mill_api::allocs::WorkloadKind;
use mill_api::services::{Service, ServiceState};
use mill_model::ProjectName;

use super::error::CliError;
use super::reach::ReachArgs;
use super::ui::{Align, Colour, Table, Terminal, Ui, age, cores, image, memory};

/// List services and tasks with their replicas and where they are reached
#[derive(Debug, Args)]
pub(crate) struct ServicesArgs {
    /// Only of this project
    #[arg(short, long, value_name = "PROJECT")]
    project: Option<ProjectName>,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) async fn run(ui: &mut Ui<'_>, api: &Api, args: &ServicesArgs) -> Result<(), CliError> {
    let mut services = api.services().await?;
    services
        .retain(|service| args.project.as_ref().is_none_or(|project| *project == service.workload.project));
    if services.is_empty() {
        ui.say("no services; `mill deploy -f FILE` deploys some")?;
    }
    ui.answer(&services, |services, terminal| render(services, terminal))
}

pub(crate) fn colour(state: ServiceState) -> Colour {
    match state {
        ServiceState::Healthy | ServiceState::Done => Colour::Green,
        ServiceState::Deploying | ServiceState::Running => Colour::Cyan,
        ServiceState::Degraded | ServiceState::Waiting => Colour::Yellow,
        ServiceState::Down | ServiceState::Failed => Colour::Red,
        ServiceState::Stopped => Colour::Grey,
    }
}

pub(crate) fn render(services: &[Service], terminal: &Terminal) -> String {
    if services.is_empty() {
        return String::new();
    }
    let mut table = Table::new([
        ("SERVICE", Align::Left),
        ("STATE", Align::Left),
        ("HEALTHY", Align::Right),
        ("RESTARTS", Align::Right),
        ("CPU", Align::Right),
        ("MEMORY", Align::Right),
        ("IMAGE", Align::Left),
        ("DEPLOY", Align::Right),
        ("AGE", Align::Left),
        ("REACHED AT", Align::Left),
    ])
    .spare(&["DEPLOY", "CPU", "MEMORY", "AGE", "RESTARTS"]);
    for service in services {
        let replicas = match service.kind {
            WorkloadKind::Service => format!("{} of {}", service.healthy, service.wanted),
            WorkloadKind::Task => "task".to_owned(),
        };
        let endpoints: Vec<String> =
            service.endpoints.iter().map(|at| format!("{} → {}", at.port, at.address)).collect();
        table
            .row()
            .cell(service.workload.to_string())
            .painted(colour(service.state), service.state.as_str())
            .cell(replicas)
            .cell(service.restarts.to_string())
            .cell(service.used.map(|used| cores(used.cpu)).unwrap_or_default())
            .cell(service.used.map(|used| memory(used.memory)).unwrap_or_default())
            .cell(image(&service.image))
            .cell(format!("#{}", service.deploy))
            .cell(age(service.deployed_at, terminal.now))
            .cell(endpoints.join(", "));
    }
    let mut text = table.render(terminal);
    for service in services {
        if let Some(problem) = &service.problem {
            let name = service.workload.to_string();
            let line = format!("{name}: {problem} (`mill why {name}`)");
            text.push_str(&terminal.paint(colour(service.state), &line));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{canned, golden};

    #[test]
    fn services_show_where_they_are_reached_and_what_ails_them() {
        golden::check("services", &render(&canned::services(), &canned::terminal()));
        assert_eq!(render(&[], &canned::terminal()), "");
    }
}
