//! Connections: accepted up to a bound, and kept only as long as their client takes part.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::Service;
use super::limits::Limits;

/// The head of a request may be this long, in bytes; what is longer is answered 431.
const MAX_HEAD: usize = 64 << 10;

/// Headers of a request.
const MAX_HEADERS: usize = 100;

/// Connections past the bound that are told so at one time; those past these are closed without a word.
const NUM_TOLD: usize = 64;

/// How long a connection past the bound is listened to, so that it can read what it is told.
const TOLD_TIMEOUT: Duration = Duration::from_millis(500);

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
    told: Arc<Semaphore>,
    max: u32,
    stop: watch::Receiver<bool>,
}

impl Connections {
    /// At most `max` at one time, until `stop` is true.
    pub fn new(max: usize, stop: watch::Receiver<bool>) -> Self {
        let [open, told] = [max, NUM_TOLD].map(|permits| Arc::new(Semaphore::new(permits)));
        Self { open, told, max: max as u32, stop }
    }

    /// Waits until all are closed.
    pub async fn closed(&self) {
        let _ = self.open.acquire_many(self.max).await;
    }
}

/// Accepts connections until it is told to stop.
pub async fn accept(endpoint: Endpoint, service: Arc<Service>, mut connections: Connections) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = connections.stop.wait_for(|stop| *stop) => return,
            accepted = endpoint.listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // A client that went away is nothing; no more file descriptors is, and takes a while to mend.
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
                    serve_stream(stream, peer, tls, router, &service.limits, stop).await;
                });
            }
            Err(_) => {
                service.metrics.refuse_connection();
                if let Ok(permit) = connections.told.clone().try_acquire_owned()
                    && endpoint.tls.is_none()
                {
                    tokio::spawn(async move {
                        let _told = permit;
                        let _ = timeout(TOLD_TIMEOUT, tell_too_many(stream)).await;
                    });
                }
            }
        }
    }
}

/// Answers and reads what came until the client closes: closed at once, the answer might be lost.
async fn tell_too_many(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(TOO_MANY).await?;
    stream.shutdown().await?;
    let mut ignored = [0; 4096];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

async fn serve_stream(
    stream: TcpStream,
    _peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: &Limits,
    stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let stream = Patient::new(stream, limits.write_timeout);
    match tls {
        None => serve_connection(stream, router, limits, stop).await,
        Some(tls) => {
            // A handshake that fails or takes too long is the client's business.
            if let Ok(Ok(stream)) = timeout(limits.header_timeout, tls.accept(stream)).await {
                serve_connection(stream, router, limits, stop).await;
            }
        }
    }
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    limits: &Limits,
    mut stop: watch::Receiver<bool>,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    // Errors are those of a client that broke off or sent what is no HTTP; hyper has answered what can be.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// A stream that gives a client up which takes nothing of its response for too long.
struct Patient<S> {
    stream: S,
    patience: Duration,
    /// Since when nothing could be written.
    end: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, end: None }
    }

    /// Passes `outcome` on, or an error where it has been pending for too long.
    fn watch<T>(&mut self, outcome: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.end = None;
            return outcome;
        }
        let patience = self.patience;
        let end =
            self.end.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
        end.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
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
