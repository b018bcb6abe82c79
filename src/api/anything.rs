//! What a name means to `inspect`, which looks at everything that has one: also at what nothing else takes by name
//! alone.
//!
//! What is deployed comes first ([`Known`]); a secret, token, registry or actor is meant where nothing deployed is
//! called so. Looking stops nothing, so that much is guessed; `KIND:NAME` says which is meant.

use std::fmt;

use mill_model::{AllocId, ProjectName, RegistryHost, SecretId, TokenName, Workload};

use crate::names::{Known, Target, closest};
use crate::{ApiError, Code};

/// Everything that can be looked at. What whoever asks may not see isn't in it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Anything {
    /// What is deployed, and where.
    pub known: Known,
    /// Tasks that were asked for, by the id that each has; those of them that have a place aren't in `known.allocs`.
    pub tasks: Vec<AllocId>,
    /// Secrets.
    pub secrets: Vec<SecretId>,
    /// Tokens.
    pub tokens: Vec<TokenName>,
    /// Registries with credentials.
    pub registries: Vec<RegistryHost>,
    /// Paths of actors: `daemon/agent/images`.
    pub actors: Vec<String>,
}

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// Something deployed, or a node.
    Known(Target),
    /// A task that was asked for.
    Task(AllocId),
    /// A secret.
    Secret(SecretId),
    /// A token.
    Token(TokenName),
    /// A registry.
    Registry(RegistryHost),
    /// An actor.
    Actor(String),
}

/// Most candidates that a refusal lists.
const CANDIDATES_MAX: usize = 10;
/// Most of them that its hint spells out.
const SPELLED_MAX: usize = 3;

/// The word for what is behind it in `KIND:NAME`.
const KINDS: [&str; 10] =
    ["service", "task", "alloc", "project", "node", "deploy", "secret", "token", "registry", "actor"];

impl Thing {
    /// Its kinds' words; a service and a task of a config have both.
    const fn kinds(&self) -> &'static [&'static str] {
        match self {
            Self::Known(Target::Workload(_)) => &["service", "task"],
            Self::Known(Target::Alloc(_)) => &["alloc"],
            Self::Known(Target::Project(_)) => &["project"],
            Self::Known(Target::Node(_)) => &["node"],
            Self::Known(Target::Deploy(_)) => &["deploy"],
            Self::Task(_) => &["task", "alloc"],
            Self::Secret(_) => &["secret"],
            Self::Token(_) => &["token"],
            Self::Registry(_) => &["registry"],
            Self::Actor(_) => &["actor"],
        }
    }

    /// All that it is called, the whole name first.
    fn names(&self) -> Vec<String> {
        let scoped = |project: Option<&ProjectName>, name: &str| match project {
            Some(project) => vec![format!("{project}/{name}"), name.to_owned()],
            None => vec![name.to_owned()],
        };
        match self {
            Self::Known(Target::Workload(Workload { project, name })) => scoped(Some(project), name.as_str()),
            Self::Known(Target::Alloc(id)) | Self::Task(id) => vec![id.to_string()],
            Self::Known(Target::Project(name)) => vec![name.to_string()],
            Self::Known(Target::Node(name)) => vec![name.to_string()],
            Self::Known(Target::Deploy(id)) => vec![format!("#{id}"), id.to_string()],
            Self::Secret(id) => scoped(id.scope.project(), id.name.as_str()),
            Self::Token(name) => vec![name.to_string()],
            Self::Registry(host) => vec![host.to_string()],
            Self::Actor(path) => {
                let ends = path.match_indices('/').filter_map(|(at, _)| path.get(at + 1..));
                std::iter::once(path.as_str()).chain(ends).map(str::to_owned).collect()
            }
        }
    }

    /// Its kind and whole name, which mean nothing else.
    fn spelled(&self) -> String {
        let kind = self.kinds().first().copied().unwrap_or_default();
        format!("{kind}:{}", self.names().first().map_or("", String::as_str))
    }

    const fn is_workload(&self) -> bool {
        matches!(self, Self::Known(Target::Workload(_)))
    }

    const fn is_unique(&self) -> bool {
        matches!(self, Self::Known(Target::Alloc(_) | Target::Deploy(_)) | Self::Task(_))
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(target) => target.fmt(f),
            Self::Task(id) => write!(f, "task {id}"),
            Self::Secret(id) => write!(f, "secret {id}"),
            Self::Token(name) => write!(f, "token {name}"),
            Self::Registry(host) => write!(f, "registry {host}"),
            Self::Actor(path) => write!(f, "actor {path}"),
        }
    }
}

impl Anything {
    /// What `name` or `KIND:NAME` means.
    ///
    /// # Errors
    /// Nothing is called so, or several things are.
    pub fn resolve(&self, name: &str) -> Result<Thing, ApiError> {
        let plain = self.find(name, None)?;
        let kind = name.split_once(':').filter(|(kind, rest)| KINDS.contains(kind) && !rest.is_empty());
        let found = match (plain, kind) {
            (None, Some((kind, rest))) => self.find(rest, Some(kind))?,
            (plain, _) => plain,
        };
        found.ok_or_else(|| self.unknown(name))
    }

    /// Whether actors are asked for by their kind, or by a path that only they have.
    pub fn is_actors(name: &str) -> bool {
        name.starts_with("actor:") || ["daemon/", "plane/"].iter().any(|root| name.starts_with(root))
    }

    fn find(&self, name: &str, kind: Option<&str>) -> Result<Option<Thing>, ApiError> {
        if name.is_empty() {
            return Ok(None);
        }
        let of_kind = |thing: &Thing| kind.is_none_or(|kind| thing.kinds().contains(&kind));
        let (deployed, others): (Vec<Thing>, Vec<Thing>) =
            (self.deployed().filter(of_kind).collect(), self.others().filter(of_kind).collect());
        let exact = |things: &[Thing]| pick(things, |thing| thing.names().iter().any(|known| known == name));
        let starting = |things: &[Thing]| {
            // The number of a deploy isn't begun: #1 isn't the start of #14.
            let begins = |thing: &Thing| !matches!(thing, Thing::Known(Target::Deploy(_)));
            // With a slash only whole names are meant.
            let whole = name.contains('/');
            pick(things, |thing| {
                let names = thing.names();
                let mut asked = names.iter().filter(|known| known.contains('/') || !whole);
                begins(thing) && asked.any(|known| known.starts_with(name))
            })
        };
        let exactly = exact(&deployed);
        if let Some(unique) = exactly.iter().find(|thing| thing.is_unique() && name != bare_number(thing)) {
            return Ok(Some(unique.clone()));
        }
        let begun = starting(&deployed);
        // `we` is the start of `web` and of all its allocs: the service is meant.
        let workloads: Vec<Thing> = begun.iter().filter(|thing| thing.is_workload()).cloned().collect();
        let begun = if workloads.is_empty() { begun } else { workloads };
        for candidates in [exactly, exact(&others), begun, starting(&others)] {
            match candidates.as_slice() {
                [] => {}
                [one] => return Ok(Some(one.clone())),
                _ => return Err(ambiguous(name, &candidates)),
            }
        }
        Ok(None)
    }

    fn deployed(&self) -> impl Iterator<Item = Thing> {
        let Known { workloads, allocs, projects, nodes, deploys } = &self.known;
        let known = workloads.iter().cloned().map(Target::Workload);
        let known = known.chain(allocs.iter().cloned().map(Target::Alloc));
        let known = known.chain(projects.iter().cloned().map(Target::Project));
        let known = known.chain(nodes.iter().cloned().map(Target::Node));
        let known = known.chain(deploys.iter().copied().map(Target::Deploy));
        known.map(Thing::Known).chain(self.tasks.iter().cloned().map(Thing::Task))
    }

    fn others(&self) -> impl Iterator<Item = Thing> {
        let secrets = self.secrets.iter().cloned().map(Thing::Secret);
        let tokens = self.tokens.iter().cloned().map(Thing::Token);
        let registries = self.registries.iter().cloned().map(Thing::Registry);
        let actors = self.actors.iter().cloned().map(Thing::Actor);
        secrets.chain(tokens).chain(registries).chain(actors)
    }

    fn unknown(&self, name: &str) -> ApiError {
        let shown: String = name.chars().take(200).collect();
        let rest =
            name.split_once(':').filter(|(kind, _)| KINDS.contains(kind)).map_or(name, |(_, rest)| rest);
        let all = self.deployed().chain(self.others()).flat_map(|thing| thing.names());
        let all = all.filter(|name| !name.bytes().all(|byte| byte.is_ascii_digit()));
        let similar = closest(rest, all);
        let hint = match similar.as_slice() {
            [] => "`mill services`, `mill allocs --all`, `mill ps --all` and `mill secret list` list what there is".to_owned(),
            similar => format!("did you mean `{}`?", similar.join("` or `")),
        };
        ApiError::new(Code::NotFound, format!("there is nothing called `{shown}`")).hint(hint)
    }
}

/// `14`, which is a deploy only where nothing else is called so.
fn bare_number(thing: &Thing) -> String {
    match thing {
        Thing::Known(Target::Deploy(id)) => id.to_string(),
        _ => String::new(),
    }
}

fn pick(things: &[Thing], fits: impl Fn(&Thing) -> bool) -> Vec<Thing> {
    things.iter().filter(|thing| fits(thing)).cloned().collect()
}

fn ambiguous(name: &str, candidates: &[Thing]) -> ApiError {
    let shown: Vec<String> = candidates.iter().take(CANDIDATES_MAX).map(ToString::to_string).collect();
    let more = candidates.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let spelled: Vec<String> =
        candidates.iter().take(SPELLED_MAX).map(|thing| format!("`{}`", thing.spelled())).collect();
    ApiError::new(Code::Ambiguous, format!("`{name}` can mean several things"))
        .because(format!("it fits {}{more}", shown.join(", ")))
        .hint(format!("say which: {}", spelled.join(" or ")))
}

#[cfg(test)]
mod tests {
    use mill_model::DeployId;

    use super::*;

    fn workload(text: &str) -> Workload {
        let (project, name) = text.split_once('/').unwrap();
        Workload { project: project.parse().unwrap(), name: name.parse().unwrap() }
    }

    fn anything() -> Anything {
        Anything {
            known: Known {
                workloads: ["shop/web", "shop/db", "blog/web", "shop/worker"].map(workload).to_vec(),
                allocs: ["web-7k2f", "web-7m3a", "db-2b2b"].map(|id| id.parse().unwrap()).to_vec(),
                projects: ["shop", "blog", "db"].map(|name| name.parse().unwrap()).to_vec(),
                nodes: ["node-1", "edge"].map(|name| name.parse().unwrap()).to_vec(),
                deploys: vec![DeployId(3), DeployId(14)],
            },
            tasks: vec!["migrate-3x3x".parse().unwrap()],
            secrets: ["shop/db", "shop/db.password", "tls.key"].map(|id| id.parse().unwrap()).to_vec(),
            tokens: ["ci", "node-ci"].map(|name| name.parse().unwrap()).to_vec(),
            registries: vec!["registry.example.com:5000".parse().unwrap()],
            actors: ["daemon", "daemon/agent", "daemon/agent/images", "daemon/http", "plane", "plane/logs"]
                .map(str::to_owned)
                .to_vec(),
        }
    }

    #[test]
    fn everything_that_has_a_name_is_found_by_it_or_the_start_of_it() {
        for (name, meant) in [
            ("shop/web", "service shop/web"),
            ("wor", "service shop/worker"),
            ("web-7k", "alloc web-7k2f"),
            ("migrate-3", "task migrate-3x3x"),
            ("task:migrate-3x3x", "task migrate-3x3x"),
            ("edge", "node edge"),
            ("#14", "deploy #14"),
            ("14", "deploy #14"),
            ("shop", "project shop"),
            ("db.password", "secret shop/db.password"),
            ("tls", "secret tls.key"),
            ("secret:db", "secret shop/db"),
            ("shop/db", "service shop/db"),
            ("project:db", "project db"),
            ("service:db", "service shop/db"),
            ("ci", "token ci"),
            ("node-c", "token node-ci"),
            ("registry.ex", "registry registry.example.com:5000"),
            ("registry.example.com:5000", "registry registry.example.com:5000"),
            ("registry:registry.example.com:5000", "registry registry.example.com:5000"),
            ("images", "actor daemon/agent/images"),
            ("agent/images", "actor daemon/agent/images"),
            ("daemon/h", "actor daemon/http"),
            ("plane", "actor plane"),
        ] {
            assert_eq!(
                anything().resolve(name).map(|thing| thing.to_string()),
                Ok(meant.to_owned()),
                "{name}"
            );
        }
    }

    #[test]
    fn what_can_mean_several_things_is_told_with_a_way_to_say_which() {
        for (name, fits, hint) in [
            ("web", "service shop/web, service blog/web", "service:shop/web"),
            ("db", "service shop/db, project db", "project:db"),
            ("web-7", "alloc web-7k2f, alloc web-7m3a", "alloc:web-7k2f"),
            (
                "daemon/",
                "actor daemon/agent, actor daemon/agent/images, actor daemon/http",
                "actor:daemon/agent",
            ),
        ] {
            let error = anything().resolve(name).unwrap_err();
            assert_eq!(error.code, Code::Ambiguous, "{name}");
            assert_eq!(error.reason, Some(format!("it fits {fits}")), "{name}");
            assert!(error.hint.as_ref().unwrap().contains(hint), "{name}: {error:?}");
            let spelled = error.hint.unwrap();
            for spelled in spelled.split('`').skip(1).step_by(2) {
                assert!(anything().resolve(spelled).is_ok(), "{spelled} is no way out");
            }
        }
    }

    #[test]
    fn a_slip_is_answered_with_what_was_meant() {
        for (name, hint) in [
            ("db.pasword", "db.password"),
            ("secret:db.pasword", "db.password"),
            ("node-ic", "node-"),
            ("imgaes", "images"),
            ("#15", "#14"),
            ("", "mill services"),
            ("nonsense", "mill services"),
        ] {
            let error = anything().resolve(name).unwrap_err();
            assert_eq!(error.code, Code::NotFound);
            assert!(error.hint.as_ref().unwrap().contains(hint), "{name}: {error:?}");
        }
    }
}
