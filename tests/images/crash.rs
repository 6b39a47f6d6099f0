//! The program killed, or told to end, at boundaries of a deploy of containers: it can be taken up or rolled back from
//! everywhere. Judged by what the engine lists, by the registry's files and by the record. `SWEEP_SEED` repeats a sample,
//! `SWEEP_CONTAINERS` says how many cuts it has on each engine; `tests/crash/sweep containers` takes every crossing.

use crate::ground::{ENVIRONMENT, Ground, Host, files_below};
use serde_json::Value;
use std::{
    any::Any,
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
    time::{Duration, Instant},
};
use tests::{
    Chance, Engine, Generation, Output, Project, Shape, http, program_with_engines_and_fail_points, variable,
    wait_for,
};

/// Cuts of the sample on each generation of engines, which are cut side by side: so many that both ways are taken up and
/// rolled back.
const CUTS: u64 = 8;

/// Bundles that are kept to return to: so few that rollouts remove some.
const KEPT: usize = 2;

/// By what a run is cut off.
const SIGNALS: [&str; 3] = ["KILL", "TERM", "INT"];

/// Rows of the whole sweep side by side, each with an engine of its own: they mostly wait.
const JOBS: usize = 4;

/// A restarted router may need so long for its ports.
const SETTLE: Duration = Duration::from_secs(5);

/// Where a run is cut off, and what is done then.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// The number of the crossing, from 1.
    at: u64,
    /// The signal's name.
    signal: &'static str,
    /// Whether the new release fails, so that the rollout rolls back by itself.
    fails: bool,
    /// Whether it is carried on, rather than rolled back.
    resumes: bool,
}

impl Cut {
    /// One of a deploy of so many crossings.
    fn draw(chance: &mut Chance, crossings: u64, fails: bool) -> Self {
        Self {
            at: 1 + (crossings as f64 * chance.share()) as u64,
            signal: SIGNALS[(3.0 * chance.share()) as usize],
            fails,
            resumes: chance.share() < 0.5,
        }
    }
}

fn shape() -> Shape {
    let mut shape = Shape::api_only();
    shape.api().replicas = 2;
    shape.keep_releases = KEPT as u16;
    for (key, value) in [("interval", "50ms"), ("healthy-for", "60ms"), ("bake", "60ms")] {
        shape.timing(key, value);
    }
    shape
}

fn ground(generation: Generation, fails: bool, project: Project) -> Ground {
    let mut ground = Ground::with(Host::Own(Engine::start(generation)), project);
    ground.project.use_program(program_with_engines_and_fail_points().to_owned());
    ground
        .project
        .is_not_judged("it is killed in the middle of its journal; what is left is judged by `judge`");
    ground.deploy(0);
    if fails {
        ground.reshape(|shape| {
            shape.fault("exit-after=800ms");
            shape.timing("bake", "1s");
        });
    }
    ground
}

/// Runs a deploy until it ends, one way or the other; the names of its crossings.
fn cut_off(ground: &Ground, cut: Cut) -> (Output, Vec<String>) {
    let list = tempfile::NamedTempFile::new().expect("a file for the crossings");
    let at = cut.at.to_string();
    let variables: [(&str, &OsStr); 3] = [
        ("FAIRLEAD_CROSSINGS", list.path().as_os_str()),
        ("FAIRLEAD_KILL_AT", at.as_ref()),
        ("FAIRLEAD_KILL_SIGNAL", cut.signal.as_ref()),
    ];
    let output = ground.spawn_deploy_with(&variables).wait();
    let lines = fs::read_to_string(list.path()).expect("the crossings");
    let names = lines.lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned()));
    (output, names.collect())
}

/// Plays a cut, takes up what it leaves, and judges; the name of the crossing, or `None` if the run had fewer.
fn play(ground: &mut Ground, cut: Cut) -> Option<String> {
    let code = if cut.fails { 10 } else { 0 };
    let before = standing(ground);
    ground.project.change_code("api");
    let release = ground.project.release();
    let (output, crossings) = cut_off(ground, cut);
    let name = crossings.get(cut.at as usize - 1).cloned();
    match (&name, cut.signal) {
        (None, _) => drop(output.clone().expect(code)),
        (Some(_), "KILL") => assert_eq!(output.signal, Some(9), "{output:?}"),
        // It may be hit before it listens, or after it has ended.
        (Some(_), _) if output.signal.is_some() => {}
        (Some(_), _) => drop(output.clone().expect_one_of(&[code, 14])),
    }
    every_tag_is_whole(ground);
    let is_new = match record(ground) {
        Some(record) if !record["open"].is_null() && cut.resumes => {
            ground.run(&["resume", ENVIRONMENT]).expect(code);
            !cut.fails
        }
        Some(record) if !record["open"].is_null() => {
            ground.run(&["rollback", ENVIRONMENT, "--yes"]).expect(0);
            false
        }
        // It had not begun, or had come to its end.
        _ => {
            ground.run(&["deploy", ENVIRONMENT]).expect_one_of(&[code, 0]);
            !cut.fails
        }
    };
    judge(ground, if is_new { &release } else { &before });
    // What was rolled back by hand is frozen.
    ground.run(&["lock", "--unfreeze", ENVIRONMENT]).expect(0);
    name
}

/// The release that stands, by the engine.
fn standing(ground: &Ground) -> String {
    let releases: BTreeSet<String> = ground.containers().iter().map(|id| release_of(ground, id)).collect();
    assert_eq!(releases.len(), 1, "{releases:?}");
    releases.into_iter().next().expect("one")
}

fn release_of(ground: &Ground, id: &str) -> String {
    let container = ground.inspect(id);
    let env = container["Config"]["Env"].as_array().expect("a list");
    let value = env.iter().filter_map(Value::as_str).find_map(|one| one.strip_prefix("FAIRLEAD_RELEASE="));
    value.expect("units know their release").to_owned()
}

/// One whole release stands, and nothing else is on the engine.
#[track_caller]
fn judge(ground: &Ground, release: &str) {
    let all = ground.docker(&["ps", "--all", "--quiet", "--no-trunc"]);
    let mut all: Vec<&str> = all.lines().collect();
    all.sort_unstable();
    assert_eq!(all, ground.containers(), "containers that do not run, or are no units");
    assert_eq!(all.len(), 2);
    assert_eq!(standing(ground), release);
    let port = ground.project.port("api");
    wait_for("an answer at the stable port", SETTLE, || http::get(port, "/health").is_ok().then_some(()));
    assert_eq!(http::health(port)["release"], release);
    let record = record(ground).expect("a record");
    assert!(record["lease"].is_null() && record["open"].is_null(), "{record:#}");
    let volumes = ground.docker(&["volume", "ls", "--quiet", "--filter", "label=io.fairlead.kind=bundle"]);
    // That of what stands, and as many as are kept.
    assert!((1..=1 + KEPT).contains(&volumes.lines().count()), "bundles that nobody needs: {volumes}");
}

fn record(ground: &Ground) -> Option<Value> {
    let path = ground.project.state().join(ENVIRONMENT).join("record/record.json");
    Some(serde_json::from_slice(&fs::read(path).ok()?).expect("a record is never torn"))
}

/// All that a tag leads to is in the registry, with the size that it should have.
#[track_caller]
fn every_tag_is_whole(ground: &Ground) {
    let data = ground.registry.folder().join("data/docker/registry/v2");
    let blob = |digest: &str| {
        let hash = digest.trim_start_matches("sha256:");
        data.join("blobs/sha256").join(&hash[..2]).join(hash).join("data")
    };
    let tags = files_below(&data.join("repositories/team/api/_manifests/tags"));
    for link in tags.iter().filter(|path| path.ends_with("current/link")) {
        let digest = fs::read_to_string(link).expect("a link");
        let bytes = fs::read(blob(&digest)).unwrap_or_else(|error| panic!("{}: {error}", link.display()));
        let manifest: Value = serde_json::from_slice(&bytes).expect("a manifest");
        let parts = manifest["layers"].as_array().into_iter().flatten().chain([&manifest["config"]]);
        for part in parts.filter(|part| part.is_object()) {
            let path = blob(part["digest"].as_str().expect("a digest"));
            let size = fs::metadata(&path).map(|metadata| metadata.len()).ok();
            assert_eq!(size, part["size"].as_u64(), "{} leads to {part}", link.display());
        }
    }
}

/// How many crossings a deploy has.
fn crossings(ground: &mut Ground, fails: bool) -> u64 {
    let cut = Cut { at: u64::MAX, signal: "KILL", fails, resumes: true };
    ground.project.change_code("api");
    let (output, crossings) = cut_off(ground, cut);
    output.expect(if fails { 10 } else { 0 });
    crossings.len() as u64
}

#[test]
fn a_deploy_that_is_cut_off_anywhere_can_be_taken_up_or_rolled_back() {
    let (chance, seed) = Chance::seeded();
    let cuts: u64 = variable("SWEEP_CONTAINERS", CUTS);
    println!("SWEEP_SEED={seed} SWEEP_CONTAINERS={cuts} repeats this sample");
    std::thread::scope(|scope| {
        for generation in Generation::ALL {
            let mut chance = chance.clone();
            scope.spawn(move || {
                let good = ground(generation, false, Project::with(shape()));
                let beside = good.project.beside(shape());
                let bad = ground(generation, true, beside);
                let mut grounds = [good, bad];
                let counts = [crossings(&mut grounds[0], false), crossings(&mut grounds[1], true)];
                println!("{}: {counts:?} crossings", generation.name());
                for number in 0..cuts {
                    let way = number as usize % 2;
                    let cut = Cut::draw(&mut chance, counts[way], way == 1);
                    let name = play(&mut grounds[way], cut);
                    println!("{} {cut:?}: {}", generation.name(), name.as_deref().unwrap_or("it had ended"));
                }
            });
        }
    });
}

/// All crossings of one kind of deploy on one engine.
#[derive(Debug, Clone, Copy)]
struct Row {
    generation: Generation,
    fails: bool,
    signal: &'static str,
}

impl Row {
    /// Cuts at every `step`th crossing until a run ends uncut, alternately carried on and rolled back; how many cuts there
    /// were, and what did not hold.
    fn sweep(self, step: u64, whole: &Mutex<Project>) -> (u64, Vec<String>) {
        let Self { generation, fails, signal } = self;
        // Of several failures, each begins with a project that is whole.
        let fresh = || ground(generation, fails, whole.lock().expect("it is only asked").beside(shape()));
        let (mut ground, mut cuts, mut failures) = (fresh(), 0, Vec::new());
        loop {
            let cut = Cut { at: 1 + cuts * step, signal, fails, resumes: cuts.is_multiple_of(2) };
            match catch_unwind(AssertUnwindSafe(|| play(&mut ground, cut))) {
                Ok(None) => return (cuts, failures),
                Ok(Some(_)) => {}
                Err(panic) => {
                    failures.push(format!("{self:?} {cut:?}: {}", words_of(panic.as_ref())));
                    let old = std::mem::replace(&mut ground, fresh());
                    drop(catch_unwind(AssertUnwindSafe(|| drop(old))));
                }
            }
            cuts += 1;
        }
    }
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default()
}

/// Every crossing, or every `SWEEP_STEP`th, `SWEEP_JOBS` rows side by side.
#[test]
#[ignore = "hours: run by tests/crash/sweep containers"]
fn every_crossing() {
    let (step, jobs): (u64, usize) = (variable("SWEEP_STEP", 1), variable("SWEEP_JOBS", JOBS));
    let mut rows = Vec::new();
    for generation in Generation::ALL {
        for fails in [false, true] {
            rows.extend(SIGNALS.map(|signal| Row { generation, fails, signal }));
        }
    }
    let (count, begun) = (rows.len(), Instant::now());
    let (rows, failures) = (Mutex::new(rows), Mutex::new(Vec::new()));
    // All of the machine, for as long as any of them plays.
    let whole = Mutex::new(Project::alone(shape()));
    let play = || {
        loop {
            let Some(row) = rows.lock().expect("nobody panics while holding this").pop() else { return };
            let (cuts, failed) = row.sweep(step, &whole);
            println!("{row:?}: {cuts} cuts, {} failed, after {:.0?}", failed.len(), begun.elapsed());
            failures.lock().expect("nobody panics while holding this").extend(failed);
        }
    };
    std::thread::scope(|scope| (0..jobs.min(count)).for_each(|_| drop(scope.spawn(play))));
    let failures = failures.into_inner().expect("nobody panics while holding this");
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}
