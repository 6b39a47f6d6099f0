//! The session of a BuildKit build: a connection on which the engine asks *us*, here for the context, for the secrets of
//! the build and for logins of registries.
//!
//! bollard can open one itself beside a build whose progress it streams, but serves no secrets on it; and it serves
//! secrets to builds whose progress it does not show. So the session is opened here: one request that the engine turns
//! round, on a connection of its own, and then HTTP/2 with the engine as the client. It ends when it is dropped.

use super::{Logins, files::Giver};
use crate::Address;
use bollard::{
    health::{
        HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
        health_check_response::ServingStatus,
        health_server::{Health, HealthServer},
    },
    moby::{
        buildkit::secrets::v1::{
            GetSecretRequest, GetSecretResponse,
            secrets_server::{Secrets, SecretsServer},
        },
        filesync::{
            packet::file_sync_server::FileSyncServer,
            v1::{
                CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse,
                GetTokenAuthorityRequest, GetTokenAuthorityResponse, VerifyTokenAuthorityRequest,
                VerifyTokenAuthorityResponse,
                auth_server::{Auth, AuthServer},
            },
        },
    },
};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Collected, Empty, Limited};
use hyper::upgrade::Upgraded;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use pipeline::{
    causes::in_one_line,
    secret::{Redactor, Secret},
};
use registry::{Credentials, Host};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Response, Status, service::Routes};

/// The longest that an engine may take to turn the connection round: as long as any other answer of a busy one.
const OPEN_TIMEOUT: Duration = Duration::from_secs(120);

/// The longest refusal that is passed on, in bytes. A longer one is none of an engine's.
const REASON_MAX: usize = 1000;

/// What the engine may ask for here.
const METHODS: [&str; 3] = [
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.filesync.v1.FileSync/DiffCopy",
];

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The connection cannot be made, or no random name be drawn for the session.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The connection broke.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// The engine does not turn the connection round.
    #[error("the engine answered {status} instead of opening a session for the build: {reason}")]
    Refused {
        /// With what.
        status: StatusCode,
        /// Its words; empty if they are longer than 1000 bytes.
        reason: String,
    },
    /// It does not answer.
    #[error("the engine did not answer within {} s when asked to open a session for the build", OPEN_TIMEOUT.as_secs())]
    Silent,
}

/// An open session.
#[derive(Debug)]
pub(super) struct Session {
    id: String,
    _serving: AbortOnDropHandle<()>,
}

impl Session {
    /// Opens one, which gives the engine these secrets when it asks, logins, and the context unless that is the body of the
    /// request.
    pub(super) async fn open(
        address: &Address,
        secrets: Arc<BTreeMap<String, Secret>>,
        logins: Logins,
        redactor: Redactor,
        giver: Option<Giver>,
    ) -> Result<Self, SessionError> {
        let id = unique_id()?;
        let opening = async {
            match address {
                Address::Unix(path) => turn_round(UnixStream::connect(path).await?, &id).await,
                Address::Tcp(host) => turn_round(TcpStream::connect(host).await?, &id).await,
            }
        };
        let connection = timeout(OPEN_TIMEOUT, opening).await.map_err(|_| SessionError::Silent)??;
        let mut routes = Routes::new(SecretsServer::new(Keeper { secrets }))
            .add_service(AuthServer::new(Doorkeeper { logins, redactor }))
            .add_service(HealthServer::new(AlwaysWell));
        if let Some(giver) = giver {
            routes = routes.add_service(FileSyncServer::new(giver));
        }
        let routes = routes.prepare();
        let serving = async move {
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // How it ends says nothing that the build's own end does not say better.
            drop(server.serve_connection(connection, TowerToHyperService::new(routes)).await);
        };
        Ok(Self { id, _serving: AbortOnDropHandle::new(tokio::spawn(serving)) })
    }

    /// The name by which the build is told of it.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

/// A name that no other build has: the engine refuses a second session of the same name, or mixes up two builds.
fn unique_id() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex::encode(bytes))
}

async fn turn_round<S>(stream: S, id: &str) -> Result<Upgraded, SessionError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = AbortOnDropHandle::new(tokio::spawn(connection.with_upgrades()));
    let mut request = Request::post("/session")
        .header(header::HOST, "engine")
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "h2c")
        .header("X-Docker-Expose-Session-Uuid", id)
        // Under what name the engine keeps the context that it was given.
        .header("X-Docker-Expose-Session-Sharedkey", id);
    for method in METHODS {
        request = request.header("X-Docker-Expose-Session-Grpc-Method", method);
    }
    let request =
        request.body(Empty::<Bytes>::new()).expect("the names are constants, and the id is hexadecimal");
    let response = sender.send_request(request).await?;
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let body = Limited::new(response.into_body(), REASON_MAX).collect().await;
        let bytes = body.map(Collected::to_bytes).unwrap_or_default();
        return Err(SessionError::Refused {
            status,
            reason: String::from_utf8_lossy(&bytes).trim().to_owned(),
        });
    }
    let upgraded = hyper::upgrade::on(response).await?;
    drop(connection); // It has handed the stream over, and has nothing more to do.
    Ok(upgraded)
}

/// Gives out the secrets of one build.
struct Keeper {
    secrets: Arc<BTreeMap<String, Secret>>,
}

#[tonic::async_trait]
impl Secrets for Keeper {
    async fn get_secret(
        &self,
        request: tonic::Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = &request.get_ref().id;
        let secret =
            self.secrets.get(id).ok_or_else(|| Status::not_found(format!("secret {id} not found")))?;
        Ok(Response::new(GetSecretResponse { data: secret.expose().to_vec() }))
    }
}

/// Tells who we are to registries that the engine takes base images and caches from.
struct Doorkeeper {
    logins: Logins,
    redactor: Redactor,
}

/// What the engine can do as well by itself, and then does, with the login.
fn by_itself<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("tokens are left to the engine"))
}

#[tonic::async_trait]
impl Auth for Doorkeeper {
    async fn credentials(
        &self,
        request: tonic::Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let host = request.get_ref().host.parse::<Host>();
        let host = host.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let found = self.logins.find(&host, &self.redactor).await;
        let login = found.map_err(|error| Status::failed_precondition(in_one_line(&error)))?;
        let text = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
        let (username, secret) = match &login.credentials {
            Credentials::Anonymous => (String::new(), String::new()),
            Credentials::Password { user, password } => (user.clone(), text(password)),
            // Known by the missing name.
            Credentials::IdentityToken { token } => (String::new(), text(token)),
        };
        Ok(Response::new(CredentialsResponse { username, secret }))
    }

    async fn fetch_token(
        &self,
        _: tonic::Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        by_itself()
    }

    async fn get_token_authority(
        &self,
        _: tonic::Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        by_itself()
    }

    async fn verify_token_authority(
        &self,
        _: tonic::Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        by_itself()
    }
}

/// The engine asks every few seconds whether the session still lives, and ends it if nobody answers.
struct AlwaysWell;

const WELL: HealthCheckResponse = HealthCheckResponse { status: ServingStatus::Serving as i32 };

#[tonic::async_trait]
impl Health for AlwaysWell {
    async fn check(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(WELL))
    }

    async fn list(
        &self,
        _: tonic::Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        Ok(Response::new(HealthListResponse { statuses: [(String::new(), WELL)].into() }))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(stream::iter([Ok(WELL)]).chain(stream::pending()).boxed()))
    }
}
