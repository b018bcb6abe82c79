//! The socket, its orders, and what comes of them.

use std::ffi::OsString;
use std::path::PathBuf;

use mill_actors::kit::Introspect;
use mill_drivers::process::{ProcessError, listen};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// Where a process may be told to let actors panic.
pub(super) const VARIABLE: &str = "MILL_FAULTS";
/// Longest order: a path in a tree is a few dozen bytes.
const ORDER_BYTES_MAX: u64 = 4096;

/// The way to order panics of one process.
pub(super) struct Faults {
    socket: Option<PathBuf>,
}

impl Faults {
    /// As the environment says, which is nearly always that there is none. `process` is `daemon` or `plane`.
    pub(super) fn of(directory: Option<OsString>, process: &str) -> Self {
        let directory = directory.filter(|directory| !directory.is_empty());
        Self { socket: directory.map(|directory| PathBuf::from(directory).join(format!("{process}.sock"))) }
    }

    /// Lets the actors of `tree` panic as ordered. Never returns; does nothing where there is nothing to obey.
    pub(super) async fn obey(&self, tree: &Introspect) {
        if let Some(socket) = &self.socket {
            match self.listen(socket) {
                Ok(listener) => serve(&listener, tree).await,
                Err(error) => tracing::error!(%error, "no faults can be ordered"),
            }
        }
        std::future::pending::<()>().await;
    }

    fn listen(&self, socket: &std::path::Path) -> Result<UnixListener, ProcessError> {
        let listener = listen(socket)?;
        tracing::warn!(
            socket = %socket.display(),
            "faults may be ordered here: {VARIABLE} is set, which is for tests alone"
        );
        Ok(listener)
    }
}

/// One order after the other: whoever gives them waits for what comes of each.
async fn serve(listener: &UnixListener, tree: &Introspect) {
    loop {
        if let Ok((connection, _)) = listener.accept().await
            && let Err(error) = follow(connection, tree).await
        {
            tracing::warn!(%error, "an order for a fault was lost");
        }
    }
}

/// Follows the one order of a connection.
async fn follow(mut connection: UnixStream, tree: &Introspect) -> std::io::Result<()> {
    let mut order = String::new();
    let (read, mut write) = connection.split();
    BufReader::new(read.take(ORDER_BYTES_MAX)).read_line(&mut order).await?;
    let path = order.trim_end();
    let answer = match tree.panic(path) {
        Ok(()) => {
            tracing::warn!(%path, "actor panics, as ordered");
            "ok\n".to_owned()
        }
        Err(error) => format!("{error}\n"),
    };
    write.write_all(answer.as_bytes()).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mill_actors::kit::{Actor, Crash, Me, Message, Tree};
    use mill_model::Tempo;

    use super::*;

    struct Room;

    struct Nothing;

    impl Message for Nothing {
        fn name(&self) -> &'static str {
            "nothing"
        }
    }

    impl Actor for Room {
        type Msg = Nothing;
        type Args = ();
        type State = ();

        async fn start(_me: &Me<Self>, (): ()) -> Result<(), Crash> {
            Ok(())
        }

        async fn handle(_me: &Me<Self>, _msg: Nothing, (): &mut ()) -> Result<(), Crash> {
            Ok(())
        }

        fn observe((): &()) -> serde_json::Value {
            serde_json::Value::Null
        }
    }

    async fn ordered(socket: &std::path::Path, path: &str) -> std::io::Result<String> {
        let mut connection = UnixStream::connect(socket).await?;
        connection.write_all(format!("{path}\n").as_bytes()).await?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn an_actor_panics_on_a_word_over_the_socket_and_nobody_else_does() {
        let directory = tempfile::tempdir().unwrap();
        let tree = Tree::start::<Room>("daemon", (), Arc::new(Tempo::default())).await.unwrap();
        let seen = tree.introspect();
        let faults = Faults::of(Some(directory.path().as_os_str().to_owned()), "daemon");
        let orders = async {
            let socket = directory.path().join("daemon.sock");
            while !socket.exists() {
                tokio::task::yield_now().await;
            }
            assert_eq!(
                ordered(&socket, "daemon/nobody").await.unwrap(),
                "there is no actor `daemon/nobody`\n"
            );
            assert_eq!(seen.tree().await.last_error, None);
            assert_eq!(ordered(&socket, "daemon").await.unwrap(), "ok\n");
            while seen.tree().await.last_error.is_none() {
                tokio::task::yield_now().await;
            }
            seen.tree().await.last_error.unwrap().text
        };
        let told = tokio::select! {
            told = orders => told,
            () = faults.obey(&seen) => unreachable!("it never returns"),
        };
        assert_eq!(told, "panicked: ordered to");
    }

    #[test]
    fn without_the_variable_there_is_no_socket() {
        assert_eq!(Faults::of(None, "daemon").socket, None);
        assert_eq!(Faults::of(Some(OsString::new()), "plane").socket, None);
        let set = Faults::of(Some("/run/faults".into()), "plane").socket;
        assert_eq!(set, Some(PathBuf::from("/run/faults/plane.sock")));
    }
}
