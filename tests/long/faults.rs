//! Every way to fail has its documented outcome: an exit code, a reason code in the dossier, and what stands afterwards.

use nix::sys::signal::Signal;
use std::net::TcpListener;
use tests::{Load, LoadConfig, Project, Shape, event_name, http, signal};

/// What stands before, and how the next release is bad.
struct Fault {
    /// The fault switch of the new units.
    switch: &'static str,
    /// What the environment must be like for it to show.
    shape: fn(&mut Shape),
}

impl Fault {
    const fn new(switch: &'static str) -> Self {
        Self { switch, shape: |_| {} }
    }

    const fn with(switch: &'static str, shape: fn(&mut Shape)) -> Self {
        Self { switch, shape }
    }

    /// A good release stands, the next one is bad and committed.
    fn project(&self) -> Project {
        let mut shape = Shape::api_only();
        (self.shape)(&mut shape);
        let mut project = Project::with(shape);
        project.deploy().expect(0);
        project.reshape(|shape| shape.fault(self.switch));
        project.change_code("api");
        project
    }

    /// The bad release is deployed, and rolled back for this reason; what stood before stands again.
    #[track_caller]
    fn is_rolled_back(&self, reason: &str) -> Project {
        let project = self.project();
        let (good, before) = (project.units_of("api")[0].clone(), project.identities());
        let output = project.deploy().expect(10).says(reason);
        assert_eq!(project.reason(), reason, "{output:?}");
        assert_eq!(project.identities(), before);
        project.assert_serves("api", good.variable("FAIRLEAD_RELEASE"));
        let dossier = project.dossier();
        assert!(!dossier["next"].as_array().is_none_or(Vec::is_empty), "no next command: {dossier:#}");
        assert!(dossier["changes"].to_string().contains("NOOGH_FAULT"), "no difference: {dossier:#}");
        project
    }

    /// The same, and the old unit was never stopped.
    #[track_caller]
    fn never_gets_traffic(&self, reason: &str) {
        let project = self.project();
        let good = project.processes_of("api");
        let output = project.deploy().expect(10).says(reason);
        assert_eq!(project.reason(), reason, "{output:?}");
        assert_eq!(project.processes_of("api"), good, "the unit that stood before was touched");
        assert!(http::get(project.port("api"), "/health").is_ok());
    }
}

fn synthetic_gate(shape: &mut Shape) {
    shape.gates =
        "[gates.synthetic]\npaths = { api = [\"/api/v1/ministers\"] }\nrequests = 20\nmin-requests = 10\n\
                   max-error-rate = 0.05\nmax-slow-rate = 0.1\nslow-above = \"250ms\"\n"
            .to_owned();
}

/// Adds a gate over real traffic. Not before the first deploy: without traffic it would be held.
fn traffic_gate(project: &mut Project) {
    project.reshape(|shape| {
        shape.gates = "[gates.traffic]\nmax-error-rate = 0.05\nmin-requests = 20\n".to_owned();
    });
    project.commit();
}

#[test]
fn exit_at_start() {
    Fault::new("exit-at-start").never_gets_traffic("exited-at-start");
}

#[test]
fn exit_in_the_bake() {
    let fault = Fault::with("exit-after=2s", |shape| shape.timing("bake", "5s"));
    let project = fault.is_rolled_back("crashed");
    let dossier = project.dossier();
    assert!(dossier["unit"]["log-tail"].to_string().contains("NOOGH_FAULT"), "no last words: {dossier:#}");
    assert!(dossier["unit"]["phase"].to_string().contains("\"code\":1"), "no exit code: {dossier:#}");
}

#[test]
fn never_ready() {
    Fault::new("never-ready").never_gets_traffic("never-ready");
}

#[test]
fn slow_start_past_its_deadline() {
    Fault::new("slow-start=20s").never_gets_traffic("not-listening");
}

#[test]
fn slow_start_within_its_deadline_succeeds() {
    let project = Fault::new("slow-start=1s").project();
    project.deploy().expect(0);
    project.assert_serves("api", &project.release());
}

#[test]
fn hang() {
    Fault::new("hang").never_gets_traffic("unresponsive");
}

#[test]
fn errors_that_synthetic_requests_see() {
    Fault::with("error-rate=0.5", synthetic_gate).never_gets_traffic("error-rate");
}

#[test]
fn slowness_that_synthetic_requests_see() {
    Fault::with("slow-rate=0.5:400ms", synthetic_gate).never_gets_traffic("slow-rate");
}

#[test]
fn errors_that_only_real_traffic_shows() {
    let mut project = Fault::with("error-rate=0.5", |shape| shape.timing("bake", "2s")).project();
    let before = project.identities();
    traffic_gate(&mut project);
    let rate = LoadConfig { rate: 100, slow: 0, uploads: 0, ..LoadConfig::new(project.port("api")) };
    let load = Load::start(rate);
    let output = project.deploy();
    let report = load.stop();
    assert!(report.failed() > 0, "the fault did not show: {report:#?}");
    output.expect(10).says("error-rate");
    assert_eq!(project.reason(), "error-rate");
    assert_eq!(project.identities(), before);
}

#[test]
fn too_little_traffic_is_no_evidence_and_holds() {
    let mut project = Fault::new("error-rate=0.5").project();
    traffic_gate(&mut project);
    project.deploy().expect(12).says("no-evidence");
    project.run(&["rollback", "--yes"]).expect(0);
}

#[test]
fn memory_above_its_limit() {
    let fault = Fault::with("memory-growth=200MB/s", |shape| {
        shape.timing("bake", "4s");
        shape.api().lines.push("memory-max = \"150MB\"".to_owned());
    });
    fault.is_rolled_back("out-of-memory");
}

#[test]
fn wrong_release() {
    Fault::new("wrong-release").never_gets_traffic("wrong-release");
}

#[test]
fn wrong_port() {
    Fault::new("wrong-port").never_gets_traffic("wrong-port");
}

#[test]
fn flap() {
    let fault = Fault::with("flap=400ms", |shape| {
        shape.healthy_passes = 10;
        shape.timing("healthy-for", "1s");
        shape.timing("healthy-deadline", "4s");
    });
    fault.never_gets_traffic("flapping");
}

#[test]
fn a_unit_that_ignores_sigterm_is_killed_at_the_end_of_its_grace() {
    let mut project = Fault::new("ignore-sigterm").project();
    project.deploy().expect(0);
    let stubborn = project.processes_of("api")[0].clone();
    project.reshape(|shape| shape.api().env.remove("NOOGH_FAULT").map_or((), drop));
    project.commit();
    let output = project.deploy().expect(0);
    assert!(output.took.as_millis() >= 1_000, "it did not get its grace: {output:?}");
    assert!(!stubborn.lives());
    project.assert_serves("api", &project.release());
}

#[test]
fn a_unit_that_somebody_kills_in_the_bake() {
    let mut shape = Shape::api_only();
    shape.timing("bake", "10s");
    let mut project = Project::with(shape);
    // The first bake need not be long.
    project.run(&["deploy", "--set", "timings.bake=100ms"]).expect(0);
    let before = project.identities();
    project.change_code("api");
    let mut run = project.spawn_deploy();
    run.wait_for_event("the bake", |event| {
        event_name(event) == Some("decided") && event.to_string().contains("bake-began")
    });
    let release = project.release();
    for unit in project.units_of("api").iter().filter(|unit| unit.variable("FAIRLEAD_RELEASE") == release) {
        signal(unit.process.pid, Signal::SIGKILL);
    }
    run.wait().expect(10);
    assert_eq!(project.reason(), "killed");
    assert_eq!(project.identities(), before);
}

#[test]
fn an_artifact_that_cannot_be_started() {
    let mut project = Project::with(Shape::api_only());
    project.deploy().expect(0);
    let good = project.processes_of("api");
    project.change_code("api");
    project.replace_artifact("api", b"\x7fELF, but not really");
    let output = project.deploy().expect(10);
    assert_eq!(project.reason(), "cannot-start", "{output:?}");
    assert_eq!(project.processes_of("api"), good);
}

#[test]
fn smoke_tests_that_fail() {
    let mut project = Project::with(Shape::api_only());
    project.deploy().expect(0);
    let before = project.identities();
    project.reshape(|shape| {
        shape.gates =
            "[gates.smoke]\ncommand = [\"sh\", \"-c\", \"echo the smoke test says no; exit 1\"]\n".to_owned();
    });
    project.change_code("api");
    let output = project.deploy().expect(10);
    assert_eq!(project.reason(), "smoke-failed", "{output:?}");
    assert!(project.dossier()["gate-excerpt"].to_string().contains("the smoke test says no"));
    assert_eq!(project.identities(), before);
}

#[test]
fn a_stable_port_that_is_taken() {
    let project = Project::with(Shape::api_only());
    let squatter = TcpListener::bind(("127.0.0.1", project.port("api"))).expect("the port is this test's");
    project.deploy().expect(3).says("port-taken").says(&project.port("api").to_string());
    assert_eq!(project.units(), []);
    drop(squatter);
    project.assert_nothing_stands();
    project.deploy().expect(0);
}

#[test]
fn an_artifact_that_is_not_there() {
    let project = Project::with(Shape::api_only());
    project.deploy().expect(0);
    let before = project.processes_of("api");
    std::fs::remove_file(project.artifact("api")).expect("an executable");
    project.deploy().expect(1).says("bin/noogh-api");
    assert_eq!(project.processes_of("api"), before);
}

#[test]
fn a_secret_that_is_not_there() {
    let mut project = Project::with(Shape::api_only());
    project.deploy().expect(0);
    let before = project.processes_of("api");
    project.change_code("api");
    std::fs::remove_file(project.path().join("secret.txt")).expect("the secret");
    project.deploy().expect(3).says("HF_TOKEN");
    assert_eq!(project.processes_of("api"), before);
}
