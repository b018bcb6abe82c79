//! A registry on the loopback, Debian's `docker-registry`.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Context as _, Failed, Look, until};

/// How long it may take to listen.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// A running registry; ends with its value.
pub struct Registry {
    child: Child,
    address: SocketAddr,
}

impl Registry {
    /// Starts one over `storage`. Its config and log go to `folder`.
    ///
    /// # Errors
    /// It isn't installed, or doesn't come up.
    pub fn start(folder: &Path, storage: &Path, address: SocketAddr) -> Result<Self, Failed> {
        Self::with(folder, storage, address, "")
    }

    /// Starts one that lets in only whom a password file knows.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn locked(
        folder: &Path,
        storage: &Path,
        address: SocketAddr,
        htpasswd: &str,
    ) -> Result<Self, Failed> {
        let path = folder.join("htpasswd");
        fs::write(&path, htpasswd).or_fail("a password file")?;
        let auth = format!("auth: {{htpasswd: {{realm: mill, path: \"{}\"}}}}\n", path.display());
        Self::with(folder, storage, address, &auth)
    }

    fn with(folder: &Path, storage: &Path, address: SocketAddr, more: &str) -> Result<Self, Failed> {
        fs::create_dir_all(storage).or_fail("the registry's storage")?;
        let config = folder.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: \"{}\"}}}}\nhttp: {{addr: \"{address}\"}}\n{more}",
            storage.display()
        );
        fs::write(&config, text).or_fail("the registry's config")?;
        let log = fs::File::create(folder.join("registry.log")).or_fail("the registry's log")?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().or_fail("the registry's log")?)
            .stderr(log)
            .spawn()
            .or_fail("can't run docker-registry (`cargo xtask install`)")?;
        let registry = Self { child, address };
        until("the registry listens", READY_WITHIN, || {
            let connected = TcpStream::connect_timeout(&address, READY_WITHIN);
            Ok(Look::at(connected.is_ok(), connected))
        })?;
        Ok(registry)
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
