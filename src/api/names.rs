//! What a name given by a person means: `web`, `shop/web`, `web-7k2f` or the start of it, `node-1`, `shop`, `#14`.
//!
//! One rule for server and CLI. An exact name beats a prefix; among exact names an id that is unique by nature
//! (alloc, deploy) comes first. A name that means several things is refused with the list of them: Mill never
//! guesses what to stop.

use std::fmt;

use mill_model::limits::NAME_LENGTH_MAX;
use mill_model::{AllocId, DeployId, NodeName, ProjectName, Workload};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Everything that has a name.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Known {
    /// Services and tasks.
    pub workloads: Vec<Workload>,
    /// Allocs and what each is an instance of.
    pub allocs: Vec<AllocId>,
    /// Projects.
    pub projects: Vec<ProjectName>,
    /// Nodes.
    pub nodes: Vec<NodeName>,
    /// Deploys.
    pub deploys: Vec<DeployId>,
}

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "name", rename_all = "snake_case")]
pub enum Target {
    /// A service or task.
    Workload(Workload),
    /// A placed instance.
    Alloc(AllocId),
    /// A project.
    Project(ProjectName),
    /// A machine.
    Node(NodeName),
    /// A deploy.
    Deploy(DeployId),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(workload) => write!(f, "service {workload}"),
            Self::Alloc(alloc) => write!(f, "alloc {alloc}"),
            Self::Project(project) => write!(f, "project {project}"),
            Self::Node(node) => write!(f, "node {node}"),
            Self::Deploy(deploy) => write!(f, "deploy #{deploy}"),
        }
    }
}

/// Most candidates that an error lists; more help nobody.
const CANDIDATES_MAX: usize = 10;

/// Why a name means no one thing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing is called so.
    #[error("there is nothing called `{name}`")]
    Unknown {
        /// As given.
        name: String,
        /// What is called almost so.
        similar: Vec<String>,
    },
    /// Several things are.
    #[error("`{name}` can mean several things")]
    Ambiguous {
        /// As given.
        name: String,
        /// Which, at most ten of them.
        candidates: Vec<Target>,
        /// How many they are.
        count: usize,
    },
}

impl NameError {
    /// Why, for the answer.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Unknown { .. } => None,
            Self::Ambiguous { candidates, count, .. } => {
                let shown: Vec<String> = candidates.iter().map(ToString::to_string).collect();
                let more = count - shown.len();
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                Some(format!("it fits {}{more}", shown.join(", ")))
            }
        }
    }

    /// What to do, for the answer.
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown { similar, .. } if !similar.is_empty() => {
                format!("did you mean `{}`?", similar.join("` or `"))
            }
            Self::Unknown { .. } => "`mill services` and `mill allocs --all` list what there is".into(),
            Self::Ambiguous { .. } => {
                "say which: PROJECT/SERVICE for a service, the whole id for an alloc".into()
            }
        }
    }
}

impl From<NameError> for crate::ApiError {
    fn from(error: NameError) -> Self {
        let code = match error {
            NameError::Unknown { .. } => crate::Code::NotFound,
            NameError::Ambiguous { .. } => crate::Code::Ambiguous,
        };
        Self { reason: error.reason(), hint: Some(error.hint()), ..Self::new(code, error.to_string()) }
    }
}

impl Known {
    /// What `name` means.
    ///
    /// # Errors
    /// Nothing, or several things.
    pub fn resolve(&self, name: &str) -> Result<Target, NameError> {
        let unique = self.allocs.iter().find(|id| id.as_str() == name).map(|id| Target::Alloc(id.clone()));
        if let Some(target) = unique.or_else(|| self.deploy(name)) {
            return Ok(target);
        }
        for candidates in [self.exact(name), self.by_prefix(name)] {
            match candidates.as_slice() {
                [] => {}
                [one] => return Ok(one.clone()),
                _ => return Err(ambiguous(name, candidates)),
            }
        }
        Err(NameError::Unknown { name: name.to_owned(), similar: self.similar(name) })
    }

    /// The service or task that `name` means. Allocs, nodes and projects of that name aren't asked for, so they
    /// aren't in the way either.
    ///
    /// # Errors
    /// None, or several.
    pub fn workload(&self, name: &str) -> Result<Workload, NameError> {
        let only = Self { workloads: self.workloads.clone(), ..Self::default() };
        match only.resolve(name)? {
            Target::Workload(workload) => Ok(workload),
            _ => Err(NameError::Unknown { name: name.to_owned(), similar: only.similar(name) }),
        }
    }

    fn deploy(&self, name: &str) -> Option<Target> {
        let id = DeployId(name.strip_prefix('#')?.parse().ok()?);
        self.deploys.contains(&id).then_some(Target::Deploy(id))
    }

    fn exact(&self, name: &str) -> Vec<Target> {
        let workloads = self.workloads.iter().filter(|w| w.name.as_str() == name || w.to_string() == name);
        let projects = self.projects.iter().filter(|p| p.as_str() == name);
        let nodes = self.nodes.iter().filter(|n| n.as_str() == name);
        workloads
            .cloned()
            .map(Target::Workload)
            .chain(projects.cloned().map(Target::Project))
            .chain(nodes.cloned().map(Target::Node))
            .collect()
    }

    fn by_prefix(&self, name: &str) -> Vec<Target> {
        if name.is_empty() {
            return vec![];
        }
        let workload = |w: &&Workload| match name.contains('/') {
            true => w.to_string().starts_with(name),
            false => w.name.as_str().starts_with(name),
        };
        let allocs = self.allocs.iter().filter(|id| id.as_str().starts_with(name));
        let nodes = self.nodes.iter().filter(|n| n.as_str().starts_with(name));
        let projects = self.projects.iter().filter(|p| p.as_str().starts_with(name));
        let workloads: Vec<Target> =
            self.workloads.iter().filter(workload).cloned().map(Target::Workload).collect();
        // `we` is the start of `web` and of all its allocs: the service is meant.
        match workloads.is_empty() {
            false => workloads,
            true => allocs
                .cloned()
                .map(Target::Alloc)
                .chain(projects.cloned().map(Target::Project))
                .chain(nodes.cloned().map(Target::Node))
                .collect(),
        }
    }

    fn similar(&self, name: &str) -> Vec<String> {
        let workloads = self.workloads.iter().flat_map(|w| match name.contains('/') {
            true => vec![w.to_string()],
            false => vec![w.name.to_string()],
        });
        let projects = self.projects.iter().map(ToString::to_string);
        let nodes = self.nodes.iter().map(ToString::to_string);
        let allocs = self.allocs.iter().map(ToString::to_string);
        closest(name, workloads.chain(projects).chain(nodes).chain(allocs))
    }
}

fn ambiguous(name: &str, mut candidates: Vec<Target>) -> NameError {
    let count = candidates.len();
    candidates.truncate(CANDIDATES_MAX);
    NameError::Ambiguous { name: name.to_owned(), candidates, count }
}

/// The nearest of `words` that `name` may be a slip of: at most two letters off, and at most a third of them.
///
/// Nothing is like a text longer than any name, so that a request can't make this work for long.
pub fn closest(name: &str, words: impl Iterator<Item = String>) -> Vec<String> {
    if name.len() > 2 * NAME_LENGTH_MAX + 1 {
        return vec![];
    }
    let most = (name.chars().count() / 3).clamp(1, 2);
    let mut near: Vec<(usize, String)> =
        words.map(|word| (distance(name, &word), word)).filter(|(off, _)| *off <= most).collect();
    near.sort();
    near.dedup();
    let nearest = near.first().map_or(0, |(off, _)| *off);
    near.retain(|(off, _)| *off == nearest);
    near.truncate(3);
    near.into_iter().map(|(_, word)| word).collect()
}

/// Letters to insert, drop, change or swap with their neighbour to make `a` of `b` (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let change = rows[i][j] + usize::from(x != y);
            let mut best = change.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(text: &str) -> Workload {
        let (project, name) = text.split_once('/').unwrap();
        Workload { project: project.parse().unwrap(), name: name.parse().unwrap() }
    }

    fn known() -> Known {
        Known {
            workloads: ["shop/web", "shop/db", "blog/web", "shop/worker", "shop/web-admin"]
                .map(workload)
                .to_vec(),
            allocs: ["web-7k2f", "web-7m3a", "db-2b2b", "web-admin-9x9x"]
                .map(|id| id.parse().unwrap())
                .to_vec(),
            projects: ["shop", "blog", "db"].map(|name| name.parse().unwrap()).to_vec(),
            nodes: ["node-1", "node-2", "edge"].map(|name| name.parse().unwrap()).to_vec(),
            deploys: vec![DeployId(3), DeployId(14)],
        }
    }

    #[test]
    fn a_name_means_what_a_person_means_by_it() {
        for (name, meant) in [
            ("shop/web", "service shop/web"),
            ("worker", "service shop/worker"),
            ("wor", "service shop/worker"),
            ("shop/wo", "service shop/worker"),
            ("shop", "project shop"),
            ("blo", "project blog"),
            ("web-7k2f", "alloc web-7k2f"),
            ("web-7k", "alloc web-7k2f"),
            ("web-admin", "service shop/web-admin"),
            ("web-a", "service shop/web-admin"),
            ("node-1", "node node-1"),
            ("ed", "node edge"),
            ("#14", "deploy #14"),
        ] {
            assert_eq!(known().resolve(name).map(|t| t.to_string()), Ok(meant.to_owned()), "{name}");
        }
    }

    #[test]
    fn a_name_that_means_several_things_is_refused_with_all_of_them() {
        for (name, candidates) in [
            ("web", "it fits service shop/web, service blog/web"),
            ("db", "it fits service shop/db, project db"),
            ("web-7", "it fits alloc web-7k2f, alloc web-7m3a"),
            ("node", "it fits node node-1, node node-2"),
            ("w", "it fits service shop/web, service blog/web, service shop/worker, service shop/web-admin"),
        ] {
            let error = known().resolve(name).unwrap_err();
            assert_eq!(error.reason().as_deref(), Some(candidates), "{name}");
            assert!(error.hint().contains("PROJECT/SERVICE"));
        }
    }

    #[test]
    fn a_slip_of_the_finger_is_put_right() {
        for (name, hint) in [
            ("shpo", "did you mean `shop`?"),
            ("worekr", "did you mean `worker`?"),
            ("shop/wbe", "did you mean `shop/web`?"),
            ("nonsense", "`mill services` and `mill allocs --all` list what there is"),
            ("", "`mill services` and `mill allocs --all` list what there is"),
            ("#99", "`mill services` and `mill allocs --all` list what there is"),
        ] {
            assert_eq!(known().resolve(name).unwrap_err().hint(), hint, "{name}");
        }
    }

    #[test]
    fn only_services_are_meant_where_a_service_is_asked_for() {
        assert_eq!(known().workload("db"), Ok(workload("shop/db")));
        assert!(known().workload("web-7k2f").is_err());
        assert!(known().workload("node-1").is_err());
        assert!(known().workload("web").is_err());
    }

    #[test]
    fn a_long_list_of_candidates_is_cut_and_counted() {
        let allocs = (0..30_u64).map(|n| AllocId::derive(&"web".parse().unwrap(), n)).collect();
        let error = Known { allocs, ..Known::default() }.resolve("web-").unwrap_err();
        assert!(error.reason().unwrap().ends_with("and 20 more"), "{error:?}");
    }
}
