//! Secrets.

use mill_api::secrets::{Secret, SecretHistory, SecretUse, Version};
use mill_model::DeployId;

use super::{ago, workload};

/// One that is behind, one in use, one that nothing uses.
pub(crate) fn secrets() -> Vec<Secret> {
    let secret = |name: &str, version, seconds, used_by: &[(&str, Option<u32>)]| Secret {
        secret: name.parse().unwrap(),
        version,
        set_at: ago(seconds),
        by: Some("init".into()),
        used_by: used_by
            .iter()
            .map(|(name, version)| SecretUse { workload: workload("shop", name), version: *version })
            .collect(),
    };
    vec![
        secret("shop/db.password", 3, 90, &[("db", Some(3)), ("web", Some(2)), ("worker", None)]),
        secret("tls.key", 1, 7200, &[("web", Some(1))]),
        secret("smtp.token", 1, 86_400, &[]),
    ]
}

pub(crate) fn secret_history() -> SecretHistory {
    let version = |version, seconds, used_by: &[&str], deploys: &[u64]| Version {
        version,
        set_at: ago(seconds),
        by: Some("init".into()),
        used_by: used_by.iter().map(|name| workload("shop", name)).collect(),
        deploys: deploys.iter().map(|id| DeployId(*id)).collect(),
    };
    let versions = vec![
        version(3, 90, &["db"], &[14]),
        version(2, 7200, &["web"], &[12, 13]),
        version(1, 86_400, &[], &[]),
    ];
    SecretHistory { secret: secrets().remove(0), versions }
}
