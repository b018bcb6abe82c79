//! Secrets: set, listed, looked at, rolled, deleted. A shared one and a project's have routes of their own, and the
//! same handlers.
//!
//! A value is sealed here, before it goes anywhere; it is opened by one route, which is for nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use http::request::Parts;
use mill_api::deploys::Deploy;
use mill_api::plan::Warning;
use mill_api::secrets::{
    Rolled, Secret, SecretHistory, SecretSet, SecretUse, SetRequest, Value, ValueQuery, Version,
};
use mill_api::{ApiError, Code};
use mill_drivers::seal::{Seal as _, SealError};
use mill_fsm::{Cluster, Command, DeployKind, Done, Outcome, Project, Rejected};
use mill_model::{ContainerSpec, Pin, ProjectName, SecretId, SecretName, Workload, WorkloadName};
use mill_secrets::{Shelf, ValueError};

use super::backend::Backend;
use super::body::{Asked, Named, Private};
use super::gate::{Caller, Seen};
use super::present::deploys::{self, by};
use super::reads::Answer;
use super::refusal::{Refusal, not_proposed};
use super::server::Server;
use super::writes::{Wanted, begin};
use crate::alloc::words;
use crate::raft::ProposeError;

/// What a route is about: `…/secrets/{secret}`, below a project or not.
pub(super) struct Which(SecretId);

impl<S: Send + Sync> FromRequestParts<S> for Which {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Named(named) = Named::<BTreeMap<String, String>>::from_request_parts(parts, state).await?;
        let segment = |name: &str| named.get(name).map(String::as_str);
        let wrong = |error: &dyn std::error::Error| {
            ApiError::new(Code::BadRequest, "the path names nothing that can exist")
                .because(error.to_string())
        };
        let name = segment("secret").unwrap_or_default().parse::<SecretName>();
        let name = name.map_err(|error| wrong(&error))?;
        let project = segment("project").map(str::parse::<ProjectName>).transpose();
        let project = project.map_err(|error| wrong(&error))?;
        Ok(Self(match project {
            Some(project) => SecretId::of_project(project, name),
            None => SecretId::shared(name),
        }))
    }
}

/// The secrets that there are, in their newest versions.
pub(super) fn shelf(cluster: &Cluster) -> Shelf {
    cluster.secrets().map(|(id, secret)| (id.clone(), secret.latest)).collect()
}

pub(super) async fn list(Seen(cluster): Seen) -> Json<Vec<Secret>> {
    let uses = uses(&cluster);
    Json(cluster.secrets().filter_map(|(id, _)| describe(&cluster, id, &uses)).collect())
}

pub(super) async fn set<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Which(id): Which,
    Private(SetRequest { value }): Private<SetRequest>,
) -> Answer<SecretSet> {
    mill_secrets::check(value.bytes().expose()).map_err(|error| unfit(&id, error))?;
    let sealed = server.backend.seal().seal(&id.to_string(), value.bytes());
    let sealed = sealed.map_err(|error| locked(&id, &error))?;
    let command = Command::SetSecret { secret: id.clone(), sealed, by: caller.name.clone() };
    let Done::SecretVersion(version) = server.propose(&caller, command).await? else {
        return Err(ApiError::new(Code::Crashed, "the secret was set and has no version")
            .hint("this is a defect of Mill: please report it")
            .into());
    };
    let there = |cluster: &Arc<Cluster>| cluster.secret(&id).is_some_and(|s| s.latest >= version);
    let cluster = server.reaches(there).await.seen_by(&caller.role);
    let secret = describe(&cluster, &id, &uses(&cluster)).ok_or_else(|| none(&cluster, &id))?;
    let warnings = newline(value.bytes().expose()).into_iter().collect();
    Ok(Json(SecretSet { secret, warnings }))
}

pub(super) async fn history(Seen(cluster): Seen, Which(id): Which) -> Answer<SecretHistory> {
    Ok(Json(versions(&cluster, &id).ok_or_else(|| none(&cluster, &id))?))
}

/// A secret and its versions; `None`: there is none.
pub(super) fn versions(cluster: &Cluster, id: &SecretId) -> Option<SecretHistory> {
    let secret = describe(cluster, id, &uses(cluster))?;
    let kept = cluster.secret(id).map(|secret| &secret.versions);
    let versions = kept.into_iter().flatten().rev().map(|(number, version)| {
        let pin = Pin { secret: id.clone(), version: *number };
        Version {
            version: *number,
            set_at: version.at,
            by: by(&version.by),
            used_by: running_with(cluster, &pin),
            deploys: cluster.projects.values().flat_map(|project| brings(project, &pin)).collect(),
        }
    });
    Some(SecretHistory { versions: versions.collect(), secret })
}

/// The one answer that holds a value.
pub(super) async fn value<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Seen(cluster): Seen,
    Which(id): Which,
    Asked(ValueQuery { version }): Asked<ValueQuery>,
) -> Result<Response, Refusal> {
    let secret = cluster.secret(&id).ok_or_else(|| none(&cluster, &id))?;
    let number = version.unwrap_or(secret.latest);
    let kept = secret.versions.get(&number).ok_or_else(|| {
        ApiError::new(Code::NotFound, format!("the secret `{id}` has no version {number}"))
            .because("it never had, or it is no longer kept")
            .hint(format!("`mill secret history {id}` lists those that are"))
    })?;
    let opened = server.backend.seal().open(&id.to_string(), &kept.sealed);
    let opened = opened.map_err(|error| locked(&id, &error))?;
    tracing::info!(secret = %id, version = number, by = caller.name, "a secret's value was asked for");
    Ok(([(CACHE_CONTROL, "no-store")], Json(Value::new(opened))).into_response())
}

pub(super) async fn delete<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Seen(before): Seen,
    Which(id): Which,
) -> Answer<Secret> {
    let secret = describe(&before, &id, &uses(&before)).ok_or_else(|| none(&before, &id))?;
    let command = Command::DeleteSecret { secret: id.clone(), by: caller.name.clone() };
    server.propose(&caller.answering(&secret), command).await?;
    server.reaches(|cluster| cluster.secret(&id).is_none()).await;
    Ok(Json(secret))
}

/// A deploy for each project that uses it. One that can't be begun keeps no other from being begun.
pub(super) async fn roll<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Seen(cluster): Seen,
    Which(id): Which,
) -> Answer<Rolled> {
    if cluster.secret(&id).is_none() {
        return Err(none(&cluster, &id).into());
    }
    let shelf = shelf(&cluster);
    let mut rolled = Rolled { deploys: vec![], refused: vec![] };
    for project in cluster.projects.values().filter(|project| id.scope.is_open_to(&project.name)) {
        let caller = caller.for_part(project.name.as_str());
        if let Some(deploy) = rolled_before(&server, &caller) {
            rolled.deploys.push(deploy);
            continue;
        }
        let mut target = project.spec();
        if mill_secrets::users(&target, &id, &shelf).is_empty() {
            continue;
        }
        let open = cluster.deploys.values().find(|d| d.project == project.name && d.outcome.is_none());
        if let Some(open) = open {
            let rejected = Rejected::DeployUnderWay(open.id);
            rolled.refused.push(not_proposed(ProposeError::Rejected(rejected)));
            continue;
        }
        if mill_secrets::roll(&mut target, &id, &shelf).is_empty() {
            continue;
        }
        let kind = DeployKind::Roll { secret: id.clone() };
        let wanted = Wanted { kind, target: Arc::new(target), replace: false };
        match begin(&server, caller, wanted).await {
            Ok(deploy) => rolled.deploys.push(deploy),
            Err(error) => rolled.refused.push(error),
        }
    }
    Ok(Json(rolled))
}

/// The deploy that the same request has begun before.
fn rolled_before<B: Backend>(server: &Server<B>, caller: &Caller) -> Option<Deploy> {
    let cluster = server.cluster();
    let Done::Deploy(id) = &cluster.done_before(caller.once.as_ref()?).ok()??.done else { return None };
    cluster.deploys.get(id).map(|deploy| deploys::deploy(&cluster, deploy))
}

/// Who uses which secret: by what configs name, and by what runs.
fn uses(cluster: &Cluster) -> BTreeMap<SecretId, Vec<SecretUse>> {
    let shelf = shelf(cluster);
    let mut uses: BTreeMap<SecretId, Vec<SecretUse>> = BTreeMap::new();
    for project in cluster.projects.values() {
        let services = project.services.values().map(|service| {
            (&service.spec.name, mill_secrets::names_of_service(&service.spec), &service.spec.container)
        });
        let tasks = project
            .tasks
            .values()
            .map(|task| (&task.spec.name, mill_secrets::names_of_task(&task.spec), &task.spec.container));
        for (name, named, container) in services.chain(tasks) {
            for (secret, version) in used(project, &named, container, &shelf) {
                let workload = Workload { project: project.name.clone(), name: WorkloadName::clone(name) };
                uses.entry(secret).or_default().push(SecretUse { workload, version });
            }
        }
    }
    uses
}

/// The secrets of one service or task: those that its next deploy leads to, and those that it runs with.
fn used(
    project: &Project,
    named: &BTreeSet<SecretName>,
    container: &ContainerSpec,
    shelf: &Shelf,
) -> BTreeMap<SecretId, Option<u32>> {
    let next = named.iter().filter_map(|name| shelf.find(&project.name, name));
    let mut used: BTreeMap<SecretId, Option<u32>> = next.map(|pin| (pin.secret, None)).collect();
    used.extend(container.pins.iter().map(|pin| (pin.secret.clone(), Some(pin.version))));
    used
}

fn describe(cluster: &Cluster, id: &SecretId, uses: &BTreeMap<SecretId, Vec<SecretUse>>) -> Option<Secret> {
    let secret = cluster.secret(id)?;
    let newest = secret.versions.get(&secret.latest)?;
    Some(Secret {
        secret: id.clone(),
        version: secret.latest,
        set_at: newest.at,
        by: by(&newest.by),
        used_by: uses.get(id).cloned().unwrap_or_default(),
    })
}

fn running_with(cluster: &Cluster, pin: &Pin) -> Vec<Workload> {
    let of_project = |project: &Project| -> Vec<Workload> {
        let services = project.services.iter().map(|(name, service)| (name, &service.spec.container));
        let tasks = project.tasks.iter().map(|(name, task)| (name, &task.spec.container));
        let with = services.chain(tasks).filter(|(_, container)| container.pins.contains(pin));
        with.map(|(name, _)| Workload { project: project.name.clone(), name: name.clone() }).collect()
    };
    cluster.projects.values().flat_map(of_project).collect()
}

/// Deploys of a project's history that can bring it back.
fn brings(project: &Project, pin: &Pin) -> Vec<mill_model::DeployId> {
    let good = project.history.iter().filter(|past| past.outcome == Outcome::Succeeded);
    good.filter(|past| past.target.pins().any(|named| named == pin)).map(|past| past.deploy).collect()
}

/// A newline at the end of one line is rarely meant: `echo` writes it.
fn newline(value: &[u8]) -> Option<Warning> {
    let (last, rest) = value.split_last()?;
    (*last == b'\n' && !rest.is_empty() && !rest.contains(&b'\n')).then(|| Warning {
        message: "the value ends with a newline, which is part of it now".to_owned(),
        hint: Some("`printf %s … | mill secret set NAME -` writes none".to_owned()),
    })
}

fn none(cluster: &Cluster, id: &SecretId) -> ApiError {
    let error = ApiError::new(Code::NotFound, format!("there is no secret `{id}`"));
    let elsewhere: Vec<String> = cluster
        .secrets()
        .filter(|(known, _)| known.name == id.name)
        .map(|(known, _)| format!("`{known}`"))
        .collect();
    match elsewhere.as_slice() {
        [] => error.hint("`mill secret list` lists the secrets"),
        some => error.hint(format!("there is {}", some.join(", "))),
    }
}

fn unfit(id: &SecretId, error: ValueError) -> ApiError {
    let (code, hint) = match error {
        ValueError::Empty => (Code::BadRequest, "did the pipe or the file have anything in it?"),
        ValueError::TooLong { .. } => (Code::TooLarge, "a larger file belongs into an image or a volume"),
    };
    ApiError::new(code, format!("the secret `{id}` can't be set")).because(error.to_string()).hint(hint)
}

/// The key is missing or mustn't be used, or the sealed value is damaged.
fn locked(id: &SecretId, error: &SealError) -> ApiError {
    let hint = match error.is_about_key() {
        true => "`mill doctor` on the node, and its log, say more",
        false => "set it anew",
    };
    ApiError::new(Code::Crashed, format!("the secret `{id}` can't be sealed or opened"))
        .because(words(error))
        .hint(hint)
}
