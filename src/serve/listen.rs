//! Connections: accepted up to a bound, and kept only as long as their client takes part.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::limits::{Limits, NUM_ANSWERED};
use super::patient::{Patient, Phase};
use super::service::Service;

/// The head of a request may be this long, in bytes; what is longer is answered 431.
const MAX_HEAD: usize = 64 << 10;

/// Headers of a request.
const MAX_HEADERS: usize = 100;

/// How long a connection past the bound is read from, so that its client can read the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a connection is listened to after the stop, for requests that have been sent but not read.
const LAST_REQUESTS: Duration = Duration::from_millis(250);

/// The answer of a connection past the bound.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
    x-amzn-errortype: ServiceUnavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 60\r\n\r\n\
    {\"Message\":\"too many connections are open: try again later\"}";

/// A place to listen, and what is said there.
pub struct Endpoint {
    pub listener: TcpListener,
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
                // The certificate of now: it may be another one than at the start.
                let (tls, router) = (service.access.acceptor(), endpoint.router.clone());
                let (service, stop) = (service.clone(), connections.stop.clone());
                tokio::spawn(async move {
                    let _open = (permit, service.metrics.open_connection());
                    serve_stream(stream, tls, router, &service.limits, stop).await;
                });
            }
            Err(_) => {
                service.metrics.refuse_connection();
                if let Ok(permit) = connections.answered.clone().try_acquire_owned()
                    && !service.access.has_tls()
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
    let service = service_fn(|request: Request<Incoming>| {
        let response = router.call(request.map(|body| phase.begin_request(body)));
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
