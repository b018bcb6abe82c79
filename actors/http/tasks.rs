//! Tasks are spawned, killed, listed.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use mill_api::names::{Known, Target};
use mill_api::tasks::{DEFAULT_PROJECT, SignalRequest, SpawnRequest, Task, TaskQuery};
use mill_api::{ApiError, Code};
use mill_config::{Complaints, Inline};
use mill_drivers::containers::{ContainerName, Containers as _, Signal, UnknownSignal};
use mill_fsm::{Cluster, Command, Done};
use mill_model::limits::NAME_LENGTH_MAX;
use mill_model::{AllocId, ImageRef, ProjectName, ProjectSpec, TaskSpec, Workload, WorkloadName};

use super::backend::Backend;
use super::body::{Asked, Body, Named};
use super::gate::{Caller, Seen};
use super::images::{Unresolved, pin};
use super::present::{failures, tasks};
use super::reads::{Answer, no_such_workload};
use super::secrets::shelf;
use super::server::Server;
use super::submit::facts;
use crate::alloc::words;

pub(super) async fn list<B: Backend>(
    State(server): State<Server<B>>,
    Seen(cluster): Seen,
    Asked(query): Asked<TaskQuery>,
) -> Json<Vec<Task>> {
    Json(tasks::tasks(&server.view(&cluster), &query))
}

pub(super) async fn one<B: Backend>(
    State(server): State<Server<B>>,
    Seen(cluster): Seen,
    Named(name): Named<String>,
) -> Answer<Task> {
    let id = find(&server, &cluster, &name)?;
    Ok(Json(shown(&server, &cluster, &id)?))
}

pub(super) async fn spawn<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<SpawnRequest>,
) -> Answer<Task> {
    let project = project_of(&request)?;
    caller.may_deploy(&project)?;
    let cluster = server.cluster();
    // Only what whoever asks may see is named in an answer.
    let base = base(&server, &cluster.seen_by(&caller.role), &project, &request)?;
    let spec = prepare(&server, &cluster, (&project, base), &request).await?;
    let id = draw(&server, &cluster, &spec.name)?;
    let (spec, by) = (Arc::new(spec), caller.name.clone());
    let command = Command::SpawnTask { id, project, spec, by };
    let is_there = |cluster: &Cluster, done: &Done| match done {
        Done::Task(id) => cluster.spawns.contains_key(id),
        _ => true,
    };
    let (cluster, done) = server.write(&caller, command, is_there).await?;
    // Of two that came at once with one key, the second is told the first one's task.
    let Done::Task(id) = done else {
        return Err(ApiError::new(Code::Crashed, "the task was taken and has no id")
            .hint("`mill ps` shows it; this is a defect of Mill: please report it")
            .into());
    };
    Ok(Json(shown(&server, &cluster, &id)?))
}

pub(super) async fn kill<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Seen(cluster): Seen,
    Named(name): Named<String>,
) -> Answer<Task> {
    let id = match find(&server, &cluster, &name) {
        Ok(id) => id,
        Err(error) => return Err(replica(&cluster, &name).unwrap_or(error).into()),
    };
    let task = shown(&server, &cluster, &id)?;
    caller.may_deploy(&task.workload.project)?;
    if task.state.is_over() {
        return Ok(Json(task));
    }
    server.propose(&caller, Command::KillTask(id.clone())).await?;
    let is_told = |cluster: &Arc<Cluster>| {
        let stops = cluster.allocs.get(&id).is_none_or(|alloc| !alloc.is_wanted());
        stops && cluster.spawns.get(&id).is_none_or(|spawn| !cluster.is_waiting(spawn))
    };
    let cluster = server.reaches(is_told).await;
    Ok(Json(shown(&server, &cluster, &id)?))
}

/// Sends its program a signal. What comes of that is the program's: whoever wants it ended kills it.
pub(super) async fn signal<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Seen(cluster): Seen,
    Named(name): Named<String>,
    Body(SignalRequest { signal }): Body<SignalRequest>,
) -> Answer<Task> {
    let wanted: Signal = signal.parse().map_err(|error: UnknownSignal| {
        ApiError::new(Code::BadRequest, "there is no such signal")
            .because(error.to_string())
            .hint("`kill -l` lists the signals of Linux")
    })?;
    let id = match find(&server, &cluster, &name) {
        Ok(id) => id,
        Err(error) => return Err(replica(&cluster, &name).unwrap_or(error).into()),
    };
    caller.may_deploy(&shown(&server, &cluster, &id)?.workload.project)?;
    let running = cluster.allocs.get(&id).filter(|alloc| alloc.status.phase.may_run());
    let Some(alloc) = running else { return Err(not_running(&id).into()) };
    let container = ContainerName { alloc: id.clone(), incarnation: alloc.status.incarnation };
    server.propose(&caller.doing(&wanted.to_string()), Command::Witness).await?;
    server.backend.containers().signal(&container, wanted).await.map_err(|error| {
        if error.is_not_found() {
            return not_running(&id);
        }
        ApiError::new(Code::Crashed, format!("{id} wasn't sent {wanted}"))
            .because(words(&error))
            .hint("`mill doctor` on its node looks at the runtime")
    })?;
    Ok(Json(shown(&server, &server.cluster(), &id)?))
}

fn not_running(id: &AllocId) -> ApiError {
    ApiError::new(Code::Conflict, format!("{id} doesn't run"))
        .because("a program can be sent a signal while it runs only")
        .hint(format!("`mill inspect {id}` shows how it is"))
}

/// What is wrong with killing this, if it is a service's.
fn replica(cluster: &Cluster, name: &str) -> Option<ApiError> {
    let alloc = cluster.allocs.values().find(|alloc| alloc.id.as_str() == name && !alloc.is_task)?;
    let rejected = mill_fsm::Rejected::Replica(alloc.id.clone());
    Some(super::refusal::not_proposed(crate::raft::ProposeError::Rejected(rejected)))
}

fn find<B: Backend>(server: &Server<B>, cluster: &Cluster, name: &str) -> Result<AllocId, ApiError> {
    let allocs = tasks::ids(&server.view(cluster)).into_iter().collect();
    match (Known { allocs, ..Known::default() }).resolve(name) {
        Ok(Target::Alloc(id)) => Ok(id),
        Ok(_) => Err(no_such_task(name)),
        Err(mill_api::names::NameError::Unknown { similar, .. }) if similar.is_empty() => {
            Err(no_such_task(name))
        }
        Err(error) => Err(error.into()),
    }
}

fn no_such_task(name: &str) -> ApiError {
    ApiError::new(Code::NotFound, format!("there is no task `{name}`"))
        .because("it never was, or it ended so long ago that it is forgotten")
        .hint("`mill ps --all` lists the tasks")
}

pub(super) fn shown<B: Backend>(
    server: &Server<B>,
    cluster: &Cluster,
    id: &AllocId,
) -> Result<Task, ApiError> {
    tasks::task(&server.view(cluster), id).ok_or_else(|| no_such_task(id.as_str()))
}

fn project_of(request: &SpawnRequest) -> Result<ProjectName, ApiError> {
    match &request.project {
        Some(project) => Ok(project.clone()),
        None => DEFAULT_PROJECT.parse().map_err(|error: mill_model::names::NameError| {
            ApiError::new(Code::BadRequest, "which project?").because(error.to_string())
        }),
    }
}

/// What is to be run: held against all that a config is, its image and secrets pinned.
async fn prepare<B: Backend>(
    server: &Server<B>,
    cluster: &Cluster,
    (project, base): (&ProjectName, TaskSpec),
    request: &SpawnRequest,
) -> Result<TaskSpec, ApiError> {
    let resources = base.container.resources;
    let memory = request.memory.clone().unwrap_or_else(|| resources.memory.to_string());
    let inline = Inline {
        project,
        name: &base.name,
        image: request.image.as_ref().unwrap_or(&base.container.image),
        entrypoint: request.entrypoint.as_deref(),
        command: request.command.as_deref(),
        env: &request.env,
        cpu: request.cpu.or(Some(f64::from(resources.cpu.0) / 1000.0)),
        memory: Some(&memory),
        timeout: request.timeout.as_deref(),
        user: request.user.as_deref(),
        workdir: request.workdir.as_deref(),
    };
    let parsed = inline.parse().map_err(|complaints| wrong(&complaints))?;
    let unserved = parsed.unserved();
    if !unserved.is_empty() {
        return Err(wrong(&unserved.into()));
    }
    let complaints = parsed.against(&facts(cluster, &parsed.spec));
    if !complaints.is_empty() {
        return Err(wrong(&complaints.into()));
    }
    let before = base.container.pins.clone();
    let task = inline.over(base.clone(), &parsed);
    let mut alone = ProjectSpec { name: project.clone(), services: vec![], tasks: vec![task] };
    let pinned = pin(&server.backend, &server.tempo, cluster, &mut alone).await;
    pinned.map_err(|unresolved| no_image(&unresolved))?;
    mill_secrets::pin_all(&mut alone, &shelf(cluster)).map_err(|unknown| {
        let first = unknown.first().map(ToString::to_string).unwrap_or_default();
        ApiError::new(Code::BadConfig, "the task can't be run as it is")
            .because(first)
            .hint("`mill secret list` lists the secrets")
    })?;
    let mut task = alone.tasks.pop().ok_or_else(|| ApiError::new(Code::Crashed, "the task is gone"))?;
    // What the deploy pinned stays so: a secret that was set since comes with the next deploy.
    for pin in &mut task.container.pins {
        if let Some(deployed) = before.iter().find(|deployed| deployed.secret == pin.secret) {
            *pin = deployed.clone();
        }
    }
    Ok(task)
}

/// The task that is to be run, or one of the image alone.
fn base<B: Backend>(
    server: &Server<B>,
    cluster: &Cluster,
    project: &ProjectName,
    request: &SpawnRequest,
) -> Result<TaskSpec, ApiError> {
    match (&request.task, &request.image) {
        (Some(_), _) if request.name.is_some() => {
            Err(ApiError::new(Code::BadRequest, "a task of a project has its name already")
                .hint("leave `name` out, or `task`"))
        }
        (Some(name), _) => {
            let known = cluster.projects.get(project).and_then(|known| known.tasks.get(name));
            known.map(|task| task.spec.as_ref().clone()).ok_or_else(|| {
                let workload = Workload { project: project.clone(), name: name.clone() };
                no_task_of(server, cluster, &workload)
            })
        }
        (None, Some(image)) => {
            Ok(TaskSpec::new(request.name.clone().unwrap_or_else(|| named_after(image)), image.clone()))
        }
        (None, None) => Err(ApiError::new(Code::BadRequest, "what is to be run?")
            .because("neither a task nor an image was named")
            .hint("`task` names one of a deployed project, `image` anything that can be pulled")),
    }
}

fn no_task_of<B: Backend>(server: &Server<B>, cluster: &Cluster, workload: &Workload) -> ApiError {
    let project = cluster.projects.get(&workload.project);
    match project.is_some_and(|project| project.services.contains_key(&workload.name)) {
        true => ApiError::new(Code::BadRequest, format!("`{workload}` is a service"))
            .because("only tasks are run once")
            .hint("`mill exec` runs a program in a replica of it; `mill run IMAGE` runs one beside it"),
        false => no_such_workload(&server.view(cluster), workload),
    }
}

/// The last word of its path, as far as that can be a name.
fn named_after(image: &ImageRef) -> WorkloadName {
    let last = image.repository.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = last.chars().take(NAME_LENGTH_MAX).map(plain).collect();
    WorkloadName::new(name.trim_matches('-')).unwrap_or_else(|_| unnamed())
}

#[expect(clippy::expect_used, reason = "`task` is a name")]
fn unnamed() -> WorkloadName {
    WorkloadName::new("task").expect("it is a DNS label")
}

/// An id that nothing has.
fn draw<B: Backend>(server: &Server<B>, cluster: &Cluster, name: &WorkloadName) -> Result<AllocId, ApiError> {
    let mut bytes = [0; 8];
    loop {
        server.backend.draw(&mut bytes)?;
        let id = AllocId::derive(name, u64::from_le_bytes(bytes));
        if !cluster.allocs.contains_key(&id) && !cluster.spawns.contains_key(&id) {
            return Ok(id);
        }
    }
}

fn wrong(complaints: &Complaints) -> ApiError {
    let first = complaints.list.first();
    let error = ApiError::new(Code::BadRequest, "the task can't be run as it is");
    let error = match first {
        Some(first) => error.because(first.message.clone()),
        None => error,
    };
    match first.and_then(|first| first.hint.clone()) {
        Some(hint) => error.hint(hint),
        None => error.hint("a request says what a config file may say, by the same rules"),
    }
}

fn no_image(unresolved: &[Unresolved]) -> ApiError {
    let error = ApiError::new(Code::NoImage, "the image can't be resolved");
    match unresolved.first() {
        Some(Unresolved { image, failure, .. }) => {
            error.because(format!("{image}: {failure}")).hint(failures::hint(failure, None))
        }
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_name_is_called_after_its_image() {
        for (image, name) in [
            ("alpine:3", "alpine"),
            ("r.test:5000/Team/my_tool:v1".to_ascii_lowercase().as_str(), "my-tool"),
            ("r.test/a/__", "task"),
        ] {
            if let Ok(image) = image.parse() {
                assert_eq!(named_after(&image).as_str(), name);
            }
        }
    }
}
