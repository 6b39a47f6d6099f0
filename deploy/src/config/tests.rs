//! Tests of loading: broken files and what is said of them, whole files, overrides, and the schemas.

use super::*;
use crate::{
    check::{Answer, Health, Probe},
    config::environment::{FailurePolicy, StrategyKind},
};
use pipeline::{
    config::{
        Problems,
        image::ImageSource,
        schema::patterns_without_form,
        source::{Source, SourceKind},
    },
    name::Name,
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const PROJECT: &str = include_str!("testdata/valid/project.toml");
const ENVIRONMENT: &str = include_str!("testdata/valid/environment.toml");
const MINIMAL_PROJECT: &str = include_str!("testdata/valid/minimal-project.toml");
const MINIMAL_ENVIRONMENT: &str = include_str!("testdata/valid/minimal-environment.toml");

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load_with(
    project: &str,
    environment: &str,
    set: &[&str],
    variables: &BTreeMap<String, String>,
) -> Result<Loaded, Problems> {
    let name = "here".parse::<Name>().unwrap();
    let project = Source::new(SourceKind::File, "fairlead.toml", project);
    let environment = Source::new(SourceKind::File, "here.toml", environment);
    let set: Vec<String> = set.iter().map(|text| (*text).to_owned()).collect();
    load_texts(project, (name, environment), &set, variables)
}

fn set(texts: &[&str]) -> Result<Loaded, Problems> {
    load_with(PROJECT, ENVIRONMENT, texts, &BTreeMap::new())
}

fn service(loaded: &Loaded, name: &str) -> EffectiveService {
    loaded.environment.services[&name.parse::<Name>().unwrap()].clone()
}

/// A project folder with these bytes as its files.
fn folder(project: &[u8], environment: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("fairlead.toml"), project).unwrap();
    fs::create_dir_all(folder.path().join(ENVIRONMENTS_FOLDER)).unwrap();
    fs::write(folder.path().join(ENVIRONMENTS_FOLDER).join("here.toml"), environment).unwrap();
    folder
}

fn load_folder(root: &Path, environment: &str) -> Result<Loaded, Problems> {
    let request =
        LoadRequest { root, project_file: None, environment, set: &[], variables: &BTreeMap::new() };
    load(&request)
}

#[test]
fn every_broken_file_gets_a_good_answer() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/testdata/invalid");
    let mut files: Vec<PathBuf> = fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 25, "{} files", files.len());
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&file).unwrap();
        let (project, environment) = if name.starts_with("project-") {
            (text.as_str(), MINIMAL_ENVIRONMENT)
        } else {
            (PROJECT, text.as_str())
        };
        let problems = load_with(project, environment, &[], &BTreeMap::new()).expect_err(&name);
        insta::assert_snapshot!(name.as_str(), problems);
        for problem in problems.iter() {
            let place =
                problem.place.as_ref().unwrap_or_else(|| panic!("{name}: without a place: {problem:?}"));
            assert_eq!(place.source.kind, SourceKind::File, "{name}");
        }
    }
}

#[test]
fn problems_of_both_files_and_of_overrides_are_told_at_once() {
    let problems = load_with(
        &PROJECT.replace("replicas = 4", "replica = 4"),
        &ENVIRONMENT.replace("replicas = 2", "replicas = \"2\""),
        &["services.web.port=abc", "strategy.max-surg=1"],
        &variables(&[("FAIRLEAD_LEASE__TTLS", "5s")]),
    );
    insta::assert_snapshot!(problems.unwrap_err());
}

#[test]
fn problems_are_told_to_machines_too() {
    let environment = ENVIRONMENT.replace("replicas = 2", "replica = 2");
    let problems = load_with(PROJECT, &environment, &["lease.ttl=5"], &BTreeMap::new()).unwrap_err();
    insta::assert_json_snapshot!(problems);
}

#[test]
fn bytes_that_are_no_configuration_get_a_short_answer() {
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("empty", b"".to_vec(), "fairlead.toml is empty"),
        ("blank", b" \n\t\n".to_vec(), "fairlead.toml is empty"),
        ("not UTF-8", b"version = 1\nname = \"\xc3\x28\"\n".to_vec(), "fairlead.toml:2:9"),
        ("UTF-16", b"\xff\xfev\0e\0".to_vec(), "fairlead.toml is UTF-16"),
        ("3 MB in one key", [vec![b'k'; 3_000_000], b" = 1".to_vec()].concat(), "is larger than 1024 KiB"),
        ("900 KB in one key", [vec![b'k'; 900_000], b" = 1".to_vec()].concat(), "unknown key `kkk"),
        (
            "900 KB in one value",
            [b"version = \"".to_vec(), vec![b'v'; 900_000], b"\"".to_vec()].concat(),
            "must be 1",
        ),
        ("a binary", (0..=255).cycle().take(4096).collect(), "fairlead.toml is not UTF-8"),
    ];
    for (name, bytes, expected) in cases {
        let folder = folder(&bytes, MINIMAL_ENVIRONMENT.as_bytes());
        let rendered = load_folder(folder.path(), "here").expect_err(name).to_string();
        assert!(rendered.contains(expected), "{name}: {rendered}");
        assert!(rendered.len() < 2_000, "{name}: {} bytes", rendered.len());
    }
}

#[test]
fn a_byte_order_mark_changes_nothing() {
    let with_mark = [b"\xef\xbb\xbf".as_slice(), MINIMAL_PROJECT.as_bytes()].concat();
    let folder = folder(&with_mark, MINIMAL_ENVIRONMENT.as_bytes());
    assert!(load_folder(folder.path(), "here").is_ok());
}

#[test]
fn an_unknown_environment_is_answered_with_those_that_there_are() {
    let folder = folder(MINIMAL_PROJECT.as_bytes(), MINIMAL_ENVIRONMENT.as_bytes());
    insta::assert_snapshot!(load_folder(folder.path(), "her").unwrap_err());
    for outside in ["../../fairlead", "", ".", "here.toml", "/etc/passwd"] {
        assert!(load_folder(folder.path(), outside).is_err(), "{outside:?}");
    }
}

#[test]
fn a_missing_project_file_is_named() {
    let folder = folder(MINIMAL_PROJECT.as_bytes(), MINIMAL_ENVIRONMENT.as_bytes());
    fs::remove_file(folder.path().join("fairlead.toml")).unwrap();
    let rendered = load_folder(folder.path(), "here").unwrap_err().to_string();
    assert!(rendered.contains("cannot read fairlead.toml: No such file"), "{rendered}");
}

#[test]
fn the_root_is_found_from_below() {
    let folder = folder(MINIMAL_PROJECT.as_bytes(), MINIMAL_ENVIRONMENT.as_bytes());
    let below = folder.path().join(ENVIRONMENTS_FOLDER);
    assert_eq!(pipeline::config::find_root(&below), Some(folder.path().to_path_buf()));
}

#[test]
fn this_repository_loads_as_it_is_written() {
    let loaded = load_folder(&workspace(), "local").unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.provenance, []);
    let api = service(&loaded, "api");
    assert_eq!((api.port, api.replicas), (8000, 2));
    assert_eq!(service(&loaded, "mcp").port, 8001);
    let Probe::Http(probe) = &api.check.probe else { panic!("{:?}", api.check.probe) };
    assert_eq!((probe.path.as_str(), probe.status), ("/ready", (200, 200)));
    assert_eq!(api.check.identity.unwrap().bundle_pointer.as_deref(), Some("/bundle"));
    for file in api.files.values() {
        assert!(workspace().join(&file.source).is_file(), "{file:?}");
    }
}

#[test]
fn the_reference_services_go_to_an_engine_as_images_of_their_executables() {
    let loaded = load_folder(&workspace(), "docker").unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.environment.runs_images());
    for name in ["api", "mcp"] {
        assert_eq!(service(&loaded, name).image, Some(ImageSource::FromBinary), "{name}");
    }
}

#[test]
fn what_is_left_out_has_its_default() {
    let loaded = load_with(MINIMAL_PROJECT, MINIMAL_ENVIRONMENT, &[], &BTreeMap::new()).unwrap();
    let environment = &loaded.environment;
    assert!(!environment.protected);
    assert_eq!(environment.strategy.kind, StrategyKind::Rolling);
    assert_eq!(environment.strategy.on_failure, FailurePolicy::RollBack);
    assert_eq!(environment.timings.progress_deadline, 600_000);
    assert_eq!(environment.lease.ttl, 60_000);
    let web = service(&loaded, "web");
    assert_eq!(web.check.probe, Probe::Tcp);
    assert_eq!((web.check.interval, web.check.healthy_passes, web.check.healthy_for), (1_000, 5, 10_000));
    // The defaults can be fulfilled: a unit that always passes becomes healthy in time.
    let passes = (0..).map(|n| n * web.check.interval).take_while(|at| *at < web.check.healthy_deadline);
    let health = passes.fold(Health::default(), |health, at| health.with(at, Answer::Pass));
    assert!(health.passes >= web.check.healthy_passes);
    assert!(health.last_at.unwrap() - health.passing_since.unwrap() >= web.check.healthy_for);
}

#[test]
fn the_environment_has_the_last_word_of_the_two_files() {
    let web = service(&set(&[]).unwrap(), "web");
    assert_eq!(web.replicas, 2);
    assert_eq!(web.host.to_string(), "::1");
    assert_eq!(web.env["MODE"], "here");
    assert_eq!(web.env["LOG_LEVEL"], "info");
    assert_eq!(web.args, ["--verbose"]);
    assert_eq!((web.check.interval, web.check.healthy_passes), (2_000, 7));
}

#[test]
fn set_changes_any_key_of_either_file() {
    let loaded = set(&[
        "services.web.env.NOOGH_FAULT=never-ready",
        "services.web.env.MODE=8000",
        "services.web.port=9000",
        "services.web.memory-max=2GiB",
        "services.web.check.http.path=/live",
        "services.web.artifact.cargo-bin=web",
        "services.web.files.\"web.conf\".source=other.conf",
        "strategy.type=recreate",
        "strategy.batches=[\"2\", \"100%\"]",
        "gates.synthetic.max-error-rate=1",
        "project.keep-releases=3",
    ])
    .unwrap_or_else(|problems| panic!("{problems}"));
    let web = service(&loaded, "web");
    assert_eq!(web.env["NOOGH_FAULT"], "never-ready");
    assert_eq!(web.env["MODE"], "8000", "a text stays one, even if it looks like a number");
    assert_eq!(web.port, 9000);
    assert_eq!(web.limits.memory_max_bytes, Some(2 << 30));
    assert!(matches!(&web.check.probe, Probe::Http(http) if http.path == "/live"));
    assert_eq!(serde_json::to_value(&web.artifact).unwrap(), serde_json::json!({ "cargo-bin": "web" }));
    assert_eq!(web.files["web.conf"].source, Path::new("other.conf"));
    assert_eq!(loaded.environment.strategy.kind, StrategyKind::Recreate);
    assert_eq!(loaded.environment.strategy.batches.len(), 2);
    assert_eq!(loaded.environment.keep_releases, 3);
    assert_eq!(loaded.provenance[2].key, "services.web.port");
    assert_eq!(loaded.provenance[2].origin, "--set services.web.port=9000");
}

#[test]
fn a_wrong_override_is_named_with_what_was_meant() {
    let problems = set(&[
        "services.web.prot=1",
        "services.wbe.port=1",
        "services.web.port=abc",
        "services.web.check.http.status=abc",
        "strategy.type=big-bang",
        "protected=false",
        "version=1",
        "nonsense",
        "=1",
        "services..port=1",
        "services.web.port.deeper=1",
        "timings.drain=1h",
    ]);
    insta::assert_snapshot!(problems.unwrap_err());
}

#[test]
fn variables_override_and_the_command_line_wins() {
    let variables = variables(&[
        ("FAIRLEAD_SERVICES__WEB__REPLICAS", "3"),
        ("FAIRLEAD_SERVICES__WEB__ENV__LOG_LEVEL", "warn"),
        ("FAIRLEAD_SERVICES__WEB__ENV__TWO__PARTS", "x"),
        ("FAIRLEAD_SERVICES__WEB__PORT", "9001"),
        ("FAIRLEAD_STRATEGY__MAX_SURGE", "2"),
        ("FAIRLEAD_GATES__SYNTHETIC__REQUESTS", "30"),
        ("FAIRLEAD_RELEASE", "is none of these"),
        ("FAIRLEAD_LOG", "debug"),
        ("FAIRLEAD_REGISTRY_USERNAME", "somebody"),
        ("FAIRLEAD_REGISTRY_PASSWORD", "with a login"),
        ("WEB_PORT", "9000"),
        ("WEB_HOST", "127.0.0.2"),
        ("LOG_LEVEL", "debug"),
        ("PORT", "1"),
    ]);
    let loaded = load_with(PROJECT, ENVIRONMENT, &["strategy.max-surge=3"], &variables);
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    let web = service(&loaded, "web");
    assert_eq!(web.replicas, 3);
    assert_eq!(web.env["LOG_LEVEL"], "warn", "FAIRLEAD_… wins over the inherited one");
    assert_eq!(web.env["TWO__PARTS"], "x");
    assert_eq!(web.port, 9001, "FAIRLEAD_… wins over WEB_PORT");
    assert_eq!(web.host.to_string(), "127.0.0.2");
    assert_eq!(service(&loaded, "cart").port, 8081, "a variable that no file names means nothing");
    assert_eq!(loaded.environment.strategy.max_surge, 3, "--set wins over variables");
    let origins: Vec<&str> = loaded.provenance.iter().map(|one| one.origin.as_str()).collect();
    assert!(origins.contains(&"the variable WEB_PORT"), "{origins:?}");
    assert_eq!(origins.last(), Some(&"--set strategy.max-surge=3"));
}

#[test]
fn a_wrong_variable_is_named_with_what_was_meant() {
    let variables = variables(&[
        ("FAIRLEAD_SERVICES__WEB__PROT", "1"),
        ("FAIRLEAD_STRATEGI__MAX_SURGE", "1"),
        ("FAIRLEAD_PROTECTED", "false"),
        ("FAIRLEAD_SERVICES__CART__PORT", "many"),
        ("WEB_PORT", "99999"),
    ]);
    insta::assert_snapshot!(load_with(PROJECT, ENVIRONMENT, &[], &variables).unwrap_err());
}

#[test]
fn two_services_cannot_be_overridden_onto_one_port() {
    let problems = load_with(PROJECT, ENVIRONMENT, &[], &variables(&[("WEB_PORT", "8081")])).unwrap_err();
    insta::assert_snapshot!(problems);
}

#[test]
fn the_published_schemas_are_those_of_the_code() {
    for (file, schema) in [
        ("fairlead.schema.json", project_schema()),
        ("environment.schema.json", environment_schema()),
        ("waivers.schema.json", pipeline::scan::waiver::schema()),
    ] {
        let path = workspace().join("docs/schema").join(file);
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            fs::write(&path, schema.to_json()).unwrap();
        }
        let published = fs::read_to_string(&path).unwrap_or_default();
        assert!(published == schema.to_json(), "{file} is stale: run the tests once with UPDATE_SCHEMAS=1");
    }
}

#[test]
fn every_pattern_of_the_schemas_is_checked_with_a_place() {
    for schema in [project_schema(), environment_schema(), pipeline::scan::waiver::schema()] {
        assert_eq!(patterns_without_form(schema), Vec::<String>::new());
    }
}

#[test]
fn every_key_is_explained() {
    fn walk(path: &str, json: &serde_json::Value, missing: &mut Vec<String>) {
        let Some(map) = json.as_object() else { return };
        for (name, property) in map.get("properties").and_then(|all| all.as_object()).into_iter().flatten() {
            if property.get("description").is_none() {
                missing.push(format!("{path}/{name}"));
            }
        }
        for (key, below) in map {
            let below = below.as_array().map_or_else(|| vec![below], |items| items.iter().collect());
            below.into_iter().for_each(|below| walk(&format!("{path}/{key}"), below, missing));
        }
    }
    for schema in [project_schema(), environment_schema(), pipeline::scan::waiver::schema()] {
        let mut missing = Vec::new();
        walk("", &serde_json::from_str(&schema.to_json()).unwrap(), &mut missing);
        // The keys of alternatives are explained one level up, with the alternative.
        missing.retain(|path| !path.contains("/oneOf/"));
        assert_eq!(missing, Vec::<String>::new());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(source) = Source::from_bytes("fairlead.toml", bytes) {
            let environment = Source::new(SourceKind::File, "here.toml", ENVIRONMENT);
            let loaded = load_texts(source, ("here".parse().unwrap(), environment), &[], &BTreeMap::new());
            let _ = loaded.map_err(|problems| problems.render(true));
        }
    }

    #[test]
    fn no_change_of_a_good_file_makes_it_panic(
        in_project: bool,
        at in any::<proptest::sample::Index>(),
        length in 0..30usize,
        text in "\\PC{0,5}|[\"'\\[\\]{}=.,\n#0-9a-z-]{0,10}",
        truncate: bool,
    ) {
        let mutate = |original: &str| {
            let start = original.floor_char_boundary(at.index(original.len()));
            let end = original.floor_char_boundary((start + length).min(original.len())).max(start);
            let rest = if truncate { "" } else { &original[end..] };
            format!("{}{text}{rest}", &original[..start])
        };
        let (project, environment) = if in_project {
            (mutate(PROJECT), ENVIRONMENT.to_owned())
        } else {
            (PROJECT.to_owned(), mutate(ENVIRONMENT))
        };
        let loaded = load_with(&project, &environment, &[], &BTreeMap::new());
        if let Err(problems) = loaded {
            prop_assert!(!problems.render(true).is_empty());
            prop_assert!(problems.iter().all(|problem| !problem.message.contains("cannot be read")), "{}", problems);
        }
    }

    #[test]
    fn no_override_makes_it_panic(text in "\\PC{0,20}|(services|strategy|timings|web|port|env|\\.|=|\"|[0-9]){0,8}") {
        let _ = set(&[&text]).map_err(|problems| problems.to_string());
        let name = format!("FAIRLEAD_{}", text.to_uppercase().replace('.', "__"));
        let loaded = load_with(PROJECT, ENVIRONMENT, &[], &variables(&[(&name, &text)]));
        let _ = loaded.map_err(|problems| problems.to_string());
    }
}
