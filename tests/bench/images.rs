//! How long images take, beside the engine's own client: in one run, in turn, as ratios of medians.
//!
//! `cargo bench -p tests --bench images` needs what the tests on engines need, and a machine that is idle otherwise.
//! `BENCH_ROUNDS` says how many rounds; the large context takes a quarter of them. `BENCH_ROWS=nothing,push` measures only
//! what has one of these in its name.
#![expect(clippy::print_stdout, reason = "the figures are the result")]

use jiff::Timestamp;
use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};
use tests::{Engine, Generation, Login, Project, Registry, Shape, program_with_engines, variable};

/// Rounds: of so many the median moves by a few per cent from run to run.
const ROUNDS: usize = 12;

/// The context of which one file changes: files and bytes of each, as a small service's sources.
const FILES: (usize, usize) = (300, 8 * 1024);

/// The context that is sent as a whole.
const LARGE: usize = 1 << 30;

/// What is pushed, in one layer that no registry has.
const LAYER: usize = 64 << 20;

const ENVIRONMENT: &str = "bench";

/// One comparison: what ours and the client took, round by round.
#[derive(Default)]
struct Pair {
    ours: Vec<Duration>,
    client: Vec<Duration>,
}

impl Pair {
    /// Does both in turn, and each of them first as often as the other.
    fn measure(
        rounds: usize,
        mut ours: impl FnMut(usize) -> Duration,
        mut client: impl FnMut(usize) -> Duration,
    ) -> Self {
        let mut pair = Self::default();
        for round in 0..rounds {
            if round % 2 == 0 {
                pair.ours.push(ours(round));
                pair.client.push(client(round));
            } else {
                pair.client.push(client(round));
                pair.ours.push(ours(round));
            }
        }
        pair
    }

    fn show(mut self, what: &str, goal: &str) {
        let (ours, client) = (median(&mut self.ours), median(&mut self.client));
        let ratio = ours.as_secs_f64() / client.as_secs_f64();
        let range = |all: &[Duration]| {
            format!("{:.0}–{:.0}", millis(all[0]), millis(*all.last().expect("at least one round")))
        };
        let (mine, theirs) = (range(&self.ours), range(&self.client));
        let (ours, client, count) = (millis(ours), millis(client), self.ours.len());
        println!(
            "| {what} | {count} | {ours:.0} ms ({mine}) | {client:.0} ms ({theirs}) | **{ratio:.2}** | {goal} |"
        );
    }
}

/// What ours does one after the other while it publishes, each with the words of the line that ends it in its own story.
const PARTS: [(&str, &str); 4] = [
    ("until the stage begins", "stage-started"),
    ("the engine's push", "\"pushed "),
    ("reading back", "\"read back "),
    ("tags", " points to "),
];

/// Where the time of `publish` goes.
#[derive(Default)]
struct Division {
    rounds: Vec<[Duration; PARTS.len() + 1]>,
}

impl Division {
    /// Takes in what a run said, in lines of JSON with their times.
    fn add(&mut self, story: &str, begun: Timestamp, took: Duration) {
        let ends = PARTS.map(|(_, words)| {
            let line = story.lines().rfind(|line| line.contains(words));
            let line = line.unwrap_or_else(|| panic!("no `{words}` in {story}"));
            let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
            let time: Timestamp = line["time"].as_str().expect("a time").parse().expect("a time");
            Duration::try_from(time.duration_since(begun)).expect("it was said after the beginning")
        });
        let [begins, pushed, read, tagged] = ends;
        self.rounds.push([begins, pushed - begins, read - pushed, tagged - read, took - tagged]);
    }

    fn show(&self, name: &str) {
        let parts = PARTS.iter().map(|(part, _)| *part).chain(["attaching the manifest, and the end"]);
        let parts = parts.enumerate().map(|(part, what)| {
            let mut all: Vec<Duration> = self.rounds.iter().map(|round| round[part]).collect();
            format!("{what} {:.0} ms", millis(median(&mut all)))
        });
        println!("{name}, the medians of ours: {}", parts.collect::<Vec<_>>().join(", "));
    }
}

/// Sorts.
fn median(all: &mut [Duration]) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// A project whose one image is made by a Dockerfile, and the client beside it.
struct Bench {
    project: Project,
    engine: Engine,
    registry: Registry,
    login: Login,
}

impl Bench {
    fn new(generation: Generation) -> Self {
        let (engine, registry) = (Engine::start(generation), Registry::start());
        let mut project = Project::with(Shape::api_only());
        project.is_not_judged("nothing is deployed");
        project.use_program(program_with_engines().to_owned());
        let login = Login::new(&engine, &registry);
        let mut bench = Self { project, engine, registry, login };
        bench.configure();
        bench
    }

    fn configure(&mut self) {
        self.project.add_engine(ENVIRONMENT, &self.engine, &self.registry);
        self.project.edit("fairlead.toml", |text| {
            text.replacen(
                "[services.api]\n",
                "[services.api]\nimage = { dockerfile = \"context/Dockerfile\", context = \"context\" }\n",
                1,
            )
        });
        self.project.edit(".gitignore", |text| format!("{text}/context/\n"));
        self.project.commit();
    }

    fn client(&self, words: &[&str]) -> Command {
        let mut client = self.engine.client(self.login.folder());
        client.args(words);
        client
    }

    /// How long ours takes for these words.
    fn ours(&self, words: &[&str]) -> Duration {
        self.project.spawn_with(words, &[self.login.variable()]).wait().expect(0).took
    }

    /// How long the client takes for these.
    fn theirs(&self, words: &[&str]) -> Duration {
        let mut client = self.client(words);
        let begun = Instant::now();
        let output = client.output().expect("the client");
        let took = begun.elapsed();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        took
    }

    fn context(&self) -> std::path::PathBuf {
        self.project.path().join("context")
    }

    /// A context of many small files and one that changes.
    fn small(&self) {
        self.empty("COPY files /files\nCOPY app /app\n");
        for number in 0..FILES.0 {
            noise(&self.context().join(format!("files/{number}")), FILES.1);
        }
        self.change("first");
    }

    /// A context of one large file.
    fn large(&self, bytes: usize) {
        self.empty("COPY app /app\n");
        noise(&self.context().join("app"), bytes);
    }

    fn empty(&self, steps: &str) {
        let _ = fs::remove_dir_all(self.context());
        fs::create_dir_all(self.context().join("files")).expect("a folder");
        fs::write(self.context().join("Dockerfile"), format!("FROM scratch\n{steps}USER 1000:1000\n"))
            .expect("a file");
    }

    /// Makes the beginning of the changing file another one, so that nobody has it.
    fn change(&self, text: &str) {
        let path = self.context().join("app");
        let mut file =
            fs::OpenOptions::new().create(true).truncate(false).write(true).open(path).expect("a file");
        file.write_all(text.as_bytes()).expect("room");
    }
}

/// Random bytes, which nothing compresses.
fn noise(path: &Path, bytes: usize) {
    let mut from = File::open("/dev/urandom").expect("a device").take(bytes as u64);
    std::io::copy(&mut from, &mut File::create(path).expect("a file")).expect("room");
}

/// Measures and shows a row, if it is wanted.
fn compare(what: &str, goal: &str, measure: impl FnOnce() -> Pair) {
    let wanted = std::env::var("BENCH_ROWS");
    if wanted.map_or(true, |rows| rows.split(',').any(|row| what.contains(row))) {
        measure().show(what, goal);
    }
}

fn main() {
    // `cargo test --benches` runs it too, and means no measurement.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let rounds = variable("BENCH_ROUNDS", ROUNDS);
    println!("| engine and what | n | ours, median (range) | its client, median (range) | ratio | goal |");
    println!("|---|---:|---:|---:|---:|---:|");
    let mut divisions = Vec::new();
    for generation in Generation::ALL {
        let bench = Bench::new(generation);
        let name = generation.name();
        let context = bench.context();
        let context = context.to_str().expect("a path of text");
        let build = ["build", ENVIRONMENT];

        bench.small();
        bench.ours(&build);
        bench.theirs(&["build", "--tag", "cached", context]);
        compare(&format!("{name}: build, nothing changed"), "≤ 0.1", || {
            let theirs = ["build", "--tag", "cached", context];
            Pair::measure(rounds, |_| bench.ours(&build), |_| bench.theirs(&theirs))
        });

        let changed = |round: usize, who: &str| bench.change(&format!("{who} {round:08}"));
        let rebuilt = |rounds: usize| {
            let ours = |round| {
                changed(round, "ours");
                bench.ours(&build)
            };
            let theirs = |round| {
                changed(round, "theirs");
                bench.theirs(&["build", "--tag", "changed", context])
            };
            Pair::measure(rounds, ours, theirs)
        };
        compare(&format!("{name}: build, one file of {} changed", FILES.0 + 1), "≤ 1.05", || {
            rebuilt(rounds)
        });

        let publish = ["--format", "json", "publish", ENVIRONMENT];
        let reference = format!("{}/team/beside:now", bench.registry.address());
        let mut division = Division::default();
        compare(&format!("{name}: push of {} MiB", LAYER >> 20), "≤ 1.05", || {
            let ours = |round| {
                bench.large(LAYER);
                changed(round, "ours");
                bench.ours(&build);
                let begun = Timestamp::now();
                let run = bench.project.spawn_with(&publish, &[bench.login.variable()]).wait().expect(0);
                division.add(&run.stderr, begun, run.took);
                run.took
            };
            let theirs = |round| {
                bench.large(LAYER);
                changed(round, "theirs");
                bench.theirs(&["build", "--tag", &reference, context]);
                bench.theirs(&["push", &reference])
            };
            Pair::measure(rounds, ours, theirs)
        });
        divisions.push((format!("{name}: push"), division));

        compare(&format!("{name}: build, 1 GiB of context"), "≤ 1.0", || {
            bench.large(LARGE);
            rebuilt((rounds / 4).max(2))
        });
    }
    for (name, division) in divisions.iter().filter(|(_, division)| !division.rounds.is_empty()) {
        division.show(name);
    }
}
