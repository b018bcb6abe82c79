//! What the service manager hears of daemon and plane while they live.

use std::time::Duration;

use mill_actors::kit::{Introspect, Path};
use mill_drivers::systemd::{Manager, News};
use mill_model::Tempo;

/// Turns that a tree has for a sign of life before the service manager loses its patience: a loaded machine may be
/// late with one.
const SIGNS: u32 = 4;

/// Gives signs of life for as long as these rooms of the tree take their turns, with a line on how things are. Never
/// returns.
///
/// # Why
/// A process that hangs is worth less than one that crashes, which is started again. What counts as life is what only
/// a process that works can give: its timers run, and the rooms without which it isn't one take a message. They are
/// rooms that never wait for a disk: one that is slow isn't mended by a restart.
pub(crate) async fn attend(
    manager: &Manager,
    tree: &Introspect,
    rooms: &[&str],
    tempo: &Tempo,
    status: impl Fn() -> String,
) {
    if !manager.is_there() {
        return std::future::pending().await;
    }
    let every = manager.watchdog().map_or(tempo.status_told_every, |limit| limit / (SIGNS * 2));
    let mut told = String::new();
    loop {
        let status = sign(manager, tree, rooms, every).await.unwrap_or_else(&status);
        if status != told {
            manager.tell(&News::Status(status.clone()));
            told = status;
        }
        tokio::time::sleep(every).await;
    }
}

/// One sign of life, or what is wrong.
async fn sign(manager: &Manager, tree: &Introspect, rooms: &[&str], deadline: Duration) -> Option<String> {
    let silent = tree.silent(rooms, deadline).await;
    if silent.is_empty() {
        if manager.watchdog().is_some() {
            manager.tell(&News::Alive);
        }
        return None;
    }
    let silent: Vec<&str> = silent.iter().map(Path::as_str).collect();
    let silent = silent.join(", ");
    tracing::error!(actors = silent, "no answer, so no sign of life for the service manager");
    Some(format!("no answer from {silent}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mill_actors::kit::{Actor, Crash, Me, Message, Tree};

    use super::*;

    /// A room that takes a turn when it may.
    struct Room;

    /// Hang until the end of days.
    struct Hang;

    impl Message for Hang {
        fn name(&self) -> &'static str {
            "hang"
        }
    }

    impl Actor for Room {
        type Msg = Hang;
        type Args = ();
        type State = ();

        async fn start(_me: &Me<Self>, _args: ()) -> Result<(), Crash> {
            Ok(())
        }

        async fn handle(_me: &Me<Self>, _msg: Hang, _state: &mut ()) -> Result<(), Crash> {
            std::future::pending().await
        }

        fn observe(_state: &()) -> serde_json::Value {
            serde_json::Value::Null
        }
    }

    /// What was heard within this time.
    async fn heard(listens: &std::os::unix::net::UnixDatagram, within: Duration) -> Vec<String> {
        tokio::time::sleep(within).await;
        let mut words = vec![];
        let mut bytes = [0; 256];
        while let Ok(length) = listens.recv(&mut bytes) {
            words.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
        words
    }

    #[tokio::test(start_paused = true)]
    async fn a_tree_that_hangs_gives_no_sign_of_life() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("notify");
        let listens = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
        listens.set_nonblocking(true).unwrap();
        let manager = Manager::at(&socket, Some(Duration::from_secs(20)));
        let tempo = Arc::new(Tempo::default());
        let tree = Tree::start::<Room>("daemon", (), Arc::clone(&tempo)).await.unwrap();
        let introspect = tree.introspect();
        let attending = async {
            attend(&manager, &introspect, &["daemon", "daemon/raft"], &tempo, || "leads".into()).await;
        };
        let story = async {
            let limit = Duration::from_secs(20);
            let words = heard(&listens, limit).await;
            let signs = words.iter().filter(|word| *word == "WATCHDOG=1").count();
            assert!(signs >= 4, "{words:?}");
            assert_eq!(words.iter().filter(|word| *word == "STATUS=leads").count(), 1, "{words:?}");

            tree.root().tell(Hang).unwrap();
            let words = heard(&listens, limit).await;
            let signs = words.iter().filter(|word| *word == "WATCHDOG=1").count();
            assert!(signs <= 1, "more than the one that was under way: {words:?}");
            assert!(words.contains(&"STATUS=no answer from daemon".to_owned()), "{words:?}");
            assert_eq!(heard(&listens, limit * 2).await, Vec::<String>::new());
        };
        tokio::select! {
            () = attending => panic!("it never ends"),
            () = story => {}
        }
    }
}
