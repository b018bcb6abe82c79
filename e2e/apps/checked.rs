//! Servers that are there to be checked. Each is ill while a file exists, `/tmp/ill` unless `$ILL_FILE` names another:
//! who can write into its container can make it so.

use std::io;
use std::net::TcpListener as StdListener;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use tokio::net::{TcpListener, TcpStream};

use crate::life::{self, Asked};
use crate::settings;

/// How often the TCP server looks for clients and for the file.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Of `grpc/health/v1/health.proto`: the method, the request for the server as a whole in its frame, and what is
/// answered.
const CHECK: &str = "/grpc.health.v1.Health/Check";
const THE_WHOLE_SERVER: &[u8] = &[0, 0, 0, 0, 0];
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];
const NOT_SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 2];

/// Whether the program should be ill.
pub(crate) fn is_ill() -> bool {
    Path::new(&settings::text("ILL_FILE", "/tmp/ill")).exists()
}

/// Accepts connections on `$PORT` and closes them; while it is ill nobody listens there.
pub(crate) fn accept(asked: Asked) -> io::Result<ExitCode> {
    let port: u16 = settings::number("PORT", 8080)?;
    end_when(asked);
    loop {
        let listener = StdListener::bind(("0.0.0.0", port))?;
        listener.set_nonblocking(true)?;
        life::say(&format!("listening on {port}"));
        while !is_ill() {
            match listener.accept() {
                Ok(client) => drop(client),
                Err(_) => thread::sleep(LOOK_EVERY),
            }
        }
        drop(listener);
        life::say("ill: nobody listens");
        while is_ill() {
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// Serves gRPC's health protocol on `$PORT`; while it is ill it isn't serving.
pub(crate) fn grpc(asked: Asked) -> io::Result<ExitCode> {
    let port: u16 = settings::number("PORT", 8080)?;
    end_when(asked);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(listen(port))
}

/// Ends the program as soon as it is asked to: it has nothing in hand.
fn end_when(mut asked: Asked) {
    thread::spawn(move || asked.wait().map(|()| std::process::exit(0)));
}

async fn listen(port: u16) -> io::Result<ExitCode> {
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    life::say(&format!("listening on {port}"));
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(converse(client));
    }
}

async fn converse(client: TcpStream) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(client).await?;
    while let Some(call) = connection.accept().await {
        let (request, respond) = call?;
        tokio::spawn(answer(request, respond));
    }
    Ok(())
}

async fn answer(mut request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let mut asked = vec![];
    while let Some(part) = request.body_mut().data().await {
        let part = part?;
        asked.extend_from_slice(&part);
        request.body_mut().flow_control().release_capacity(part.len())?;
    }
    let is_check = request.method() == Method::POST && request.uri().path() == CHECK;
    // codes of gRPC: 0 is OK, 5 is NOT_FOUND, 12 is UNIMPLEMENTED
    let (message, code) = match (is_check, asked == THE_WHOLE_SERVER) {
        (true, true) => (Some(if is_ill() { NOT_SERVING } else { SERVING }), "0"),
        (true, false) => (None, "5"),
        (false, _) => (None, "12"),
    };
    let mut head = Response::new(());
    head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut stream = respond.send_response(head, false)?;
    if let Some(message) = message {
        stream.send_data(Bytes::from_static(message), false)?;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    stream.send_trailers(trailers)
}
