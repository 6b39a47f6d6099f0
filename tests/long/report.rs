//! The report of a real run, opened in a real browser.

use serde_json::Value;
use std::{fs, path::PathBuf};
use tests::{Browser, Project, Shape, TRIVY_VERSION, Trivy, assert_junit, assert_sarif};

/// A manifest with a few findings that stop nothing.
const MANIFEST: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: api}\nspec:\n  selector: {matchLabels: {app: api}}\n  \
     template:\n    metadata: {labels: {app: api}}\n    spec:\n      containers:\n        - name: api\n          \
     image: ghcr.io/team/api:1\n          securityContext:\n            readOnlyRootFilesystem: true\n            \
     runAsNonRoot: true\n";

/// What a test run says.
const TESTS: &str = "     Running unittests src/lib.rs (target/debug/deps/api-1)\n\nrunning 3 tests\ntest adds ... ok\n\
                     test divides ... ok\ntest slow ... ignored\n\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; \
                     0 filtered out; finished in 0.01s\n\n";

/// A release stands, and the next one is rolled back; the folder of that one's report.
fn rolled_back(trivy: &Trivy) -> (Project, PathBuf) {
    let mut project = Project::with(Shape { batches: vec!["1", "100%"], ..Shape::default() });
    trivy.install_for(&mut project);
    project.reshape(|shape| shape.services.iter_mut().for_each(|service| service.replicas = 2));
    project.write("tests.txt", TESTS);
    project.write("deploy/kubernetes/api.yaml", MANIFEST);
    let scanned = |text: String| {
        let text = text.replacen("command = [\"true\"]", "command = [\"cat\", \"tests.txt\"]", 1);
        format!(
            "{text}\n[stages.scan]\nversion = {TRIVY_VERSION:?}\nconfiguration = [\"deploy/kubernetes\"]\n"
        )
    };
    project.edit("fairlead.toml", scanned);
    project.commit();
    project.deploy().expect(0);
    project.reshape(|shape| shape.fault("exit-after=900ms"));
    project.edit("fairlead.toml", scanned);
    project.commit();
    project.deploy().expect(10);
    let folder = project.state().join("reports").join(project.release());
    (project, folder)
}

/// What can be seen of the page: JavaScript, run in it by the browser.
const LOOK: &str = r#"(() => {
    const seen = {};
    for (const section of document.querySelectorAll('[id]')) {
        const box = section.getBoundingClientRect();
        seen[section.id] = { width: box.width, height: box.height, text: section.textContent.trim().length };
    }
    const channel = value => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const parse = colour => (colour.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const back = element => {
        for (let one = element; one; one = one.parentElement) {
            const colour = parse(getComputedStyle(one).backgroundColor);
            if (colour.length < 4 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
    };
    const pale = [], small = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
        if (!text || element.closest('svg') || !element.checkVisibility()) continue;
        const style = getComputedStyle(element);
        if (parseFloat(style.fontSize) < 12) small.push(text);
        const [one, other] = [light(parse(style.color)), light(back(element))].sort((a, b) => b - a);
        if ((one + 0.05) / (other + 0.05) < 4.5) pale.push(`${text}: ${style.color} on ${back(element)}`);
    }
    return {
        seen, pale, small,
        wide: document.documentElement.scrollWidth - window.innerWidth,
        bars: document.querySelectorAll('svg rect.state').length,
        lanes: document.querySelectorAll('svg text.lane').length,
        broken: document.querySelectorAll('svg rect.bad').length,
        text: document.body.innerText,
    };
})()"#;

#[test]
fn the_report_is_readable_in_a_browser_without_network_scripts_or_errors() {
    let trivy = Trivy::new();
    let (project, folder) = rolled_back(&trivy);
    let page = folder.join("report.html");
    assert!(page.exists(), "a deploy writes it: {}", folder.display());
    let mut browser = Browser::start();
    for (width, dark) in [(1280, false), (1280, true), (390, false)] {
        browser.open(&page, width, dark);
        let look = browser.value(LOOK);
        for section in ["summary", "release", "stages", "tests", "scan", "rollouts", "files", "timeline-0"] {
            let seen = &look["seen"][section];
            let has = |key: &str| seen[key].as_f64().is_some_and(|size| size > 0.0);
            assert!(has("text") && (has("width") || section == "timeline-0"), "{section}: {seen}");
        }
        for what in ["pale", "small"] {
            assert_eq!(look[what].as_array().map(Vec::len), Some(0), "{width} {dark}: {:#}", look[what]);
        }
        assert!(look["wide"].as_f64().is_some_and(|wide| wide <= 0.0), "{width}: {} too wide", look["wide"]);
        // Those that stood and the one that failed, each with what it went through.
        let count = |what: &str| look[what].as_u64().expect("a number");
        assert!(count("lanes") >= 3 && count("bars") > count("lanes") && count("broken") > 0, "{look:#}");
        let text = look["text"].as_str().expect("a text");
        for words in
            ["rolled back", "2 passed, 1 ignored", "Trivy", "KSV", "Dossier", "log: ", "next: ", "junit.xml"]
        {
            assert!(text.contains(words), "`{words}` is not in {text}");
        }
        assert_eq!(browser.complaints(), [""; 0]);
    }
    // What the checks above would find is found.
    let bad = folder.join("bad.html");
    let script = "<main style='width:3000px;color:#ccc'>pale</main><img src='x.png'><script>throw new Error('no')</script>";
    fs::write(&bad, script).expect("a file");
    browser.open(&bad, 1280, false);
    let look = browser.value(LOOK);
    assert_eq!(look["pale"].as_array().map(Vec::len), Some(1), "{look:#}");
    assert!(look["wide"].as_f64().is_some_and(|wide| wide > 0.0), "{look:#}");
    assert!(browser.complaints().len() >= 2, "an image and an error");
    fs::remove_file(&bad).expect("our own");

    assert_sarif(&folder.join("configuration.sarif"));
    assert_junit(&folder.join("junit.xml"));

    browser.open(&page, 1280, false);
    let picture = browser.picture();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000, "{} bytes", picture.len());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/report.png");
        fs::write(kept, picture).expect("the picture of the documentation");
    }
    the_command_shows_the_same(&project);
}

/// `report` says what the deploy has written, as text and as data.
fn the_command_shows_the_same(project: &Project) {
    let release = project.release();
    let text = project.run(&["report"]).expect(0).says(&format!(".fairlead/reports/{release}"));
    assert!(text.stdout.contains("rolled back (") && text.stdout.contains("## Stages"), "{text:?}");
    let data: Value = project.run(&["report", &release, "--format", "json"]).expect(0).json();
    assert_eq!(data["release"], release.as_str());
    assert_eq!(data["rollouts"][0]["tone"], "bad", "{data:#}");
    assert_eq!(data["tests"]["passed"], 2);
    assert!(data["files"].to_string().contains("configuration.sarif"), "{data:#}");
    project.run(&["report", "no-such-release"]).expect(2).says("nothing is known").says(&release);
    project.run(&["report", "../up"]).expect(2).says("not a name of a release");

    // Of a release that was never made there is a report, too.
    let failing = "running 1 test\ntest adds ... FAILED\n\nfailures:\n\n---- adds stdout ----\nleft: 4, right: 5\n\n\
                   failures:\n    adds\n\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n";
    project.write("tests.txt", failing);
    project.edit("fairlead.toml", |text| {
        text.replacen("[\"cat\", \"tests.txt\"]", "[\"sh\", \"-c\", \"cat tests.txt; exit 1\"]", 1)
    });
    project.commit();
    project.deploy().expect(1);
    assert_junit(&project.state().join("reports").join(project.release()).join("junit.xml"));
    let text = project.run(&["report"]).expect(0).says(&project.release()).stdout;
    for words in ["not made: the stage test failed", "1 failed", "left: 4, right: 5"] {
        assert!(text.contains(words), "`{words}` is not in {text}");
    }
}
