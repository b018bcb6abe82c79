//! The names of what there is.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use mill_api::actors::Actor;
use mill_api::allocs::{AllocQuery, WorkloadKind};
use mill_api::tasks::TaskQuery;
use mill_api::{Api, ClientError};
use mill_model::Workload;

use crate::cli::contexts::{self, Contexts};
use crate::cli::reach::ReachArgs;

/// How long a shell waits for names: longer, and whoever types thinks that it hangs.
const DEADLINE: Duration = Duration::from_millis(300);

/// A name and what to say of it.
type Named = (String, Option<String>);

/// What an argument is a name of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    Services,
    /// Services, and their allocs and tasks where one is begun.
    Running,
    Anything,
    Projects,
    /// Tasks of configs, which can be spawned.
    Templates,
    Tasks,
    Deploys,
    Secrets,
    Tokens,
    Registries,
    Actors,
    Contexts,
}

/// The arguments that are names: command, argument, of what. A command of `*` is every one.
const ARGUMENTS: [(&str, &str, Names); 34] = [
    ("*", "context", Names::Contexts),
    ("allocs", "name", Names::Services),
    ("allocs", "project", Names::Projects),
    ("actors restart", "path", Names::Actors),
    ("context remove", "name", Names::Contexts),
    ("context show", "name", Names::Contexts),
    ("context use", "name", Names::Contexts),
    ("deploy", "attach", Names::Deploys),
    ("deploy", "cancel", Names::Deploys),
    ("exec", "name", Names::Running),
    ("history", "project", Names::Projects),
    ("inspect", "name", Names::Anything),
    ("kill", "names", Names::Tasks),
    ("logout", "name", Names::Contexts),
    ("logs", "name", Names::Running),
    ("ps", "project", Names::Projects),
    ("registry logout", "host", Names::Registries),
    ("restart", "name", Names::Services),
    ("rollback", "project", Names::Projects),
    ("rollback", "to", Names::Deploys),
    ("scale", "name", Names::Services),
    ("secret delete", "name", Names::Secrets),
    ("secret get", "name", Names::Secrets),
    ("secret history", "name", Names::Secrets),
    ("secret roll", "name", Names::Secrets),
    ("secret set", "name", Names::Secrets),
    ("secret", "project", Names::Projects),
    ("services", "project", Names::Projects),
    ("spawn", "name", Names::Templates),
    ("token create", "projects", Names::Projects),
    ("token revoke", "token", Names::Tokens),
    ("top", "project", Names::Projects),
    ("undeploy", "project", Names::Projects),
    ("why", "name", Names::Services),
];

impl Names {
    /// What an argument of a command is a name of; `None`: of nothing that has one.
    pub(super) fn of(command: &str, argument: &str) -> Option<Self> {
        let is_of = |of: &str| {
            // What is said of a command holds for those below it.
            of == "*" || command == of || command.strip_prefix(of).is_some_and(|rest| rest.starts_with(' '))
        };
        let found = ARGUMENTS.iter().find(|(of, name, _)| *name == argument && is_of(of));
        found.map(|(_, _, names)| *names)
    }

    /// Those that begin with `current`. Nothing when nobody answers in time.
    pub(super) fn that_begin(self, current: &str, reach: &ReachArgs) -> Vec<Named> {
        let all = match self {
            Self::Contexts => contexts(),
            _ => in_time(async { Box::pin(self.ask(current, &reach.api().ok()?)).await.ok() })
                .unwrap_or_default(),
        };
        let mut seen = BTreeSet::new();
        all.into_iter().filter(|(name, _)| name.starts_with(current) && seen.insert(name.clone())).collect()
    }

    async fn ask(self, current: &str, api: &Api) -> Result<Vec<Named>, ClientError> {
        match self {
            Self::Services => services(api, current, |_| true).await,
            Self::Templates => services(api, current, |kind| kind == WorkloadKind::Task).await,
            Self::Running => running(api, current).await,
            Self::Anything => Box::pin(anything(api, current)).await,
            Self::Projects => projects(api).await,
            Self::Tasks => tasks(api, false).await,
            Self::Deploys => deploys(api).await,
            Self::Secrets => secrets(api, current).await,
            Self::Tokens => {
                let tokens = api.tokens().await?.into_iter();
                Ok(tokens.map(|token| (token.name.to_string(), Some(token.role.to_string()))).collect())
            }
            Self::Registries => {
                let registries = api.registries().await?.into_iter();
                Ok(registries.map(|registry| (registry.host.to_string(), Some(registry.user))).collect())
            }
            Self::Actors => actors(api).await,
            Self::Contexts => Ok(contexts()),
        }
    }
}

/// What comes of `work` in time. What is still under way then is left behind: a name that isn't resolved, say.
fn in_time<T>(work: impl Future<Output = Option<T>>) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let done = runtime.block_on(async { tokio::time::timeout(DEADLINE, work).await.ok().flatten() });
    runtime.shutdown_background();
    done
}

/// `web` where only one is called so, else `shop/web`; whoever has begun with a project wants it whole.
fn short(all: &[Workload], workload: &Workload, current: &str) -> String {
    let same = all.iter().filter(|other| other.name == workload.name).count();
    match same == 1 && !current.contains('/') {
        true => workload.name.to_string(),
        false => workload.to_string(),
    }
}

async fn services(
    api: &Api,
    current: &str,
    wanted: impl Fn(WorkloadKind) -> bool,
) -> Result<Vec<Named>, ClientError> {
    let services = api.services().await?;
    let all: Vec<Workload> = services.iter().map(|service| service.workload.clone()).collect();
    let mine = services.iter().filter(|service| wanted(service.kind));
    Ok(mine
        .map(|service| (short(&all, &service.workload, current), Some(service.state.as_str().to_owned())))
        .collect())
}

/// A service is meant by what begins like its name; its allocs only by more than that.
async fn running(api: &Api, current: &str) -> Result<Vec<Named>, ClientError> {
    let (services, query) =
        (services(api, current, |_| true).await?, AllocQuery { all: true, ..AllocQuery::default() });
    if !current.contains('-') && services.iter().any(|(name, _)| name.starts_with(current)) {
        return Ok(services);
    }
    let allocs = api.allocs(&query).await?.into_iter();
    let allocs = allocs.map(|alloc| (alloc.id.to_string(), Some(alloc.phase.to_string())));
    Ok(services.into_iter().chain(allocs).collect())
}

/// Everything that has a name; what whoever asks may not see is left out, not an error.
async fn anything(api: &Api, current: &str) -> Result<Vec<Named>, ClientError> {
    let kind = |word: &'static str| move |(name, _): Named| (name, Some(word.to_owned()));
    let (running, projects, nodes, secrets, tasks) = tokio::join!(
        running(api, current),
        projects(api),
        api.nodes(),
        secrets(api, current),
        tasks(api, true),
    );
    let mut all: Vec<Named> = running?;
    all.extend(projects.unwrap_or_default().into_iter().map(kind("project")));
    all.extend(
        nodes.unwrap_or_default().into_iter().map(|node| (node.name.to_string(), Some("node".to_owned()))),
    );
    all.extend(secrets.unwrap_or_default().into_iter().map(kind("secret")));
    all.extend(tasks.unwrap_or_default());
    if current.starts_with('#') {
        let deploys = deploys(api).await.unwrap_or_default();
        all.extend(deploys.into_iter().map(|(id, about)| (format!("#{id}"), about)));
    }
    if !all.iter().any(|(name, _)| name.starts_with(current)) {
        let (tokens, registries, actors) = tokio::join!(
            Box::pin(Names::Tokens.ask(current, api)),
            Box::pin(Names::Registries.ask(current, api)),
            actors(api)
        );
        all.extend(tokens.unwrap_or_default().into_iter().map(kind("token")));
        all.extend(registries.unwrap_or_default().into_iter().map(kind("registry")));
        all.extend(actors.unwrap_or_default().into_iter().map(kind("actor")));
    }
    Ok(all)
}

async fn projects(api: &Api) -> Result<Vec<Named>, ClientError> {
    Ok(api.projects().await?.into_iter().map(|project| (project.name.to_string(), None)).collect())
}

async fn tasks(api: &Api, all: bool) -> Result<Vec<Named>, ClientError> {
    let query = TaskQuery { all, ..TaskQuery::default() };
    let tasks = api.tasks(&query).await?.into_iter();
    Ok(tasks.map(|task| (task.id.to_string(), Some(task.state.as_str().to_owned()))).collect())
}

/// Those that are under way, then those of the histories, newest first.
async fn deploys(api: &Api) -> Result<Vec<Named>, ClientError> {
    let open = api.status().await?.deploys;
    let mut all: Vec<Named> = open
        .into_iter()
        .map(|deploy| (deploy.id.to_string(), Some(format!("{}, {}", deploy.project, deploy.state.as_str()))))
        .collect();
    for project in api.projects().await? {
        let past = api.history(&project.name).await?.into_iter();
        all.extend(
            past.map(|past| {
                (past.id.to_string(), Some(format!("{}, {}", project.name, past.state.as_str())))
            }),
        );
    }
    Ok(all)
}

async fn secrets(api: &Api, current: &str) -> Result<Vec<Named>, ClientError> {
    let secrets = api.secrets().await?;
    let names: Vec<String> = secrets.iter().map(|secret| secret.secret.name.to_string()).collect();
    let short = |full: String, name: &String| {
        let same = names.iter().filter(|other| *other == name).count();
        if same == 1 && !current.contains('/') { name.clone() } else { full }
    };
    let shown = secrets.iter().zip(&names);
    Ok(shown.map(|(secret, name)| (short(secret.secret.to_string(), name), None)).collect())
}

async fn actors(api: &Api) -> Result<Vec<Named>, ClientError> {
    fn all(actor: Actor, into: &mut Vec<Named>) {
        into.push((actor.path, Some(actor.status.as_str().to_owned())));
        actor.children.into_iter().for_each(|child| all(child, into));
    }
    let (trees, mut paths) = (api.actors().await?, vec![]);
    std::iter::once(trees.daemon).chain(trees.plane).for_each(|root| all(root, &mut paths));
    Ok(paths)
}

fn contexts() -> Vec<Named> {
    let path = contexts::path(&|name| std::env::var(name).ok()).ok();
    let known = path.and_then(|path| Contexts::load(&path).ok()).unwrap_or_default();
    known.contexts.into_iter().map(|(name, context)| (name, Some(context.url))).collect()
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    use super::*;
    use crate::cli::Cli;

    fn arguments() -> Vec<(String, String)> {
        fn all(command: &Command, path: &str, into: &mut Vec<(String, String)>) {
            for argument in command.get_arguments() {
                into.push((path.to_owned(), argument.get_id().to_string()));
            }
            for sub in command.get_subcommands() {
                all(sub, format!("{path} {}", sub.get_name()).trim_start(), into);
            }
        }
        let mut found = vec![];
        all(&Cli::command(), "", &mut found);
        found
    }

    #[test]
    fn what_is_said_to_be_a_name_is_an_argument_and_every_name_is_said_to_be_one() {
        let arguments = arguments();
        for (index, (command, name, _)) in ARGUMENTS.iter().enumerate() {
            let first = |(path, argument): &&(String, String)| {
                argument == name
                    && ARGUMENTS.iter().position(|(of, known, _)| {
                        known == name && (*of == "*" || path == of || path.starts_with(&format!("{of} ")))
                    }) == Some(index)
            };
            assert!(arguments.iter().any(|found| first(&found)), "{command} has no argument {name}");
        }
        // What is called anew can't be completed; a config file's project needn't be there yet.
        const NEW: [(&str, &str); 10] = [
            ("daemon", "name"),
            ("dev", "name"),
            ("deploy", "project"),
            ("init", "name"),
            ("login", "name"),
            ("plan", "project"),
            ("registry login", "host"),
            ("run", "name"),
            ("run", "project"),
            ("token create", "name"),
        ];
        let words = ["name", "names", "project", "projects", "context", "token", "host", "task", "path"];
        for (command, argument) in &arguments {
            let new = NEW.contains(&(command.as_str(), argument.as_str()));
            if words.contains(&argument.as_str()) && !new {
                assert!(Names::of(command, argument).is_some(), "{command} {argument} isn't completed");
            }
        }
    }

    #[test]
    fn a_name_is_as_short_as_it_can_be() {
        let workload = |project: &str, name: &str| Workload {
            project: project.parse().unwrap(),
            name: name.parse().unwrap(),
        };
        let all = [workload("shop", "web"), workload("blog", "web"), workload("shop", "db")];
        assert_eq!(short(&all, &all[0], "we"), "shop/web");
        assert_eq!(short(&all, &all[2], ""), "db");
        assert_eq!(short(&all, &all[2], "shop/"), "shop/db");
    }

    #[test]
    fn who_does_not_answer_is_not_waited_for() {
        let begun = std::time::Instant::now();
        assert_eq!(in_time(std::future::pending::<Option<()>>()), None);
        assert!(begun.elapsed() >= DEADLINE);
    }
}
