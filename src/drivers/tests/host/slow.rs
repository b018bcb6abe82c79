//! A line to a registry: slow, and gone when told. It counts what goes over it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

/// Bytes that go over a connection at once, and then a pause.
const STEP_BYTES: usize = 32 << 10;

/// A line to a port of this machine. Dropping it cuts it.
pub(crate) struct SlowLine {
    pub(crate) port: u16,
    to: SocketAddr,
    pause: Duration,
    sent: Arc<AtomicU64>,
    /// Ends with its connections.
    task: Option<JoinHandle<()>>,
}

impl Drop for SlowLine {
    fn drop(&mut self) {
        self.cut();
    }
}

impl SlowLine {
    /// A line that lets at most so many bytes a second through to the client, for each connection.
    pub(crate) async fn start(to: u16, bytes_per_second: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let step = u32::try_from(STEP_BYTES).unwrap();
        let pause = Duration::from_secs(1) * step / bytes_per_second;
        let (to, sent) = (([127, 0, 0, 1], to).into(), Arc::default());
        let mut line = Self { port, to, pause, sent, task: None };
        line.serve(listener);
        line
    }

    /// Nobody listens any more, and all connections break.
    pub(crate) fn cut(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    /// It is there again, at the same port.
    pub(crate) async fn mend(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.serve(listener);
    }

    /// Bytes that went to clients so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn serve(&mut self, listener: TcpListener) {
        let (to, pause, sent) = (self.to, self.pause, Arc::clone(&self.sent));
        self.task = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(relay(client, to, pause, Arc::clone(&sent)));
            }
        }));
    }
}

async fn relay(client: TcpStream, to: SocketAddr, pause: Duration, sent: Arc<AtomicU64>) {
    let Ok(server) = TcpStream::connect(to).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async { copy(&mut from_client, &mut to_server).await.map(drop) };
    let mut pace = interval(pause);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let down = async {
        let mut buffer = vec![0; STEP_BYTES];
        loop {
            let count = from_server.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            to_client.write_all(&buffer[..count]).await?;
            sent.fetch_add(count as u64, Ordering::Relaxed);
            // Headers and small documents take no time.
            if count > STEP_BYTES / 8 {
                pace.tick().await;
            }
        }
    };
    let _: Result<_, std::io::Error> = tokio::try_join!(up, down);
}
