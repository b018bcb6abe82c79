//! Listeners made up by a test.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mill_model::ports::Protocol;

use super::{Listener, Process, Sockets, SocketsError, Wanted};
use crate::containers::ContainerName;

/// A machine's sockets in memory, shared by its clones.
#[derive(Debug, Default, Clone)]
pub struct FakeSockets {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    listeners: Vec<Listener>,
    broken: bool,
}

impl FakeSockets {
    /// Someone listens.
    pub fn listen(&self, listener: Listener) {
        self.lock().listeners.push(listener);
    }

    /// A container listens on all addresses, with TCP.
    pub fn container_listens(&self, name: &ContainerName, port: u16) {
        let process = Process { pid: 4242, name: "app".to_owned(), container: Some(name.clone()) };
        let address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        self.listen(Listener { port, protocol: Protocol::Tcp, address, process: Some(process) });
    }

    /// Nobody listens on `port` any more.
    pub fn close(&self, port: u16) {
        self.lock().listeners.retain(|listener| listener.port != port);
    }

    /// Can't be read from now on, or can again.
    pub fn be_broken(&self, broken: bool) {
        self.lock().broken = broken;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sockets for FakeSockets {
    async fn listeners(&self, ports: &Wanted) -> Result<Vec<Listener>, SocketsError> {
        let state = self.lock();
        if state.broken {
            let source = std::io::ErrorKind::PermissionDenied.into();
            return Err(SocketsError::Read { path: "/proc/net/tcp".to_owned(), source });
        }
        Ok(state.listeners.iter().filter(|listener| ports.has(listener.port)).cloned().collect())
    }

    async fn taken(&self, ports: &Wanted) -> Result<BTreeSet<u16>, SocketsError> {
        Ok(self.listeners(ports).await?.iter().map(|listener| listener.port).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_knows_who_listens_until_told_otherwise() {
        let name = |text: &str| text.parse::<ContainerName>().unwrap();
        let sockets = FakeSockets::default();
        sockets.container_listens(&name("web-7k2f.2"), 80);
        let wanted = Wanted::Range(1, 100);
        let found = sockets.listeners(&wanted).await.unwrap();
        assert!(found[0].is_of(&name("web-7k2f.2")) && !found[0].is_of(&name("web-7k2f.1")));
        assert_eq!(found[0].to_string(), "web-7k2f");
        sockets.be_broken(true);
        assert!(sockets.taken(&wanted).await.is_err());
        sockets.be_broken(false);
        sockets.close(80);
        assert!(sockets.taken(&wanted).await.unwrap().is_empty());
    }
}
