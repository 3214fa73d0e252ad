//! A server from its listeners to its end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::listen::{Connections, Endpoint, accept};
use super::routes;
use super::service::{ServeEvent, Service};
use crate::{Error, Result};

/// Connections for metrics and reloads, which are counted apart: a service that is full can be looked at.
const MAX_ADMIN_CONNECTIONS: usize = 32;

/// Where a server listens.
pub struct Listeners {
    /// For the service.
    pub service: TcpListener,
    /// For metrics and reloads.
    pub admin: Option<TcpListener>,
    /// For both.
    pub tls: Option<TlsAcceptor>,
}

/// Serves until `stop` comes, then finishes what is in flight, for at most [`Limits::drain_timeout`].
/// `watch_interval` is how often folders are looked at for a change; never where it is `None`.
///
/// # Errors
///
/// [`Error::Process`] where the scoring thread cannot be started.
///
/// [`Limits::drain_timeout`]: super::Limits::drain_timeout
pub async fn serve(
    service: Arc<Service>,
    listeners: Listeners,
    watch_interval: Option<Duration>,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    const SCORING: &str = "scoring";
    let scorer = service.clone();
    let scoring = std::thread::Builder::new()
        .name(SCORING.into())
        .spawn(move || scorer.score_batches())
        .map_err(Error::thread(SCORING))?;
    let (sender, stopped) = watch::channel(false);
    let connections = accept_all(&service, listeners, &stopped);
    if let Some(interval) = watch_interval {
        tokio::spawn(watch_folders(service.clone(), interval));
    }
    stop.await;
    service.begin_draining();
    sender.send_replace(true);
    service.report(ServeEvent::Draining);
    // Requests that are not finished by then are aborted.
    let _ = timeout(service.limits.drain_timeout, connections.closed()).await;
    service.queue.close();
    let _ = scoring.join();
    Ok(())
}

/// Accepts connections to both endpoints; those of the service are waited for at the end.
fn accept_all(service: &Arc<Service>, listeners: Listeners, stopped: &watch::Receiver<bool>) -> Connections {
    let Listeners { service: listener, admin, tls } = listeners;
    let connections = Connections::new(service.limits.max_connections, stopped.clone());
    let endpoint = Endpoint { listener, tls: tls.clone(), router: routes::service(service.clone()) };
    tokio::spawn(accept(endpoint, service.clone(), connections.clone()));
    if let Some(listener) = admin {
        let endpoint = Endpoint { listener, tls, router: routes::admin(service.clone()) };
        let connections = Connections::new(MAX_ADMIN_CONNECTIONS, stopped.clone());
        tokio::spawn(accept(endpoint, service.clone(), connections));
    }
    connections
}

async fn watch_folders(service: Arc<Service>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let service = service.clone();
        let _ = tokio::task::spawn_blocking(move || service.reload(false)).await;
    }
}
