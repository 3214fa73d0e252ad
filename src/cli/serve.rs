use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use ipsight::device::ComputeDevice;
use ipsight::model_folder::Placement;
use ipsight::serve::{
    self, Access, AccessFiles, AtStart, Limits, Listeners, ModelBounds, Models, Scoring, Service,
    ServiceOptions,
};
use ipsight::{At, Error, Result};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};

use super::common_args::{DeviceArg, UnseenArg, parse_prior};
use super::serve_log::{one_line, tell};

/// Connections that may wait to be accepted: a crowd that comes at once must not be turned away by the system.
const BACKLOG: u32 = 4096;

#[derive(Args)]
pub struct ServeArgs {
    /// Model folder, or a folder of model or run folders, whose models are served by the folders' names
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Where to listen; port 0 takes any that is free
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    #[command(flatten)]
    options: ServeOptions,
}

/// What every way of serving takes.
#[derive(Args)]
pub struct ServeOptions {
    /// Where to listen for GET /metrics, POST /reload and, of several models, /models; nowhere by default
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<SocketAddr>,
    /// List, load and unload models on --listen, too (`sagemaker serve` does)
    #[arg(long)]
    pub manage_models: bool,
    /// Map a model's files where they lie instead of copying them into memory: processes share it. A folder must then
    /// be replaced by renaming, and never be written to while it is served
    #[arg(long)]
    map_in_place: bool,
    #[command(flatten)]
    device: DeviceArg,
    /// Certificate chain (PEM) with which both addresses speak TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Tokens, one a line, of which every request but GET /ping must bear one: Authorization: Bearer TOKEN
    #[arg(long, value_name = "FILE")]
    auth_token_file: Option<PathBuf>,
    /// Listen on an address that others can reach even without TLS and tokens
    #[arg(long)]
    pub insecure: bool,
    /// The share of attacks among real events, as for `score`
    #[arg(long, value_name = "P", value_parser = parse_prior)]
    attack_prior: Option<f64>,
    #[command(flatten)]
    unseen: UnseenArg,
    /// Seconds between looks at whether a model folder, or where a link leads, has changed; 0 for never
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = parse_seconds)]
    watch_interval: f64,
    /// A line on stderr for each request, with nothing of what it holds
    #[arg(long)]
    log_requests: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

/// Each limit as a flag.
#[derive(Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Bytes of a request's body; more is answered 413
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().max_body_bytes)]
    max_body_bytes: usize,
    /// Records of a request; more is answered 413
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_records)]
    max_records: usize,
    /// How deep JSON may nest
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_json_depth)]
    max_json_depth: usize,
    /// Bytes of a response of embeddings, about; a request for more is answered 413
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().max_response_bytes)]
    max_response_bytes: usize,
    /// Connections at one time; more are answered 503
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_connections)]
    max_connections: usize,
    /// Records that may wait to be scored; past them 503
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_queue_records)]
    max_queue_records: usize,
    /// Bytes of all bodies being read or worked on; past them 503
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().max_queue_bytes)]
    max_queue_bytes: usize,
    /// Records that are scored together, at most
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_batch_records)]
    max_batch_records: usize,
    /// Explanations at one time; past them 503
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_explanations)]
    max_explanations: usize,
    /// Models at one time, by name
    #[arg(long, value_name = "N", default_value_t = 4096)]
    max_models: usize,
    /// Bytes of the files of all models, those of one folder once; the memory that is available at the start, by default,
    /// and no bound with --map-in-place
    #[arg(long, value_name = "BYTES")]
    max_model_bytes: Option<u64>,
    /// Seconds for the head of a request, from its first byte, and for a TLS handshake
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = parse_seconds)]
    header_timeout: f64,
    /// Seconds for which a connection may be idle: more than the 60 of most load balancers
    #[arg(long, value_name = "SECONDS", default_value_t = 65.0, value_parser = parse_seconds)]
    idle_timeout: f64,
    /// Seconds for the body of a request
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = parse_seconds)]
    body_timeout: f64,
    /// Seconds for which a client may take nothing of a response
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = parse_seconds)]
    write_timeout: f64,
    /// Seconds for which requests in flight are waited for at the end, at most 25
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0, value_parser = parse_seconds)]
    drain_timeout: f64,
}

fn parse_seconds(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0 to 86400".into()),
    }
}

impl LimitArgs {
    fn limits(&self) -> Limits {
        let seconds = Duration::from_secs_f64;
        Limits {
            max_body_bytes: self.max_body_bytes,
            max_records: self.max_records,
            max_json_depth: self.max_json_depth,
            max_response_bytes: self.max_response_bytes,
            max_connections: self.max_connections,
            max_queue_records: self.max_queue_records,
            max_queue_bytes: self.max_queue_bytes,
            max_batch_records: self.max_batch_records,
            max_explanations: self.max_explanations,
            header_timeout: seconds(self.header_timeout),
            idle_timeout: seconds(self.idle_timeout),
            body_timeout: seconds(self.body_timeout),
            write_timeout: seconds(self.write_timeout),
            drain_timeout: seconds(self.drain_timeout),
        }
    }
}

pub fn run(args: ServeArgs) -> Result<()> {
    serve(&args.model, AtStart::All, args.listen, &args.options)
}

/// Serves a model folder, or those below it, until a signal.
pub fn serve(model: &Path, at_start: AtStart, listen: SocketAddr, options: &ServeOptions) -> Result<()> {
    let limits = options.limits.limits();
    limits.check()?;
    let access = Access::read(options.access_files())?;
    check_addresses(listen, options, &access)?;
    // What a thread is needed for has it before it begins.
    let device = options.device.choose()?;
    let runtime = serve::runtime(&device)?;
    let models = load_models(model, at_start, device, options, &limits)?;
    let has_tls = access.has_tls();
    let service_options =
        ServiceOptions { log_requests: options.log_requests, manages_models: options.manage_models };
    let service = Service::start(models, limits, access, service_options, Box::new(tell))?;
    let served = runtime.block_on(async {
        let stop = stop_signal(service.clone())?;
        let listeners = bind_all(listen, options.admin_listen, has_tls)?;
        let interval =
            (options.watch_interval > 0.0).then(|| Duration::from_secs_f64(options.watch_interval));
        serve::serve(service, listeners, interval, stop).await;
        Ok(())
    });
    // Requests that were cut off must not hold the process.
    runtime.shutdown_background();
    served
}

impl ServeOptions {
    fn access_files(&self) -> AccessFiles {
        let tls = self.tls_cert.clone().zip(self.tls_key.clone());
        AccessFiles { tokens: self.auth_token_file.clone(), tls }
    }

    fn model_bounds(&self, limits: &Limits) -> ModelBounds {
        let placement = if self.map_in_place { Placement::InPlace } else { Placement::Copied };
        let max_bytes = match (self.limits.max_model_bytes, self.map_in_place) {
            (Some(bytes), _) => bytes,
            (None, true) => u64::MAX,
            (None, false) => ModelBounds::available_bytes(),
        };
        let reserved_bytes = ModelBounds::of_requests(limits);
        ModelBounds { placement, max_models: self.limits.max_models, max_bytes, reserved_bytes }
    }
}

/// Refuses addresses that others can reach, unless the way there is safe or that is not wanted.
fn check_addresses(listen: SocketAddr, options: &ServeOptions, access: &Access) -> Result<()> {
    let addresses = [("listen", Some(listen)), ("admin_listen", options.admin_listen)];
    for (name, address) in addresses.into_iter().filter_map(|(name, address)| Some((name, address?))) {
        if !options.insecure && !access.is_guarded(address) {
            return Err(Error::config(
                At::option_of(name, address),
                "others can reach this address",
                "give --tls-cert, --tls-key and --auth-token-file; or --insecure where something in front of it \
                 has them",
            ));
        }
    }
    Ok(())
}

fn load_models(
    model: &Path,
    at_start: AtStart,
    device: ComputeDevice,
    options: &ServeOptions,
    limits: &Limits,
) -> Result<Models> {
    let start = Instant::now();
    let scoring = Scoring { attack_prior: options.attack_prior, unseen: options.unseen.unseen };
    let models = Models::load(model, at_start, device, scoring, options.model_bounds(limits))?;
    for model in models.all().values() {
        talk!("model {}, version {}", one_line(&model.name), model.version());
    }
    talk!("ready after {:.3} s", start.elapsed().as_secs_f64());
    Ok(models)
}

fn bind_all(listen: SocketAddr, admin_listen: Option<SocketAddr>, has_tls: bool) -> Result<Listeners> {
    let scheme = if has_tls { "https" } else { "http" };
    let admin = match admin_listen {
        Some(address) => Some(bind("admin_listen", address, &format!("admin on {scheme}"))?),
        None => None,
    };
    let service = bind("listen", listen, &format!("listening on {scheme}"))?;
    Ok(Listeners { service, admin })
}

/// Binds the address that an option gives.
fn bind(option: &'static str, address: SocketAddr, what: &str) -> Result<TcpListener> {
    let refused = || Error::socket(At::option(option), address);
    let listener = listen_on(address).map_err(refused())?;
    let address = listener.local_addr().map_err(refused())?;
    talk!("{what}://{address}");
    Ok(listener)
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Ends at SIGTERM or SIGINT. Until then SIGHUP reloads.
fn stop_signal(service: Arc<Service>) -> Result<impl Future<Output = ()>> {
    let on = |kind| signal(kind).map_err(Error::process("handle signals"));
    let (mut terminate, mut interrupt, mut hang_up) =
        (on(SignalKind::terminate())?, on(SignalKind::interrupt())?, on(SignalKind::hangup())?);
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = hang_up.recv() => service.request_reload(),
            }
        }
    })
}
