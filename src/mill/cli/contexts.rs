//! The CLI's memory of clusters: `~/.config/mill/contexts.json`, readable by its owner only.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use mill_api::Token;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::error::CliError;
use super::exit::Exit;

/// The clusters that were logged in to.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contexts {
    /// Which is used unless another is asked for.
    #[serde(default)]
    pub(crate) current: Option<String>,
    /// By name.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Context {
    /// `https://10.0.0.1:4400`
    pub(crate) url: String,
    /// Also says which CA to trust.
    pub(crate) token: Token,
}

/// Why the memory can't be used.
#[derive(Debug, Error)]
pub(crate) enum ContextsError {
    /// Neither `XDG_CONFIG_HOME` nor `HOME` is set.
    #[error("neither XDG_CONFIG_HOME nor HOME says where contexts are kept")]
    Homeless,
    /// It can't be read.
    #[error("{} can't be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// Others can read it.
    #[error("{} holds tokens, and others than its owner may read it", path.display())]
    Open { path: PathBuf },
    /// It isn't what Mill wrote.
    #[error("{} isn't what Mill wrote there", path.display())]
    Garbled { path: PathBuf, source: serde_json::Error },
    /// It can't be written.
    #[error("{} can't be written", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl From<ContextsError> for CliError {
    fn from(error: ContextsError) -> Self {
        let hint = match &error {
            ContextsError::Homeless => "set HOME, or MILL_ADDR and MILL_TOKEN".to_owned(),
            ContextsError::Open { path } => format!("`chmod 600 {}`", path.display()),
            ContextsError::Garbled { path, .. } => {
                format!(
                    "put it right, or remove it: `rm {}` forgets the clusters, not their tokens",
                    path.display()
                )
            }
            ContextsError::Read { .. } | ContextsError::Write { .. } => {
                "whose is it, and is the disk full?".to_owned()
            }
        };
        Self::new(Exit::Usage, "the contexts can't be used").source(&error).hint(hint)
    }
}

/// Where the file is.
pub(crate) fn path(env: &dyn Fn(&str) -> Option<String>) -> Result<PathBuf, ContextsError> {
    let set = |name| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
    Ok(config.ok_or(ContextsError::Homeless)?.join("mill").join("contexts.json"))
}

impl Contexts {
    /// What is there; nothing if nothing is.
    pub(crate) fn load(path: &Path) -> Result<Self, ContextsError> {
        let read = |source| ContextsError::Read { path: path.to_owned(), source };
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(read(error)),
        };
        if fs::metadata(path).map_err(read)?.mode() & 0o077 != 0 {
            return Err(ContextsError::Open { path: path.to_owned() });
        }
        serde_json::from_slice(&text)
            .map_err(|source| ContextsError::Garbled { path: path.to_owned(), source })
    }

    /// Writes it whole or not at all.
    pub(crate) fn save(&self, path: &Path) -> Result<(), ContextsError> {
        let write = |source| ContextsError::Write { path: path.to_owned(), source };
        let text = serde_json::to_vec_pretty(self).map_err(|wrong| write(wrong.into()))?;
        let directory = path.parent().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(write)?;
        let draft = path.with_extension("json.new");
        // A draft that a killed command left may have another mode; a new file has the one that is asked for.
        drop(fs::remove_file(&draft));
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(write)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(write)?;
        fs::rename(&draft, path).map_err(write)
    }

    /// Adds a cluster and makes it the current one. A name that is taken by another cluster gets a number.
    pub(crate) fn add(&mut self, name: &str, context: Context) -> String {
        let free = |name: &str| self.contexts.get(name).is_none_or(|old| old.url == context.url);
        let name = std::iter::once(name.to_owned())
            .chain((2..=u32::MAX).map(|number| format!("{name}-{number}")))
            .find(|name| free(name))
            .unwrap_or_else(|| name.to_owned());
        self.contexts.insert(name.clone(), context);
        self.current = Some(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use mill_api::token::TokenKind;
    use mill_api::trust::Fingerprint;

    use super::*;

    fn context(url: &str) -> Context {
        Context { url: url.into(), token: Token::new(TokenKind::Api, [7; 20], Fingerprint::of(b"ca")) }
    }

    #[test]
    fn what_is_saved_is_loaded_and_is_nobody_elses_to_read() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b/contexts.json");
        assert_eq!(Contexts::load(&path).unwrap(), Contexts::default());
        let mut contexts = Contexts::default();
        assert_eq!(contexts.add("node-1", context("https://10.0.0.1:4400")), "node-1");
        assert_eq!(contexts.add("node-1", context("https://10.0.0.9:4400")), "node-1-2");
        assert_eq!(contexts.add("node-1", context("https://10.0.0.1:4400")), "node-1");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path.with_extension("json.new"), "left by a killed command").unwrap();
        contexts.save(&path).unwrap();
        contexts.save(&path).unwrap();
        assert_eq!(Contexts::load(&path).unwrap(), contexts);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);

        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert!(matches!(Contexts::load(&path), Err(ContextsError::Open { .. })));
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(&path, "{").unwrap();
        let error = CliError::from(Contexts::load(&path).unwrap_err());
        assert!(error.hint.unwrap().contains("rm "));
    }

    #[test]
    fn it_is_where_configuration_belongs() {
        for (env, expected) in [
            (vec![("HOME", "/root")], "/root/.config/mill/contexts.json"),
            (vec![("HOME", "/root"), ("XDG_CONFIG_HOME", "/x")], "/x/mill/contexts.json"),
            (vec![("HOME", "/root"), ("XDG_CONFIG_HOME", "")], "/root/.config/mill/contexts.json"),
        ] {
            let get =
                |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(path(&get).unwrap(), Path::new(expected));
        }
        assert!(matches!(path(&|_| None), Err(ContextsError::Homeless)));
    }
}
