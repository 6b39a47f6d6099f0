//! How the service starts and ends, and each fault of the switch at work.

use futures::{SinkExt, StreamExt};
use noogh_common::{
    client::{Client, TestError},
    testing::{BUNDLE, Process, RELEASE},
};
use std::{
    fs,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{client_async, tungstenite::Message};

fn start(variables: &[(&str, &str)]) -> Result<Process, TestError> {
    Process::start(env!("CARGO_BIN_EXE_noogh-api"), "API", variables)
}

fn with_fault(fault: &str) -> Result<Process, TestError> {
    start(&[("NOOGH_FAULT", fault)])
}

/// Starts a service that does not come to listen, and gives its exit code and what it said.
async fn refused(variables: &[(&str, &str)]) -> Result<(Option<i32>, String), TestError> {
    let mut process = start(variables)?;
    let status = process.ended().await?;
    Ok((status.code(), process.log().concat()))
}

async fn statuses(client: &Client, path: &str, count: usize) -> Result<Vec<u16>, TestError> {
    let mut connection = client.connect().await?;
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(connection.get(path).await?.status);
    }
    Ok(statuses)
}

#[tokio::test]
async fn bad_settings_are_told_all_at_once_with_exit_2() -> Result<(), TestError> {
    let (code, said) =
        refused(&[("API_PORT", "eighty"), ("LOG_LEVEL", "loud"), ("NOOGH_FAULT", "explode")]).await?;
    assert_eq!(code, Some(2), "{said}");
    for part in ["API_PORT: `eighty`", "LOG_LEVEL: `loud`", "known faults: exit-at-start, exit-after=5s"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    Ok(())
}

#[tokio::test]
async fn files_that_are_missing_or_bad_are_named() -> Result<(), TestError> {
    for variable in ["API_CONFIG", "HF_TOKEN_FILE"] {
        let (code, said) = refused(&[(variable, "/nonexistent/file")]).await?;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("/nonexistent/file, named by {variable}: No such file")), "{said}");
    }
    let path = format!("{}/bad.conf", env!("CARGO_TARGET_TMPDIR"));
    fs::write(&path, "ministers = magic\n")?;
    let (code, said) = refused(&[("API_CONFIG", &path)]).await?;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("there is no minister `magic`"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_taken_port_is_named_with_exit_1() -> Result<(), TestError> {
    let taken = TcpListener::bind("127.0.0.1:0").await?.into_std()?;
    let address = taken.local_addr()?;
    let (code, said) = refused(&[("API_PORT", &address.port().to_string())]).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("cannot listen on {address}: Address already in use")), "{said}");
    Ok(())
}

#[tokio::test]
async fn files_take_effect_and_the_token_shows_nowhere() -> Result<(), TestError> {
    let folder = env!("CARGO_TARGET_TMPDIR");
    let (config, token) = (format!("{folder}/api.conf"), format!("{folder}/token"));
    fs::write(&config, "# Those who sit.\nministers = finance\n")?;
    fs::write(&token, "hf_do_not_show\n")?;
    let process = start(&[("API_CONFIG", &config), ("HF_TOKEN_FILE", &token), ("LOG_LEVEL", "DEBUG")])?;
    let client = process.client().await?;
    let ministers = client.get("/api/v1/ministers").await?.json();
    assert_eq!(ministers["ministers"].as_array().map(Vec::len), Some(1), "{ministers}");
    let health = client.get("/health").await?.text();
    assert!(health.contains("\"token\":\"ok\""), "{health}");
    process.logged("answered").await?;
    let shown = [health, client.get("/metrics").await?.text(), process.log().concat()].concat();
    assert!(!shown.contains("hf_do_not_show"), "{shown}");
    Ok(())
}

#[tokio::test]
async fn unknown_routes_wrong_methods_and_bad_input_are_answered_in_json() -> Result<(), TestError> {
    let process = start(&[])?;
    let client = process.client().await?;
    let missing = client.get("/api/v2").await?;
    assert_eq!((missing.status, missing.json()["error"].is_string()), (404, true));
    let wrong = client.get("/api/v1/query").await?;
    assert_eq!((wrong.status, wrong.json()["error"].is_string()), (405, true));
    assert_eq!(wrong.headers.get("allow").map(|value| value.as_bytes()), Some(&b"POST"[..]));
    for (path, body, status) in [
        ("/api/v1/query", "{", 400),
        ("/api/v1/query", r#"{"question":" "}"#, 400),
        ("/api/v1/query", r#"{"what":1}"#, 422),
        ("/api/v1/tasks", r#"{"minister":"magic","text":"a"}"#, 400),
    ] {
        let answer = client.post(path, body).await?;
        assert_eq!((answer.status, answer.json()["error"].is_string()), (status, true), "{path} {body}");
    }
    for path in
        ["/api/v1/slow?ms=30001", "/api/v1/slow?ms=x", "/api/v1/stream?chunks=1001", "/api/v1/slow?s=1"]
    {
        let answer = client.get(path).await?;
        assert_eq!((answer.status, answer.json()["error"].is_string()), (400, true), "{path}");
    }
    assert_eq!(client.get("/api/v1/tasks/none").await?.status, 404);
    assert_eq!(client.get("/api/v1/echo").await?.status, 426);
    Ok(())
}

#[tokio::test]
async fn a_request_in_flight_is_answered_and_the_drain_shows_on_open_connections() -> Result<(), TestError> {
    for signal in ["TERM", "INT"] {
        let mut process = start(&[])?;
        let client = process.client().await?;
        let mut open = client.connect().await?;
        assert_eq!(open.get("/ready").await?.status, 200);
        let mut busy = client.connect().await?;
        let slow = tokio::spawn(async move { busy.get("/api/v1/slow?ms=1000").await });
        // In flight are the slow request and the one that asks.
        while !open.get("/metrics").await?.text().contains("noogh_active_requests 2") {}
        process.signal(signal).await?;
        process.logged("draining").await?;
        let ready = open.get("/ready").await?;
        assert_eq!((ready.status, &ready.json()["reason"]), (503, &"draining".into()));
        assert_eq!(ready.headers.get("connection").map(|value| value.as_bytes()), Some(&b"close"[..]));
        let slow = slow.await??;
        assert_eq!((slow.status, &slow.json()["slept_ms"]), (200, &1_000.into()));
        assert_eq!(process.ended().await?.code(), Some(0));
        assert!(client.connect().await.is_err(), "it still accepts connections");
    }
    Ok(())
}

#[tokio::test]
async fn a_body_that_is_being_sent_is_sent_to_its_end() -> Result<(), TestError> {
    let mut process = start(&[])?;
    let client = process.client().await?;
    let mut busy = client.connect().await?;
    let stream = tokio::spawn(async move { busy.get("/api/v1/stream?chunks=20&ms=25").await });
    let mut open = client.connect().await?;
    while !open.get("/metrics").await?.text().contains("route=\"/api/v1/stream\",status=\"200\"} 1") {}
    process.signal("TERM").await?;
    assert!(stream.await??.text().ends_with("chunk 20 of 20\n"));
    assert_eq!(process.ended().await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn a_websocket_echoes_and_is_told_of_the_drain() -> Result<(), TestError> {
    let mut process = start(&[])?;
    process.client().await?;
    let address = process.logged("listening").await?["address"].as_str().unwrap_or_default().to_owned();
    let stream = TcpStream::connect(&address).await?;
    let (mut socket, _) = client_async(format!("ws://{address}/api/v1/echo"), stream).await?;
    socket.send(Message::text("good morning")).await?;
    assert_eq!(socket.next().await.transpose()?, Some(Message::text("good morning")));
    process.signal("TERM").await?;
    let Some(Message::Close(Some(frame))) = socket.next().await.transpose()? else { panic!("no goodbye") };
    assert_eq!(u16::from(frame.code), 1001);
    while socket.next().await.transpose()?.is_some() {}
    assert_eq!(process.ended().await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn exit_at_start() -> Result<(), TestError> {
    let (code, said) = refused(&[("NOOGH_FAULT", "exit-at-start")]).await?;
    assert_eq!(code, Some(1));
    assert!(said.contains("cannot start") && !said.contains("listening"), "{said}");
    Ok(())
}

#[tokio::test]
async fn exit_after() -> Result<(), TestError> {
    let since = Instant::now();
    let mut process = with_fault("exit-after=400ms")?;
    assert_eq!(process.client().await?.get("/health").await?.status, 200);
    assert_eq!(process.ended().await?.code(), Some(1));
    assert!(since.elapsed() >= Duration::from_millis(400));
    Ok(())
}

#[tokio::test]
async fn never_ready() -> Result<(), TestError> {
    let process = with_fault("never-ready")?;
    let client = process.client().await?;
    assert_eq!(statuses(&client, "/ready", 3).await?, [503, 503, 503]);
    assert_eq!(client.get("/health").await?.json()["status"], "ok");
    Ok(())
}

#[tokio::test]
async fn slow_start() -> Result<(), TestError> {
    let since = Instant::now();
    let process = with_fault("slow-start=400ms")?;
    assert_eq!(process.client().await?.get("/ready").await?.status, 200);
    assert!(since.elapsed() >= Duration::from_millis(400));

    let mut told_to_stop = with_fault("slow-start=5m")?;
    told_to_stop.logged("misbehaving on purpose").await?;
    told_to_stop.signal("TERM").await?;
    assert_eq!(told_to_stop.ended().await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn hang() -> Result<(), TestError> {
    let mut process = with_fault("hang")?;
    let client = process.client().await?;
    for path in ["/health", "/ready", "/none"] {
        let mut connection = client.connect().await?;
        assert!(
            timeout(Duration::from_millis(150), connection.get(path)).await.is_err(),
            "{path} was answered"
        );
    }
    // Those who asked have given up, so nothing is left in flight.
    process.signal("TERM").await?;
    assert_eq!(process.ended().await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn error_rate() -> Result<(), TestError> {
    let process = with_fault("error-rate=0.2")?;
    let client = process.client().await?;
    for spared in ["/health", "/ready", "/metrics"] {
        assert_eq!(statuses(&client, spared, 6).await?, [200; 6], "{spared}");
    }
    let expected = [200, 200, 200, 200, 500, 200, 200, 200, 200, 500];
    assert_eq!(statuses(&client, "/api/v1/ministers", 10).await?, expected);
    let metrics = client.get("/metrics").await?.text();
    assert!(metrics.contains("route=\"/api/v1/ministers\",status=\"500\"} 2"), "{metrics}");
    Ok(())
}

#[tokio::test]
async fn slow_rate() -> Result<(), TestError> {
    let process = with_fault("slow-rate=0.5:300ms")?;
    let mut connection = process.client().await?.connect().await?;
    let mut slow = Vec::new();
    for path in ["/api/v1/ministers", "/api/v1/ministers", "/health", "/health", "/none", "/none"] {
        let since = Instant::now();
        connection.get(path).await?;
        slow.push(since.elapsed() >= Duration::from_millis(300));
    }
    assert_eq!(slow, [false, true, false, false, false, true]);
    Ok(())
}

#[tokio::test]
async fn memory_growth() -> Result<(), TestError> {
    let process = with_fault("memory-growth=200MB/s")?;
    process.client().await?;
    let id = process.id().ok_or("it has ended")?;
    let resident_kb = || -> Result<u64, TestError> {
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    let wait = async {
        while resident_kb()? < 60_000 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    timeout(Duration::from_secs(5), wait).await?
}

#[tokio::test]
async fn wrong_release() -> Result<(), TestError> {
    for (fault, as_told) in [("", true), ("wrong-release", false)] {
        let health = with_fault(fault)?.client().await?.get("/health").await?.json();
        assert_eq!(
            (health["release"] == RELEASE, health["bundle"] == BUNDLE),
            (as_told, as_told),
            "{health}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn ignore_sigterm() -> Result<(), TestError> {
    let mut process = with_fault("ignore-sigterm")?;
    let client = process.client().await?;
    process.signal("TERM").await?;
    process.logged("ignoring SIGTERM, as NOOGH_FAULT asks").await?;
    assert_eq!(client.get("/ready").await?.status, 200);
    assert!(process.runs()?);
    process.signal("INT").await?;
    assert_eq!(process.ended().await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn wrong_port() -> Result<(), TestError> {
    // Held by the test: a service that listened where it is told to would not start.
    let given = TcpListener::bind("127.0.0.1:0").await?;
    let port = given.local_addr()?.port().to_string();
    let process = start(&[("API_PORT", &port), ("NOOGH_FAULT", "wrong-port")])?;
    assert_eq!(process.client().await?.get("/health").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn flap() -> Result<(), TestError> {
    let process = with_fault("flap=300ms")?;
    let mut connection = process.client().await?.connect().await?;
    let mut seen = Vec::new();
    let watch = async {
        while seen.len() < 4 {
            let ready = connection.get("/ready").await?.status;
            if seen.last() != Some(&ready) {
                seen.push(ready);
            }
        }
        Ok::<_, TestError>(())
    };
    timeout(Duration::from_secs(5), watch).await??;
    assert!(seen == [200, 503, 200, 503] || seen == [503, 200, 503, 200], "{seen:?}");
    let health = async {
        while connection.get("/health").await?.json()["status"] != "degraded" {}
        Ok::<_, TestError>(())
    };
    timeout(Duration::from_secs(5), health).await??;
    Ok(())
}
