//! Findings of the check as SARIF 2.1.0, which editors and code hosts show at their lines.

use std::collections::BTreeSet;
use std::path::Path;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

use super::findings::Located;
use crate::language::check::Severity;

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// Characters that the path of a URI does not have as they are.
const OF_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Returns a log of one run with these findings. Files below `folder` are relative to it.
pub fn sarif(findings: &[Located], folder: &Path) -> Value {
    let rules: BTreeSet<&str> = findings.iter().map(|it| it.finding.code).collect();
    let rules: Vec<Value> = rules.into_iter().map(|id| json!({ "id": id })).collect();
    let results: Vec<Value> = findings.iter().map(|it| result(it, folder)).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "snowglobe",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(located: &Located, folder: &Path) -> Value {
    let finding = &located.finding;
    let text = match &finding.help {
        Some(help) => format!("{}: {help}", finding.message),
        None => finding.message.clone(),
    };
    let mut result = json!({
        "ruleId": finding.code,
        "level": match finding.level {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        },
        "message": { "text": text },
        "properties": { "test": located.test },
    });
    if let (Some(file), Some(start), Some(end)) = (&located.file, located.start, located.end) {
        result["locations"] = json!([{ "physicalLocation": {
            "artifactLocation": { "uri": uri(file, folder) },
            "region": {
                "startLine": start.line,
                "startColumn": start.column,
                "endLine": end.line,
                "endColumn": end.column,
            },
        } }]);
    }
    result
}

fn uri(file: &Path, folder: &Path) -> String {
    let encoded = |path: &Path| utf8_percent_encode(&path.to_string_lossy(), OF_PATHS).to_string();
    match file.strip_prefix(folder) {
        Ok(relative) => encoded(relative),
        Err(_) if file.is_relative() => encoded(file),
        Err(_) => format!("file://{}", encoded(file)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_relative_to_the_working_folder() {
        let folder = Path::new("/home/me");
        assert_eq!(
            uri(Path::new("/home/me/a b/t#1.nix"), folder),
            "a%20b/t%231.nix"
        );
        assert_eq!(uri(Path::new("/etc/t.nix"), folder), "file:///etc/t.nix");
    }
}
