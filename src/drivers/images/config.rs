//! What an image says about how it is run.

use mill_model::Digest;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// What an image says about how it is run (its config blob, as OCI and Docker write it).
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// Its program, or what comes before the command.
    pub entrypoint: Option<Vec<String>>,
    /// Arguments of the entrypoint, or the program.
    pub cmd: Option<Vec<String>>,
    /// `NAME=value`
    pub env: Option<Vec<String>>,
    /// `user`, `user:group`, by name or number; empty: root.
    pub user: Option<String>,
    /// Where it starts; empty: `/`.
    pub working_dir: Option<String>,
    /// What asks it to stop.
    pub stop_signal: Option<String>,
}

/// The whole blob.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct ConfigBlob {
    #[serde(default)]
    pub(crate) config: Option<ImageConfig>,
    pub(crate) rootfs: RootFs,
}

/// The layers, unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct RootFs {
    #[serde(default)]
    pub(crate) diff_ids: Vec<Digest>,
}

/// Names of the snapshots of each layer with all below it: the first is the diff id itself, the next ones hash the
/// name below and the diff id (OCI image specification, "Layer ChainID"). containerd calls them the same.
pub(super) fn chain_ids(diff_ids: &[Digest]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff in diff_ids {
        let next = match chain.last() {
            None => diff.to_string(),
            Some(below) => sha256(format!("{below} {diff}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}

/// The digest of some bytes, as text.
pub(super) fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids_hash_the_chain_below_with_the_next_layer() {
        let diff = |n: u8| -> Digest { format!("sha256:{}", format!("{n:02x}").repeat(32)).parse().unwrap() };
        let chain = chain_ids(&[diff(1), diff(2), diff(3)]);
        assert_eq!(chain[0], diff(1).to_string());
        assert_eq!(chain[1], sha256(format!("{} {}", diff(1), diff(2)).as_bytes()));
        assert_eq!(chain[2], sha256(format!("{} {}", chain[1], diff(3)).as_bytes()));
        assert_eq!(sha256(b""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert!(chain_ids(&[]).is_empty());
    }

    #[test]
    fn a_config_of_nulls_is_a_config() {
        let text = r#"{"config":{"Entrypoint":null,"Cmd":["sh"],"Env":null,"ExposedPorts":{}},"rootfs":{"diff_ids":null}}"#;
        assert!(serde_json::from_str::<ConfigBlob>(text).is_err(), "diff ids must be a list");
        let text = r#"{"config":{"Entrypoint":null,"Cmd":["sh"],"User":""},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        let blob: ConfigBlob = serde_json::from_str(text).unwrap();
        assert_eq!(blob.config.unwrap().cmd.unwrap(), ["sh"]);
        let scratch: ConfigBlob = serde_json::from_str(r#"{"rootfs":{}}"#).unwrap();
        assert_eq!(scratch.config, None);
    }
}
