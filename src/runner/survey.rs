//! Which tests a request means: their names, before machines are evaluated.

use std::collections::{HashMap, HashSet};

use futures_util::stream::{self, StreamExt};

use super::error::RunnerError;
use super::project::{Candidate, Choosable, Project};
use super::request::TestSelection;
use crate::filter::TestFilter;
use crate::nix_cli::{self, Evaluation, TestNames};

/// A test that is meant, or a part of a selection that does not evaluate so far.
#[derive(Debug)]
pub struct NamedTest<'a> {
    pub selection: &'a TestSelection,
    /// What it is called among all that are meant.
    pub label: String,
    /// Of a part that does not evaluate, the attribute path only: none for a whole file or flake.
    pub names: TestNames,
    /// Why it does not evaluate.
    pub error: Option<RunnerError>,
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
/// When no test fits, or the only selection does not evaluate.
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
        let place = &selection.evaluation.place;
        let test = |(label, names, error)| NamedTest {
            selection,
            label,
            names,
            error,
        };
        match named {
            Ok(named) => found.extend(named.into_iter().map(test)),
            Err(error) if selections.len() > 1 && error.is_of_one_test() => {
                found.push(test((place.to_string(), TestNames::default(), Some(error))));
            }
            Err(error) => return Err(error),
        }
    }
    // Two arguments may mean the same test.
    let mut known = HashSet::new();
    found.retain(|test: &NamedTest<'_>| {
        known.insert((
            &test.selection.source,
            test.names.attribute.clone(),
            test.error.is_some(),
        ))
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

/// Tests by the names that they have in their file, and why they do not evaluate.
type Named = Vec<(String, TestNames, Option<RunnerError>)>;

/// The names of a selection. If one of several attribute paths leads nowhere, the others are still tests.
async fn names_of(selection: &TestSelection) -> Result<Named, RunnerError> {
    let TestSelection {
        nix,
        library,
        evaluation,
        ..
    } = selection;
    let good = |names: TestNames| (names.label().to_owned(), names, None);
    let error = match nix_cli::list(nix, library, evaluation).await {
        Ok(all) => return Ok(all.into_iter().map(good).collect()),
        Err(error) => RunnerError::from(error),
    };
    if evaluation.attributes.len() < 2 || !error.is_of_one_test() {
        return Err(error);
    }
    let mut found = Named::new();
    for attribute in &evaluation.attributes {
        let one = Evaluation {
            attributes: vec![attribute.clone()],
            is_part: true,
            ..evaluation.clone()
        };
        match nix_cli::list(nix, library, &one).await {
            Ok(all) => found.extend(all.into_iter().map(good)),
            Err(error) => {
                let names = TestNames {
                    attribute: attribute.clone(),
                    ..TestNames::default()
                };
                found.push((attribute.clone(), names, Some(error.into())));
            }
        }
    }
    Ok(found)
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
