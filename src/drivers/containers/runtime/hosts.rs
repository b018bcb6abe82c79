//! What a container finds in `/etc/hosts`: the node's names, and its own.
//!
//! # Why
//! A program that looks its own host name up (a JVM, Erlang) fails or waits for a name server where nobody knows it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::end::names_in;
use crate::containers::{ContainerError, ContainerName, Launch, StartError};

/// What the node knows, or every node would.
const NODES: &str = "/etc/hosts";
const LEAST: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";

/// One file for each container, beside what else of it doesn't survive a reboot.
#[derive(Debug)]
pub(super) struct Hosts {
    folder: PathBuf,
}

impl Hosts {
    pub(super) fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Writes the file of a container.
    pub(super) fn write(&self, launch: &Launch) -> Result<PathBuf, StartError> {
        let path = self.folder.join(launch.name.to_string());
        let known = fs::read_to_string(NODES).unwrap_or_else(|_| LEAST.to_owned());
        let text = with_name(&known, launch);
        let written = fs::create_dir_all(&self.folder).and_then(|()| fs::write(&path, text));
        let failed = |source| StartError::Hosts { path: path.clone(), source: Arc::new(source) };
        written.map_err(failed)?;
        Ok(path)
    }

    /// Containers that have one.
    pub(super) fn names(&self) -> Result<Vec<String>, ContainerError> {
        names_in(self.folder.clone())
    }

    /// Removes it again. One that isn't there is as good.
    pub(super) fn remove(&self, name: &ContainerName) -> Result<(), ContainerError> {
        let path = self.folder.join(name.to_string());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ContainerError::State { path, source: Arc::new(error) })
            }
            _ => Ok(()),
        }
    }
}

fn with_name(known: &str, launch: &Launch) -> String {
    let end = if known.is_empty() || known.ends_with('\n') { "" } else { "\n" };
    format!("{known}{end}{} {}\n", launch.address, launch.hostname)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_name_stands_behind_what_the_node_knows() {
        let launch = crate::containers::oci::tests::web();
        for (known, wanted) in [
            ("", "10.0.0.1 web-2222\n"),
            ("127.0.0.1 localhost\n", "127.0.0.1 localhost\n10.0.0.1 web-2222\n"),
            ("127.0.0.1 localhost", "127.0.0.1 localhost\n10.0.0.1 web-2222\n"),
        ] {
            assert_eq!(with_name(known, &launch), wanted);
        }
    }

    #[test]
    fn a_file_goes_with_its_container() {
        let directory = tempfile::tempdir().unwrap();
        let hosts = Hosts::at(directory.path().join("hosts"));
        assert_eq!(hosts.names().unwrap(), [""; 0]);
        let launch = crate::containers::oci::tests::web();
        let path = hosts.write(&launch).unwrap();
        assert!(fs::read_to_string(path).unwrap().ends_with("\n10.0.0.1 web-2222\n"));
        assert_eq!(hosts.names().unwrap(), [launch.name.to_string()]);
        for _ in 0..2 {
            hosts.remove(&launch.name).unwrap();
        }
        assert_eq!(hosts.names().unwrap(), [""; 0]);
    }
}
