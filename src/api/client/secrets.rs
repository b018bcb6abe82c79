//! Calls about secrets.

use http::Method;
use mill_model::{Hidden, Scope, SecretId};

use super::{Api, ClientError, Nothing};
use crate::paths::{self, fill, with_query};
use crate::secrets::{Rolled, Secret, SecretHistory, SecretSet, SetRequest, Value, ValueQuery};

/// The same route for a shared secret and for a project's.
#[derive(Clone, Copy)]
struct Routes {
    shared: &'static str,
    of_project: &'static str,
}

const ITSELF: Routes = Routes { shared: paths::SHARED_SECRET, of_project: paths::SECRET };
const VALUE: Routes = Routes { shared: paths::SHARED_SECRET_VALUE, of_project: paths::SECRET_VALUE };
const ROLL: Routes = Routes { shared: paths::SHARED_SECRET_ROLL, of_project: paths::SECRET_ROLL };

impl Routes {
    fn of(self, secret: &SecretId) -> String {
        match &secret.scope {
            Scope::Shared => fill(self.shared, &[secret.name.as_str()]),
            Scope::Project(project) => fill(self.of_project, &[project.as_str(), secret.name.as_str()]),
        }
    }
}

impl Api {
    /// The secrets, without their values.
    ///
    /// # Errors
    /// As every call.
    pub async fn secrets(&self) -> Result<Vec<Secret>, ClientError> {
        self.get(paths::SECRETS).await
    }

    /// A secret's versions, without their values.
    ///
    /// # Errors
    /// As every call.
    pub async fn secret_history(&self, secret: &SecretId) -> Result<SecretHistory, ClientError> {
        self.get(&ITSELF.of(secret)).await
    }

    /// Gives a secret a new version, its first too.
    ///
    /// # Errors
    /// As every call.
    pub async fn set_secret(
        &self,
        secret: &SecretId,
        value: Hidden<Vec<u8>>,
    ) -> Result<SecretSet, ClientError> {
        let request = SetRequest { value: Value::new(value) };
        self.write(Method::PUT, &ITSELF.of(secret), &request).await
    }

    /// The value of a secret, by default the newest.
    ///
    /// # Errors
    /// As every call.
    pub async fn secret_value(&self, secret: &SecretId, version: Option<u32>) -> Result<Value, ClientError> {
        self.get(&with_query(&VALUE.of(secret), &ValueQuery { version })).await
    }

    /// Deletes a secret that nothing uses.
    ///
    /// # Errors
    /// As every call.
    pub async fn delete_secret(&self, secret: &SecretId) -> Result<Secret, ClientError> {
        self.write(Method::DELETE, &ITSELF.of(secret), &Nothing {}).await
    }

    /// Begins to bring everything that uses a secret to its newest version.
    ///
    /// # Errors
    /// As every call.
    pub async fn roll_secret(&self, secret: &SecretId) -> Result<Rolled, ClientError> {
        self.write(Method::POST, &ROLL.of(secret), &Nothing {}).await
    }
}
