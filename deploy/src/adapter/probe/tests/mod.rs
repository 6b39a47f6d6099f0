//! The prober against real servers on ports that the system chooses.

mod commands;
mod gates;
mod https;
mod identity;
mod plain;

use super::*;
use crate::model::{Traffic, UnitId, UnitPhase};
use pipeline::digest::Digest;
use std::{
    future::Future,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

struct WallClock;

#[async_trait]
impl Clock for WallClock {
    fn now(&self) -> u64 {
        millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap())
    }

    async fn sleep_until(&self, _at: u64) {
        unreachable!("a prober does not sleep")
    }
}

/// A prober that takes `hunter2` for a secret.
fn prober() -> RealProber {
    RealProber::new(Arc::new(WallClock), Arc::new(|text| text.replace("hunter2", "***")))
}

fn unit(address: SocketAddr) -> UnitFacts {
    UnitFacts {
        other_ports: Vec::new(),
        unit: UnitId {
            service: "api".parse().unwrap(),
            target: "local".parse().unwrap(),
            slot: 0,
            bundle: crate::bundle::BundleHash::new(Digest::of_bytes("bundle")),
        },
        phase: UnitPhase::Running,
        address: Some(address),
        handle: "1".to_owned(),
        release: "r-new".to_owned(),
        weight: 0,
        in_flight: 0,
        traffic: Traffic::default(),
        started_at: 0,
    }
}

fn http(path: &str) -> HttpProbe {
    HttpProbe {
        path: path.to_owned(),
        tls: None,
        headers: BTreeMap::new(),
        status: (200, 299),
        body_contains: None,
        json: BTreeMap::new(),
        expect_headers: BTreeMap::new(),
        latency_max_ms: None,
    }
}

/// A check with a timeout that only a hanging unit meets.
fn check(probe: Probe) -> Check {
    Check {
        probe,
        identity: None,
        interval: 100,
        timeout: 10_000,
        healthy_passes: 1,
        healthy_for: 0,
        healthy_deadline: 1_000,
        unhealthy_failures: 1,
        provider_error_limit: 1,
    }
}

async fn look(address: SocketAddr, check: &Check) -> Look {
    prober().look(&unit(address), check).await
}

/// What an HTTP probe comes to.
async fn ask(address: SocketAddr, probe: HttpProbe) -> Answer {
    look(address, &check(Probe::Http(probe))).await.answer
}

/// Serves every connection with `handle`.
async fn serve<F, W>(handle: F) -> SocketAddr
where
    F: Fn(TcpStream) -> W + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    address
}

/// Reads up to the end of a request's head and returns it.
async fn read_head(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Serves paths with fixed bytes; anything else is a 404.
async fn routes(routes: &[(&str, String)]) -> SocketAddr {
    let routes: Arc<Vec<_>> =
        Arc::new(routes.iter().map(|(p, a)| (format!("GET {p} HTTP/1.1\r\n"), a.clone())).collect());
    serve(move |mut stream| {
        let routes = Arc::clone(&routes);
        async move {
            let head = read_head(&mut stream).await;
            let answer = routes.iter().find(|(line, _)| head.starts_with(line.as_str()));
            let answer = answer.map_or_else(|| reply(404, "no such path"), |(_, answer)| answer.clone());
            let _written = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await
}

/// A whole answer.
fn reply(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nx-kind: plain text\r\n\r\n{body}", body.len())
}

/// An address where nothing listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
