//! A script on local processes: the program as a user runs it, deploying the reference services, and its own story of it.

use crate::{
    kind::{OUTAGE, Real, SETTLED},
    script::Script,
    story::{Story, Teller},
};
use deploy::{
    decide::Reason,
    model::{Action, Intent, IntentId},
    plan::Plan,
    state::Outcome,
};
use jiff::Timestamp;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{collections::BTreeMap, fs, time::Duration};
use tests::{Background, Process, Project, event_name, is_action, pause, processes_under, signal};

/// From the request to stop a unit to when its supervisor dies: the unit was told by then, and takes two seconds.
const TOLD: Duration = Duration::from_millis(500);

/// What came of a script.
pub(crate) struct Told {
    /// The plan that was carried out.
    pub(crate) plan: Plan,
    /// What was decided.
    pub(crate) story: Story,
    /// The longest time from when a quick action was begun until the loop had heard of its end: on a machine with time
    /// for it some hundredths of a second, because no unit has traffic.
    pub(crate) lateness: Duration,
}

/// Plays a script.
pub(crate) fn play(script: &Script) -> Told {
    let mut project = Project::with(script.shape());
    // The first bake need not be long, and what stands before may take its time to come, and to come back.
    let patience = ["timings.bake=100ms", "timings.healthy-deadline=50s"];
    project.run(&["deploy", "--set", patience[0], "--set", patience[1]]).expect(0);
    let real = script.kind.map(|kind| kind.row().real);
    bring_next(&mut project, script, real);
    let limit = format!("strategy.failure-limit={}", script.failure_limit);
    project.run(&["plan", "--out", "plan.json", "--set", &limit]).expect(0);
    let plan = read_plan(&project);
    let mut run = project.spawn(&["deploy", "--plan", "plan.json", "--format", "json"]);
    if let Some(real) = real {
        interfere(&project, script, &mut run, real);
    }
    let output = run.wait();
    let story = tell(&plan, &output.stderr);
    Told { plan, story, lateness: lateness(&output.stderr) }
}

/// The next release, with what is wrong in it.
fn bring_next(project: &mut Project, script: &Script, real: Option<Real>) {
    let (slot, pace) = (script.slot, script.pace);
    project.reshape(|shape| {
        shape.api().env.remove("NOOGH_FAULT");
        match real {
            Some(Real::Switch(switch)) => shape.fault(&format!("{switch}@{slot}")),
            Some(Real::Timed(switch, after)) => shape.fault(&format!("{switch}={}ms@{slot}", after * pace)),
            Some(Real::Growth(switch, speed)) => {
                shape.fault(&format!("{switch}={}kB/s@{slot}", speed / pace));
            }
            Some(Real::SmokeTest) => shape.gates.push_str("\n[gates.smoke]\ncommand = [\"false\"]\n"),
            _ => {}
        }
    });
    if real == Some(Real::NoProbe) {
        let http = "http = { path = \"/ready\" }";
        project.edit("fairlead.toml", |text| {
            assert!(text.contains(http), "there is another probe to take away: {text}");
            text.replace(http, "command = [\"/nonexistent/probe\"]")
        });
    }
    project.change_code("api");
    if real == Some(Real::NoExecutable) {
        project.replace_artifact("api", b"\x7fELF, but not really");
    }
}

/// What is done while it is deployed.
fn interfere(project: &Project, script: &Script, run: &mut Background, real: Real) {
    match real {
        Real::Switch(_) | Real::Timed(..) | Real::Growth(..) => {}
        Real::NoExecutable | Real::NoProbe | Real::SmokeTest => {}
        Real::KillUnit => {
            wait_into_bake(script, run);
            let (release, unit) = (project.release(), format!("api/{}", script.slot));
            let units = project.units_of("api");
            let is_it = |unit_of: &&tests::Unit| {
                unit_of.variable("FAIRLEAD_RELEASE") == release && unit_of.variable("FAIRLEAD_UNIT") == unit
            };
            let found = units.iter().find(is_it).unwrap_or_else(|| panic!("no new {unit}: {units:#?}"));
            signal(found.process.pid, Signal::SIGKILL);
        }
        Real::FreezeSupervisor => {
            wait_into_bake(script, run);
            let supervisor = supervisor(project);
            signal(supervisor.pid, Signal::SIGSTOP);
            pause(Duration::from_millis(OUTAGE));
            signal(supervisor.pid, Signal::SIGCONT);
        }
        Real::FullDisk => {
            wait_into_bake(script, run);
            let state = project.state().join("local/supervisor/state.json");
            let aside = state.with_extension("aside");
            fs::rename(&state, &aside).expect("the supervisor's state");
            // Nothing is renamed over a folder, whoever asks, so it cannot be written.
            fs::create_dir(&state).expect("a folder in its place");
            run.wait_for_event("the failed start", |event| is_decided(event, "retried"));
            fs::remove_dir(&state).expect("an empty folder");
            fs::rename(&aside, &state).expect("the supervisor's state");
        }
        Real::KillSupervisor => {
            let old = project.units_of("api")[0].variable("FAIRLEAD_BUNDLE").to_owned();
            let old = old.trim_start_matches("sha256:").to_owned();
            let slot = format!("/{}#", script.slot);
            run.wait_for_event("the stop of the old unit", |event| {
                let unit = event["intent"]["action"]["stop"]["unit"].as_str().unwrap_or_default();
                event_name(event) == Some("action-began") && unit.contains(&slot) && unit.contains(&old)
            });
            pause(TOLD);
            signal(supervisor(project).pid, Signal::SIGKILL);
        }
    }
}

/// Waits until the first bake has begun and what leaves has left.
fn wait_into_bake(script: &Script, run: &mut Background) {
    run.wait_for_event("the bake", |event| is_decided(event, "bake-began"));
    pause(Duration::from_millis(SETTLED * script.pace));
}

fn is_decided(event: &Value, reason: &str) -> bool {
    event_name(event) == Some("decided") && event["reason"].get(reason).is_some()
}

fn supervisor(project: &Project) -> Process {
    let is_it = |process: &Process| process.cmdline.iter().any(|argument| argument == "__supervisor");
    processes_under(project.path()).into_iter().find(is_it).expect("a supervisor")
}

/// The plan that is carried out, without the seal of its file.
fn read_plan(project: &Project) -> Plan {
    let text = fs::read_to_string(project.path().join("plan.json")).expect("a plan");
    let mut document: Value = serde_json::from_str(&text).expect("a plan in JSON");
    document.as_object_mut().expect("an object").remove("seal");
    serde_json::from_value(document).expect("a plan")
}

/// The story of a run with `--format json`.
fn tell(plan: &Plan, lines: &str) -> Story {
    let mut teller = Teller::new(plan);
    let mut actions: BTreeMap<IntentId, Action> = BTreeMap::new();
    let mut outcome: Option<Outcome> = None;
    for line in lines.lines() {
        let Ok(mut event) = serde_json::from_str::<Value>(line) else { continue };
        match event_name(&event) {
            Some("action-began") => {
                let intent: Intent = serde_json::from_value(event["intent"].take()).expect("an intent");
                actions.insert(intent.id, intent.action);
            }
            Some("decided") => {
                let reason: Reason = serde_json::from_value(event["reason"].take()).expect("a reason");
                let action = match &reason {
                    Reason::Retried { intent, .. } => actions.get(intent),
                    _ => None,
                };
                teller.decided(&reason, action);
            }
            Some("rollout-finished") => {
                outcome = Some(serde_json::from_value(event["outcome"].take()).expect("an outcome"));
            }
            _ => {}
        }
    }
    teller.end(outcome.as_ref())
}

/// The longest time from the beginning of a quick action to when its end was told.
fn lateness(lines: &str) -> Duration {
    const QUICK: [&str; 4] = ["start", "admit", "drain", "commit"];
    let mut begun: BTreeMap<u64, Timestamp> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    for line in lines.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let (Some(id), Some(at)) = (event["intent"]["id"].as_u64(), event["time"].as_str()) else { continue };
        let at: Timestamp = at.parse().expect("a time");
        if QUICK.iter().any(|verb| is_action(&event, "action-began", verb)) {
            begun.insert(id, at);
        } else if let Some(began) = begun.remove(&id) {
            longest = longest.max(at.duration_since(began).unsigned_abs());
        }
    }
    longest
}
