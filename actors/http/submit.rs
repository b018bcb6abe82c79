//! A config file comes in: to be planned, or deployed.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use mill_api::deploys::{Deploy, DeployRequest};
use mill_api::names::closest;
use mill_api::plan::{Plan, Warning};
use mill_api::{ApiError, Code};
use mill_config::{ClusterFacts, Complaints, Parsed, Source, parse};
use mill_fsm::{Cluster, DeployKind};
use mill_model::limits::PATH_BYTES_MAX;
use mill_model::{ProjectSpec, Workload};

use super::backend::Backend;
use super::body::Body;
use super::gate::Caller;
use super::images::{Unresolved, pin};
use super::present;
use super::present::plan::Notes;
use super::reads::Answer;
use super::secrets::shelf;
use super::server::Server;
use super::writes::{Wanted, begin};

pub(super) async fn plan<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<DeployRequest>,
) -> Answer<Plan> {
    let ready = prepare(&server, &caller, &request).await?;
    let plan = present::plan::plan(&server.cluster(), &ready.target, &ready.notes);
    Ok(Json(Plan { warnings: ready.warnings, ..plan }))
}

pub(super) async fn deploy<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<DeployRequest>,
) -> Answer<Deploy> {
    let Ready { target, notes, mut warnings } = prepare(&server, &caller, &request).await?;
    let named = |(name, warning): (_, Warning)| Warning {
        message: format!("{name}: {}", warning.message),
        ..warning
    };
    warnings.extend(notes.into_iter().map(named));
    let wanted = Wanted { kind: DeployKind::Deploy, target, replace: request.replace };
    let deploy = begin(&server, caller, wanted).await?;
    Ok(Json(Deploy { warnings, ..deploy }))
}

/// A config that can be deployed.
struct Ready {
    /// With every image pinned.
    target: Arc<ProjectSpec>,
    /// What was seen while that was done.
    notes: Notes,
    /// What should be known about the file.
    warnings: Vec<Warning>,
}

async fn prepare<B: Backend>(
    server: &Server<B>,
    caller: &Caller,
    request: &DeployRequest,
) -> Result<Ready, ApiError> {
    let cluster = server.cluster();
    let mut parsed = read(caller, request, &cluster)?;
    override_images(&mut parsed, request)?;
    let warnings = parsed.warnings.iter().map(|complaint| Warning {
        message: format!(
            "{}:{}:{}: {}",
            complaint.file, complaint.place.line, complaint.place.column, complaint.message
        ),
        hint: complaint.hint.clone(),
    });
    let warnings = warnings.collect();
    let pinned = pin(&server.backend, &server.tempo, &cluster, &mut parsed.spec).await;
    let notes = pinned.map_err(|unresolved| unresolvable(&parsed, request, &unresolved))?;
    pin_secrets(&mut parsed, request, &cluster)?;
    Ok(Ready { target: Arc::new(parsed.spec), notes, warnings })
}

/// Reads the file, and holds it against what the cluster has.
fn read(caller: &Caller, request: &DeployRequest, cluster: &Cluster) -> Result<Parsed, ApiError> {
    let DeployRequest { source, file, default_project, .. } = request;
    if file.len() > PATH_BYTES_MAX {
        return Err(ApiError::new(Code::BadRequest, "the file's name is too long")
            .because(format!("a path has at most {PATH_BYTES_MAX} bytes")));
    }
    let wrong = |complaints: Complaints| bad_config(request, &complaints);
    let text = Source { file, text: source, default_project: Some(default_project.as_str()) };
    let parsed = parse(&text).map_err(wrong)?;
    // Before anything is said of other projects, or a registry asked.
    caller.may_deploy(&parsed.spec.name)?;
    let unserved = parsed.unserved();
    if !unserved.is_empty() {
        let error =
            ApiError::new(Code::NotYet, format!("{file} asks for what this version doesn't serve yet"));
        return Err(error.complaints(unserved));
    }
    match parsed.against(&facts(cluster, &parsed.spec)) {
        complaints if complaints.is_empty() => Ok(parsed),
        complaints => Err(wrong(complaints.into())),
    }
}

/// From here on the spec says which version of each secret it means.
fn pin_secrets(parsed: &mut Parsed, request: &DeployRequest, cluster: &Cluster) -> Result<(), ApiError> {
    let pinned = mill_secrets::pin_all(&mut parsed.spec, &shelf(cluster));
    // The file was held against the same state: its complaints said this already.
    pinned.map_err(|unknown| {
        let first = unknown.first().map(ToString::to_string).unwrap_or_default();
        ApiError::new(Code::BadConfig, format!("{} can't be deployed as it is", request.file))
            .because(first)
            .hint("`mill secret list` lists the secrets")
    })
}

pub(super) fn facts(cluster: &Cluster, spec: &ProjectSpec) -> ClusterFacts {
    let elsewhere = cluster.projects.values().filter(|project| project.name != spec.name);
    let services = elsewhere.flat_map(|project| {
        project.services.iter().map(|(name, service)| {
            let workload = Workload { project: project.name.clone(), name: name.clone() };
            (workload, service.spec.container.ports.clone())
        })
    });
    ClusterFacts {
        nodes: cluster.nodes.values().map(|node| node.facts.capacity).collect(),
        services_elsewhere: services.collect(),
        secrets: shelf(cluster).names_for(&spec.name),
    }
}

fn override_images(parsed: &mut Parsed, request: &DeployRequest) -> Result<(), ApiError> {
    for (name, image) in &request.images {
        if !parsed.set_image(name, image) {
            let services = parsed.spec.services.iter().map(|service| service.name.to_string());
            let names = services.chain(parsed.spec.tasks.iter().map(|task| task.name.to_string()));
            let similar = closest(name.as_str(), names);
            let hint = match similar.as_slice() {
                [] => "`--image NAME=IMAGE` takes the name of a service or task of the file".to_owned(),
                similar => format!("did you mean `{}`?", similar.join("` or `")),
            };
            return Err(ApiError::new(
                Code::BadRequest,
                format!("{} has no service or task `{name}`", request.file),
            )
            .because("an image was given for it")
            .hint(hint));
        }
    }
    Ok(())
}

fn bad_config(request: &DeployRequest, complaints: &Complaints) -> ApiError {
    let file = &request.file;
    let error = ApiError::new(Code::BadConfig, format!("{file} can't be deployed as it is"));
    let error = match complaints.omitted {
        0 => error,
        omitted => error.because(format!("these, and {omitted} more")),
    };
    error.complaints(complaints.list.clone())
}

fn unresolvable(parsed: &Parsed, request: &DeployRequest, unresolved: &[Unresolved]) -> ApiError {
    let why = unresolved.iter().map(|unresolved| {
        let Unresolved { workload, image, failure } = unresolved;
        (workload.clone(), format!("{image}: {failure}"))
    });
    let complaints = parsed.images_without_digest(&why.collect());
    let failures = unresolved.iter().map(|unresolved| &unresolved.failure);
    let hint = failures.map(|failure| present::failures::hint(failure, None)).next();
    ApiError { code: Code::NoImage, hint, ..bad_config(request, &complaints.into()) }
}
