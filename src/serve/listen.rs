//! Connections: accepted up to a bound, and kept only as long as their client takes part.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::limits::Limits;
use super::service::Service;

/// The head of a request may be this long, in bytes; what is longer is answered 431.
const MAX_HEAD: usize = 64 << 10;

/// Headers of a request.
const MAX_HEADERS: usize = 100;

/// Connections past the bound that are answered at one time; those past these are closed without an answer.
const NUM_ANSWERED: usize = 64;

/// How long a connection past the bound is read from, so that its client can read the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a connection is listened to after the stop, for requests that have been sent but not read.
const LAST_REQUESTS: Duration = Duration::from_millis(250);

/// The answer of a connection past the bound.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
    x-amzn-errortype: ServiceUnavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 60\r\n\r\n\
    {\"Message\":\"too many connections are open: try again later\"}";

/// A place to listen, what is said there, and how.
pub struct Endpoint {
    pub listener: TcpListener,
    pub tls: Option<TlsAcceptor>,
    pub router: Router,
}

/// The bound of an endpoint's connections, and when they are to end.
#[derive(Clone)]
pub struct Connections {
    open: Arc<Semaphore>,
    answered: Arc<Semaphore>,
    max: u32,
    stop: watch::Receiver<bool>,
}

impl Connections {
    /// At most `max` at one time, until `stop` is true.
    pub fn new(max: usize, stop: watch::Receiver<bool>) -> Self {
        let [open, answered] = [max, NUM_ANSWERED].map(|permits| Arc::new(Semaphore::new(permits)));
        Self { open, answered, max: max as u32, stop }
    }

    /// Waits until all are closed.
    pub async fn closed(&self) {
        let _ = self.open.acquire_many(self.max).await;
    }
}

/// Accepts connections until the stop.
pub async fn accept(endpoint: Endpoint, service: Arc<Service>, mut connections: Connections) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = connections.stop.wait_for(|stop| *stop) => return,
            accepted = endpoint.listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // A client that went away is no fault. A lack of file descriptors is one, which takes a while to pass.
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    sleep(Duration::from_millis(50)).await;
                }
                continue;
            }
        };
        match connections.open.clone().try_acquire_owned() {
            Ok(permit) => {
                let (tls, router) = (endpoint.tls.clone(), endpoint.router.clone());
                let (service, stop) = (service.clone(), connections.stop.clone());
                tokio::spawn(async move {
                    let _open = (permit, service.metrics.open_connection());
                    serve_stream(stream, tls, router, &service.limits, stop).await;
                });
            }
            Err(_) => {
                service.metrics.refuse_connection();
                if let Ok(permit) = connections.answered.clone().try_acquire_owned()
                    && endpoint.tls.is_none()
                {
                    tokio::spawn(async move {
                        let _answered = permit;
                        let _ = timeout(ANSWER_TIMEOUT, answer_too_many(stream)).await;
                    });
                }
            }
        }
    }
}

/// Answers and reads what came until the client closes: closed at once, the answer might be lost.
async fn answer_too_many(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(TOO_MANY).await?;
    stream.shutdown().await?;
    let mut ignored = [0; 4096];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

async fn serve_stream(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: &Limits,
    stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let phase = Arc::new(Phase::default());
    let stream = Patient::new(stream, phase.clone(), limits);
    match tls {
        None => serve_connection(stream, phase, router, stop).await,
        Some(tls) => {
            // A handshake that fails or takes too long is the client's business.
            if let Ok(Ok(stream)) = timeout(limits.header_timeout, tls.accept(stream)).await {
                serve_connection(stream, phase, router, stop).await;
            }
        }
    }
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    phase: Arc<Phase>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        phase.begin_request();
        let response = router.call(request);
        let phase = &phase;
        async move {
            let response = response.await;
            phase.end_request();
            response
        }
    });
    let connection = http1::Builder::new()
        // Times are kept by the stream: hyper would set a timer for each request.
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // Errors are those of a client that broke off or sent what is no HTTP; hyper has answered what can be.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => {}
    }
    // What has been sent is answered, each with the word that it is the last; then idle ones are closed.
    if timeout(LAST_REQUESTS, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// What a connection waits for: as the stream sees bytes and the service requests.
#[derive(Default)]
struct Phase {
    /// Whether a request is being answered: what is read then is its body.
    in_request: AtomicBool,
}

impl Phase {
    fn begin_request(&self) {
        self.in_request.store(true, Ordering::Relaxed);
    }

    fn end_request(&self) {
        self.in_request.store(false, Ordering::Relaxed);
    }

    fn is_in_request(&self) -> bool {
        self.in_request.load(Ordering::Relaxed)
    }
}

/// What is being waited for between two requests, and since when.
#[derive(Clone, Copy)]
enum Waiting {
    /// Nothing is: a request is being answered.
    No,
    /// The first byte of a request.
    Idle(Instant),
    /// The rest of its head.
    Head(Instant),
}

/// A stream that gives a client up which begins no request, does not end its head, or takes nothing of a response,
/// for too long.
struct Patient<S> {
    stream: S,
    phase: Arc<Phase>,
    idle_timeout: Duration,
    header_timeout: Duration,
    write_timeout: Duration,
    waiting: Waiting,
    /// Goes off at the latest when a head that begins now would be late, and is then set again: a request sets none.
    read_alarm: Pin<Box<Sleep>>,
    /// Set while nothing can be written.
    write_alarm: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    fn new(stream: S, phase: Arc<Phase>, limits: &Limits) -> Self {
        Self {
            stream,
            phase,
            idle_timeout: limits.idle_timeout,
            header_timeout: limits.header_timeout,
            write_timeout: limits.write_timeout,
            waiting: Waiting::Idle(Instant::now()),
            read_alarm: Box::pin(sleep(limits.header_timeout.min(limits.idle_timeout))),
            write_alarm: None,
        }
    }

    /// Notes that something was read.
    fn has_read(&mut self) {
        self.waiting = match self.waiting {
            _ if self.phase.is_in_request() => Waiting::No,
            Waiting::No | Waiting::Idle(_) => Waiting::Head(Instant::now()),
            head => head,
        };
    }

    /// Whether what is waited for is late. Called while there is nothing to read.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.phase.is_in_request() {
            self.waiting = Waiting::No;
        } else if matches!(self.waiting, Waiting::No) {
            self.waiting = Waiting::Idle(Instant::now());
        }
        while self.read_alarm.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let late = match self.waiting {
                Waiting::No => now + self.header_timeout,
                Waiting::Idle(since) => since + self.idle_timeout,
                Waiting::Head(since) => since + self.header_timeout,
            };
            if late <= now {
                return Poll::Ready(());
            }
            self.read_alarm.as_mut().reset(late.min(now + self.header_timeout));
        }
        Poll::Pending
    }

    /// Passes `outcome` on, or an error where it has been pending for too long.
    fn watch<T>(&mut self, outcome: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.write_alarm = None;
            return outcome;
        }
        let timeout = self.write_timeout;
        let alarm = self.write_alarm.get_or_insert_with(|| Box::pin(sleep(timeout)));
        alarm.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => self.poll_late(context).map(|()| Err(io::ErrorKind::TimedOut.into())),
            ready => {
                self.has_read();
                ready
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(outcome, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(outcome, context)
    }
}
