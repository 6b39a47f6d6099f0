use super::*;
use crate::secret::Secret;
use std::{path::Path, sync::Mutex};

const LIMIT: Duration = Duration::from_secs(20);

fn sh(script: &str) -> Argv {
    Argv::new("sh").arg("-c").arg(script)
}

async fn run(argv: &Argv, limit: Duration) -> (Result<Finished, ProcessError>, Vec<(Stream, String)>) {
    let mut lines = Vec::new();
    let result =
        Runner::default().run(argv, limit, &mut |stream, line| lines.push((stream, line.into()))).await;
    (result, lines)
}

/// Whether a process exists and is not a zombie that waits to be reaped by whoever adopted it.
fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// Waits until a killed process is gone: SIGKILL is sent at once but takes hold a little later.
async fn assert_gone(pid: &str) {
    let gone = async {
        while is_alive(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, gone).await.unwrap_or_else(|_| panic!("process {pid} still runs"));
}

#[tokio::test]
async fn lines_of_both_outputs_come_in_their_order_and_the_status_is_told() {
    let (result, lines) = run(&sh("echo a; printf 'b\\r\\n\\nlast'; echo e >&2; exit 3"), LIMIT).await;
    let out: Vec<_> = lines.iter().filter(|l| l.0 == Stream::Stdout).map(|l| l.1.as_str()).collect();
    assert_eq!(out, ["a", "b", "", "last"]);
    assert!(lines.contains(&(Stream::Stderr, "e".into())));
    let finished = result.unwrap();
    assert_eq!((finished.code, finished.signal), (Some(3), None));
    let error = finished.check(&sh("x y")).unwrap_err().to_string();
    assert!(error.starts_with("`sh -c 'x y'` failed: exit status 3\n  | "), "{error}");
    assert!(error.contains("last"));
}

#[tokio::test]
async fn only_the_last_lines_are_kept_and_a_signal_is_named() {
    let (result, lines) = run(&sh("seq 1 1000; kill -9 $$"), LIMIT).await;
    let finished = result.unwrap();
    assert_eq!(lines.len(), 1000);
    assert_eq!(finished.tail.len(), TAIL_LINES);
    assert_eq!(finished.tail.last().unwrap(), "1000");
    assert_eq!(finished.status_text(), "ended by signal 9 (SIGKILL)");
}

#[tokio::test]
async fn output_that_is_not_text_and_lines_without_end_are_survived() {
    let (result, lines) =
        run(&sh("printf '\\377\\376x\\n'; head -c 3000000 /dev/zero; echo; echo end"), LIMIT).await;
    assert!(result.unwrap().success());
    assert_eq!(lines[0].1, "\u{fffd}\u{fffd}x");
    assert_eq!(lines[1].1.len(), 1024 * 1024);
    assert_eq!(lines[2].1, "end");
}

#[tokio::test]
async fn arguments_and_variables_pass_through_no_shell() {
    let argv =
        Argv::new("sh").args(["-c", "printf '%s|%s|%s\\n' \"$1\" \"$GREETING\" \"${HOME-none}\"", "-"]);
    let argv = argv.arg("$(id); `id`").env("GREETING", "a;b").env_remove("HOME").folder(Path::new("/"));
    let (_, lines) = run(&argv, LIMIT).await;
    assert_eq!(lines[0].1, "$(id); `id`|a;b|none");
    assert!(!format!("{argv:?}").contains("a;b"), "values of variables are not shown");
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    for (argv, expected) in [
        (
            Argv::new("no-such-program-1"),
            "cannot run `no-such-program-1`: there is no such program; install it",
        ),
        (
            Argv::new("sh").folder(Path::new("/no/such")),
            "cannot run `sh` in `/no/such`: there is no such folder",
        ),
        (Argv::new("/etc/passwd"), "cannot run `/etc/passwd`"),
    ] {
        let error = run(&argv, LIMIT).await.0.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[tokio::test]
async fn the_deadline_ends_the_whole_group() {
    let (result, lines) =
        run(&sh("sleep 600 & echo $!; echo working; wait"), Duration::from_millis(300)).await;
    let error = result.unwrap_err();
    assert!(matches!(error, ProcessError::Deadline { .. }), "{error:?}");
    assert!(error.to_string().contains("time limit") && error.to_string().contains("working"), "{error}");
    assert_gone(&lines[0].1).await;
}

#[tokio::test]
async fn cancelling_lets_it_clean_up_and_ends_the_whole_group() {
    let runner = Runner::default();
    let cancel = runner.cancel.clone();
    let lines = Mutex::new(Vec::new());
    let argv = sh("trap 'echo cleaned; exit 0' TERM; sleep 600 & echo $!; wait");
    let mut on_line = |_: Stream, line: &str| {
        lines.lock().unwrap().push(line.to_owned());
        cancel.cancel();
    };
    let result = runner.run(&argv, LIMIT, &mut on_line).await;
    assert!(matches!(result, Err(ProcessError::Cancelled { .. })), "{result:?}");
    let lines = lines.into_inner().unwrap();
    assert_gone(&lines[0]).await;
}

#[tokio::test]
async fn one_that_ignores_sigterm_is_killed() {
    let started = Instant::now();
    let (result, _) = run(&sh("trap '' TERM; while :; do sleep 1; done"), Duration::from_millis(200)).await;
    assert!(matches!(result, Err(ProcessError::Deadline { .. })), "{result:?}");
    assert!(started.elapsed() >= TERM_GRACE);
}

#[tokio::test]
async fn dropping_the_run_ends_the_whole_group() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let mut sender = Some(sender);
    let task = tokio::spawn(async move {
        let mut on_line = |_: Stream, line: &str| {
            if let Some(sender) = sender.take() {
                sender.send(line.to_owned()).unwrap();
            }
        };
        Runner::default().run(&sh("sleep 600 & echo $!; wait"), LIMIT, &mut on_line).await
    });
    let pid = receiver.await.unwrap();
    assert!(is_alive(&pid));
    task.abort();
    assert_gone(&pid).await;
}

#[tokio::test]
async fn what_is_left_of_a_program_that_has_ended_does_not_hold_up_the_run() {
    let started = Instant::now();
    let (result, lines) = run(&sh("sleep 600 & echo $!"), LIMIT).await;
    assert!(result.unwrap().success());
    assert!(started.elapsed() < LIMIT / 2);
    assert_gone(&lines[0].1).await;
}

#[tokio::test]
async fn secrets_are_masked_in_lines_and_in_the_tail() {
    let runner = Runner::default();
    runner.redactor.learn(&Secret::new(b"hunter2hunter2".to_vec()));
    let argv = sh("echo \"password is $PASSWORD.\"; exit 1").env("PASSWORD", "hunter2hunter2");
    let mut seen = String::new();
    let finished = runner.run(&argv, LIMIT, &mut |_, line| seen.push_str(line)).await.unwrap();
    assert_eq!(seen, "password is ***.");
    assert!(!finished.check(&argv).unwrap_err().to_string().contains("hunter2"));
}

#[tokio::test]
async fn captured_output_is_exact_and_limited() {
    let captured = Runner::default().capture(&sh("printf 'a\\0b\\n'; echo oh >&2"), LIMIT, 4).await.unwrap();
    assert_eq!(captured.stdout.as_slice(), b"a\0b\n");
    assert_eq!(captured.finished.tail, ["oh"]);
    let error = Runner::default().capture(&sh("yes"), LIMIT, 1000).await.err().unwrap();
    assert_eq!(error.to_string(), "`sh -c yes` wrote more than 1000 bytes and was ended");
}
