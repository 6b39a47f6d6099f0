//! TLS: the chain, the name, the time.

use super::*;
use crate::check::TlsProbe;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::path::PathBuf;
use tokio_rustls::TlsAcceptor;

/// An authority, with its certificate in a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), issuer.pem()).unwrap();
        Self { issuer, file }
    }

    fn path(&self) -> Option<PathBuf> {
        Some(self.file.path().to_owned())
    }

    /// Serves `ok` under a certificate for `api.test` that is changed by `change`.
    async fn serve(&self, change: impl FnOnce(&mut CertificateParams)) -> SocketAddr {
        let mut params = CertificateParams::new(vec!["api.test".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        serve_with(certificate.der().clone(), key).await
    }
}

async fn serve_with(certificate: rustls::pki_types::CertificateDer<'static>, key: KeyPair) -> SocketAddr {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            read_head(&mut stream).await;
            let _written = stream.write_all(reply(200, "ok").as_bytes()).await;
            let _closed = stream.shutdown().await;
        }
    })
    .await
}

async fn ask_tls(address: SocketAddr, ca_file: Option<PathBuf>, name: &str, days: Option<u32>) -> Answer {
    let mut probe = http("/");
    probe.tls = Some(TlsProbe { server_name: name.to_owned(), ca_file, min_days_left: days });
    ask(address, probe).await
}

fn assert_certificate(answer: &Answer, why: &str) {
    assert!(matches!(answer, Answer::Certificate(text) if text.contains(why)), "{why}: {answer:?}");
}

#[tokio::test]
async fn a_good_certificate_passes_and_its_remaining_days_are_counted() {
    let authority = Authority::new();
    // An hour more, so that the days stay the same while this runs.
    let in_days = |days: u64| {
        let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        date_time_ymd(1970, 1, 1) + now + Duration::from_secs(days * 86_400 + 3_600)
    };
    let address = authority.serve(|params| params.not_after = in_days(20)).await;
    assert_eq!(ask_tls(address, authority.path(), "api.test", None).await, Answer::Pass);
    assert_eq!(ask_tls(address, authority.path(), "api.test", Some(10)).await, Answer::Pass);
    assert_certificate(&ask_tls(address, authority.path(), "api.test", Some(30)).await, "expires in 20 days");
}

#[tokio::test]
async fn each_problem_of_a_certificate_is_named() {
    let authority = Authority::new();
    let good = authority.serve(|_| {}).await;
    assert_certificate(&ask_tls(good, authority.path(), "other.test", None).await, "`other.test`");
    assert_certificate(
        &ask_tls(good, Authority::new().path(), "api.test", None).await,
        "no trusted authority",
    );

    let expired = authority
        .serve(|params| {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        })
        .await;
    assert_certificate(&ask_tls(expired, authority.path(), "api.test", None).await, "expired");

    let early = authority.serve(|params| params.not_before = date_time_ymd(4000, 1, 1)).await;
    assert_certificate(&ask_tls(early, authority.path(), "api.test", None).await, "not valid yet");

    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["api.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let self_signed = serve_with(own.der().clone(), key).await;
    assert_certificate(
        &ask_tls(self_signed, authority.path(), "api.test", None).await,
        "no trusted authority",
    );
}

#[tokio::test]
async fn what_is_not_tls_is_broken_and_what_we_lack_is_our_own() {
    let authority = Authority::new();
    let plain = serve(|mut stream| async move {
        let _written = stream.write_all(reply(400, "speak HTTP").as_bytes()).await;
        read_head(&mut stream).await;
    })
    .await;
    let answer = ask_tls(plain, authority.path(), "api.test", None).await;
    assert!(matches!(answer, Answer::Broken(_)), "{answer:?}");

    let closing = serve(|stream| async move { drop(stream) }).await;
    let answer = ask_tls(closing, authority.path(), "api.test", None).await;
    assert!(matches!(answer, Answer::Broken(_)), "{answer:?}");

    let empty = tempfile::NamedTempFile::new().unwrap();
    for (file, name) in [
        (Some(PathBuf::from("/nonexistent/ca.pem")), "api.test"),
        (Some(empty.path().to_owned()), "api.test"),
        (authority.path(), "not a name"),
    ] {
        let answer = ask_tls(authority.serve(|_| {}).await, file, name, None).await;
        assert!(matches!(answer, Answer::ProviderError(_)), "{answer:?}");
    }
    let answer = ask_tls(nobody().await, authority.path(), "api.test", None).await;
    assert_eq!(answer, Answer::Refused);
}
