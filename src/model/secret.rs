//! Secrets: how they are called, who may use them, and which version of one a container runs with.
//!
//! Their values are none of this module's business: sealed they are bytes of the state, opened they are
//! [`Hidden`](crate::hidden::Hidden).

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits;
use crate::names::ProjectName;

/// Why a text names no secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SecretNameError {
    /// Nothing was given.
    #[error("a secret's name can't be empty")]
    Empty,
    /// Longer than `limits::SECRET_NAME_LENGTH_MAX`.
    #[error("a secret's name has at most {} characters, this has {length}", limits::SECRET_NAME_LENGTH_MAX)]
    TooLong {
        /// Characters given.
        length: usize,
    },
    /// A character that a reference can't carry.
    #[error("a secret's name has only letters, digits, `.`, `_` and `-`, not `{character}`")]
    Character {
        /// The first offender.
        character: char,
    },
    /// Begins like an option or a hidden file.
    #[error("a secret's name begins with a letter, a digit or `_`")]
    Border,
    /// What stands before the `/` is no project.
    #[error("`{project}` is no project's name")]
    Project {
        /// That.
        project: String,
    },
}

/// What a secret is called in a config: `db.password`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

impl SecretName {
    /// Takes a text that can name a secret.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn new(text: impl Into<String>) -> Result<Self, SecretNameError> {
        let text = text.into();
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.is_empty() {
            return Err(SecretNameError::Empty);
        }
        if let Some(character) = text.chars().find(|c| !allowed(*c)) {
            return Err(SecretNameError::Character { character });
        }
        if text.len() > limits::SECRET_NAME_LENGTH_MAX {
            return Err(SecretNameError::TooLong { length: text.len() });
        }
        match text.starts_with(['.', '-']) {
            true => Err(SecretNameError::Border),
            false => Ok(Self(text)),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for SecretName {
    type Err = SecretNameError;
    fn from_str(text: &str) -> Result<Self, SecretNameError> {
        Self::new(text)
    }
}

impl TryFrom<String> for SecretName {
    type Error = SecretNameError;
    fn try_from(text: String) -> Result<Self, SecretNameError> {
        Self::new(text)
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.0
    }
}

/// Who may use a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Every project.
    Shared,
    /// One project alone. Its secret goes before a shared one of the same name.
    Project(ProjectName),
}

impl Scope {
    /// Whether a project's services may use what has this scope.
    pub fn is_open_to(&self, project: &ProjectName) -> bool {
        match self {
            Self::Shared => true,
            Self::Project(owner) => owner == project,
        }
    }

    /// The project whose alone it is.
    pub const fn project(&self) -> Option<&ProjectName> {
        match self {
            Self::Shared => None,
            Self::Project(project) => Some(project),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared => f.pad("shared"),
            Self::Project(project) => f.pad(project.as_str()),
        }
    }
}

/// One secret of the cluster: `shop/db.password`, or a shared one, `db.password`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretId {
    /// Who may use it.
    pub scope: Scope,
    /// What it is called there.
    pub name: SecretName,
}

impl SecretId {
    /// A secret that every project may use.
    pub const fn shared(name: SecretName) -> Self {
        Self { scope: Scope::Shared, name }
    }

    /// A secret of one project.
    pub const fn of_project(project: ProjectName, name: SecretName) -> Self {
        Self { scope: Scope::Project(project), name }
    }
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scope {
            Scope::Shared => f.pad(self.name.as_str()),
            Scope::Project(project) => f.pad(&format!("{project}/{}", self.name)),
        }
    }
}

impl FromStr for SecretId {
    type Err = SecretNameError;
    fn from_str(text: &str) -> Result<Self, SecretNameError> {
        let Some((project, name)) = text.split_once('/') else { return Ok(Self::shared(text.parse()?)) };
        let wrong = |_| SecretNameError::Project { project: project.to_owned() };
        Ok(Self::of_project(project.parse().map_err(wrong)?, name.parse()?))
    }
}

impl TryFrom<String> for SecretId {
    type Error = SecretNameError;
    fn try_from(text: String) -> Result<Self, SecretNameError> {
        text.parse()
    }
}

impl From<SecretId> for String {
    fn from(id: SecretId) -> Self {
        id.to_string()
    }
}

/// The version of a secret that a container runs with, whatever is set later.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Pin {
    /// Which secret.
    pub secret: SecretId,
    /// Which of its versions; the first is 1.
    pub version: u32,
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{}", self.secret, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_reference_can_carry() {
        for good in ["a", "db.password", "_x", "A-b_c.7", &"x".repeat(limits::SECRET_NAME_LENGTH_MAX)] {
            assert_eq!(SecretName::new(good).map(String::from), Ok(good.to_owned()));
        }
        for (bad, why) in [
            ("", SecretNameError::Empty),
            ("a b", SecretNameError::Character { character: ' ' }),
            ("a/b", SecretNameError::Character { character: '/' }),
            ("${x}", SecretNameError::Character { character: '$' }),
            ("../x", SecretNameError::Character { character: '/' }),
            ("-a", SecretNameError::Border),
            (".a", SecretNameError::Border),
            (&"x".repeat(129), SecretNameError::TooLong { length: 129 }),
        ] {
            assert_eq!(SecretName::new(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn an_id_reads_back_what_it_prints() {
        for text in ["db.password", "shop/db.password"] {
            assert_eq!(text.parse::<SecretId>().unwrap().to_string(), text);
        }
        for bad in ["", "/x", "Shop/x", "shop/", "shop/a/b"] {
            assert!(bad.parse::<SecretId>().is_err(), "{bad}");
        }
        assert_eq!(
            "shop/x".parse::<SecretId>().unwrap().scope.project().map(ProjectName::as_str),
            Some("shop")
        );
    }

    #[test]
    fn a_project_sees_its_own_secrets_and_shared_ones() {
        let (shop, blog): (ProjectName, ProjectName) = ("shop".parse().unwrap(), "blog".parse().unwrap());
        assert!(Scope::Shared.is_open_to(&shop) && Scope::Project(shop.clone()).is_open_to(&shop));
        assert!(!Scope::Project(shop).is_open_to(&blog));
    }
}
