//! Registries that let in only whom they know: Debian's docker-registry with a password file, and one that sends for a
//! token to a server of its own.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't set up its registries fails")]

use std::collections::BTreeSet;
use std::net::TcpStream as StdStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mill_drivers::images::{Images as _, Login, Logins, PullError, Store};
use mill_model::{ImageRef, Tempo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const PASSWORD: &str = "hunter2-5000";
/// `PASSWORD`, as htpasswd(1) writes it with bcrypt.
const HTPASSWD: &str = "ann:$2y$05$abcdefghijklmnopqrstuu6eBJreeWWI7.HKZAbcJlWinHP6Zdmky\n";
/// `ann:hunter2-5000` in base64.
const BASIC: &str = "Basic YW5uOmh1bnRlcjItNTAwMA==";
const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Images of no containerd: what a tag means is asked of registries alone.
fn store() -> Store {
    drop(rustls::crypto::ring::default_provider().install_default());
    let tempo = Tempo { pull_stalled_after: Duration::from_secs(5), ..Tempo::default() };
    Store::new(Path::new("/nonexistent/containerd.sock"), BTreeSet::new(), Arc::new(tempo))
}

fn logins(registry: &str, user: &str, password: &str) -> Logins {
    [(registry.to_owned(), Login { user: user.to_owned(), password: password.to_owned() })].into()
}

/// Ends with the test.
struct Registry {
    child: Child,
    _dir: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A docker-registry with a password file, at a port that is free.
fn docker_registry() -> (Registry, u16) {
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (storage, htpasswd) = (dir.path().join("storage"), dir.path().join("htpasswd"));
    std::fs::write(&htpasswd, HTPASSWD).unwrap();
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: \"{}\"}}}}\n\
         http: {{addr: \"127.0.0.1:{port}\"}}\nauth: {{htpasswd: {{realm: test, path: \"{}\"}}}}\n",
        storage.display(),
        htpasswd.display()
    );
    std::fs::write(dir.path().join("config.yml"), config).unwrap();
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(dir.path().join("config.yml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("docker-registry is installed");
    let registry = Registry { child, _dir: dir };
    let end = Instant::now() + Duration::from_secs(20);
    while StdStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "the registry doesn't listen on {port}");
        std::thread::yield_now();
    }
    (registry, port)
}

#[tokio::test]
async fn a_registry_with_a_password_file_opens_to_the_right_user_and_to_nobody_else() {
    let (_registry, port) = docker_registry();
    let host = format!("127.0.0.1:{port}");
    let image: ImageRef = format!("{host}/web:v1").parse().unwrap();
    let store = store();
    let refused = |error: &PullError, as_whom: &str| {
        assert!(matches!(error, PullError::Unauthorized { status: 401, .. }), "{error:?}");
        assert!(error.to_string().contains(as_whom), "{error}");
        assert!(!error.to_string().contains(PASSWORD));
    };
    refused(&store.resolve(&image).await.unwrap_err(), "without credentials");
    store.know(logins(&host, "ann", "wrong"));
    refused(&store.resolve(&image).await.unwrap_err(), "as `ann`");
    store.know(logins("other.test", "ann", PASSWORD));
    refused(&store.resolve(&image).await.unwrap_err(), "without credentials");
    store.know(logins(&host, "ann", PASSWORD));
    // It is let in, and there is no such image.
    for _ in 0..2 {
        let error = store.resolve(&image).await.unwrap_err();
        assert!(matches!(error, PullError::NoSuchImage { .. }), "{error:?}");
    }
    store.know(Logins::new());
    refused(&store.resolve(&image).await.unwrap_err(), "without credentials");
}

/// A registry whose tokens are had at another port, for user and password.
struct Tokens {
    registry: u16,
    asked: Arc<Mutex<Vec<String>>>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

impl Drop for Tokens {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Tokens {
    async fn start() -> Self {
        let (registry, tokens) = (listener().await, listener().await);
        let (port, token_port) = (port_of(&registry), port_of(&tokens));
        let asked = Arc::new(Mutex::new(vec![]));
        let answers = move |_: &str, authorization: Option<&str>| match authorization {
            Some("Bearer for-ann") => format!("200 OK\r\ndocker-content-digest: {DIGEST}"),
            _ => format!(
                "401 Unauthorized\r\nwww-authenticate: Bearer realm=\"http://127.0.0.1:{token_port}/t\",service=\"r\""
            ),
        };
        let first = tokio::spawn(serve(registry, Arc::clone(&asked), answers, |_| String::new()));
        let gives = |_: &str, authorization: Option<&str>| match authorization {
            Some(BASIC) => "200 OK".to_owned(),
            _ => "401 Unauthorized".to_owned(),
        };
        let body = |_: &str| r#"{"token":"for-ann"}"#.to_owned();
        let second = tokio::spawn(serve(tokens, Arc::clone(&asked), gives, body));
        Self { registry: port, asked, tasks: [first, second] }
    }

    /// What was asked since the last time, and with what.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

/// Answers each request with a status and headers, and to what isn't a `HEAD` with a body.
async fn serve(
    listener: TcpListener,
    asked: Arc<Mutex<Vec<String>>>,
    head: impl Fn(&str, Option<&str>) -> String + Send + Clone + 'static,
    body: impl Fn(&str) -> String + Send + Clone + 'static,
) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve_one(stream, Arc::clone(&asked), head.clone(), body.clone()));
    }
}

async fn serve_one(
    mut stream: TcpStream,
    asked: Arc<Mutex<Vec<String>>>,
    head: impl Fn(&str, Option<&str>) -> String,
    body: impl Fn(&str) -> String,
) {
    let mut bytes = vec![];
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(_) => return,
        }
    }
    let text = String::from_utf8(bytes).unwrap();
    let line = text.lines().next().unwrap().to_owned();
    let authorization = text.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then_some(value)
    });
    asked.lock().unwrap().push(format!("{line} {}", authorization.unwrap_or("-")));
    let body = if line.starts_with("HEAD") { String::new() } else { body(&line) };
    let head = head(&line, authorization);
    let answer =
        format!("HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    drop(stream.write_all(answer.as_bytes()).await);
}

#[tokio::test]
async fn a_token_is_had_with_user_and_password_which_the_registry_itself_never_sees() {
    let server = Tokens::start().await;
    let host = format!("127.0.0.1:{}", server.registry);
    let image: ImageRef = format!("{host}/team/web:v1").parse().unwrap();
    let store = store();
    let error = store.resolve(&image).await.unwrap_err();
    assert!(matches!(error, PullError::Unauthorized { status: 401, user: None, .. }), "{error:?}");
    server.asked();

    store.know(logins(&host, "ann", PASSWORD));
    assert_eq!(store.resolve(&image).await.unwrap().as_str(), DIGEST);
    let asked = server.asked();
    let [first, token, second] = &asked[..] else { panic!("{asked:?}") };
    assert!(first.starts_with("HEAD /v2/team/web/manifests/v1") && first.ends_with(" -"), "{first}");
    assert!(token.contains("/t?service=r&scope=repository%3Ateam%2Fweb%3Apull"), "{token}");
    assert!(token.ends_with(BASIC) && second.ends_with("Bearer for-ann"), "{asked:?}");

    store.resolve(&image).await.unwrap();
    assert_eq!(server.asked().len(), 1, "the token is kept");
    store.know(logins(&host, "ann", "wrong"));
    let error = store.resolve(&image).await.unwrap_err();
    assert!(
        error.to_string().contains("as `ann`"),
        "the token goes with the password it was had for: {error}"
    );
}
