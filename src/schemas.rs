//! The JSON schemas in docs/src/schema are those of the types: a test for each.

use std::fs;
use std::path::Path;

use schemars::{JsonSchema, schema_for};

use crate::model::event::Record;
use crate::model::manifest::{self, Manifest};

/// The version of the event stream: a field that goes, or changes its meaning, makes a new one.
const EVENTS_VERSION: u32 = 1;

fn is_current<T: JsonSchema>(name: &str) {
    let schema = serde_json::to_string_pretty(&schema_for!(T)).unwrap() + "\n";
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documented = fs::read_to_string(project.join("docs/src/schema").join(name));
    if documented.is_ok_and(|documented| documented == schema) {
        return;
    }
    let folder = project.join("target/schema");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), schema).unwrap();
    panic!("docs/src/schema/{name} is not that of the types: copy target/schema/{name} there");
}

#[test]
fn the_schema_of_the_event_stream_is_current() {
    is_current::<Record>(&format!("events-{EVENTS_VERSION}.json"));
}

#[test]
fn the_schema_of_the_manifest_is_current() {
    is_current::<Manifest>(&format!("manifest-{}.json", manifest::VERSION));
}
