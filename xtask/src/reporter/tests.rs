use super::*;
use crate::{
    exit::{Asked, Exit},
    samples,
};
use deploy::{
    decide::{End, Leave},
    event::Event,
    state::Outcome,
};
use indicatif::{ProgressDrawTarget, TermLike};
use jiff::{SignedDuration, tz::TimeZone};
use pipeline::{
    event::Event as PipelineEvent,
    release::ReleaseId,
    stage::{Outlook, PlannedStage, StageName},
};
use std::io;

/// What was written, for tests to read.
#[derive(Debug, Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn sink(&self) -> Box<dyn Write + Send> {
        Box::new(self.clone())
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A terminal: what stands on it, and where the cursor is.
#[derive(Debug, Clone, Default)]
struct Screen(Arc<Mutex<Cells>>);

#[derive(Debug, Default)]
struct Cells {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

impl Screen {
    const WIDTH: u16 = 100;

    fn text(&self) -> String {
        let cells = self.0.lock().unwrap();
        let rows = cells.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned());
        rows.collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }

    fn put(&self, text: &str) {
        let mut cells = self.0.lock().unwrap();
        for character in text.chars() {
            if character == '\n' || cells.column == usize::from(Self::WIDTH) {
                cells.row += 1;
                cells.column = 0;
            }
            let (row, column) = (cells.row, cells.column);
            let rows = cells.rows.len().max(row + 1);
            cells.rows.resize(rows, Vec::new());
            if character != '\n' {
                let columns = cells.rows[row].len().max(column + 1);
                cells.rows[row].resize(columns, ' ');
                cells.rows[row][column] = character;
                cells.column += 1;
            }
        }
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        Self::WIDTH
    }
    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        let mut cells = self.0.lock().unwrap();
        cells.row = cells.row.saturating_sub(lines);
        Ok(())
    }
    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.0.lock().unwrap().row += lines;
        Ok(())
    }
    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.0.lock().unwrap().column += columns;
        Ok(())
    }
    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        let mut cells = self.0.lock().unwrap();
        cells.column = cells.column.saturating_sub(columns);
        Ok(())
    }
    fn write_line(&self, text: &str) -> io::Result<()> {
        self.put(&format!("{text}\n"));
        Ok(())
    }
    fn write_str(&self, text: &str) -> io::Result<()> {
        self.put(text);
        Ok(())
    }
    fn clear_line(&self) -> io::Result<()> {
        let mut cells = self.0.lock().unwrap();
        let row = cells.row;
        if let Some(row) = cells.rows.get_mut(row) {
            row.clear();
        }
        cells.column = 0;
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

fn about(asked: Asked) -> About<'static> {
    About { program: "cargo xtask", environment: "local", release: "3f9a1c2b4d5e", asked }
}

fn ending(end: &End) -> Ending {
    Ending::of(end, about(Asked::Apply), 12_300)
}

fn planned(stage: StageName, outlook: Outlook, reason: &str) -> PlannedStage {
    PlannedStage { stage, service: None, outlook, reason: reason.to_owned() }
}

fn stages() -> Vec<PipelineEvent> {
    let unchanged = "inputs unchanged since 2026-11-24 11:30:00 UTC";
    let api = Some(samples::name("api"));
    vec![
        PipelineEvent::StagesPlanned {
            stages: vec![
                planned(StageName::Test, Outlook::Skipped, unchanged),
                planned(StageName::Build, Outlook::Runs, "src/main.rs changed"),
                PlannedStage {
                    service: api.clone(),
                    ..planned(StageName::Image, Outlook::Depends, "on what build makes")
                },
            ],
        },
        PipelineEvent::StageSkipped { stage: StageName::Test, service: None, reason: unchanged.to_owned() },
        PipelineEvent::StageStarted {
            stage: StageName::Build,
            service: None,
            because: "src/main.rs changed".to_owned(),
        },
        PipelineEvent::StageOutput {
            stage: StageName::Build,
            service: None,
            line: "   Compiling \u{1b}[32mapi\u{1b}[0m".to_owned(),
        },
        PipelineEvent::StagePassed {
            stage: StageName::Build,
            service: None,
            duration_ms: 8_000,
            summary: "2 executables".to_owned(),
        },
        PipelineEvent::StageStarted {
            stage: StageName::Image,
            service: api.clone(),
            because: "the executable changed".to_owned(),
        },
        PipelineEvent::StagePassed {
            stage: StageName::Image,
            service: api,
            duration_ms: 2_500,
            summary: "d1ce5a1d0000 (12.5 MB)".to_owned(),
        },
        PipelineEvent::ReleaseMade {
            release: ReleaseId("3f9a1c2b4d5e".to_owned()),
            dirty: true,
            services: 2,
        },
    ]
}

/// Tells a story, a tenth of a second after the other.
fn tell(reporter: &mut dyn Reporter, stages: &[PipelineEvent], events: &[Event]) {
    let mut at = samples::now();
    let mut next = || {
        at += SignedDuration::from_millis(100);
        at
    };
    for event in stages {
        reporter.tell(&Story::Pipeline(event), next());
    }
    for event in events {
        reporter.tell(&Story::Deploy(event), next());
    }
}

fn plain(verbosity: Verbosity, stages: &[PipelineEvent], events: &[Event], end: &End) -> String {
    let written = Written::default();
    let mut reporter = plain::Plain::in_zone(written.sink(), verbosity, TimeZone::UTC);
    tell(&mut reporter, stages, events);
    reporter.end(&ending(end), samples::now());
    written.text()
}

fn json(verbosity: Verbosity, stages: &[PipelineEvent], events: &[Event], end: &End) -> String {
    let written = Written::default();
    let mut reporter = json::Json::new(written.sink(), verbosity);
    tell(&mut reporter, stages, events);
    reporter.end(&ending(end), samples::now());
    written.text()
}

fn rolled_back() -> End {
    End::Finished(Outcome::RolledBack { cause: samples::failure("api", "never-ready") })
}

fn held() -> (Vec<Event>, End) {
    let cause = samples::failure("api", "no-evidence");
    let mut events = samples::beginning();
    events.push(Event::Decided { reason: deploy::decide::Reason::Failed(cause.clone()) });
    (events, End::Finished(Outcome::Held { cause, back: false }))
}

fn interrupted() -> (Vec<Event>, End) {
    let mut events = samples::beginning();
    let command = deploy::state::Command::Interrupt;
    events.push(Event::Decided { reason: deploy::decide::Reason::Commanded { command } });
    events.push(Event::left("20261124-120000-1f2e", &samples::name("local"), Leave::Interrupted));
    (events, End::Left(Leave::Interrupted))
}

#[test]
fn plain_tells_a_success() {
    let text = plain(Verbosity::Normal, &stages(), &samples::success(), &End::Finished(Outcome::Succeeded));
    insta::assert_snapshot!(text);
}

#[test]
fn plain_tells_a_rollback_with_its_dossier() {
    insta::assert_snapshot!(plain(Verbosity::Normal, &[], &samples::rolled_back(), &rolled_back()));
}

#[test]
fn plain_tells_a_hold() {
    let (events, end) = held();
    insta::assert_snapshot!(plain(Verbosity::Normal, &[], &events, &end));
}

#[test]
fn plain_tells_an_interruption() {
    let (events, end) = interrupted();
    insta::assert_snapshot!(plain(Verbosity::Normal, &[], &events, &end));
}

#[test]
fn plain_tells_more_when_it_is_verbose_and_less_when_it_is_quiet() {
    let success = End::Finished(Outcome::Succeeded);
    insta::assert_snapshot!(plain(Verbosity::Verbose, &stages(), &samples::success(), &success));
    assert_eq!(
        plain(Verbosity::Quiet, &stages(), &samples::success(), &success),
        "done: release 3f9a1c2b4d5e stands on local, healthy (12.3 s)\n"
    );
    let quiet = plain(Verbosity::Quiet, &[], &samples::rolled_back(), &rolled_back());
    assert!(quiet.contains("never-ready: not healthy within 30 s") && quiet.contains("advice:"), "{quiet}");
    assert!(!quiet.contains("starting"), "{quiet}");
}

#[test]
fn plain_warns_of_a_journal_that_could_not_be_written() {
    let mut events = samples::success();
    events.push(Event::JournalIncomplete { lost: 3, why: "No space left on device".to_owned() });
    let told = plain(Verbosity::Normal, &[], &events, &End::Finished(Outcome::Succeeded));
    let line = told.lines().find(|line| line.starts_with("journal")).unwrap_or_else(|| panic!("{told}"));
    assert!(
        line.ends_with("incomplete: 3 of its lines could not be written (No space left on device)"),
        "{line}"
    );
}

#[test]
fn plain_says_what_is_still_waited_for() {
    let written = Written::default();
    let mut reporter = plain::Plain::in_zone(written.sink(), Verbosity::Normal, TimeZone::UTC);
    tell(&mut reporter, &[], &samples::beginning());
    let before = written.text().len();
    let after = |seconds: i64| samples::now() + SignedDuration::from_secs(seconds);
    reporter.tick(after(10));
    assert_eq!(written.text().len(), before, "patience");
    reporter.tick(after(17));
    reporter.tick(after(18));
    let said = written.text()[before..].to_owned();
    assert_eq!(said.matches("still waiting for 2 of 3 passes in a row").count(), 1, "{said}");
    assert!(said.contains("at most 13 s more"), "{said}");
}

#[test]
fn no_escape_code_gets_into_plain_and_json() {
    let mut stages = stages();
    stages.push(PipelineEvent::StageFailed {
        stage: StageName::Build,
        service: None,
        message: "\u{1b}[31merror\u{1b}[0m".to_owned(),
        excerpt: vec!["\u{1b}[1mbold\u{1b}[0m \u{7}".to_owned()],
    });
    for verbosity in [Verbosity::Quiet, Verbosity::Normal, Verbosity::Verbose] {
        let texts = [
            plain(verbosity, &stages, &samples::rolled_back(), &rolled_back()),
            json(verbosity, &stages, &samples::rolled_back(), &rolled_back()),
        ];
        for text in texts {
            assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
        }
    }
}

#[test]
fn json_tells_one_object_a_line() {
    let text = json(Verbosity::Normal, &stages(), &samples::rolled_back(), &rolled_back());
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines.len(),
        stages().len() + samples::rolled_back().len() - 1 + 1,
        "all but the probe, and the end"
    );
    assert_eq!(lines[0]["source"], "pipeline");
    assert_eq!(lines[0]["event"], "stages-planned");
    let build = serde_json::json!({ "stage": "build", "outlook": "runs", "reason": "src/main.rs changed" });
    assert_eq!(lines[0]["stages"][1], build);
    assert_eq!(lines[0]["time"], "2026-11-24T12:00:00.1Z");
    assert!(lines.iter().any(|line| line["source"] == "deploy" && line["event"] == "evidence-collected"));
    let last = lines.last().unwrap();
    assert_eq!((&last["event"], &last["exit-code"]), (&"ended".into(), &10.into()));
    let build = serde_json::json!({ "name": "build", "result": "passed", "took": 8_000 });
    assert_eq!(last["parts"][1], build);
    let verbose = json(Verbosity::Verbose, &[], &samples::rolled_back(), &rolled_back());
    assert_eq!(verbose.lines().filter(|line| line.contains("\"looked\"")).count(), 1);
}

#[test]
fn where_nothing_runs_or_there_is_one_stage_the_plan_is_not_told_twice() {
    let skipped = planned(StageName::Test, Outlook::Skipped, "inputs unchanged since yesterday");
    let runs = planned(StageName::Test, Outlook::Runs, "first time");
    let told = |stages: &[PlannedStage]| {
        let planned = PipelineEvent::StagesPlanned { stages: stages.to_vec() };
        let done = End::Finished(Outcome::Succeeded);
        plain(Verbosity::Normal, &[planned], &[], &done).lines().count() - 1
    };
    assert_eq!(told(&[skipped.clone(), skipped.clone()]), 0);
    assert_eq!(told(std::slice::from_ref(&runs)), 0);
    assert_eq!(told(&[skipped, runs]), 3);
}

#[test]
fn the_time_of_a_stage_that_failed_is_told_too() {
    let failed = [
        PipelineEvent::StageStarted {
            stage: StageName::Test,
            service: None,
            because: "first time".to_owned(),
        },
        PipelineEvent::StageSkipped { stage: StageName::Build, service: None, reason: String::new() },
        PipelineEvent::StageFailed {
            stage: StageName::Test,
            service: None,
            message: "no".to_owned(),
            excerpt: Vec::new(),
        },
    ];
    let text = plain(Verbosity::Normal, &failed, &[], &End::Finished(Outcome::Succeeded));
    assert!(text.contains("times                   build skipped, test 200 ms (failed)\n"), "{text}");
    let alone = plain(Verbosity::Normal, &failed[1..2], &[], &End::Finished(Outcome::Succeeded));
    assert!(!alone.contains("times"), "{alone}");
}

#[test]
fn github_groups_annotates_and_summarises() {
    let folder = tempfile::tempdir().unwrap();
    let summary = folder.path().join("summary.md");
    let written = Written::default();
    let mut reporter =
        github::Github::new(written.sink(), Verbosity::Normal, Some(summary.clone()), "token".to_owned());
    for event in &stages() {
        reporter.tell(&Story::Pipeline(event), samples::now());
    }
    reporter.tell(&Story::Planned(&samples::plan()), samples::now());
    tell(&mut reporter, &[], &samples::rolled_back());
    reporter.tell(
        &Story::Deploy(&Event::RolloutFinished {
            run: "r".to_owned(),
            environment: samples::name("local"),
            release: "3f9a1c2b4d5e".to_owned(),
            outcome: Outcome::Succeeded,
            took: 1,
        }),
        samples::now(),
    );
    reporter.end(&ending(&rolled_back()), samples::now());
    let text = written.text();
    insta::assert_snapshot!("github", text);
    insta::assert_snapshot!("github_summary", std::fs::read_to_string(summary).unwrap());
    orders_are_ours_alone(&text);
}

/// Between `stop-commands` and its token the runner heeds nothing; outside of it each order must be one of ours.
fn orders_are_ours_alone(text: &str) {
    let mut stopped = false;
    for line in text.lines() {
        match line.trim_start() {
            "::token::" => stopped = false,
            "::stop-commands::token" => stopped = true,
            order if !stopped && order.starts_with("::") => {
                let known =
                    ["::group::", "::endgroup::", "::error title=", "::warning title=", "::notice title="];
                assert!(known.iter().any(|known| order.starts_with(known)), "{order}");
                assert!(!order.contains("waiting for the model"), "{order}");
            }
            _ => {}
        }
    }
    assert!(!stopped, "orders are heeded again at the end");
    assert!(text.contains("::error::waiting for the model"), "the sample tries to give an order");
}

#[test]
fn github_escapes_what_it_annotates() {
    let written = Written::default();
    let mut reporter = github::Github::new(written.sink(), Verbosity::Normal, None, "token".to_owned());
    let message = "50 % of it\n::error::forged";
    let failed = PipelineEvent::StageFailed {
        stage: StageName::Test,
        service: None,
        message: message.to_owned(),
        excerpt: Vec::new(),
    };
    reporter.tell(&Story::Pipeline(&failed), samples::now());
    assert!(written.text().contains("::error title=Stage test failed::50 %25 of it%0A::error::forged\n"));
}

#[test]
fn a_terminal_shows_live_lines_and_is_left_without_them() {
    let screen = Screen::default();
    let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
    let mut reporter = tty::Tty::on(target, Paint::OFF, Verbosity::Normal, false);
    tell(&mut reporter, &stages(), &samples::beginning());
    insta::assert_snapshot!("tty_under_way", screen.text());
    let events = samples::rolled_back();
    tell(&mut reporter, &[], &events[samples::beginning().len()..]);
    reporter.end(&ending(&rolled_back()), samples::now());
    drop(reporter);
    insta::assert_snapshot!("tty_at_the_end", screen.text());
}

#[test]
fn the_final_line_says_what_to_type_next() {
    let cause = || samples::failure("api", "never-ready");
    let ends = [
        End::Finished(Outcome::Succeeded),
        rolled_back(),
        End::Finished(Outcome::Held { cause: cause(), back: false }),
        End::Finished(Outcome::Held { cause: cause(), back: true }),
        End::Finished(Outcome::RollbackFailed {
            cause: cause(),
            failure: Box::new(samples::failure("api", "exited-at-start")),
        }),
        End::Left(Leave::Interrupted),
        End::Left(Leave::Lost { generation: 9 }),
    ];
    let lines: Vec<String> = ends.iter().map(|end| ending(end).line()).collect();
    insta::assert_snapshot!(lines.join("\n"));
    for end in &ends {
        let ending = ending(end);
        assert_eq!(ending.next.is_empty(), ending.exit == Exit::Done, "{ending:?}");
    }
    let cancelled = Ending::of(&rolled_back(), about(Asked::Cancel), 800);
    assert_eq!(
        cancelled.line(),
        "done: release 3f9a1c2b4d5e was taken back on local, what stood before stands again (800 ms)"
    );
}

#[test]
fn the_format_is_chosen_by_where_it_runs() {
    use Format::{Auto, Github, Json, Plain, Tty};
    let table = [
        (Auto, true, true, Github),
        (Auto, false, true, Tty),
        (Auto, false, false, Plain),
        (Tty, false, false, Plain),
        (Tty, true, true, Tty),
        (Plain, true, true, Plain),
        (Json, true, true, Json),
        (Github, false, false, Github),
    ];
    for (asked, under_github, is_terminal, expected) in table {
        assert_eq!(Style::choose(asked, under_github, is_terminal), expected, "{asked:?}");
    }
}
