//! A server from its listeners to its end.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use super::limits::MAX_ADMIN_CONNECTIONS;
use super::listen::{Connections, Endpoint, accept};
use super::routes;
use super::service::{ServeEvent, Service};

/// Where a server listens.
pub struct Listeners {
    /// For the service.
    pub service: TcpListener,
    /// For the operator: metrics, reloads and models.
    pub admin: Option<TcpListener>,
}

/// Serves until `stop` comes, then finishes what is in flight, for at most [`Limits::drain_timeout`].
/// `watch_interval` is how often folders are looked at for a change; never where it is `None`.
///
/// [`Limits::drain_timeout`]: super::Limits::drain_timeout
pub async fn serve(
    service: Arc<Service>,
    listeners: Listeners,
    watch_interval: Option<Duration>,
    stop: impl Future<Output = ()>,
) {
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
    service.close();
}

/// Accepts connections to both endpoints; those of the service are waited for at the end.
fn accept_all(service: &Arc<Service>, listeners: Listeners, stopped: &watch::Receiver<bool>) -> Connections {
    let Listeners { service: listener, admin } = listeners;
    let connections = Connections::new(service.limits.max_connections, stopped.clone());
    let endpoint = Endpoint { listener, router: routes::service(service.clone()) };
    tokio::spawn(accept(endpoint, service.clone(), connections.clone()));
    if let Some(listener) = admin {
        let endpoint = Endpoint { listener, router: routes::admin(service.clone()) };
        let connections = Connections::new(MAX_ADMIN_CONNECTIONS, stopped.clone());
        tokio::spawn(accept(endpoint, service.clone(), connections));
    }
    connections
}

/// Has the folders looked at, again and again. A look waits for what is being loaded, and the next one for it.
async fn watch_folders(service: Arc<Service>, interval: Duration) {
    let is_waiting = Arc::new(AtomicBool::new(false));
    loop {
        tokio::time::sleep(interval).await;
        if is_waiting.swap(true, Ordering::Relaxed) {
            continue;
        }
        let (looking, waiting) = (service.clone(), is_waiting.clone());
        let is_taken = service.loading.push(move || {
            waiting.store(false, Ordering::Relaxed);
            let _ = looking.reload(false);
        });
        if !is_taken {
            is_waiting.store(false, Ordering::Relaxed);
        }
    }
}
