//! Finds the tests of a request and evaluates them, before anything is built.

use std::path::PathBuf;

use super::error::RunnerError;
use super::evaluation::{EvalProcesses, evaluate_all};
use super::found_test::{FoundTest, backend, left_out, output_name};
use super::interrupts::{Interrupts, unless_interrupted};
use super::project::{Candidate, Choosable, Project};
use super::request::{EvalLimits, TestSelection};
use super::survey::{NamedTest, survey};
use crate::filter::TestFilter;
use crate::guest;
use crate::model::manifest::{BackendKind, Manifest, SnapshotStore};
use crate::model::outcome::TestResult;
use crate::nix_cli::{self, Evaluation, NamedDerivation, PackageSource, Test, TestNames};
use crate::session::decide_backends;

/// Evaluates the tests; None if the user interrupts.
pub(super) async fn evaluate(
    selection: &TestSelection,
    interrupts: &mut Interrupts,
) -> Result<Option<Vec<Test>>, RunnerError> {
    let work = evaluate_these(selection, &selection.evaluation);
    unless_interrupted(work, interrupts).await.transpose()
}

pub(super) async fn evaluate_these(
    selection: &TestSelection,
    evaluation: &Evaluation,
) -> Result<Vec<Test>, RunnerError> {
    let found = nix_cli::evaluate(&selection.nix, &selection.library, evaluation).await?;
    check_packages(selection, &found, |test| &test.derivation)?;
    Ok(found.into_iter().map(decided).collect())
}

/// The tests of a request.
pub(super) enum FoundTests<'a> {
    /// Their machines are not evaluated yet.
    Named(Vec<NamedTest<'a>>),
    Evaluated(Vec<FoundTest<'a, Test>>),
}

impl FoundTests<'_> {
    pub fn count(&self) -> usize {
        match self {
            Self::Named(tests) => tests.len(),
            Self::Evaluated(tests) => tests.len(),
        }
    }

    /// Returns the name of the only test, for its output folder.
    pub fn only_name(&self) -> Option<&str> {
        match self {
            Self::Named(tests) => match tests.as_slice() {
                [only] => Some(output_name(&only.names, &only.label)),
                _ => None,
            },
            Self::Evaluated(tests) => match tests.as_slice() {
                [only] => Some(only.name()),
                _ => None,
            },
        }
    }

    /// Returns the tests as results of tests that have been left out.
    pub fn left_out(&self) -> Vec<TestResult> {
        match self {
            Self::Named(tests) => tests
                .iter()
                .map(|test| left_out(test.selection, &test.label, &test.names))
                .collect(),
            Self::Evaluated(tests) => tests.iter().map(FoundTest::left_out).collect(),
        }
    }

    /// How long they take by earlier runs.
    pub fn expected(&self, project: &Project) -> Expected {
        let times: Vec<Option<f64>> = match self {
            Self::Named(tests) => tests.iter().map(|test| test.expected_s(project)).collect(),
            Self::Evaluated(tests) => tests.iter().map(|test| test.expected_s(project)).collect(),
        };
        Expected::of(&times)
    }
}

/// How long the tests of a run take, in seconds; nothing if none has run before.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Expected {
    /// One after another.
    pub all_s: Option<f64>,
    /// One of which nothing is known: the median of the others.
    pub typical_s: Option<f64>,
}

impl Expected {
    fn of(times: &[Option<f64>]) -> Self {
        let mut known: Vec<f64> = times.iter().copied().flatten().collect();
        known.sort_by(f64::total_cmp);
        let Some(typical_s) = known.get(known.len() / 2).copied() else {
            return Self::default();
        };
        let all_s = times.iter().map(|time| time.unwrap_or(typical_s)).sum();
        Self {
            all_s: Some(all_s),
            typical_s: Some(typical_s),
        }
    }
}

/// Finds the tests that a filter chooses of some selections, several processes at a time.
///
/// # Errors
/// Returns an error if no test fits, or the only selection does not evaluate.
pub(super) async fn find<'a>(
    selections: &'a [TestSelection],
    filter: &TestFilter,
    project: &Project,
    processes: EvalProcesses,
) -> Result<FoundTests<'a>, RunnerError> {
    let named = survey(selections, filter, project, processes.count);
    if filter.needs_backends() {
        let found = evaluate_all(named.await?, processes, project, evaluate_these).await;
        return choose_evaluated(found, filter, project).map(FoundTests::Evaluated);
    }
    let [only] = selections else {
        return named.await.map(FoundTests::Named);
    };
    if !filter.is_all() || processes.count < 2 && only.evaluation.attributes.len() > 1 {
        return named.await.map(FoundTests::Named);
    }
    let whole = evaluate_these(only, &only.evaluation);
    if processes.count < 2 {
        return find_whole(only, whole.await, named).await;
    }
    // Most files hold one test of one node, whose names alone would only cost time; of many, the names come first.
    tokio::pin!(whole, named);
    tokio::select! {
        biased;
        result = &mut whole => find_whole(only, result, named).await,
        tests = &mut named => match tests {
            Ok(tests) if tests.len() > 1 || processes.divide(&tests) => Ok(FoundTests::Named(tests)),
            Ok(tests) => match whole.await {
                Ok(whole) => Ok(FoundTests::Evaluated(found_in(only, whole))),
                Err(error) => not_evaluated(tests, error).map(FoundTests::Evaluated),
            },
            Err(_) => Ok(FoundTests::Evaluated(found_in(only, whole.await?))),
        },
    }
}

/// The tests of an evaluation. If it fails, which of several tests is wrong shows when each is evaluated apart.
async fn find_whole<'a>(
    selection: &'a TestSelection,
    whole: Result<Vec<Test>, RunnerError>,
    named: impl Future<Output = Result<Vec<NamedTest<'a>>, RunnerError>>,
) -> Result<FoundTests<'a>, RunnerError> {
    let error = match whole {
        Ok(tests) => return Ok(FoundTests::Evaluated(found_in(selection, tests))),
        Err(error) if !error.is_of_one_test() => return Err(error),
        Err(error) => error,
    };
    match named.await {
        Ok(tests) if tests.len() > 1 => Ok(FoundTests::Named(tests)),
        Ok(tests) => not_evaluated(tests, error).map(FoundTests::Evaluated),
        Err(_) => Err(error),
    }
}

/// The only test of a selection, which does not evaluate.
///
/// # Errors
/// Why not, if its names are not known.
fn not_evaluated(
    mut tests: Vec<NamedTest<'_>>,
    error: RunnerError,
) -> Result<Vec<FoundTest<'_, Test>>, RunnerError> {
    let Some(NamedTest {
        selection,
        label,
        names,
        error: None,
        ..
    }) = tests.pop()
    else {
        return Err(error);
    };
    Ok(vec![FoundTest {
        selection,
        label,
        names,
        test: Err(error),
    }])
}

fn found_in(selection: &TestSelection, tests: Vec<Test>) -> Vec<FoundTest<'_, Test>> {
    let found = |test: Test| FoundTest {
        selection,
        label: test.label().to_owned(),
        names: test.names(),
        test: Ok(test),
    };
    tests.into_iter().map(found).collect()
}

/// Applies a filter that asks for the kinds of machines.
fn choose_evaluated<'a>(
    found: Vec<FoundTest<'a, Test>>,
    filter: &TestFilter,
    project: &Project,
) -> Result<Vec<FoundTest<'a, Test>>, RunnerError> {
    project.choose(found, filter, |found| match &found.test {
        Ok(test) => Choosable::Candidate(Candidate {
            source: &found.selection.source,
            names: &found.names,
            label: &found.label,
            backend: Some(backend(&test.manifest).unwrap_or("none")),
        }),
        Err(_) => Choosable::Unknown(&found.label),
    })
}

/// The tests that a filter chooses, by name, and why some do not evaluate so far.
#[derive(Debug, Default)]
pub struct ListedTests<'a> {
    pub tests: Vec<(&'a TestSelection, TestNames)>,
    pub errors: Vec<RunnerError>,
}

impl<'a> FromIterator<(&'a TestSelection, Result<TestNames, RunnerError>)> for ListedTests<'a> {
    fn from_iter<T>(found: T) -> Self
    where
        T: IntoIterator<Item = (&'a TestSelection, Result<TestNames, RunnerError>)>,
    {
        let mut listed = Self::default();
        for (selection, names) in found {
            match names {
                Ok(names) => listed.tests.push((selection, names)),
                Err(error) => listed.errors.push(error),
            }
        }
        listed
    }
}

/// Lists the tests that a filter chooses.
///
/// # Errors
/// Returns an error if none fits, or the only selection does not evaluate.
pub async fn list<'a>(
    selections: &'a [TestSelection],
    filter: &TestFilter,
    project: &Project,
    limits: EvalLimits,
) -> Result<ListedTests<'a>, RunnerError> {
    let processes = EvalProcesses::new(limits);
    if !filter.needs_backends() {
        let named = survey(selections, filter, project, processes.count).await?;
        let named = named.into_iter();
        let listed = |test: NamedTest<'a>| {
            let result = test.error.map_or(Ok(test.names), Err);
            (test.selection, result)
        };
        return Ok(named.map(listed).collect());
    }
    let FoundTests::Evaluated(found) = find(selections, filter, project, processes).await? else {
        return Ok(ListedTests::default());
    };
    let names = |found: FoundTest<'a, Test>| {
        let names = found.test.map(|test| test.names());
        (
            found.selection,
            names.map_err(|error| error.of_test(&found.label)),
        )
    };
    Ok(found.into_iter().map(names).collect())
}

/// The test with what its machines are.
fn decided(mut test: Test) -> Test {
    for decision in decide_backends(&mut test.manifest, &test.script) {
        if decision.kind == BackendKind::Container {
            test.chosen_containers.push(decision.node);
        }
        test.notes.push(decision.text);
    }
    test.notes.extend(changed_stores(&test.manifest));
    test
}

/// Returns texts on the virtual machines that have another store than the test gives them.
fn changed_stores(manifest: &Manifest) -> Vec<String> {
    let changed = |store| {
        let nodes = manifest.nodes.iter().filter(|(_, node)| {
            node.kind() == Some(BackendKind::Vm) && node.snapshot_store == Some(store)
        });
        let names: Vec<&str> = nodes.map(|(name, _)| name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let image = changed(SnapshotStore::Image);
    let image = image.map(|names| {
        format!("{names}: the store is an image, and no folder of the host is mounted: checkpoints can save that (snapshot-safe)")
    });
    let served = changed(SnapshotStore::Virtiofs);
    let served = served.map(|names| {
        format!("{names}: the host's store is mounted over virtiofs, and no other folder: checkpoints can save that (snapshot-safe)")
    });
    image.into_iter().chain(served).collect()
}

/// Evaluates what builds the tests, or a derivation; None if the user interrupts.
pub(super) async fn buildable(
    selection: &TestSelection,
    interrupts: &mut Interrupts,
) -> Result<Option<Vec<NamedDerivation>>, RunnerError> {
    let work = nix_cli::buildable(&selection.nix, &selection.library, &selection.evaluation);
    let Some(found) = unless_interrupted(work, interrupts).await else {
        return Ok(None);
    };
    let found = found?;
    check_packages(selection, &found, |found| &found.derivation)?;
    Ok(Some(found))
}

/// Checks that Debian's packages are there: no build could bring them.
fn check_packages<T>(
    selection: &TestSelection,
    found: &[T],
    derivation: impl Fn(&T) -> &PathBuf,
) -> Result<(), RunnerError> {
    if selection.evaluation.packages == PackageSource::Nixpkgs {
        return Ok(());
    }
    let derivations: Vec<PathBuf> = found.iter().map(derivation).cloned().collect();
    let missing = guest::missing_packages(&derivations)?;
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = missing.into_iter().collect();
    Err(guest::Error::NotFetched(names.join(", ")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_of_which_nothing_is_known_take_as_long_as_most() {
        assert_eq!(Expected::of(&[None, None]), Expected::default());
        let expected = Expected::of(&[Some(9.0), None, Some(1.0), Some(2.0)]);
        assert_eq!(expected.all_s, Some(14.0));
        assert_eq!(expected.typical_s, Some(2.0));
    }
}
