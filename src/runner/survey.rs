//! Which tests a request means: their names, before machines are evaluated.

use std::collections::{HashMap, HashSet};

use futures_util::stream::{self, StreamExt};

use super::error::RunnerError;
use super::project::{Candidate, Choosable, Project};
use super::request::TestSelection;
use crate::filter::TestFilter;
use crate::nix_cli::{self, EvalError, Evaluation, TestNames};

/// A test that is meant, or a part of a selection that does not evaluate so far.
#[derive(Debug)]
pub struct NamedTest<'a> {
    pub selection: &'a TestSelection,
    /// The name of the test among all chosen ones.
    pub label: String,
    /// The names of the test. A part that does not evaluate has an attribute path only; a whole file or flake has none.
    pub names: TestNames,
    /// Why it does not evaluate.
    pub error: Option<RunnerError>,
    /// Which of the selection's attribute paths leads to it, if others lead nowhere; else all of them do.
    pub origin: Option<String>,
}

impl NamedTest<'_> {
    /// How long it takes if it passes, in seconds.
    pub(super) fn expected_s(&self, project: &Project) -> Option<f64> {
        project.expected_s(&self.selection.source, &self.names.attribute)
    }
}

/// The tests that the filter chooses of all selections. What does not evaluate is chosen, too: it is an error.
///
/// # Errors
/// Returns an error if no test fits, or the only selection does not evaluate.
pub async fn survey<'a>(
    selections: &'a [TestSelection],
    filter: &TestFilter,
    project: &Project,
    jobs: usize,
) -> Result<Vec<NamedTest<'a>>, RunnerError> {
    let surveys = stream::iter(selections).map(|selection| async move {
        let found = names_of(selection).await;
        (selection, found)
    });
    // In the order of the selections.
    let all: Vec<_> = surveys.buffered(jobs).collect().await;
    let mut found = Vec::new();
    for (selection, named) in all {
        match named {
            Ok(named) => found.extend(named),
            Err(error) if selections.len() > 1 && error.is_of_one_test() => {
                found.push(failed(selection, error));
            }
            Err(error) => return Err(error),
        }
    }
    // Two arguments may mean the same test.
    let mut known = HashSet::new();
    found.retain(|test: &NamedTest<'_>| {
        let attribute = test.names.attribute.clone();
        known.insert((&test.selection.source, attribute, test.error.is_some()))
    });
    // Before some are chosen: a test is called the same whatever else is chosen.
    make_unique(&mut found);
    project.choose(found, filter, |test| match &test.error {
        None => Choosable::Candidate(Candidate {
            source: &test.selection.source,
            names: &test.names,
            label: &test.label,
            backend: None,
        }),
        Some(_) => Choosable::Unknown(&test.label),
    })
}

/// A selection that does not evaluate: the attribute path that it has, or all of it.
fn failed(selection: &TestSelection, error: RunnerError) -> NamedTest<'_> {
    match selection.evaluation.attributes.as_slice() {
        [attribute] => failed_attribute(selection, attribute, error),
        _ => NamedTest {
            selection,
            label: selection.evaluation.place.to_string(),
            names: TestNames::default(),
            error: Some(error),
            origin: None,
        },
    }
}

fn failed_attribute<'a>(
    selection: &'a TestSelection,
    attribute: &str,
    error: RunnerError,
) -> NamedTest<'a> {
    NamedTest {
        selection,
        label: attribute.to_owned(),
        names: TestNames::of_attribute(attribute),
        error: Some(error),
        origin: None,
    }
}

/// The tests of a selection, by the names that they have in their file. If one of several attribute paths leads nowhere,
/// the others are still tests.
async fn names_of(selection: &TestSelection) -> Result<Vec<NamedTest<'_>>, RunnerError> {
    let TestSelection {
        nix,
        library,
        evaluation,
        ..
    } = selection;
    let named = |origin: Option<&String>| {
        let origin = origin.cloned();
        move |names: TestNames| NamedTest {
            selection,
            label: names.label().to_owned(),
            names,
            error: None,
            origin: origin.clone(),
        }
    };
    let error = match nix_cli::list(nix, library, evaluation).await {
        Ok(all) => {
            // What they have in common is what is wrong.
            if let Some(first) = all
                .first()
                .filter(|_| all.iter().all(|it| it.name.is_empty()))
                && let Some(error) = error_of(selection, first).await
            {
                return Err(error);
            }
            let mut found = Vec::new();
            for names in all {
                found.push(match error_of(selection, &names).await {
                    Some(error) => failed_attribute(selection, &names.attribute, error),
                    None => named(None)(names),
                });
            }
            return Ok(found);
        }
        Err(error) => RunnerError::from(error),
    };
    if evaluation.attributes.len() < 2 || !error.is_of_one_test() {
        return Err(error);
    }
    let mut found = Vec::new();
    for attribute in &evaluation.attributes {
        match list_alone(selection, attribute).await {
            Ok(all) => found.extend(all.into_iter().map(named(Some(attribute)))),
            Err(error) => found.push(failed_attribute(selection, attribute, error.into())),
        }
    }
    Ok(found)
}

/// Why a test has no name: that shows when it is looked for alone.
async fn error_of(selection: &TestSelection, names: &TestNames) -> Option<RunnerError> {
    if !names.name.is_empty() {
        return None;
    }
    let error = list_alone(selection, &names.attribute).await.err()?;
    Some(error.into())
}

/// The tests at one attribute path of a selection.
async fn list_alone(
    selection: &TestSelection,
    attribute: &str,
) -> Result<Vec<TestNames>, EvalError> {
    let alone = Evaluation {
        attributes: vec![attribute.to_owned()],
        is_part: true,
        ..selection.evaluation.clone()
    };
    nix_cli::list(&selection.nix, &selection.library, &alone).await
}

/// Names tests of several files by their file, too, if another one is called the same.
fn make_unique(tests: &mut [NamedTest<'_>]) {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for test in tests.iter() {
        *counts.entry(test.label.clone()).or_default() += 1;
    }
    for test in tests {
        if counts[&test.label] > 1 {
            let place = &test.selection.evaluation.place;
            test.label = format!("{place}:{}", test.label);
        }
    }
}
