//! Locks, sockets, kept states and processes, on the real kernel.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

#[test]
fn a_lock_has_one_holder() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plane/lock");
    let held = Lock::take(&path).unwrap();
    let error = Lock::take(&path).unwrap_err();
    assert_eq!(error.to_string(), format!("another process holds {}", path.display()));
    drop(held);
    Lock::take(&path).unwrap();
}

#[test]
fn only_the_process_that_is_meant_is_signalled() {
    let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    signal_if(child.id(), Signal::KILL, || false);
    assert_eq!(child.try_wait().unwrap(), None);
    signal_if(child.id(), Signal::KILL, || true);
    assert!(!child.wait().unwrap().success());
    let mut looked = false;
    signal_if(child.id(), Signal::KILL, || {
        looked = true;
        true
    });
    assert!(!looked, "nobody has that number, or somebody else");
    for nobody in [0, u32::MAX] {
        signal_if(nobody, Signal::KILL, || true);
    }
}

#[tokio::test]
async fn a_socket_is_roots_alone_and_replaces_a_dead_ones() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/mill.sock");
    for _ in 0..2 {
        let listener = listen(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (accepted, connected) = tokio::join!(listener.accept(), tokio::net::UnixStream::connect(&path));
        assert!(accepted.is_ok() && connected.is_ok());
        assert_eq!(super::listener(&path), Some(std::process::id()));
        assert!(matches!(listen(&path), Err(ProcessError::Io { doing: "listen at", .. })), "another home's");
    }
    let long = directory.path().join("x".repeat(120));
    assert!(matches!(listen(&long), Err(ProcessError::Io { .. })));
}

#[tokio::test]
async fn a_listener_that_has_hung_keeps_nobody_waiting_and_its_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plane.sock");
    let _never_accepts = listen(&path).unwrap();
    let answers: Vec<_> = (0..100).map(|_| listener(&path)).collect();
    assert_eq!((answers.first(), answers.last()), (Some(&Some(std::process::id())), Some(&None)));
    assert!(matches!(listen(&path), Err(ProcessError::Io { doing: "listen at", .. })));
}

#[tokio::test]
async fn a_kept_state_is_whole_or_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tables");
    let kept = Kept::at(path.clone());
    assert_eq!(kept.read().await.unwrap(), None);
    for state in [&b"one"[..], b"", b"three"] {
        kept.write(state.to_vec()).await.unwrap();
        assert_eq!(kept.read().await.unwrap().as_deref(), Some(state));
    }
    let whole = std::fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert!(matches!(kept.read().await, Err(ProcessError::Damaged { .. })), "cut at {cut}");
    }
    for byte in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[byte] ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        assert!(matches!(kept.read().await, Err(ProcessError::Damaged { .. })), "byte {byte}");
    }
    std::fs::write(path.with_extension("new"), "left by a crash").unwrap();
    kept.write(b"four".to_vec()).await.unwrap();
    assert_eq!(kept.read().await.unwrap().as_deref(), Some(&b"four"[..]));

    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(kept.read().await, Err(ProcessError::Damaged { .. })), "it is no file");
}

#[tokio::test]
async fn of_many_who_write_a_state_at_once_the_last_one_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let kept = Kept::at(directory.path().join("tables"));
    let writes = (0..50u8).map(|number| kept.write(vec![number; 10_000]));
    for written in futures::future::join_all(writes).await {
        written.unwrap();
    }
    assert_eq!(kept.read().await.unwrap().unwrap(), [49; 10_000]);
}

#[tokio::test]
async fn another_process_has_its_own_session_and_its_words_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("plane.log");
    let script = "read -r _ _ _ _ _ session _ < /proc/self/stat; echo session $session of $$; exit 7";
    let other = OtherProcess {
        program: "/bin/sh".into(),
        arguments: ["-c", script].map(Into::into).to_vec(),
        output: output.clone(),
    };
    let Ended::Status(status) = other.run().await.unwrap() else { panic!("not a process") };
    assert_eq!(status.code(), Some(7));
    let said = std::fs::read_to_string(output).unwrap();
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words.len(), 4, "{said}");
    assert_eq!(words[1], words[3], "the process leads its own session: {said}");
    let nobody = OtherProcess { program: "/nonexistent".into(), ..other };
    assert!(matches!(nobody.run().await, Err(ProcessError::Io { doing: "start", .. })));
}

#[tokio::test]
async fn what_a_process_says_is_kept_small_while_it_says_it() {
    use std::io::Write as _;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plane.log");
    keep_small(&path).await.unwrap();
    let mut process = append_to(&path).unwrap();
    process.write_all(b"little").unwrap();
    keep_small(&path).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"little");

    let much = vec![b'x'; usize::try_from(SAID_BYTES_MAX).unwrap()];
    process.write_all(&much).unwrap();
    keep_small(&path).await.unwrap();
    process.write_all(b"more").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"more", "it goes on at the beginning");
    assert_eq!(std::fs::metadata(older(&path)).unwrap().len(), SAID_BYTES_MAX + 6);

    // Where no copy can be made it is emptied all the same.
    process.write_all(&much).unwrap();
    std::fs::remove_file(older(&path)).unwrap();
    std::fs::create_dir(older(&path)).unwrap();
    assert!(matches!(keep_small(&path).await, Err(ProcessError::Io { doing: "write", .. })));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
}
