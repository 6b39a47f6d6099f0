//! The schemas of the documents that `plan`, `simulate`, `status`, `history`, `prune` and `report` print; checked in under `docs/schema/`.

use crate::{
    cli::simulate_request,
    commands::{self, Prunable, Simulation},
    samples,
};
use deploy::{
    plan::Plan,
    simulate::parse_strategy,
    status::{HistoryEntry, Status},
};
use pipeline::report::Report;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The schema of a document, as it is checked in.
fn schema<T: JsonSchema>(title: &str) -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let mut schema = serde_json::to_value(schema).unwrap();
    schema["title"] = json!(title);
    schema
}

fn all() -> [(&'static str, Value); 6] {
    [
        ("plan", schema::<Plan>("Fairlead plan")),
        ("simulation", schema::<Simulation>("Fairlead simulation")),
        ("status", schema::<Status>("Fairlead status")),
        ("history", schema::<Vec<HistoryEntry>>("Fairlead history")),
        ("prune", schema::<Prunable>("Fairlead prune")),
        ("report", schema::<Report>("Fairlead report")),
    ]
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/schema/{name}.schema.json"))
}

fn simulated(arguments: &str) -> Value {
    let request = simulate_request(arguments);
    let against = request.against.as_deref().map(|text| parse_strategy(text).unwrap());
    json!(commands::simulation(&request, samples::plan(), against).unwrap())
}

#[test]
fn schemas_are_fresh() {
    for (name, schema) in all() {
        let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            // In one piece: the test beside this one reads it.
            pipeline::store::write_atomic(&path(name), text.as_bytes(), 0o644).unwrap();
        }
        let kept = std::fs::read_to_string(path(name)).unwrap_or_default();
        assert!(
            kept == text,
            "docs/schema/{name}.schema.json is stale: UPDATE_SCHEMAS=1 cargo test -p xtask schema"
        );
    }
}

#[test]
fn documents_have_their_schemas() {
    let documents = [
        ("plan", vec![json!(samples::plan()), json!(samples::empty_plan())]),
        (
            "simulation",
            vec![simulated(""), simulated("--fail api/0 --cancel-at 20s --seed 3 --against recreate")],
        ),
        ("status", vec![json!(samples::status()), json!(samples::absent())]),
        ("history", vec![json!(samples::history()), json!([])]),
        ("prune", vec![json!(samples::prunable())]),
    ];
    for (name, documents) in documents {
        let kept = std::fs::read_to_string(path(name)).unwrap();
        let validator = jsonschema::validator_for(&serde_json::from_str(&kept).unwrap()).unwrap();
        for document in documents {
            let errors: Vec<String> =
                validator.iter_errors(&document).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{name}: {errors:?}");
        }
    }
}

#[test]
fn other_documents_do_not_have_them() {
    for (name, schema) in all() {
        let validator = jsonschema::validator_for(&schema).unwrap();
        assert!(!validator.is_valid(&json!({ "version": 1 })), "{name}");
    }
    let mut plan = json!(samples::plan());
    plan["surprise"] = json!(true);
    let schema = schema::<Plan>("Fairlead plan");
    assert!(!jsonschema::is_valid(&schema, &plan));
}
