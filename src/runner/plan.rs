//! Evaluates tests and checks them, before anything is built.

use std::collections::HashMap;
use std::path::PathBuf;

use super::error::RunnerError;
use super::frontend::Frontend;
use super::interrupts::Interrupts;
use super::request::{ScriptCheck, TestSelection};
use crate::filter::{TestFilter, TestSubject};
use crate::guest;
use crate::language::check::{self, Parts, Severity, TestContext};
use crate::model::manifest::Manifest;
use crate::nix_cli::{
    self, EvalError, Evaluation, NamedDerivation, PackageSource, Test, TestNames, TestSource,
};
use crate::session::decide_backends;
use crate::source_map::SourceMap;

/// Evaluates the tests; None if the user interrupts.
pub(super) async fn evaluate(
    selection: &TestSelection,
    interrupts: &mut Interrupts,
) -> Result<Option<Vec<Test>>, RunnerError> {
    let Some(evaluation) = narrow(selection, interrupts).await? else {
        return Ok(None);
    };
    evaluate_these(selection, &evaluation, interrupts).await
}

async fn evaluate_these(
    selection: &TestSelection,
    evaluation: &Evaluation,
    interrupts: &mut Interrupts,
) -> Result<Option<Vec<Test>>, RunnerError> {
    let work = nix_cli::evaluate(&selection.nix, &selection.library, evaluation);
    let found = with_packages(selection, work, |test| &test.derivation, interrupts).await?;
    Ok(found.map(|tests| tests.into_iter().map(decided).collect()))
}

/// A test of a selection, or why it does not evaluate.
pub(super) struct FoundTest<'a> {
    pub selection: &'a TestSelection,
    /// What it is called among all that were found.
    pub label: String,
    pub test: Result<Test, RunnerError>,
}

/// Evaluates the tests of all selections; None if the user interrupts.
pub(super) async fn evaluate_all<'a>(
    selections: &'a [TestSelection],
    interrupts: &mut Interrupts,
) -> Result<Option<Vec<FoundTest<'a>>>, RunnerError> {
    let mut found = Vec::new();
    let mut unfit = 0;
    for selection in selections {
        match evaluate_each(selection, interrupts).await {
            Ok(None) => return Ok(None),
            Ok(Some(tests)) => found.extend(tests),
            Err(RunnerError::NoTestFits { count }) => unfit += count,
            Err(error) if selections.len() > 1 && error.is_of_one_test() => {
                found.push(FoundTest {
                    selection,
                    label: selection.evaluation.place.to_string(),
                    test: Err(error),
                });
            }
            Err(error) => return Err(error),
        }
    }
    if found.is_empty() {
        return Err(RunnerError::NoTestFits { count: unfit });
    }
    let labels = found.iter_mut().map(|found| {
        let place = &found.selection.evaluation.place;
        (&mut found.label, place)
    });
    make_unique(labels.collect());
    Ok(Some(found))
}

/// Names tests of several files by their file, too, if another one is called the same.
pub(super) fn make_unique(labels: Vec<(&mut String, &TestSource)>) {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for (label, _) in &labels {
        *counts.entry((*label).clone()).or_default() += 1;
    }
    for (label, place) in labels {
        if counts[label] > 1 {
            *label = format!("{place}:{label}");
        }
    }
}

/// Evaluates the tests, such that one that does not evaluate is not the end of the others; None if the user interrupts.
async fn evaluate_each<'a>(
    selection: &'a TestSelection,
    interrupts: &mut Interrupts,
) -> Result<Option<Vec<FoundTest<'a>>>, RunnerError> {
    let Some(evaluation) = narrow(selection, interrupts).await? else {
        return Ok(None);
    };
    let found = |test: Test| FoundTest {
        selection,
        label: test.label().to_owned(),
        test: Ok(test),
    };
    let error = match evaluate_these(selection, &evaluation, interrupts).await {
        Ok(tests) => return Ok(tests.map(|tests| tests.into_iter().map(found).collect())),
        Err(error) if !error.is_of_one_test() => return Err(error),
        Err(error) => error,
    };
    // Which one it is shows when each is evaluated apart.
    let names = match names_of(selection, &evaluation, interrupts).await {
        Ok(None) => return Ok(None),
        Ok(Some(names)) if names.len() > 1 => names,
        _ => return Err(error),
    };
    let mut all = Vec::new();
    for name in names {
        let one = Evaluation {
            only: Some(vec![name.attribute.clone()]),
            ..evaluation.clone()
        };
        match evaluate_these(selection, &one, interrupts).await {
            Ok(None) => return Ok(None),
            Ok(Some(tests)) => all.extend(tests.into_iter().map(found)),
            Err(error) => all.push(FoundTest {
                selection,
                label: name.attribute,
                test: Err(error),
            }),
        }
    }
    Ok(Some(all))
}

/// The names of the tests of an evaluation; None if the user interrupts.
async fn names_of(
    selection: &TestSelection,
    evaluation: &Evaluation,
    interrupts: &mut Interrupts,
) -> Result<Option<Vec<TestNames>>, RunnerError> {
    tokio::select! {
        names = nix_cli::list(&selection.nix, &selection.library, evaluation) => Ok(Some(names?)),
        _ = interrupts.recv() => Ok(None),
    }
}

/// The evaluation of those tests alone that the filter chooses; None if the user interrupts.
pub(super) async fn narrow(
    selection: &TestSelection,
    interrupts: &mut Interrupts,
) -> Result<Option<Evaluation>, RunnerError> {
    let mut evaluation = selection.evaluation.clone();
    if selection.filter.is_all() {
        return Ok(Some(evaluation));
    }
    let Some(names) = names_of(selection, &evaluation, interrupts).await? else {
        return Ok(None);
    };
    let chosen = chosen(&names, &selection.filter);
    if chosen.is_empty() {
        let count = names.len();
        return Err(RunnerError::NoTestFits { count });
    }
    evaluation.only = Some(
        chosen
            .into_iter()
            .map(|test| test.attribute.clone())
            .collect(),
    );
    Ok(Some(evaluation))
}

/// The tests that a filter chooses.
#[must_use]
pub fn chosen<'a>(tests: &'a [TestNames], filter: &TestFilter) -> Vec<&'a TestNames> {
    filter.choose(tests, |test| TestSubject {
        name: &test.name,
        attribute: &test.attribute,
        machines: test.nodes.len(),
        tags: &test.tags,
    })
}

/// The test with what its machines are.
fn decided(mut test: Test) -> Test {
    test.notes = decide_backends(&mut test.manifest, &test.script);
    test
}

/// Evaluates what builds the tests, or a derivation; None if the user interrupts.
pub(super) async fn buildable(
    selection: &TestSelection,
    interrupts: &mut Interrupts,
) -> Result<Option<Vec<NamedDerivation>>, RunnerError> {
    let work = nix_cli::buildable(&selection.nix, &selection.library, &selection.evaluation);
    with_packages(selection, work, |found| &found.derivation, interrupts).await
}

/// What an evaluation gives, whose packages are there.
async fn with_packages<T>(
    selection: &TestSelection,
    work: impl Future<Output = Result<Vec<T>, EvalError>>,
    derivation: impl Fn(&T) -> &PathBuf,
    interrupts: &mut Interrupts,
) -> Result<Option<Vec<T>>, RunnerError> {
    let found = tokio::select! {
        found = work => found?,
        _ = interrupts.recv() => return Ok(None),
    };
    if selection.evaluation.packages != PackageSource::Nixpkgs {
        let derivations: Vec<PathBuf> = found.iter().map(derivation).cloned().collect();
        check_packages(&derivations)?;
    }
    Ok(Some(found))
}

/// Checks that Debian's packages are there: no build could bring them.
fn check_packages(derivations: &[PathBuf]) -> Result<(), RunnerError> {
    let missing = guest::missing_packages(derivations)?;
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = missing.into_iter().collect();
    Err(guest::Error::NotFetched(names.join(", ")).into())
}

/// Checks the script of a test and shows what is found.
///
/// # Errors
/// When the check finds an error.
pub(super) fn check(
    label: &str,
    source_map: &SourceMap,
    manifest: &Manifest,
    script_check: ScriptCheck,
    frontend: &dyn Frontend,
) -> Result<(), RunnerError> {
    let parts = match script_check {
        ScriptCheck::SyntaxOnly => Parts::NONE,
        ScriptCheck::AsConfigured => Parts::of(manifest),
    };
    let context = TestContext::of(manifest);
    let mut findings = check::check(source_map.script(), &context, parts);
    // Notes are for who asks for a check.
    findings.retain(|finding| finding.level > Severity::Note);
    frontend.show_findings(&findings, source_map);
    if check::stops(&findings) {
        return Err(RunnerError::Findings {
            test: label.to_owned(),
            findings: check::count(&findings),
        });
    }
    Ok(())
}
