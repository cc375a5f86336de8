//! Findings of the check, as an editor shows them.

use std::ops::Range;

use lsp_types::{Diagnostic, DiagnosticSeverity, NumberOrString};

use super::known_tests::KnownTests;
use super::open_file::{OpenFile, ScriptView};
use super::positions;
use crate::language::assist::check_around;
use crate::language::check::{Finding, Severity, TestContext};
use crate::script_modules::{imported_modules, modules_of_folders, names_in};
use crate::source_map::SourceMap;

/// The source of diagnostics, as editors show it.
pub(super) const SOURCE: &str = "snowglobe";

/// Checks all scripts of a file.
pub(super) fn diagnostics(file: &OpenFile, known: &KnownTests) -> Vec<Diagnostic> {
    let views = file.views(known).into_iter();
    let found = views.flat_map(|view| {
        let findings = findings(file, &view);
        let placed = findings.into_iter().filter_map(move |finding| {
            let range = match &finding.range {
                Some(range) => view.script.in_file(range)?,
                None => place_of_whole(file, &view, &finding)?,
            };
            Some(diagnostic(&file.text, &range, &finding))
        });
        placed.collect::<Vec<_>>()
    });
    found.collect()
}

fn findings(file: &OpenFile, view: &ScriptView) -> Vec<Finding> {
    let source_map = SourceMap::of_test(view.script.text.clone(), &file.test_file, "");
    let modules = imported_modules(&source_map);
    let manifest = view.facts.manifest.as_ref();
    let context = TestContext {
        modules: names_in(&modules),
        beside: manifest.and_then(|manifest| modules_of_folders(&source_map, manifest)),
        ..view.guess.clone()
    };
    let parts = view.facts.parts;
    check_around(&view.script.text, &view.script.gaps, &context, parts)
}

/// The place of a finding on the test as a whole: the node that it names, or the beginning of the script.
fn place_of_whole(file: &OpenFile, view: &ScriptView, finding: &Finding) -> Option<Range<usize>> {
    // Of several tests, one may use what another one does not.
    view.facts.attribute.as_ref()?;
    let nodes = file.nodes();
    let quoted = |name: &str| format!("`{name}`");
    let node = nodes
        .iter()
        .find(|node| finding.message.contains(&quoted(&node.name)))?;
    Some(node.range.clone())
}

fn diagnostic(text: &str, range: &Range<usize>, finding: &Finding) -> Diagnostic {
    let message = match &finding.help {
        Some(help) => format!("{}: {help}", finding.message),
        None => finding.message.clone(),
    };
    Diagnostic {
        range: positions::range(text, range),
        severity: Some(match finding.level {
            Severity::Error => DiagnosticSeverity::ERROR,
            Severity::Warning => DiagnosticSeverity::WARNING,
            Severity::Note => DiagnosticSeverity::INFORMATION,
        }),
        code: Some(NumberOrString::String(finding.code.to_owned())),
        source: Some(SOURCE.to_owned()),
        message,
        ..Diagnostic::default()
    }
}
