//! One service from its start to its end.

use crate::{
    answer, health,
    lifecycle::Lifecycle,
    listen,
    log::{Level, Log},
    metrics::Registry,
    misbehave,
    settings::{Files, Settings},
    traffic,
};
use axum::Router;
use serde_json::json;
use std::{
    convert::Infallible,
    env, error, io,
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

/// The longest time that what is in flight may take after the service was told to stop.
///
/// Below the 30 s after which Fairlead, systemd's units written by it, and Kubernetes end a process by force.
const DRAIN_LIMIT: Duration = Duration::from_secs(25);

/// How long open connections stay open at the start of a drain, so that a request that is already on its way is still
/// answered, with `Connection: close`.
const DRAIN_GRACE: Duration = Duration::from_millis(200);

/// What distinguishes one service from another.
#[derive(Debug)]
pub struct Spec {
    /// Its name, in logs and in `/health`.
    pub name: &'static str,
    /// The variable with the address to listen on.
    pub host_variable: &'static str,
    /// The variable with the port to listen on.
    pub port_variable: &'static str,
    /// The port if that variable is not set.
    pub default_port: u16,
    /// The variable that names the config file.
    pub config_variable: &'static str,
    /// The keys that the config file may have.
    pub config_keys: &'static [&'static str],
}

/// A running service, as its routes see it.
#[derive(Debug)]
pub struct Service {
    /// What it is.
    pub spec: &'static Spec,
    /// What its environment said.
    pub settings: Settings,
    /// What its files said.
    pub files: Files,
    /// Its log.
    pub log: Log,
    /// Its metrics; routes may add families.
    pub metrics: Registry,
    /// Whether it drains, and what is in flight.
    pub lifecycle: Lifecycle,
    /// When it started.
    pub started: Instant,
}

/// Why a service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Settings have bad values: one line each.
    #[error("{}", .0.join("; "))]
    Settings(Vec<String>),
    /// A file that a setting names cannot be read.
    #[error("cannot read {}, named by {variable}", path.display())]
    File {
        /// The setting.
        variable: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// There are no threads to run on.
    #[error("cannot start threads")]
    Runtime(#[source] io::Error),
    /// The handlers of SIGTERM and SIGINT cannot be installed.
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
    /// A fault asked for it.
    #[error("asked to by NOOGH_FAULT")]
    Fault,
}

impl StartError {
    /// 2 if the user must change a setting, else 1.
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Settings(_) => ExitCode::from(2),
            Self::File { .. } | Self::Listen { .. } | Self::Runtime(_) | Self::Signals(_) | Self::Fault => {
                ExitCode::from(1)
            }
        }
    }
}

/// Makes the routes of a service's own, or says which settings do not fit them.
pub type Routes = fn(Arc<Service>) -> Result<Router, StartError>;

/// Runs a service until it is told to stop: the whole of its `main`.
///
/// Not generic and not `async`, so that all of this is compiled once and not again in each service.
pub fn run(spec: &'static Spec, routes: Routes) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().map_err(StartError::Runtime);
    runtime.and_then(|runtime| runtime.block_on(start(spec, routes))).unwrap_or_else(|error| {
        Log::new(spec.name, Level::Error).error(&format!("cannot start: {}", chain(&error)), &[]);
        error.exit_code()
    })
}

async fn start(spec: &'static Spec, routes: Routes) -> Result<ExitCode, StartError> {
    // First, so that a signal during the start ends it like any other.
    let terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
    let settings = Settings::read(spec, |name| env::var_os(name))?;
    let files = settings.load(spec)?;
    let service = Arc::new(Service {
        spec,
        log: Log::new(spec.name, settings.level),
        settings,
        files,
        metrics: Registry::default(),
        lifecycle: Lifecycle::default(),
        started: Instant::now(),
    });
    let router = routes(Arc::clone(&service))?
        .merge(health::routes(Arc::clone(&service)))
        .fallback(answer::no_route)
        .method_not_allowed_fallback(answer::no_method);
    let router = traffic::watched(misbehave::afflicted(router, &service), &service);
    misbehave::announce(&service);
    tokio::select! {
        code = live(&service, router) => code,
        never = obey(terminate, interrupt, &service) => match never {},
        code = misbehave::end(&service) => Ok(code),
        never = misbehave::grow(&service) => match never {},
    }
}

/// Listens, serves and drains.
async fn live(service: &Arc<Service>, router: Router) -> Result<ExitCode, StartError> {
    let Service { settings, log, lifecycle, .. } = &**service;
    if settings.faults.exit_at_start {
        return Err(StartError::Fault);
    }
    if let Some(delay) = settings.faults.slow_start {
        tokio::select! {
            () = sleep(delay) => {}
            () = lifecycle.draining() => return Ok(ExitCode::SUCCESS),
        }
    }
    let (listener, address) = listen::bind(settings).await?;
    log.info("listening", &[("address", json!(address)), ("release", json!(settings.release))]);
    Ok(serve(listener, address, router, service).await)
}

async fn serve(listener: TcpListener, address: SocketAddr, router: Router, service: &Service) -> ExitCode {
    let Service { log, lifecycle, .. } = service;
    let quiet = {
        let lifecycle = lifecycle.clone();
        async move {
            lifecycle.draining().await;
            sleep(DRAIN_GRACE).await;
            lifecycle.idle().await;
        }
    };
    let limit = async {
        lifecycle.draining().await;
        sleep(DRAIN_LIMIT).await;
    };
    let listener = listen::Door::new(listener, address, lifecycle.clone());
    let server = axum::serve(listener, router).with_graceful_shutdown(quiet);
    tokio::select! {
        _ = server.into_future() => {}
        () = limit => {}
    }
    match lifecycle.in_flight() {
        0 => {
            log.info("drained", &[]);
            ExitCode::SUCCESS
        }
        count => {
            log.error("broke off what was in flight at the drain limit", &[("in_flight", json!(count))]);
            ExitCode::FAILURE
        }
    }
}

/// Starts the drain when a signal asks for it.
async fn obey(mut terminate: Signal, mut interrupt: Signal, service: &Service) -> Infallible {
    let Service { settings, log, lifecycle, .. } = service;
    loop {
        let name = tokio::select! {
            Some(()) = terminate.recv() => "SIGTERM",
            Some(()) = interrupt.recv() => "SIGINT",
            else => std::future::pending().await,
        };
        if name == "SIGTERM" && settings.faults.ignore_sigterm {
            log.warn("ignoring SIGTERM, as NOOGH_FAULT asks", &[]);
        } else if !lifecycle.is_draining() {
            lifecycle.drain();
            log.info("draining", &[("signal", json!(name)), ("in_flight", json!(lifecycle.in_flight()))]);
        }
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
