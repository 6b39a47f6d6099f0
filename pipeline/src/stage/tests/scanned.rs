//! The `scan` stage, with a scanner that answers as it is told: whatever one may do wrong. The real one is in `tests/`.

use super::*;
use crate::{
    release::ScanVerdict,
    scan::{Need, Rules, Subject, Waivers, finding::testing::policy},
};
use jiff::{SignedDuration, Timestamp};

/// An answer without findings.
const CLEAN: &str = r#"{"SchemaVersion":2,"ArtifactType":"container_image"}"#;

/// One with a secret.
const FOUND: &str = r#"{"SchemaVersion":2,"ArtifactType":"container_image","Results":[{"Target":"/key.pem",
    "Class":"secret","Secrets":[{"RuleID":"private-key","Severity":"HIGH","Title":"Private Key","StartLine":1,
    "EndLine":3}]}]}"#;

/// A project whose `web` is scanned, and a folder with the scanner.
struct Scanned {
    folder: tempfile::TempDir,
    context: Context,
    maker: Arc<Maker>,
    rules: Rules,
}

impl Scanned {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut context = context(folder.path());
        let programs = folder.path().join("programs");
        fs::create_dir(&programs).unwrap();
        // It would be read as what the images are made of.
        fs::write(folder.path().join(".dockerignore"), "programs\n.fairlead\n.trivyignore\n").unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        context.variables.insert("PATH".into(), path.into());
        context.variables.insert("DEPLOY_SSH_KEY".into(), "s3cret".into());
        context.variables.insert("TRIVY_SEVERITY".into(), "CRITICAL".into());
        let policy = policy();
        let rules = Rules {
            policy,
            waivers: Waivers::default(),
            version: None,
            database_age_max: Duration::from_secs(48 * 3600),
            database_repositories: Vec::new(),
            image_size_max: 1000,
            timeout: Duration::from_secs(20),
            need: Need::Required,
        };
        Self { folder, context, maker: Arc::default(), rules }
    }

    /// A scanner that does this when it is to scan; its database is so many hours old, and it remembers what it was asked.
    fn trivy(self, does: &str, hours: i64) -> Self {
        let now = Timestamp::now();
        let made = now - SignedDuration::from_hours(hours);
        let next = now + SignedDuration::from_hours(1);
        let database =
            format!(r#","VulnerabilityDB":{{"Version":2,"UpdatedAt":"{made}","NextUpdate":"{next}"}}"#);
        self.program(does, &database)
    }

    fn program(self, does: &str, database: &str) -> Self {
        let folder = self.folder.path().join("programs");
        let bill = r#"{"bomFormat":"CycloneDX","specVersion":"1.6"}"#;
        let text = format!(
            "#!/bin/sh\necho \"$*\" >> {asked}\nenv >> {env}\ncase \"$*\" in\n\
             version*) echo '{{\"Version\":\"0.59.1\"{database}}}';;\n\
             *--download-db-only*) echo 'no route to the registry' >&2; exit 1;;\n\
             convert*) echo '{bill}';;\n*) {does};;\nesac\n",
            asked = folder.join("asked").display(),
            env = folder.join("env").display(),
        );
        fs::write(folder.join("trivy"), text).unwrap();
        fs::set_permissions(folder.join("trivy"), fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn answers(self, answer: &str) -> Self {
        let file = self.folder.path().join("programs/answer");
        fs::write(&file, answer).unwrap();
        let does = format!("cat {}", file.display());
        self.trivy(&does, 1)
    }

    /// Waives the secret until this day.
    fn waive(mut self, expires: &str) -> Self {
        let file = format!("# a demo\nprivate-key exp:{expires}\n");
        fs::write(self.folder.path().join(".trivyignore"), file).unwrap();
        let files = [PathBuf::from(".trivyignore")];
        self.rules.waivers = Waivers::read(self.folder.path(), &files, &[]).unwrap();
        self
    }

    async fn run(&self) -> (Result<Made, StageFailure>, Vec<Event>) {
        self.run_from(None).await
    }

    async fn run_from(&self, from: Option<StageName>) -> (Result<Made, StageFailure>, Vec<Event>) {
        let mut stages = all_stages(self.folder.path(), "true");
        let subject = Subject::Image("web".parse().unwrap());
        let scan = Stage::Scan(ScanStage { subject, rules: Arc::new(self.rules.clone()) });
        stages.insert(3, scan);
        run_all(&self.context, &stages, &self.maker, from).await
    }

    /// What was told of the scan that failed: the message, and the lines that matter.
    async fn fails(&self) -> (String, Vec<String>) {
        self.maker.asked.lock().unwrap().clear();
        let (made, events) = self.run().await;
        let failure = made.expect_err("it passed");
        assert_eq!(failure.stage, StageName::Scan);
        let asked = self.maker.asked.lock().unwrap().clone();
        assert!(!asked.iter().any(|asked| asked.starts_with("publish")), "published: {asked:?}");
        let told = events.into_iter().find_map(|event| match event {
            Event::StageFailed { stage: StageName::Scan, message, excerpt, .. } => Some((message, excerpt)),
            _ => None,
        });
        told.expect("it was told")
    }

    fn asked(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("programs/asked")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn day(days: i64) -> String {
    let zoned = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    zoned.date().checked_add(SignedDuration::from_hours(24 * days)).unwrap().to_string()
}

#[tokio::test]
async fn what_is_found_stops_the_release_until_it_is_waived_and_again_when_that_has_expired() {
    let scanned = Scanned::new().answers(FOUND);
    let (message, excerpt) = scanned.fails().await;
    assert!(
        message.contains("the scan of the image of web stops the release: 1 secret stops it"),
        "{message}"
    );
    assert!(message.contains(".fairlead/scans/web.json"), "{message}");
    assert_eq!(excerpt, ["high  private-key  Private Key  /key.pem:1"]);

    // Judged anew, and not scanned.
    let scans = |scanned: &Scanned| scanned.asked().iter().filter(|line| line.starts_with("image")).count();
    assert_eq!(scans(&scanned), 1);
    let scanned = scanned.waive(&day(3));
    let (made, events) = scanned.run().await;
    let made = made.unwrap();
    assert_eq!(scans(&scanned), 1, "{:?}", scanned.asked());
    assert_eq!(made.verdicts["scan"], StageVerdict::SkippedUnchanged);
    let ScanVerdict::Passed { waived, .. } = &made.scans.images[&"web".parse().unwrap()] else {
        panic!("it was scanned")
    };
    assert_eq!((waived.len(), waived[0].reason.as_str()), (1, "a demo"));
    let warns = |event: &Event| matches!(event, Event::StageAdvanced { step, .. } if step.contains("3 days are left"));
    assert!(events.iter().any(warns), "{events:?}");

    let scanned = scanned.waive(&day(-1));
    let (_, excerpt) = scanned.fails().await;
    let expired = format!("the waiver of private-key expired on {} (.trivyignore:2)", day(-1));
    assert_eq!(excerpt[1], expired);
}

#[tokio::test]
async fn the_scanner_sees_no_secret_and_no_setting_that_changes_what_it_finds() {
    let scanned = Scanned::new().answers(CLEAN);
    let made = scanned.run().await.0.unwrap();
    assert_eq!(made.verdicts["scan"], StageVerdict::Passed);
    let env = fs::read_to_string(scanned.folder.path().join("programs/env")).unwrap();
    assert!(env.contains("DOCKER_HOST=here") && env.contains("PATH="), "{env}");
    assert!(!env.contains("s3cret") && !env.contains("TRIVY_SEVERITY"), "{env}");
    let bill = fs::read_to_string(scanned.context.state.join("scans/web.cdx.json")).unwrap();
    assert!(bill.contains("CycloneDX"), "{bill}");

    let (_, events) = scanned.run().await;
    let skipped = events.iter().any(|event| {
        matches!(event, Event::StageSkipped { stage: StageName::Scan, reason, .. } if reason.contains("nothing found"))
    });
    assert!(skipped, "{events:?}");
}

#[tokio::test]
async fn a_scanner_that_cannot_judge_stops_the_release_and_each_reason_has_its_own_words() {
    let clean = |does: &str| Scanned::new().trivy(does, 1);
    let cases: Vec<(Scanned, &str)> = vec![
        (Scanned::new().trivy("exit 0", 49), "database of vulnerabilities is from"),
        (Scanned::new().program("exit 0", ""), "has no database of vulnerabilities, and cannot get one"),
        (Scanned::new().program("exit 0", r#","VulnerabilityDB":{}"#), "missing field"),
        (clean("exit 0"), "did not write what it should: EOF"),
        (clean("kill -9 $$"), "ended by signal 9 (SIGKILL)"),
        (clean("echo boom >&2; exit 1"), "exit status 1"),
        (clean("echo boom"), "it begins with `boom"),
        (clean(r#"echo '{"SchemaVersion":3}'"#), "version 3 of its format"),
        (clean(r#"echo '{"SchemaVersion":2,"ArtifactType":"vm"}'"#), "about a vm"),
    ];
    for (scanned, says) in cases {
        let (message, _) = scanned.fails().await;
        assert!(message.contains(says), "{says}: {message}");
    }
    let mut hanging = clean("sleep 600");
    hanging.rules.timeout = Duration::from_millis(300);
    assert!(hanging.fails().await.0.contains("was ended after 0.3 s, its time limit"));
    let mut pinned = clean("exit 0");
    pinned.rules.version = Some("0.60.0".to_owned());
    assert!(pinned.fails().await.0.contains("is version 0.59.1, and `stages.scan.version` wants 0.60.0"));
    let mut small = clean("exit 0");
    small.rules.image_size_max = 4;
    assert!(small.fails().await.0.contains("`stages.scan.image-size-max`"));
    let mut missing = Scanned::new();
    missing.context.variables.insert("PATH".into(), missing.folder.path().join("programs").into());
    // The tests, too, need a shell.
    missing.context.variables.insert("SHELL".into(), "/bin/sh".into());
    let (message, _) = missing.fails().await;
    assert!(message.contains("Trivy is not installed"), "{message}");
}

#[tokio::test]
async fn whoever_begins_with_a_later_stage_is_judged_by_what_was_found_last() {
    let publish = Some(StageName::Publish);
    let scanned = Scanned::new().answers(FOUND);
    scanned.fails().await;
    let (made, _) = scanned.run_from(publish).await;
    assert!(made.unwrap_err().to_string().contains("stops the release"));
    let scanned = scanned.waive(&day(30));
    let (made, _) = scanned.run_from(publish).await;
    assert!(matches!(made.unwrap().scans.images[&"web".parse().unwrap()], ScanVerdict::Passed { .. }));

    // Of this image there is no report.
    fs::remove_file(scanned.context.state.join("scans/web.json")).unwrap();
    let (made, _) = scanned.run_from(publish).await;
    assert!(made.unwrap_err().to_string().contains("leave out `--from`"));
}

#[tokio::test]
async fn an_environment_that_does_without_goes_on_and_the_release_says_so() {
    let mut scanned = Scanned::new().trivy("exit 1", 1);
    scanned.rules.need = Need::Optional;
    let (made, events) = scanned.run().await;
    let made = made.unwrap();
    assert_eq!(made.verdicts["scan"], StageVerdict::NotRun);
    let verdict = &made.scans.images[&"web".parse().unwrap()];
    assert!(
        matches!(verdict, ScanVerdict::NotScanned { why } if why.contains("exit status 1")),
        "{verdict:?}"
    );
    let told = events.iter().any(|event| {
        matches!(event, Event::StageSkipped { stage: StageName::Scan, reason, .. } if reason.contains("does without"))
    });
    assert!(told, "{events:?}");

    // What it finds stops the release all the same.
    let mut scanned = Scanned::new().answers(FOUND);
    scanned.rules.need = Need::Optional;
    scanned.fails().await;
}
