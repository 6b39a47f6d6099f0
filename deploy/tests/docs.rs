//! What the pages in `docs/` say is what the code says. `UPDATE_DOCS=1` renders the generated page anew.

use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a crate of the workspace").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every page that a reader may come to.
fn pages() -> Vec<PathBuf> {
    let in_folder = |folder: PathBuf| {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        entries.map(|entry| entry.expect("an entry").path())
    };
    let folders = [root(), root().join("docs"), root().join("examples")];
    let files = folders.into_iter().flat_map(in_folder);
    let pages: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    assert!(pages.len() >= 10, "pages are missing: {pages:?}");
    pages
}

#[test]
fn the_page_of_reason_codes_is_fresh() {
    let path = root().join("docs/reasons.md");
    let rendered = deploy::reason::to_markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &rendered).expect("the page can be written");
    }
    assert!(read(&path) == rendered, "docs/reasons.md is stale: run this test once with UPDATE_DOCS=1");
}

/// Every key that a schema names, wherever it stands.
fn keys(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                found.extend(properties.keys().cloned());
            }
            map.values().for_each(|value| keys(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

#[test]
fn the_page_of_the_configuration_names_every_key() {
    let page = read(&root().join("docs/configuration.md"));
    let mut all = BTreeSet::new();
    for name in ["fairlead.schema.json", "environment.schema.json"] {
        let schema = read(&root().join("docs/schema").join(name));
        keys(&serde_json::from_str(&schema).expect("a schema is JSON"), &mut all);
    }
    assert!(all.contains("max-surge"), "no keys were found: {all:?}");
    let missing: Vec<_> = all.iter().filter(|key| !page.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "docs/configuration.md does not name {missing:?}");
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut checked = 0;
    for page in pages() {
        let text = read(&page);
        // `](target)`, as far as the target is a file of the repository.
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
            let file = target.split('#').next().expect("a split has a first part");
            let path = page.parent().expect("a page is in a folder").join(file);
            assert!(path.exists(), "{} links to `{target}`, which is not there", page.display());
            checked += 1;
        }
    }
    assert!(checked >= 20, "only {checked} links were found");
}
