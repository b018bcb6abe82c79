//! The stories lean on these programs: what each promises is shown here, outside of any container.

#![cfg(test)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A running program; killed when dropped.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(program: &str, env: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_apps"))
            .arg(program)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Reads its output up to a line that starts so.
    fn says(&mut self, start: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).unwrap();
            assert!(read > 0, "it never said `{start}`, only:\n{seen}");
            if line.starts_with(start) {
                return line;
            }
            seen.push_str(&line);
        }
    }

    fn ask_to_end(&self) {
        let kill = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }

    fn ended(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn get(connection: &mut TcpStream, path: &str) -> String {
    write!(connection, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut head = String::new();
    let mut reader = BufReader::new(connection);
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "closed after `{head}`");
    }
    let length = head.split("Content-Length: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    format!("{head}{}", String::from_utf8(body).unwrap())
}

#[test]
fn hello_answers_on_its_port_with_its_version_over_one_connection() {
    let port = free_port();
    let env = [("PORT", port.to_string()), ("VERSION", "v7".to_owned()), ("GREETING", "good day".to_owned())];
    let mut hello = Running::start("hello", &env.each_ref().map(|(name, value)| (*name, value.as_str())));
    hello.says("listening");
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    for (path, expected) in [
        ("/", "hello from v7 on "),
        ("/version", "v7"),
        ("/health", "healthy"),
        ("/env/GREETING?x=1", "good day"),
        ("/env/NO_SUCH", "404 Not Found"),
    ] {
        let answer = get(&mut connection, path);
        assert!(answer.contains(expected), "{path}: {answer}");
        assert!(answer.contains("Connection: keep-alive"), "{path}: {answer}");
    }
    write!(connection, "POST /version HTTP/1.1\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc")
        .unwrap();
    let mut rest = String::new();
    connection.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("v7"), "a client that wants to close is heard: {rest}");
}

#[test]
fn hello_finishes_the_request_in_hand_closes_the_idle_ones_and_takes_no_new_ones() {
    let port = free_port();
    let mut hello =
        Running::start("hello", &[("PORT", &port.to_string()), ("REPLY_AFTER_MS", "400"), ("VERSION", "v1")]);
    hello.says("listening");
    let mut idle = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert!(get(&mut idle, "/version").ends_with("v1"));
    let mut busy = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert!(get(&mut busy, "/version").ends_with("v1"));
    write!(busy, "GET /version HTTP/1.1\r\n\r\n").unwrap();

    hello.ask_to_end();
    hello.says("asked to end");
    let mut answers = String::new();
    busy.read_to_string(&mut answers).unwrap();
    assert!(answers.ends_with("v1") && answers.contains("Connection: close"), "{answers}");
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "an idle connection is closed");
    assert!(hello.ended().success());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn health_is_refused_for_a_while_or_for_ever() {
    for (program, wait, expected) in [
        ("hello", "0", "200 OK"),
        ("hello", "3600000", "503 Service Unavailable"),
        ("never-healthy", "0", "503 Service Unavailable"),
    ] {
        let port = free_port();
        let mut hello = Running::start(program, &[("PORT", &port.to_string()), ("HEALTHY_AFTER_MS", wait)]);
        hello.says("listening");
        let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let answer = get(&mut connection, "/health");
        assert!(answer.contains(expected), "{program} after {wait}: {answer}");
    }
}

/// A program that is ill while a file exists, and that file.
fn with_illness(program: &str, port: u16) -> (Running, std::path::PathBuf) {
    let file = std::env::temp_dir().join(format!("apps-ill-{}-{port}", std::process::id()));
    let env = [("PORT", port.to_string()), ("ILL_FILE", file.display().to_string())];
    let mut running = Running::start(program, &env.each_ref().map(|(name, value)| (*name, value.as_str())));
    running.says("listening");
    (running, file)
}

#[test]
fn tcp_listens_unless_it_is_ill() {
    let port = free_port();
    let (mut tcp, ill) = with_illness("tcp", port);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    std::fs::write(&ill, "").unwrap();
    tcp.says("ill");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    std::fs::remove_file(&ill).unwrap();
    tcp.says("listening");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    tcp.ask_to_end();
    assert!(tcp.ended().success());
}

/// The message and the code with which a gRPC server answers `sent`.
async fn call(port: u16, method: &str, sent: &'static [u8]) -> (Vec<u8>, String) {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let uri = format!("http://127.0.0.1:{port}{method}");
    let head = http::Request::post(uri).header("content-type", "application/grpc").body(()).unwrap();
    let (answer, mut body) = client.send_request(head, false).unwrap();
    body.send_data(bytes::Bytes::from_static(sent), true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    let mut message = vec![];
    while let Some(part) = body.data().await {
        message.extend_from_slice(&part.unwrap());
    }
    let trailers = body.trailers().await.unwrap().unwrap();
    (message, trailers["grpc-status"].to_str().unwrap().to_owned())
}

#[test]
fn grpc_health_serves_unless_it_is_ill() {
    const CHECK: &str = "/grpc.health.v1.Health/Check";
    let port = free_port();
    let (grpc, ill) = with_illness("grpc-health", port);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let ask = |method: &str, sent: &'static [u8]| runtime.block_on(call(port, method, sent));
    assert_eq!(ask(CHECK, &[0; 5]), (vec![0, 0, 0, 0, 2, 8, 1], "0".to_owned()));
    std::fs::write(&ill, "").unwrap();
    assert_eq!(ask(CHECK, &[0; 5]), (vec![0, 0, 0, 0, 2, 8, 2], "0".to_owned()));
    std::fs::remove_file(&ill).unwrap();
    assert_eq!(ask(CHECK, &[0, 0, 0, 0, 3, 10, 1, b'x']), (vec![], "5".to_owned()), "a service by name");
    assert_eq!(ask("/grpc.health.v1.Health/Watch", &[0; 5]), (vec![], "12".to_owned()));
    grpc.ask_to_end();
    assert!(grpc.ended().success());
}

#[test]
fn exit_ends_as_it_was_told() {
    use std::os::unix::process::ExitStatusExt as _;
    for (env, expected) in [
        (&[("CODE", "0")][..], (Some(0), None)),
        (&[("CODE", "7"), ("AFTER_MS", "10")][..], (Some(7), None)),
        (&[("HOW", "abort")][..], (None, Some(6))),
        (&[("CODE", "many")][..], (Some(70), None)),
    ] {
        let status = Running::start("exit", env).ended();
        assert_eq!((status.code(), status.signal()), expected, "{env:?}");
    }
}

#[test]
fn sleeper_goes_when_asked_and_stubborn_does_not() {
    let mut sleeper = Running::start("sleeper", &[]);
    sleeper.says("sleeper started");
    sleeper.ask_to_end();
    assert!(sleeper.ended().success());

    let mut stubborn = Running::start("stubborn", &[]);
    stubborn.says("stubborn started");
    for _ in 0..3 {
        stubborn.ask_to_end();
        stubborn.says("won't go");
    }
    assert!(stubborn.child.try_wait().unwrap().is_none());
}

#[test]
fn chatter_numbers_its_lines_and_says_how_many() {
    let mut chatter = Running::start("chatter", &[("RATE", "10000"), ("COUNT", "50")]);
    for odd in (1..50).step_by(2) {
        assert_eq!(chatter.says("line"), format!("line {odd}\n"));
    }
    assert_eq!(chatter.says("wrote"), "wrote 50 lines\n");
    assert!(chatter.ended().success());
}

#[test]
fn hog_holds_what_it_says() {
    let mut hog = Running::start("hog", &[("HOG_MB", "32")]);
    hog.says("holding all 32 MB");
    let status = std::fs::read_to_string(format!("/proc/{}/status", hog.child.id())).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = rss.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes >= 32 * 1024, "{kilobytes} kB");
}

#[test]
fn hello_tries_what_it_is_told_with_sockets() {
    let port = free_port();
    let mut hello = Running::start("hello", &[("PORT", &port.to_string())]);
    hello.says("listening on");
    let ask = |path: &str| {
        let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
        get(&mut connection, path)
    };
    let bound = free_port();
    assert!(ask(&format!("/try/bind/127.0.0.1:{bound}")).ends_with(&format!("127.0.0.1:{bound}")));
    assert!(ask(&format!("/try/connect/127.0.0.1:{bound}")).ends_with(&format!("127.0.0.1:{bound}")));
    assert!(ask(&format!("/try/bind/127.0.0.1:{bound}")).ends_with("AddrInUse"));
    assert!(ask("/try/fly/127.0.0.1:1").starts_with("HTTP/1.1 404"));
    let echo = free_port();
    let mut server = Running::start("udp-echo", &[("PORT", &echo.to_string())]);
    server.says("listening on");
    assert!(ask(&format!("/try/echo/127.0.0.1:{echo}")).ends_with(&format!("127.0.0.1:{echo}")));
}

#[test]
fn sockets_says_what_each_call_costs() {
    let [port, side] = [free_port(), free_port()].map(|port| port.to_string());
    let mut sockets = Running::start("sockets", &[("PORT", &port), ("SIDE_PORT", &side), ("ROUNDS", "3")]);
    for call in ["bind, a declared port: ", "bind, any port: ", "connect to localhost and close: "] {
        let line = sockets.says(call);
        assert!(line.contains(" ns ["), "{line}");
    }
    sockets.says("measured");
}

#[test]
fn udp_echo_returns_datagrams() {
    let port = free_port();
    let mut echo = Running::start("udp-echo", &[("PORT", &port.to_string())]);
    echo.says("listening");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send_to(b"ping", ("127.0.0.1", port)).unwrap();
    let mut answer = [0; 16];
    let (length, _) = socket.recv_from(&mut answer).unwrap();
    assert_eq!(answer.get(..length), Some(&b"ping"[..]));
}
