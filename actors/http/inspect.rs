//! All that is known about one thing, whatever it is.
//!
//! A name means what whoever asks may see: a token is nobody's to find but an admin's, an actor of the machine isn't
//! shown to who is held to some projects.

use axum::Json;
use axum::extract::{Extension, State};
use mill_api::actors::{Actor, Actors};
use mill_api::anything::{Anything, Thing};
use mill_api::inspect::Inspected;
use mill_api::names::Known;
use mill_api::paths::Access;
use mill_api::{ApiError, Code};

use super::actors::both;
use super::backend::Backend;
use super::body::Named;
use super::gate::{Caller, Seen};
use super::present::{self, View};
use super::reads::{Answer, add_tail};
use super::server::Server;
use super::{registries, secrets, tokens};

pub(super) async fn one<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Seen(cluster): Seen,
    Named(name): Named<String>,
) -> Answer<Inspected> {
    let view = server.view(&cluster);
    let mut anything = anything(&view, &server, &caller);
    let may_see_actors = Access::SeeAll.admits(&caller.role, None);
    let mut trees = None;
    let found = match anything.resolve(&name) {
        // The plane is asked for its tree only when nothing else has the name, or nothing else can have it.
        found if may_see_actors && (Anything::is_actors(&name) || is_unknown(&found)) => {
            trees = both(&server).await.ok();
            anything.actors = trees.as_ref().map(paths).unwrap_or_default();
            anything.resolve(&name)
        }
        found => found,
    };
    let thing = found?;
    let inspected = describe(&server, &view, trees, &thing);
    let mut inspected = inspected.ok_or_else(|| {
        ApiError::new(Code::NotFound, format!("{thing} is gone"))
            .because("nothing of it is left to be shown")
            .hint("`mill services` and `mill allocs --all` list what there is")
    })?;
    if let Inspected::Deploy { progress, .. } = &mut inspected {
        for progress in progress {
            add_tail(&server, progress).await;
        }
    }
    Ok(Json(inspected))
}

fn is_unknown(found: &Result<Thing, ApiError>) -> bool {
    found.as_ref().is_err_and(|error| error.code == Code::NotFound)
}

/// Everything that whoever asks may see, but actors.
fn anything<B: Backend>(view: &View<'_>, server: &Server<B>, caller: &Caller) -> Anything {
    let cluster = view.cluster;
    let tasks = present::tasks::ids(view);
    let known = view.known();
    let allocs = known.allocs.into_iter().filter(|id| !tasks.contains(id)).collect();
    // They are in no project, so what is seen of the state by one who is held to some doesn't say whose they are.
    let all = Access::Admin.admits(&caller.role, None).then(|| server.cluster());
    let tokens = all.iter().flat_map(|all| all.tokens.values().map(|token| token.name.clone()));
    let registries = all.iter().flat_map(|all| all.registries.keys().cloned());
    Anything {
        tasks: tasks.iter().cloned().collect(),
        secrets: cluster.secrets().map(|(id, _)| id.clone()).collect(),
        tokens: tokens.collect(),
        registries: registries.collect(),
        actors: vec![],
        known: Known { allocs, ..known },
    }
}

fn describe<B: Backend>(
    server: &Server<B>,
    view: &View<'_>,
    trees: Option<Actors>,
    thing: &Thing,
) -> Option<Inspected> {
    let all = server.cluster();
    match thing {
        Thing::Known(target) => present::inspect::inspect(view, target),
        Thing::Task(id) => present::inspect::task(view, id),
        Thing::Secret(id) => Some(Inspected::Secret(Box::new(secrets::versions(view.cluster, id)?))),
        Thing::Token(name) => {
            let token = all.tokens.values().find(|token| token.name == *name)?;
            Some(Inspected::Token { token: Box::new(tokens::info(server, token)) })
        }
        Thing::Registry(host) => {
            let registry = registries::info(host, all.registries.get(host)?);
            Some(Inspected::Registry { registry: Box::new(registry) })
        }
        Thing::Actor(path) => {
            let trees = trees?;
            let found = std::iter::once(trees.daemon).chain(trees.plane).find_map(|root| take(root, path))?;
            Some(Inspected::Actor { actor: Box::new(found) })
        }
    }
}

/// The paths of all actors of both trees.
fn paths(trees: &Actors) -> Vec<String> {
    fn all(actor: &Actor, into: &mut Vec<String>) {
        into.push(actor.path.clone());
        actor.children.iter().for_each(|child| all(child, into));
    }
    let mut paths = vec![];
    std::iter::once(&trees.daemon).chain(&trees.plane).for_each(|root| all(root, &mut paths));
    paths
}

/// The actor at a path, out of its tree.
fn take(actor: Actor, path: &str) -> Option<Actor> {
    match actor.path == path {
        true => Some(actor),
        false => actor.children.into_iter().find_map(|child| take(child, path)),
    }
}
