//! A program run inside a container, over a WebSocket: [`mill_api::exec`] says what passes.
//!
//! # Why
//! - **One task, nothing that blocks it.** It always hears the client: windows bound what is on its way to either side,
//!   so neither a program that doesn't read nor a person who doesn't is waited for.
//! - **It is a write.** Who may deploy may do it, and before it begins the audit log has it: by the program's name, since
//!   what it is told may hold what nobody shall read.
//! - **Whoever is gone ends the program.** A client that closes, is cut, or answers no ping for as long as a stream may
//!   be silent has left; the program's hand is let go with this task.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, State};
use axum::response::Response;
use bytes::Bytes;
use mill_api::exec::{ERRORS, ExecAsk, ExecTold, INPUT, OUTPUT, PROTOCOL, TerminalSize, message};
use mill_api::names::Target;
use mill_api::{ApiError, Code};
use mill_drivers::containers::{
    Ask, Attach, Attached, ContainerError, ContainerName, Containers as _, Hand, Input, Missing, Output, Size,
};
use mill_fsm::{Alloc, Cluster, Command};
use mill_model::AllocId;
use mill_model::limits::{EXEC_CHUNK_BYTES, EXEC_MESSAGE_BYTES_MAX, EXEC_SESSIONS_MAX, EXEC_WINDOW_BYTES};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, interval, sleep_until, timeout};

use crate::http::backend::Backend;
use crate::http::body::Named;
use crate::http::gate::{Caller, Seen};
use crate::http::refusal::Refusal;
use crate::http::server::Server;

pub(in crate::http) async fn open<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Seen(cluster): Seen,
    Named(name): Named<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    let alloc = alloc(&server, &cluster, &name)?;
    caller.may_deploy(&alloc.workload.project)?;
    let container = ContainerName { alloc: alloc.id.clone(), incarnation: alloc.status.incarnation };
    let upgrade = upgrade.map_err(|rejected| {
        ApiError::new(Code::BadRequest, "this route is for WebSockets")
            .because(rejected.body_text())
            .hint("`mill exec` speaks it; docs/api.md says what passes")
    })?;
    let permit = Arc::clone(&server.sessions).try_acquire_owned().map_err(|_| {
        ApiError::new(Code::Overloaded, "too many programs are run in containers")
            .because(format!("a node has room for {EXEC_SESSIONS_MAX} at a time"))
            .hint("end some, or try again in a moment")
    })?;
    let upgrade = upgrade.protocols([PROTOCOL]).max_message_size(EXEC_MESSAGE_BYTES_MAX);
    let upgrade =
        upgrade.max_frame_size(EXEC_MESSAGE_BYTES_MAX).max_write_buffer_size(4 * EXEC_MESSAGE_BYTES_MAX);
    let asked = Wanted { caller, container };
    Ok(upgrade.on_upgrade(move |socket| begin(server, asked, socket, permit)))
}

/// What runs that a name means: an alloc, or the only replica that a service runs.
fn alloc<'a, B: Backend>(
    server: &Server<B>,
    cluster: &'a Cluster,
    name: &str,
) -> Result<&'a Arc<Alloc>, ApiError> {
    let target = server.view(cluster).known().resolve(name).map_err(ApiError::from)?;
    match &target {
        Target::Alloc(id) => cluster.allocs.get(id).filter(|alloc| runs(alloc)).ok_or_else(|| {
            ApiError::new(Code::Conflict, format!("{target} doesn't run"))
                .because("a program can be run in a container that runs only")
                .hint(format!("`mill inspect {name}` shows how it is"))
        }),
        Target::Workload(_) => only(cluster, &target),
        Target::Project(_) | Target::Node(_) | Target::Deploy(_) => {
            Err(ApiError::new(Code::BadRequest, format!("{target} is no container"))
                .because("allocs are, and services that run one")
                .hint("`mill allocs` lists them"))
        }
    }
}

fn runs(alloc: &Alloc) -> bool {
    use mill_model::Phase::{Healthy, Running, Unhealthy};
    matches!(alloc.status.phase, Running | Healthy | Unhealthy)
}

fn only<'a>(cluster: &'a Cluster, target: &Target) -> Result<&'a Arc<Alloc>, ApiError> {
    let Target::Workload(workload) = target else { return Err(gone()) };
    let running: Vec<&Arc<Alloc>> = cluster.allocs_of(workload).filter(|alloc| runs(alloc)).collect();
    match running.as_slice() {
        [only] => Ok(only),
        [] => Err(ApiError::new(Code::Conflict, format!("{target} doesn't run"))
            .because("a program can be run in a container that runs only")
            .hint(format!("`mill why {workload}` says why"))),
        several => {
            let names: Vec<&str> = several.iter().map(|alloc| alloc.id.as_str()).collect();
            Err(ApiError::new(Code::Ambiguous, format!("{target} runs {} replicas", names.len()))
                .because(format!("they are {}", names.join(", ")))
                .hint("say which: `mill exec ALLOC -- COMMAND`"))
        }
    }
}

fn gone() -> ApiError {
    ApiError::new(Code::NotFound, "it is gone")
}

/// Who wants something run, and in what.
struct Wanted {
    caller: Caller,
    container: ContainerName,
}

/// Waits for the first word, and has the program run.
async fn begin<B: Backend>(
    server: Server<B>,
    Wanted { caller, container }: Wanted,
    mut socket: WebSocket,
    _permit: OwnedSemaphorePermit,
) {
    let patience = server.tempo.log_tail_deadline;
    let first = timeout(server.tempo.api_head_deadline, socket.recv()).await;
    let wanted = match first {
        Ok(Some(Ok(Message::Text(text)))) => serde_json::from_str(&text).map_err(|error| error.to_string()),
        Ok(Some(Ok(_))) => Err("it isn't text".to_owned()),
        // Whoever it was has left.
        Ok(None | Some(Err(_))) | Err(_) => return,
    };
    let (command, terminal) = match wanted {
        Ok(ExecAsk::Begin { command, terminal }) if !command.is_empty() => (command, terminal),
        Ok(_) => return fail(&mut socket, unexpected("it doesn't say what to run"), patience).await,
        Err(why) => return fail(&mut socket, unexpected(&why), patience).await,
    };
    let done = format!("{} in {}", command.first().map_or("", String::as_str), container.alloc);
    if let Err(error) = server.propose(&caller.doing(&done), Command::Witness).await {
        return fail(&mut socket, ExecTold::Failed { error, code: None }, patience).await;
    }
    let attach = Attach { argv: command, terminal: terminal.map(size) };
    let attached = server.backend.containers().attach(&container, &attach).await;
    match attached {
        Ok(attached) => {
            if tell(&mut socket, &ExecTold::Began { alloc: container.alloc.clone() }).await.is_ok() {
                Parts::of(socket, attached).run(&server, caller).await;
            }
        }
        Err(error) => fail(&mut socket, refused(&container.alloc, &error), patience).await,
    }
}

fn unexpected(why: &str) -> ExecTold {
    let error = ApiError::new(Code::BadRequest, "that isn't what this route takes").because(why);
    ExecTold::Failed { error: error.hint("docs/api.md says what passes"), code: None }
}

fn refused(alloc: &AllocId, error: &ContainerError) -> ExecTold {
    let (code, exit, hint) = match error {
        ContainerError::NoSuchCommand { reason: Missing::NotExecutable, .. } => {
            (Code::Conflict, Some(126), "is it a program, and may the container's user execute it?")
        }
        ContainerError::NoSuchCommand { .. } => {
            (Code::NotFound, Some(127), "an image has its own programs only, and often no shell")
        }
        ContainerError::NotFound { .. } => {
            (Code::Conflict, None, "it has just ended: `mill allocs` shows what runs")
        }
        _ => (Code::Unavailable, None, "`mill doctor` on its node looks for the cause"),
    };
    let refusal = ApiError::new(code, format!("nothing could be run in {alloc}"));
    let refusal = refusal.because(mill_drivers::containerd::chain(error)).hint(hint);
    ExecTold::Failed { error: refusal, code: exit }
}

const fn size(size: TerminalSize) -> Size {
    Size { columns: size.columns, rows: size.rows }
}

/// The client is gone.
struct Gone;

async fn tell(socket: &mut WebSocket, told: &ExecTold) -> Result<(), Gone> {
    let text = serde_json::to_string(told).map_err(|_| Gone)?;
    socket.send(Message::text(text)).await.map_err(|_| Gone)
}

/// The last word. The client closes when it has heard it: a connection that is closed while something of the client's
/// is on its way takes what it was sent along.
async fn fail(socket: &mut WebSocket, told: ExecTold, patience: Duration) {
    // Whoever doesn't hear it has left.
    let _ = tell(socket, &told).await;
    let _ = socket.send(Message::Close(None)).await;
    let _ = timeout(patience, async { while let Some(Ok(_)) = socket.recv().await {} }).await;
}

/// A program that runs, and its client.
struct Session {
    socket: WebSocket,
    /// Output that was sent, and that the client didn't say to have read.
    unread: usize,
    input: Feed,
    heard: Instant,
}

/// What the program is to read.
struct Feed {
    hand: Hand,
    input: Option<Input>,
    /// What it didn't take yet.
    waiting: Vec<u8>,
    /// What it took, and the client doesn't know of yet.
    taken: usize,
    /// Whether there will be no more.
    is_over: bool,
}

/// How a program ended; `None`: nobody can say any more.
type Outcome = Option<Result<u8, ContainerError>>;

/// What a step of a session comes to.
type Step = Result<(), Option<ExecTold>>;

/// A session and what it listens to.
struct Parts {
    session: Session,
    output: Output,
    errors: Output,
    ended: oneshot::Receiver<Result<u8, ContainerError>>,
}

impl Parts {
    fn of(socket: WebSocket, attached: Attached) -> Self {
        let Attached { input, output, errors, hand, ended } = attached;
        let input = Feed { hand, input: Some(input), waiting: vec![], taken: 0, is_over: false };
        let session = Session { socket, unread: 0, input, heard: Instant::now() };
        Self { session, output, errors, ended }
    }

    /// Until the program has ended, or the client has left, or may do this no more.
    async fn run<B: Backend>(self, server: &Server<B>, caller: Caller) {
        let Self { mut session, mut output, mut errors, mut ended } = self;
        let tempo = &server.tempo;
        let (mut chunk, mut error_chunk) = (vec![0; EXEC_CHUNK_BYTES], vec![0; EXEC_CHUNK_BYTES]);
        let (mut writes, mut errs) = (true, true);
        let mut outcome: Option<(Outcome, Instant)> = None;
        let mut pings = interval(tempo.api_keepalive);
        let mut leaving = pin!(server.leaving.cancelled());
        let mut over = pin!(caller.over(server.clone()));
        let last = loop {
            if let Some((outcome, _)) = outcome.take_if(|_| !writes && !errs) {
                break last_word(outcome);
            }
            let has_room = session.unread < EXEC_WINDOW_BYTES;
            let patience =
                outcome.as_ref().map_or_else(Instant::now, |(_, since)| *since + tempo.log_tail_deadline);
            let step = tokio::select! {
                said = session.socket.recv() => session.hear(said).await,
                read = output.read(&mut chunk), if writes && has_room => {
                    session.pass_on(OUTPUT, read, &chunk, &mut writes).await
                }
                read = errors.read(&mut error_chunk), if errs && has_room => {
                    session.pass_on(ERRORS, read, &error_chunk, &mut errs).await
                }
                took = session.input.feed(), if session.input.has_work() => session.fed(took).await,
                how = &mut ended, if outcome.is_none() => {
                    outcome = Some((how.ok(), Instant::now()));
                    Ok(())
                }
                // All that it wrote is there by then; who else holds its streams is no business of this program's end.
                () = sleep_until(patience), if outcome.is_some() && has_room => {
                    (writes, errs) = (false, false);
                    Ok(())
                }
                _ = pings.tick() => session.look(tempo.api_silence).await,
                () = &mut leaving => Err(Some(leaves())),
                error = &mut over => Err(Some(ExecTold::Failed { error, code: None })),
            };
            match step {
                Ok(()) => {}
                Err(Some(told)) => break told,
                Err(None) => return,
            }
        };
        fail(&mut session.socket, last, tempo.log_tail_deadline).await;
    }
}

fn last_word(outcome: Outcome) -> ExecTold {
    let lost = |why: String| {
        let error = ApiError::new(Code::Unavailable, "how the program ended isn't known").because(why);
        ExecTold::Failed { error: error.hint("`mill doctor` on its node looks for the cause"), code: None }
    };
    match outcome {
        Some(Ok(code)) => ExecTold::Ended { code },
        Some(Err(error)) => lost(mill_drivers::containerd::chain(&error)),
        None => lost("the daemon lost sight of it".to_owned()),
    }
}

fn leaves() -> ExecTold {
    let error = ApiError::new(Code::Unavailable, "the daemon is stopping, and the program ends with it");
    ExecTold::Failed { error: error.hint("run it again when the daemon is back"), code: None }
}

impl Session {
    /// Passes on what the program wrote; the end of a stream is noted.
    async fn pass_on(&mut self, stream: u8, read: io::Result<usize>, chunk: &[u8], open: &mut bool) -> Step {
        let Ok(count @ 1..) = read else {
            *open = false;
            return Ok(());
        };
        self.unread += count;
        let bytes = Bytes::from(message(stream, chunk.get(..count).unwrap_or_default()));
        self.socket.send(Message::Binary(bytes)).await.map_err(|_| None)
    }

    async fn hear(&mut self, said: Option<Result<Message, axum::Error>>) -> Step {
        self.heard = Instant::now();
        match said {
            Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                Ok(ask) => self.obey(ask).await,
                Err(error) => Err(Some(unexpected(&error.to_string()))),
            },
            Some(Ok(Message::Binary(bytes))) => match bytes.split_first() {
                Some((&INPUT, bytes)) if self.input.take(bytes) => Ok(()),
                Some((&INPUT, _)) => Err(Some(unexpected("more input is on its way than the window allows"))),
                _ => Err(Some(unexpected("there is no such stream"))),
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(None),
        }
    }

    async fn obey(&mut self, ask: ExecAsk) -> Step {
        match ask {
            ExecAsk::Begin { .. } => return Err(Some(unexpected("it runs already"))),
            ExecAsk::Read { bytes } => self.unread = self.unread.saturating_sub(bytes),
            ExecAsk::Resize(to) => self.input.hand.ask(Ask::Resize(size(to))).await,
            ExecAsk::Signal { name } => match name.parse() {
                Ok(signal) => self.input.hand.ask(Ask::Signal(signal)).await,
                Err(_) => return Err(Some(unexpected("there is no such signal"))),
            },
            ExecAsk::CloseInput => self.input.is_over = true,
        }
        Ok(())
    }

    /// Tells the client what the program took, when it matters to it.
    async fn fed(&mut self, took: io::Result<usize>) -> Step {
        let Feed { waiting, taken, .. } = &mut self.input;
        match took {
            Ok(count) => {
                waiting.drain(..count.min(waiting.len()));
                *taken += count;
            }
            // It reads no more; what comes is dropped.
            Err(_) => *taken += std::mem::take(waiting).len(),
        }
        let bytes = *taken;
        if bytes == 0 || (!waiting.is_empty() && bytes < EXEC_WINDOW_BYTES / 4) {
            return Ok(());
        }
        *taken = 0;
        tell(&mut self.socket, &ExecTold::Read { bytes }).await.map_err(|Gone| None)
    }

    /// Whether the client is still there.
    async fn look(&mut self, silence: Duration) -> Step {
        match self.heard.elapsed() < silence {
            true => self.socket.send(Message::Ping(Bytes::new())).await.map_err(|_| None),
            false => Err(None),
        }
    }
}

impl Feed {
    /// Takes bytes for the program, unless they are too many.
    fn take(&mut self, bytes: &[u8]) -> bool {
        let fits = self.waiting.len() + self.taken + bytes.len() <= EXEC_WINDOW_BYTES;
        if fits && !self.is_over {
            self.waiting.extend_from_slice(bytes);
        }
        fits
    }

    /// Whether there is something to write, or an end to be told.
    fn has_work(&self) -> bool {
        !self.waiting.is_empty() || (self.is_over && self.input.is_some())
    }

    /// Writes what the program takes, and closes what it reads when that was all. May be dropped at any time.
    async fn feed(&mut self) -> io::Result<usize> {
        match &mut self.input {
            Some(input) if !self.waiting.is_empty() => input.write(&self.waiting).await,
            Some(_) => {
                self.hand.ask(Ask::CloseInput).await;
                self.input = None;
                Ok(0)
            }
            None => Ok(self.waiting.len()),
        }
    }
}
