//! Evaluates tests by several Nix processes at a time, a batch in each.

use std::collections::{BTreeSet, HashMap};

use futures_util::stream::{self, Stream, StreamExt};

use super::error::RunnerError;
use super::found_test::FoundTest;
use super::free_memory::available_mib;
use super::project::Project;
use super::request::{EvalLimits, JobCount, TestSelection};
use super::survey::NamedTest;
use crate::nix_cli::{Evaluation, NamedDerivation, Test, TestNames};

/// More tests in a process would only make the others wait.
const MOST_IN_BATCH: usize = 6;

/// Memory that a test of nixpkgs adds to a process without garbage collection, in MiB. Collecting costs more than the
/// batch is worth. `benches/suite.py` measures it.
const TEST_MIB: u64 = 640;

/// The least that a process takes.
const PROCESS_MIB: u64 = 1024;

/// A process imports nixpkgs once for its batch: so many batches for each process that runs at a time keep all of them
/// busy to the end.
const BATCHES_PER_JOB: usize = 2;

/// The processes that evaluate at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EvalProcesses {
    pub count: usize,
    /// Memory for each process, in MiB.
    memory_mib: u64,
}

impl EvalProcesses {
    /// As many as there are processors and memory for.
    pub fn new(limits: EvalLimits) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let wanted = match limits.jobs {
            JobCount::Auto => processors,
            JobCount::Exactly(jobs) => jobs.get(),
        };
        let memory_mib = limits
            .memory_mib
            .or_else(|| Some(available_mib()? / 2))
            .unwrap_or(PROCESS_MIB);
        Self::within(wanted, memory_mib)
    }

    fn within(wanted: usize, memory_mib: u64) -> Self {
        let fitting = usize::try_from(memory_mib / PROCESS_MIB).unwrap_or(usize::MAX);
        let count = wanted.min(fitting).max(1);
        Self {
            count,
            memory_mib: memory_mib / count as u64,
        }
    }

    /// Returns the memory for all processes together, in MiB.
    pub fn memory_of_all_mib(self) -> u64 {
        self.memory_mib * self.count as u64
    }

    /// Returns the nodes for each process that evaluates a test of `total` tests; nothing if one process evaluates all
    /// nodes. Several processes take more memory and less time, so only processes without other work are taken.
    fn parts(self, nodes: &[String], total: usize) -> Vec<Vec<String>> {
        let free = self.count / total.max(1);
        let count = free.min(nodes.len());
        if count < 2 {
            return Vec::new();
        }
        // The first one evaluates the script, too: it gets no more nodes than the others.
        let begin = |part: usize| part * nodes.len() / count;
        (0..count)
            .map(|part| nodes[begin(part)..begin(part + 1)].to_vec())
            .collect()
    }

    /// Whether these are one test whose nodes are evaluated by several.
    pub fn divide(self, tests: &[NamedTest<'_>]) -> bool {
        let [only] = tests else {
            return false;
        };
        !self.parts(&only.names.nodes, 1).is_empty()
    }

    /// How many of `total` tests a process evaluates.
    fn batch_size(self, total: usize) -> usize {
        let by_memory = usize::try_from(self.memory_mib / TEST_MIB).unwrap_or(usize::MAX);
        let even = total.div_ceil(self.count * BATCHES_PER_JOB);
        even.min(by_memory).clamp(1, MOST_IN_BATCH)
    }
}

/// A test as an evaluation returns it.
pub(super) trait Evaluated {
    fn attribute(&self) -> &str;
}

impl Evaluated for Test {
    fn attribute(&self) -> &str {
        &self.attribute
    }
}

impl Evaluated for NamedDerivation {
    fn attribute(&self) -> &str {
        &self.attribute
    }
}

/// Tests of one selection that a process evaluates together.
struct Batch<'a> {
    selection: &'a TestSelection,
    tests: Vec<NamedTest<'a>>,
    /// How many there are in all batches.
    total: usize,
}

/// Evaluates the tests, several processes at a time, first the batches of those that took longest. One that does not
/// evaluate is not the end of the others.
pub(super) fn evaluate_in_batches<'a, T: Evaluated>(
    tests: Vec<NamedTest<'a>>,
    processes: EvalProcesses,
    project: &Project,
    evaluate: impl AsyncFn(&TestSelection, &Evaluation) -> Result<Vec<T>, RunnerError> + Copy,
) -> impl Stream<Item = Vec<FoundTest<'a, T>>> {
    let mut bad = Vec::new();
    let mut good = Vec::new();
    for mut test in tests {
        match test.error.take() {
            None => good.push(test),
            Some(error) => bad.push(found(test, Err(error))),
        }
    }
    let batches = batches(good, processes, project);
    let found = stream::iter(batches)
        .map(move |batch| batch.evaluate(processes, evaluate))
        .buffer_unordered(processes.count);
    stream::iter([bad])
        .filter(|bad| std::future::ready(!bad.is_empty()))
        .chain(found)
}

/// Evaluates all tests before the first one runs: as [`evaluate_in_batches`].
pub(super) async fn evaluate_all<'a, T: Evaluated>(
    tests: Vec<NamedTest<'a>>,
    processes: EvalProcesses,
    project: &Project,
    evaluate: impl AsyncFn(&TestSelection, &Evaluation) -> Result<Vec<T>, RunnerError> + Copy,
) -> Vec<FoundTest<'a, T>> {
    let labels = tests.iter().map(|test| test.label.clone());
    let order: HashMap<String, usize> = labels.zip(0..).collect();
    let batches = evaluate_in_batches(tests, processes, project, evaluate);
    let mut found: Vec<_> = batches.map(stream::iter).flatten().collect().await;
    // In their order, whichever was evaluated first: parts of the tests depend on it.
    found.sort_by_key(|found| order.get(&found.label));
    found
}

/// Tests of the same selection together, as they are in it: Nix' answer to the same batch is remembered.
fn batches<'a>(
    tests: Vec<NamedTest<'a>>,
    processes: EvalProcesses,
    project: &Project,
) -> Vec<Batch<'a>> {
    let total = tests.len();
    let size = processes.batch_size(total);
    let mut batches: Vec<Batch<'a>> = Vec::new();
    for test in tests {
        let selection = test.selection;
        let is_open = |batch: &&mut Batch<'a>| {
            std::ptr::eq(batch.selection, selection) && batch.tests.len() < size
        };
        match batches.iter_mut().rev().find(is_open) {
            Some(batch) => batch.tests.push(test),
            None => batches.push(Batch {
                selection,
                tests: vec![test],
                total,
            }),
        }
    }
    batches.sort_by(|left, right| {
        let (left, right) = (left.expected_s(project), right.expected_s(project));
        right.total_cmp(&left)
    });
    batches
}

impl<'a> Batch<'a> {
    /// How long its longest test takes, in seconds.
    fn expected_s(&self, project: &Project) -> f64 {
        let expected = self.tests.iter().map(|test| test.expected_s(project));
        let expected = expected.map(|expected_s| expected_s.unwrap_or(f64::INFINITY));
        expected.fold(0.0, f64::max)
    }

    /// Returns an evaluation of some tests of the batch, and of nothing else.
    fn evaluation(&self, tests: &[NamedTest<'_>], processes: EvalProcesses) -> Evaluation {
        let whole = &self.selection.evaluation;
        let origins: BTreeSet<&String> = tests.iter().filter_map(|it| it.origin.as_ref()).collect();
        // A file that is the test itself has no path.
        let paths = tests.iter().map(|test| &test.names.attribute);
        let chosen: Vec<String> = paths.filter(|path| !path.is_empty()).cloned().collect();
        Evaluation {
            attributes: if origins.is_empty() {
                whole.attributes.clone()
            } else {
                origins.into_iter().cloned().collect()
            },
            is_part: self.total > 1 && chosen.len() == tests.len(),
            chosen,
            heap_mib: Some(processes.memory_mib),
            parts: match tests {
                [only] => processes.parts(&only.names.nodes, self.total),
                _ => Vec::new(),
            },
            ..whole.clone()
        }
    }

    async fn evaluate<T: Evaluated>(
        mut self,
        processes: EvalProcesses,
        evaluate: impl AsyncFn(&TestSelection, &Evaluation) -> Result<Vec<T>, RunnerError>,
    ) -> Vec<FoundTest<'a, T>> {
        let tests = std::mem::take(&mut self.tests);
        let all = self.evaluation(&tests, processes);
        let error = match evaluate(self.selection, &all).await {
            Ok(evaluated) => return with_labels(self.selection, tests, evaluated),
            Err(error) => error,
        };
        if tests.len() == 1 || !error.is_of_one_test() {
            let first = tests.into_iter().next();
            return first
                .map(|test| found(test, Err(error)))
                .into_iter()
                .collect();
        }
        // Which one it is shows when each is evaluated apart.
        let mut all = Vec::new();
        for test in tests {
            let one = self.evaluation(std::slice::from_ref(&test), processes);
            match evaluate(self.selection, &one).await {
                Ok(evaluated) => all.extend(with_labels(self.selection, vec![test], evaluated)),
                Err(error) => all.push(found(test, Err(error))),
            }
        }
        all
    }
}

fn found<T>(named: NamedTest<'_>, test: Result<T, RunnerError>) -> FoundTest<'_, T> {
    FoundTest {
        selection: named.selection,
        label: named.label,
        names: named.names,
        test,
    }
}

/// Returns the evaluated tests with the labels of their names.
fn with_labels<'a, T: Evaluated>(
    selection: &'a TestSelection,
    mut named: Vec<NamedTest<'a>>,
    evaluated: Vec<T>,
) -> Vec<FoundTest<'a, T>> {
    let with_label = |test: T| {
        let attribute = test.attribute();
        let place = named.iter().position(|it| it.names.attribute == attribute);
        match place {
            Some(place) => found(named.swap_remove(place), Ok(test)),
            None => FoundTest {
                selection,
                label: attribute.to_owned(),
                names: TestNames::of_attribute(attribute),
                test: Ok(test),
            },
        }
    };
    evaluated.into_iter().map(with_label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_and_batches_fit_into_the_memory() {
        let decide = |wanted, memory_mib, total| {
            let processes = EvalProcesses::within(wanted, memory_mib);
            (processes.count, processes.batch_size(total))
        };
        assert_eq!(decide(8, 100_000, 1000), (8, 6));
        assert_eq!(decide(2, 11_000, 40), (2, 6));
        assert_eq!(decide(2, 11_000, 4), (2, 1));
        assert_eq!(decide(8, 3000, 40), (2, 2));
        assert_eq!(decide(8, 100, 40), (1, 1));
    }

    #[test]
    fn processes_without_a_test_take_nodes_of_one() {
        let nodes: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
        let sizes = |wanted, total| {
            let parts = EvalProcesses::within(wanted, 100_000).parts(&nodes, total);
            assert!(parts.is_empty() || parts.concat() == nodes);
            parts.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(2, 1), [2, 3]);
        assert_eq!(sizes(8, 1), [1, 1, 1, 1, 1]);
        assert_eq!(sizes(8, 2), [1, 1, 1, 2]);
        assert_eq!(sizes(8, 5), [0; 0]);
        assert_eq!(sizes(1, 1), [0; 0]);
    }
}
