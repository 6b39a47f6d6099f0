//! TLS as a client meets it: the chain, the name, and how long the certificate still lasts.

use super::http::answer_of_io;
use crate::check::{Answer, TlsProbe};
use pipeline::causes::in_one_line;
use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{io, path::Path, sync::Arc, time::SystemTime};
use tokio::{net::TcpStream, sync::OnceCell};
use tokio_rustls::{TlsConnector, client::TlsStream};
use x509_parser::parse_x509_certificate;

const SECONDS_A_DAY: i64 = 24 * 60 * 60;

/// Whose signatures are accepted.
#[derive(Default)]
pub(super) struct Trust {
    /// The machine's own authorities: read once, because there are hundreds.
    native: OnceCell<Arc<RootCertStore>>,
}

impl Trust {
    /// Speaks TLS on a connection.
    ///
    /// # Errors
    /// Why it cannot be spoken, as an answer that is not a pass.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        tls: &TlsProbe,
    ) -> Result<TlsStream<TcpStream>, Answer> {
        let name = ServerName::try_from(tls.server_name.clone())
            .map_err(|e| provider(format!("`{}` cannot be the name of a server: {e}", tls.server_name)))?;
        let roots = match &tls.ca_file {
            Some(path) => Arc::new(roots_of_file(path).await?),
            None => Arc::clone(self.native.get_or_try_init(native_roots).await?),
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| provider(format!("cannot speak TLS: {e}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connection = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map_err(|e| answer_of_tls(&e, tls))?;
        if let Some(min_days) = tls.min_days_left {
            let leaf = connection.get_ref().1.peer_certificates().and_then(<[_]>::first);
            check_days_left(leaf, min_days)?;
        }
        Ok(connection)
    }
}

fn provider(message: String) -> Answer {
    Answer::ProviderError(message)
}

async fn roots_of_file(path: &Path) -> Result<RootCertStore, Answer> {
    let wrong = |why: String| provider(format!("cannot use the authority file `{}`: {why}", path.display()));
    let bytes = tokio::fs::read(path).await.map_err(|e| wrong(e.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
        roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("it holds no certificate".to_owned())) } else { Ok(roots) }
}

async fn native_roots() -> Result<Arc<RootCertStore>, Answer> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs)
        .await
        .map_err(|e| provider(format!("cannot read the machine's authorities: {e}")))?;
    let mut roots = RootCertStore::empty();
    // Machines carry some that no longer parse; what counts is that others do.
    let (added, _) = roots.add_parsable_certificates(loaded.certs);
    if added > 0 {
        return Ok(Arc::new(roots));
    }
    let why = loaded.errors.first().map_or_else(|| "there are none".to_owned(), |e| in_one_line(e));
    Err(provider(format!("cannot use the machine's authorities: {why}; name a `ca-file`")))
}

fn answer_of_tls(error: &io::Error, tls: &TlsProbe) -> Answer {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => Answer::Certificate(certificate_problem(why, tls)),
        Some(rustls::Error::NoCertificatesPresented) => Answer::Certificate("there is none".to_owned()),
        Some(other) => Answer::Broken(format!("TLS failed: {other}")),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            Answer::Broken("the connection was closed during the TLS handshake".to_owned())
        }
        None => answer_of_io(error),
    }
}

fn certificate_problem(why: &CertificateError, tls: &TlsProbe) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; compare the clocks".to_owned()
        }
        CertificateError::UnknownIssuer => "no trusted authority has signed it".to_owned(),
        CertificateError::BadSignature => {
            "no trusted authority has signed it, only one of the same name with another key".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("it is not for the name `{}`", tls.server_name)
        }
        other => format!("it is not acceptable ({other})"),
    }
}

fn check_days_left(leaf: Option<&CertificateDer<'_>>, min_days: u32) -> Result<(), Answer> {
    let leaf = leaf.ok_or_else(|| Answer::Certificate("there is none".to_owned()))?;
    let (_, certificate) = parse_x509_certificate(leaf)
        .map_err(|e| Answer::Certificate(format!("its validity cannot be read: {e}")))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let left = certificate.validity().not_after.timestamp() - i64::try_from(now).unwrap_or(i64::MAX);
    let days = left.div_euclid(SECONDS_A_DAY);
    if days < i64::from(min_days) {
        return Err(Answer::Certificate(format!(
            "it expires in {days} days, and must last {min_days} days more"
        )));
    }
    Ok(())
}
