//! Which secret a person means.

use std::path::Path;

use clap::Args;
use mill_api::names::closest;
use mill_api::secrets::Secret;
use mill_model::{ProjectName, SecretId};

use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::source::{self, FILE};

/// A secret by its name.
#[derive(Debug, Args)]
pub(super) struct WhichArgs {
    /// The secret: `db.password`, or `shop/db.password` of a project
    #[arg(value_name = "NAME")]
    name: SecretId,

    /// Of this project; by default that of the config file here, else the one that there is
    #[arg(short, long, value_name = "PROJECT", conflicts_with = "shared")]
    project: Option<ProjectName>,

    /// For every project
    #[arg(long)]
    shared: bool,
}

impl WhichArgs {
    /// One that exists.
    pub(super) fn known(&self, secrets: &[Secret]) -> Result<SecretId, CliError> {
        self.choose(secrets, here, false)
    }

    /// One that exists, or is about to.
    pub(super) fn to_set(&self, secrets: &[Secret]) -> Result<SecretId, CliError> {
        self.choose(secrets, here, true)
    }

    /// The project of `here` is asked for only where it wasn't said which one is meant.
    fn choose(
        &self,
        secrets: &[Secret],
        here: impl FnOnce() -> Result<Option<ProjectName>, CliError>,
        new: bool,
    ) -> Result<SecretId, CliError> {
        let name = &self.name.name;
        if let Some(said) = self.said()? {
            return match new || secrets.iter().any(|known| known.secret == said) {
                true => Ok(said),
                false => Err(none(&said.to_string(), secrets)),
            };
        }
        let mut known = secrets.iter().map(|known| &known.secret).filter(|known| known.name == *name);
        let of_here = here()?.map(|project| SecretId::of_project(project, name.clone()));
        if let Some(of_here) = of_here {
            let is_known = known.clone().any(|known| *known == of_here);
            if is_known || (new && known.clone().next().is_none()) {
                return Ok(of_here);
            }
        }
        match (known.next(), known.next()) {
            (Some(only), None) => Ok(only.clone()),
            (Some(first), Some(second)) => {
                let others = known.map(|known| format!(", `{known}`")).collect::<String>();
                Err(CliError::usage(format!("which `{name}`?"))
                    .because(format!("there is `{first}`, `{second}`{others}"))
                    .hint("say `PROJECT/NAME`, `--project PROJECT` or `--shared`"))
            }
            (None, _) if new => Err(CliError::usage(format!("whose is `{name}`?"))
                .because(format!("there is no secret of that name yet, and no {FILE} here says a project"))
                .hint("`--project PROJECT` keeps it for one, `--shared` gives it to all")),
            (None, _) => Err(none(name.as_str(), secrets)),
        }
    }

    /// What was said in full.
    fn said(&self) -> Result<Option<SecretId>, CliError> {
        let name = || self.name.name.clone();
        match (self.name.scope.project(), &self.project, self.shared) {
            (None, None, false) => Ok(None),
            (None, Some(project), _) => Ok(Some(SecretId::of_project(project.clone(), name()))),
            (None, None, true) => Ok(Some(SecretId::shared(name()))),
            (Some(_), None, false) => Ok(Some(self.name.clone())),
            (Some(own), Some(project), _) if own == project => Ok(Some(self.name.clone())),
            (Some(own), ..) => Err(CliError::usage(format!("`{}` is of project {own}", self.name))
                .because("the command line says something else too")
                .hint("say it once: `PROJECT/NAME`, `--project PROJECT` or `--shared`")),
        }
    }
}

/// The project of the config file in this directory.
fn here() -> Result<Option<ProjectName>, CliError> {
    source::project_of(Path::new(FILE))
}

fn none(typed: &str, secrets: &[Secret]) -> CliError {
    let names = secrets.iter().flat_map(|known| [known.secret.to_string(), known.secret.name.to_string()]);
    let hint = match closest(typed, names).as_slice() {
        [] => "`mill secret list` lists the secrets".to_owned(),
        similar => format!("did you mean `{}`?", similar.join("` or `")),
    };
    CliError::new(Exit::Refused, format!("there is no secret `{typed}`"))
        .because("none of that name was set, or it was deleted")
        .hint(hint)
}

#[cfg(test)]
mod tests {
    use mill_model::Timestamp;

    use super::*;

    fn secrets(names: &[&str]) -> Vec<Secret> {
        let secret = |name: &&str| Secret {
            secret: name.parse().unwrap(),
            version: 1,
            set_at: Timestamp(1),
            by: None,
            used_by: vec![],
        };
        names.iter().map(secret).collect()
    }

    fn which(typed: &str) -> WhichArgs {
        let (name, rest) = typed.split_once(' ').unwrap_or((typed, ""));
        let project = rest.strip_prefix("-p ").map(|project| project.parse().unwrap());
        WhichArgs { name: name.parse().unwrap(), project, shared: rest == "--shared" }
    }

    #[test]
    fn what_is_said_counts_then_the_file_here_then_what_there_is() {
        let shop: ProjectName = "shop".parse().unwrap();
        let here = Some(&shop);
        for (typed, known, here, new, meant) in [
            ("key -p blog", &["key"][..], here, true, "blog/key"),
            ("key --shared", &["shop/key"], here, true, "key"),
            ("blog/key", &[], here, true, "blog/key"),
            ("blog/key -p blog", &[], None, true, "blog/key"),
            ("key", &["shop/key", "key"], here, false, "shop/key"),
            ("key", &["blog/key", "key"], Some(&"blog".parse().unwrap()), false, "blog/key"),
            ("key", &["key"], here, true, "key"),
            ("key", &["blog/key"], None, false, "blog/key"),
            ("key", &["other"], here, true, "shop/key"),
        ] {
            let chosen = which(typed).choose(&secrets(known), || Ok(here.cloned()), new);
            assert_eq!(chosen.unwrap().to_string(), meant, "{typed} {known:?}");
        }
        for (typed, known, here, new, hint) in [
            ("key", &["shop/key", "key"][..], None::<&ProjectName>, false, "--shared"),
            ("key", &[], None, true, "--project PROJECT"),
            ("key", &["kex"], None, false, "did you mean `kex`?"),
            ("shop/key", &["key"], None, false, "mill secret list"),
            ("shop/key -p blog", &[], None, true, "say it once"),
            ("shop/key --shared", &[], None, true, "say it once"),
        ] {
            let error = which(typed).choose(&secrets(known), || Ok(here.cloned()), new).unwrap_err();
            assert!(error.hint.as_ref().unwrap().contains(hint), "{typed} {known:?}: {error:?}");
        }
    }

    #[test]
    fn a_file_that_can_not_be_read_is_in_nobodys_way_who_says_the_project() {
        let broken = || Err(CliError::usage("mill.kdl can't be read"));
        for typed in ["shop/key", "key -p shop", "key --shared"] {
            assert!(which(typed).choose(&[], broken, true).is_ok(), "{typed}");
        }
        assert!(which("key").choose(&[], broken, true).is_err());
    }
}
