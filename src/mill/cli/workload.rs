//! Which service, project or deploy a person means.

use std::path::Path;

use mill_api::Api;
use mill_api::names::{Known, NameError, Target};
use mill_api::projects::Project;
use mill_model::{ProjectName, Workload};

use super::error::CliError;
use super::exit::Exit;
use super::source::{self, FILE, FileArgs};

/// The service or task called `name`.
pub(crate) async fn find(api: &Api, name: &str) -> Result<Workload, CliError> {
    let services = api.services().await?;
    let workloads = services.into_iter().map(|service| service.workload).collect();
    Known { workloads, ..Known::default() }.workload(name).map_err(CliError::from)
}

/// The project called `name`; without a name that of the config file here, else the only one.
pub(crate) async fn project(api: &Api, name: Option<&str>) -> Result<Project, CliError> {
    let projects = api.projects().await?;
    let here = match name {
        Some(_) => None,
        None => source::project_of(Path::new(FILE))?,
    };
    choose(projects, name, here.as_ref())
}

/// The project of a config file that was named, or is here; else the only one.
pub(crate) async fn project_of(api: &Api, file: &FileArgs) -> Result<Project, CliError> {
    let here = file.whose()?;
    choose(api.projects().await?, None, here.as_ref())
}

fn choose(
    projects: Vec<Project>,
    name: Option<&str>,
    here: Option<&ProjectName>,
) -> Result<Project, CliError> {
    let names: Vec<ProjectName> = projects.iter().map(|project| project.name.clone()).collect();
    let wanted = match (name, here) {
        (Some(name), _) => match (Known { projects: names.clone(), ..Known::default() }).resolve(name)? {
            Target::Project(name) => Some(name),
            _ => None,
        },
        (None, Some(here)) => Some(here.clone()),
        (None, None) => only(&projects),
    };
    let listed = match names.as_slice() {
        [] => "there is none yet: `mill deploy -f FILE` makes one".to_owned(),
        _ => format!("there are: {}", names.iter().map(ProjectName::as_str).collect::<Vec<_>>().join(", ")),
    };
    let Some(wanted) = wanted else {
        return Err(CliError::usage("which project?")
            .because(format!("none was named, there is no {FILE} here, and the cluster has not exactly one"))
            .hint(listed));
    };
    projects.into_iter().find(|project| project.name == wanted).ok_or_else(|| {
        CliError::new(Exit::Refused, format!("the cluster has no project `{wanted}`"))
            .because("it was never deployed there, or it was undeployed")
            .hint(listed)
    })
}

/// The only project that has anything, else the only one: one that was undeployed is known for a day.
fn only(projects: &[Project]) -> Option<ProjectName> {
    let something = |project: &&Project| project.services + project.tasks > 0 || project.deploying.is_some();
    let mut living = projects.iter().filter(something);
    let mut all = projects.iter();
    let (one, other) = match (living.next(), living.next()) {
        (None, None) => (all.next(), all.next()),
        found => found,
    };
    one.filter(|_| other.is_none()).map(|project| project.name.clone())
}

impl From<NameError> for CliError {
    fn from(error: NameError) -> Self {
        let mut cli = Self::new(Exit::Refused, error.to_string()).hint(error.hint());
        if let Some(reason) = error.reason() {
            cli = cli.because(reason);
        }
        cli
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn projects(names: &[&str]) -> Vec<Project> {
        let project = |name: &&str| Project {
            name: name.parse().unwrap(),
            services: 1,
            tasks: 0,
            current: None,
            deployed_at: None,
            deploying: None,
        };
        names.iter().map(project).collect()
    }

    #[test]
    fn the_project_is_the_one_named_else_the_one_here_else_the_only_one() {
        let here: ProjectName = "shop".parse().unwrap();
        for (names, name, here, chosen) in [
            (&["shop", "blog"][..], Some("blog"), Some(&here), "blog"),
            (&["shop", "blog"], Some("bl"), None, "blog"),
            (&["shop", "blog"], None, Some(&here), "shop"),
            (&["blog"], None, None, "blog"),
        ] {
            assert_eq!(choose(projects(names), name, here).unwrap().name.as_str(), chosen);
        }
        let mut gone = projects(&["blog", "shop"]);
        gone[0].services = 0;
        assert_eq!(
            choose(gone.clone(), None, None).unwrap().name.as_str(),
            "shop",
            "the other was undeployed"
        );
        gone.pop();
        assert_eq!(choose(gone, None, None).unwrap().name.as_str(), "blog", "there is none else");
        for (names, name, here, hint) in [
            (&["shop", "blog"][..], None, None, "there are: shop, blog"),
            (&["blog"], None, Some(&here), "there are: blog"),
            (&["blog"], Some("blgo"), None, "did you mean `blog`?"),
            (&[], None, None, "there is none yet"),
        ] {
            let error = choose(projects(names), name, here).unwrap_err();
            assert!(error.hint.as_ref().unwrap().contains(hint), "{error:?}");
        }
    }
}
