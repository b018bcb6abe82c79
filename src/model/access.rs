//! Who may do what: roles, and the projects that they reach.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::ProjectName;

/// What a token may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Sees everything but secrets and who may do what; changes nothing.
    Viewer,
    /// Sees and changes projects: all, or some and then nothing of others.
    Deployer(Projects),
    /// Everything.
    Admin,
}

/// Which projects a deployer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projects {
    /// All, also those that don't exist yet.
    All,
    /// These, whether they exist or not. Never empty where it was checked.
    Only(BTreeSet<ProjectName>),
}

/// A role without its projects: the word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoleName {
    /// [`Role::Viewer`]
    Viewer,
    /// [`Role::Deployer`]
    Deployer,
    /// [`Role::Admin`]
    Admin,
}

impl RoleName {
    /// All, from the one that may least to the one that may most.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Deployer, Self::Admin];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Deployer => "deployer",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Role {
    /// The word for it.
    pub const fn name(&self) -> RoleName {
        match self {
            Self::Viewer => RoleName::Viewer,
            Self::Deployer(_) => RoleName::Deployer,
            Self::Admin => RoleName::Admin,
        }
    }

    /// Whether it sees anything of `project`.
    pub fn sees(&self, project: &ProjectName) -> bool {
        self.only().is_none_or(|only| only.contains(project))
    }

    /// Whether it changes `project`.
    pub fn deploys(&self, project: &ProjectName) -> bool {
        match self {
            Self::Viewer => false,
            Self::Deployer(_) | Self::Admin => self.sees(project),
        }
    }

    /// The projects that it is held to; `None`: it isn't held to any.
    pub const fn only(&self) -> Option<&BTreeSet<ProjectName>> {
        match self {
            Self::Deployer(Projects::Only(only)) => Some(only),
            Self::Viewer | Self::Deployer(Projects::All) | Self::Admin => None,
        }
    }
}

impl fmt::Display for Role {
    /// `deployer of shop, blog`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())?;
        for (index, project) in self.only().into_iter().flatten().enumerate() {
            write!(f, "{}{project}", if index == 0 { " of " } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployer_of_some_projects_has_nothing_to_do_with_others() {
        let (shop, blog): (ProjectName, ProjectName) = ("shop".parse().unwrap(), "blog".parse().unwrap());
        let some = Role::Deployer(Projects::Only([shop.clone()].into()));
        for (role, sees_shop, changes_shop, sees_blog, changes_blog) in [
            (Role::Viewer, true, false, true, false),
            (some.clone(), true, true, false, false),
            (Role::Deployer(Projects::All), true, true, true, true),
            (Role::Admin, true, true, true, true),
        ] {
            assert_eq!((role.sees(&shop), role.deploys(&shop)), (sees_shop, changes_shop), "{role}");
            assert_eq!((role.sees(&blog), role.deploys(&blog)), (sees_blog, changes_blog), "{role}");
        }
        assert_eq!(some.to_string(), "deployer of shop");
        assert_eq!(Role::Admin.to_string(), "admin");
        let none = Role::Deployer(Projects::Only(BTreeSet::new()));
        assert!(!none.sees(&shop), "no project isn't every project");
    }
}
