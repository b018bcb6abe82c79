//! The test is the service manager.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::*;
use crate::logs::{FileLogs, Logs as _, Stream, StreamName};

/// A service manager that listens in a directory.
struct Listens(UnixDatagram);

impl Listens {
    fn in_directory(directory: &Path) -> (Self, Manager) {
        let path = directory.join("notify");
        let listens = Self(UnixDatagram::bind(&path).unwrap());
        listens.0.set_nonblocking(true).unwrap();
        let manager = Manager::of(&|name| (name == "NOTIFY_SOCKET").then(|| path.clone().into()), 7);
        (listens, manager)
    }

    /// The next word and the descriptors that came with it.
    fn hears(&self) -> Option<(String, Vec<OwnedFd>)> {
        let (mut bytes, mut space) = ([0; 256], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))]);
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut words = [std::io::IoSliceMut::new(&mut bytes)];
        let heard = recvmsg(&self.0, &mut words, &mut control, RecvFlags::empty()).ok()?.bytes;
        let descriptors = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
            _ => vec![],
        });
        let descriptors = descriptors.collect();
        Some((String::from_utf8(bytes[..heard].to_vec()).unwrap(), descriptors))
    }

    fn hears_nothing(&self) {
        assert!(self.hears().is_none());
    }
}

fn fifo(path: &Path) -> File {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).unwrap();
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

fn inode(file: impl std::os::fd::AsFd) -> u64 {
    rustix::fs::fstat(file).unwrap().st_ino
}

#[test]
fn each_word_is_as_the_protocol_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let (listens, manager) = Listens::in_directory(directory.path());
    assert!(manager.is_there());
    for (news, word) in [
        (News::Ready, "READY=1"),
        (News::Alive, "WATCHDOG=1"),
        (News::Stopping, "STOPPING=1"),
        (News::Status("leads\nREADY=1".into()), "STATUS=leads READY=1"),
    ] {
        manager.tell(&news);
        assert_eq!(listens.hears().unwrap().0, word);
    }
    listens.hears_nothing();
}

#[test]
fn a_name_in_the_abstract_namespace_is_reached_too() {
    let name = format!("mill-test-{}", std::process::id());
    let listens = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
    let manager = Manager::of(&|asked| (asked == "NOTIFY_SOCKET").then(|| format!("@{name}").into()), 7);
    manager.tell(&News::Ready);
    let mut bytes = [0; 16];
    assert_eq!(listens.recv(&mut bytes).unwrap(), "READY=1".len());
}

#[test]
fn only_a_watch_that_is_kept_over_this_process_counts() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("notify");
    let of = |variables: &[(&str, &str)]| {
        let env = |name: &str| match name {
            "NOTIFY_SOCKET" => Some(socket.clone().into_os_string()),
            name => variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into()),
        };
        Manager::of(&env, 7).watchdog()
    };
    let seconds = |count| Some(Duration::from_secs(count));
    assert_eq!(of(&[]), None);
    assert_eq!(of(&[("WATCHDOG_USEC", "20000000")]), seconds(20));
    assert_eq!(of(&[("WATCHDOG_USEC", "20000000"), ("WATCHDOG_PID", "7")]), seconds(20));
    assert_eq!(of(&[("WATCHDOG_USEC", "20000000"), ("WATCHDOG_PID", "8")]), None);
    assert_eq!(of(&[("WATCHDOG_USEC", "0")]), None);
    assert_eq!(of(&[("WATCHDOG_USEC", "soon")]), None);
}

#[test]
fn without_a_service_manager_nothing_is_said_and_nothing_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    for manager in [Manager::default(), Manager::of(&|_| Some("relative".into()), 7)] {
        assert!(!manager.is_there());
        manager.tell(&News::Ready);
        let store = FdStore::empty(&manager);
        store.keep("web.1.stdout", File::open(directory.path()).unwrap().as_fd());
        assert!(store.names().is_empty());
    }
}

#[test]
fn what_is_kept_is_passed_once_and_let_go_of_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let (listens, manager) = Listens::in_directory(directory.path());
    let store = FdStore::empty(&manager);
    let (first, second) = (fifo(&directory.path().join("1")), fifo(&directory.path().join("2")));
    for _ in 0..2 {
        store.keep("web.1.stdout", first.as_fd());
    }
    let (word, passed) = listens.hears().unwrap();
    assert_eq!(word, "FDSTORE=1\nFDNAME=web.1.stdout\nFDPOLL=0");
    assert_eq!(passed.iter().map(inode).collect::<Vec<_>>(), [inode(&first)]);
    listens.hears_nothing();

    // A start that failed is tried again under the same name, with another pipe.
    store.keep("web.1.stdout", second.as_fd());
    assert_eq!(listens.hears().unwrap().0, "FDSTOREREMOVE=1\nFDNAME=web.1.stdout");
    assert_eq!(listens.hears().unwrap().1.iter().map(inode).collect::<Vec<_>>(), [inode(&second)]);

    store.keep("web.1.stderr", first.as_fd());
    assert!(listens.hears().unwrap().0.starts_with("FDSTORE=1"));
    store.keep_only(|name| name.ends_with("stdout"));
    assert_eq!(listens.hears().unwrap().0, "FDSTOREREMOVE=1\nFDNAME=web.1.stderr");
    assert_eq!(store.names(), ["web.1.stdout"]);
    listens.hears_nothing();
}

#[test]
fn what_could_not_be_passed_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let (listens, manager) = Listens::in_directory(directory.path());
    drop(listens);
    let store = FdStore::empty(&manager);
    let pipe = fifo(&directory.path().join("1"));
    store.keep("web.1.stdout", pipe.as_fd());
    assert!(store.names().is_empty());
    std::fs::remove_file(directory.path().join("notify")).unwrap();
    let (listens, _) = Listens::in_directory(directory.path());
    store.keep("web.1.stdout", pipe.as_fd());
    assert!(listens.hears().unwrap().0.starts_with("FDSTORE=1"));
}

#[test]
fn descriptors_are_passed_by_number_to_one_process() {
    let of = |variables: &[(&str, &str)]| {
        let env = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        store::passed(&env, 7)
    };
    let names = ("LISTEN_FDNAMES", "a.1.stdout:a.1.stderr");
    let passed = of(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "2"), names]);
    assert_eq!(passed, [(3, "a.1.stdout".to_owned()), (4, "a.1.stderr".to_owned())]);
    assert_eq!(of(&[("LISTEN_PID", "8"), ("LISTEN_FDS", "2"), names]), []);
    assert_eq!(of(&[("LISTEN_PID", "7"), names]), []);
    assert_eq!(of(&[]), []);
}

#[tokio::test]
async fn output_outlives_plane_daemon_and_container_while_the_store_has_its_pipe() {
    let directory = tempfile::tempdir().unwrap();
    let (listens, manager) = Listens::in_directory(directory.path());
    let now = Arc::new(|| mill_model::Timestamp(1));
    let logs = || FileLogs::new(directory.path().join("allocs"), now.clone(), Duration::from_millis(1));
    let alloc = "web-7k2f".parse().unwrap();
    let name = StreamName { alloc, incarnation: mill_model::Incarnation(1), stream: Stream::Stdout };
    let held = logs().hold(&name).await.unwrap();
    let plane = logs().kept_in(FdStore::empty(&manager));
    let capture = plane.capture(&name, &plane.fifo(&name)).await.unwrap();
    let (word, stored) = listens.hears().unwrap();
    assert!(word.contains("FDNAME=web-7k2f.1.stdout\n"), "{word}");

    // Both are dead, then the container says its last words.
    drop((capture, held, plane));
    let mut container = OpenOptions::new().write(true).open(logs().fifo(&name)).unwrap();
    container.write_all(b"last words\n").unwrap();
    drop(container);
    let mut next = OpenOptions::new().read(true).write(true).open(logs().fifo(&name)).unwrap();
    assert_eq!(next.metadata().unwrap().ino(), inode(&stored[0]));
    let mut words = [0; 11];
    next.read_exact(&mut words).unwrap();
    assert_eq!(&words, b"last words\n");

    // The capture's lock isn't in the store: the next plane gets it while the store has the pipe.
    logs().capture(&name, &logs().fifo(&name)).await.map(drop).unwrap();
    let plane = logs().kept_in(FdStore::empty(&manager));
    plane.capture(&name, &plane.fifo(&name)).await.map(drop).unwrap();
    listens.hears().unwrap();
    plane.keep_only(&["web-7k2f.1.stdout".to_owned()].into());
    listens.hears_nothing();
    plane.keep_only(&[].into());
    assert!(listens.hears().unwrap().0.starts_with("FDSTOREREMOVE=1"));
}

#[test]
fn a_process_of_a_service_is_known_by_its_cgroup() {
    for (cgroups, service) in [
        ("0::/system.slice/mill.service\n", Some("mill.service")),
        ("4:memory:/\n1:name=systemd:/system.slice/mill-plane.service\n0::/\n", Some("mill-plane.service")),
        ("4:memory:/system.slice/other.service\n0::/mill/web-7k2f.1\n", None),
        ("0::/user.slice/user-0.slice/session-1.scope\n", None),
        ("nonsense", None),
    ] {
        assert_eq!(service_in(cgroups).as_deref(), service, "{cgroups}");
    }
}
