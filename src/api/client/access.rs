//! Who may do what, and who did what.

use http::Method;
use mill_model::RegistryHost;

use super::{Api, ClientError, Follow, Nothing};
use crate::audit::AuditRecord;
use crate::certs::{Certificate, RotateCa, RotatedCa};
use crate::events::EventQuery;
use crate::paths::{self, fill, with_query};
use crate::registries::{RegistryInfo, SetRegistry};
use crate::tokens::{CreateToken, CreatedToken, TokenInfo};

impl Api {
    /// The cluster's tokens, without what proves them.
    ///
    /// # Errors
    /// As every call.
    pub async fn tokens(&self) -> Result<Vec<TokenInfo>, ClientError> {
        self.get(paths::TOKENS).await
    }

    /// Makes a token.
    ///
    /// # Errors
    /// As every call.
    pub async fn create_token(&self, request: &CreateToken) -> Result<CreatedToken, ClientError> {
        self.write(Method::POST, paths::TOKENS, request).await
    }

    /// Revokes a token, by its name or number.
    ///
    /// # Errors
    /// As every call.
    pub async fn revoke_token(&self, token: &str) -> Result<TokenInfo, ClientError> {
        self.write(Method::DELETE, &fill(paths::TOKEN, &[token]), &Nothing {}).await
    }

    /// The certificates that the node that answers shows.
    ///
    /// # Errors
    /// As every call.
    pub async fn certificates(&self) -> Result<Vec<Certificate>, ClientError> {
        self.get(paths::CERTS).await
    }

    /// Gives the cluster another CA. Tokens that were made before open as long as the CA before is trusted.
    ///
    /// # Errors
    /// As every call.
    pub async fn rotate_ca(&self, request: &RotateCa) -> Result<RotatedCa, ClientError> {
        self.write(Method::POST, paths::ROTATE_CA, request).await
    }

    /// The registries that the cluster has credentials for.
    ///
    /// # Errors
    /// As every call.
    pub async fn registries(&self) -> Result<Vec<RegistryInfo>, ClientError> {
        self.get(paths::REGISTRIES).await
    }

    /// Gives the cluster credentials for a registry.
    ///
    /// # Errors
    /// As every call.
    pub async fn set_registry(&self, request: &SetRegistry) -> Result<RegistryInfo, ClientError> {
        self.write(Method::POST, paths::REGISTRIES, request).await
    }

    /// Has the cluster forget its credentials for a registry.
    ///
    /// # Errors
    /// As every call.
    pub async fn delete_registry(&self, host: &RegistryHost) -> Result<(), ClientError> {
        let path = fill(paths::REGISTRY, &[host.as_str()]);
        let Nothing {} = self.write(Method::DELETE, &path, &Nothing {}).await?;
        Ok(())
    }

    /// What was done on somebody's word, after record `since_id`.
    ///
    /// # Errors
    /// As every call.
    pub async fn audit(&self, since_id: Option<u64>) -> Result<Vec<AuditRecord>, ClientError> {
        self.get(&with_query(paths::AUDIT, &EventQuery { follow: false, since_id })).await
    }

    /// What is done on somebody's word, from after record `since_id` on.
    ///
    /// # Errors
    /// As every call.
    pub async fn follow_audit(&self, since_id: Option<u64>) -> Result<Follow<AuditRecord>, ClientError> {
        self.follow(with_query(paths::AUDIT, &EventQuery { follow: true, since_id })).await
    }
}
