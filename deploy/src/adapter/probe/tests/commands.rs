//! Command probes.

use super::*;
use nix::{errno::Errno, sys::signal::kill, unistd::Pid};

fn shell(script: &str) -> Probe {
    Probe::Command(["sh", "-c", script].map(str::to_owned).to_vec())
}

async fn run(probe: Probe, timeout: u64) -> Look {
    let mut check = check(probe);
    check.timeout = timeout;
    look("127.0.0.1:4711".parse().unwrap(), &check).await
}

/// Waits until a process has ended; a zombie has.
async fn ended(pid: i32) -> bool {
    let gone = async {
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let zombie = stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'));
            if zombie || kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.is_ok()
}

#[tokio::test]
async fn the_exit_code_decides_and_the_command_knows_which_unit_is_meant() {
    let look = run(shell("echo $FAIRLEAD_UNIT_ADDRESS $FAIRLEAD_UNIT_PORT $FAIRLEAD_RELEASE"), 5_000).await;
    assert_eq!((look.answer, look.excerpt.as_str()), (Answer::Pass, "127.0.0.1:4711 4711 r-new\n"));
    let look = run(shell("echo 'no: hunter2' >&2; exit 3"), 5_000).await;
    assert_eq!((look.answer, look.excerpt.as_str()), (Answer::CommandFailed(3), "no: ***\n"));
    assert_eq!(run(shell("kill -TERM $$"), 5_000).await.answer, Answer::CommandFailed(128 + 15));
}

#[tokio::test]
async fn a_command_that_cannot_run_says_nothing_of_the_unit() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let not_executable = file.path().to_str().unwrap();
    for argv in [vec!["/nonexistent/probe"], vec![not_executable], vec![]] {
        let probe = Probe::Command(argv.iter().map(|a| (*a).to_owned()).collect());
        let answer = run(probe, 5_000).await.answer;
        assert!(matches!(answer, Answer::ProviderError(_)), "{argv:?}: {answer:?}");
    }
}

#[tokio::test]
async fn the_timeout_ends_the_command_and_what_it_started() {
    let look = run(shell("sleep 60 & echo $!; echo $$; wait"), 500).await;
    assert_eq!(look.answer, Answer::TimedOut);
    let pids: Vec<i32> = look.excerpt.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2, "{look:?}");
    for pid in pids {
        assert!(ended(pid).await, "process {pid} outlived its look");
    }
}

#[tokio::test]
async fn a_command_that_leaves_a_process_behind_does_not_hang_and_ends_it() {
    let look = run(shell("sleep 60 & echo $!"), 30_000).await;
    assert_eq!(look.answer, Answer::Pass);
    assert!(look.took < 20_000, "{}", look.took);
    assert!(ended(look.excerpt.trim().parse().unwrap()).await);
}

#[tokio::test]
async fn much_output_neither_blocks_nor_fills_memory() {
    let look = run(shell("head -c 5000000 /dev/zero | tr '\\0' a"), 20_000).await;
    assert_eq!((look.answer, look.excerpt.len()), (Answer::Pass, 512));
}
