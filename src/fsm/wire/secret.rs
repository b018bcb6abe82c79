//! Secrets, sealed.

use std::sync::Arc;

use mill_model::SecretId;
use mill_protos::v1 as pb;

use super::read::{Malformed, each, text, time};
use crate::secret::{Secret, SecretVersion};

pub(super) fn to_message((id, secret): (&SecretId, &Arc<Secret>)) -> pb::Secret {
    let version = |(number, version): (&u32, &SecretVersion)| pb::SecretVersion {
        number: *number,
        sealed: version.sealed.to_vec(),
        at_ms: version.at.0,
        by: version.by.clone(),
    };
    pb::Secret {
        id: id.to_string(),
        latest: secret.latest,
        versions: secret.versions.iter().map(version).collect(),
    }
}

pub(super) fn read(message: pb::Secret) -> Result<(SecretId, Arc<Secret>), Malformed> {
    let version = |version: pb::SecretVersion| {
        let kept = SecretVersion { sealed: version.sealed.into(), at: time(version.at_ms), by: version.by };
        Ok((version.number, kept))
    };
    let versions = each(message.versions, version)?.into_iter().collect();
    Ok((text(&message.id, "secret")?, Arc::new(Secret { latest: message.latest, versions })))
}
