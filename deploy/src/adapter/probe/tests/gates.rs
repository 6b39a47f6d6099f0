//! Synthetic requests and smoke tests.

use super::*;
use crate::check::{SmokeGate, SyntheticGate};
use std::sync::atomic::{AtomicU32, Ordering};

fn synthetic(paths: &[&str], requests: u32) -> SyntheticGate {
    SyntheticGate {
        paths: paths.iter().map(|p| (*p).to_owned()).collect(),
        requests,
        concurrency: SyntheticGate::CONCURRENCY,
        timeout_ms: 5_000,
        slow_above_ms: 2_000,
    }
}

async fn judge(address: SocketAddr, gate: SyntheticGate) -> Result<GateResult, EffectError> {
    let unit = unit(address);
    let gates = Gates { synthetic: Some(gate), smoke: None };
    let prober = prober().with_gates(unit.unit.service.clone(), gates);
    prober.gate(&Action::Judge { unit: unit.unit.clone() }, Some(&unit)).await
}

async fn verify(command: &[&str], timeout: u64) -> Result<GateResult, EffectError> {
    let smoke = SmokeGate {
        command: command.iter().map(|a| (*a).to_owned()).collect(),
        timeout,
        env: BTreeMap::from([("SMOKE_URL".to_owned(), "http://api.test".to_owned())]),
    };
    let service: Name = "api".parse().unwrap();
    let gates = Gates { synthetic: None, smoke: Some(smoke) };
    prober().with_gates(service.clone(), gates).gate(&Action::Verify { service }, None).await
}

#[tokio::test]
async fn requests_go_round_the_paths_and_failures_are_counted_and_shown() {
    let served = [("/a", reply(200, "ok")), ("/b", reply(500, "hunter2 is wrong")), ("/c", reply(404, ""))];
    let result = judge(routes(&served).await, synthetic(&["/a", "/b", "/c"], 30)).await.unwrap();
    assert_eq!((result.samples, result.errors, result.slow), (30, 10, 0));
    assert_eq!(result.excerpt.len(), 5);
    assert_eq!(result.excerpt[0], "GET /b: 500 *** is wrong");
}

#[tokio::test]
async fn refused_broken_and_hanging_requests_are_errors_and_late_ones_are_slow() {
    let refused = judge(nobody().await, synthetic(&["/"], 4)).await.unwrap();
    assert_eq!((refused.samples, refused.errors), (4, 4));

    let hanging = serve(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let mut gate = synthetic(&["/"], 4);
    gate.timeout_ms = 100;
    let hung = judge(hanging, gate).await.unwrap();
    assert_eq!((hung.samples, hung.errors), (4, 4));
    assert!(hung.excerpt[0].contains("100 ms"), "{:?}", hung.excerpt);

    let mut gate = synthetic(&["/"], 4);
    gate.slow_above_ms = 10;
    let late = serve(|mut stream| async move {
        read_head(&mut stream).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        let _written = stream.write_all(reply(200, "ok").as_bytes()).await;
    })
    .await;
    let slow = judge(late, gate).await.unwrap();
    assert_eq!((slow.samples, slow.errors, slow.slow), (4, 0, 4));
}

#[tokio::test]
async fn no_more_requests_run_at_once_than_allowed() {
    let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let counters = (Arc::clone(&now), Arc::clone(&most));
    let address = serve(move |mut stream| {
        let (now, most) = counters.clone();
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            read_head(&mut stream).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            let _written = stream.write_all(reply(200, "ok").as_bytes()).await;
        }
    })
    .await;
    let result = judge(address, synthetic(&["/"], 40)).await.unwrap();
    assert_eq!((result.samples, result.errors), (40, 0));
    assert!((2..=4).contains(&most.load(Ordering::SeqCst)), "{most:?}");
}

#[tokio::test]
async fn what_cannot_be_judged_is_an_error_of_the_gate() {
    let terminal = |result: Result<GateResult, EffectError>| {
        assert!(
            matches!(result, Err(EffectError::Terminal { reason: ReasonCode::ProbeBroken, .. })),
            "{result:?}"
        );
    };
    terminal(judge(nobody().await, synthetic(&[], 10)).await);
    terminal(prober().gate(&Action::Verify { service: "api".parse().unwrap() }, None).await);
    terminal(verify(&["/nonexistent/smoke"], 5_000).await);
    terminal(verify(&[], 5_000).await);

    let facts = unit(nobody().await);
    let prober = prober()
        .with_gates("api".parse().unwrap(), Gates { synthetic: Some(synthetic(&["/"], 1)), smoke: None });
    let gone = prober.gate(&Action::Judge { unit: facts.unit }, None).await;
    assert!(matches!(gone, Err(EffectError::Passing { .. })), "{gone:?}");
    let other = prober.gate(&Action::Collect, None).await;
    assert!(
        matches!(other, Err(EffectError::Terminal { reason: ReasonCode::ActionFailed, .. })),
        "{other:?}"
    );
}

#[tokio::test]
async fn smoke_tests_count_what_their_output_says_and_mask_what_it_must_not() {
    let passed =
        verify(&["sh", "-c", "echo 'test result: ok. 9 passed; 0 failed; 0 ignored'"], 5_000).await.unwrap();
    assert_eq!((passed.samples, passed.errors), (9, 0));

    let script = "echo $SMOKE_URL hunter2; echo 'test result: FAILED. 7 passed; 2 failed'; exit 101";
    let failed = verify(&["sh", "-c", script], 5_000).await.unwrap();
    assert_eq!((failed.samples, failed.errors), (9, 2));
    assert_eq!(failed.excerpt.first().unwrap(), "http://api.test ***");
    assert_eq!(failed.excerpt.last().unwrap(), "exit code 101");

    let many = verify(&["sh", "-c", "seq 1 500; exit 1"], 5_000).await.unwrap();
    assert_eq!((many.samples, many.errors, many.excerpt.len()), (1, 1, 61));
    assert_eq!((many.excerpt[0].as_str(), many.excerpt[59].as_str()), ("441", "500"));
}

#[tokio::test]
async fn smoke_tests_that_hang_are_killed_and_count_as_failed() {
    let hung = verify(&["sh", "-c", "echo started; sleep 60"], 300).await.unwrap();
    assert_eq!((hung.samples, hung.errors), (1, 1));
    assert_eq!(hung.excerpt, ["started", "killed: not done within 300 ms"]);
}
