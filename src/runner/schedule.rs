//! Which tests run at a time: as many as memory, processors, groups and the user allow, the longest first.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::error::RunnerError;
use super::free_memory::available_mib;
use super::request::{JobCount, Resources};
use crate::backends;
use crate::container::ContainerNature;
use crate::model::manifest::Manifest;
use crate::qemu::HostAccelerator;

/// Memory of the process of a test with its script, in MiB: `benches/suite.py` measures it.
const TEST_PROCESS_MIB: u64 = 80;

/// How many others may begin before a test that waits for memory or processors: else small ones could keep a large one
/// waiting to the end.
const MOST_PASSING: u32 = 4;

/// Between two starts on a host that has more to do than it can.
const PAUSE_UNDER_LOAD: Duration = Duration::from_secs(2);

/// Resources that one test takes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Demand {
    pub memory_mib: u64,
    pub cores: f64,
    pub groups: Vec<String>,
}

impl Demand {
    /// Returns the resources that the machines of a test take together.
    pub fn of(manifest: &Manifest, host: &HostAccelerator, groups: Vec<String>) -> Self {
        let kinds = manifest.nodes.values();
        let kinds = kinds.filter_map(|node| Some((node.kind()?, node)));
        let costs = kinds.map(|(kind, node)| {
            let choice = host.of(node);
            backends::nature(kind).cost(node, choice.accelerator)
        });
        let nothing = Self {
            memory_mib: TEST_PROCESS_MIB,
            cores: 0.0,
            groups,
        };
        costs.fold(nothing, |sum, cost| Self {
            memory_mib: sum.memory_mib.saturating_add(cost.memory_mib),
            cores: sum.cores + cost.cores,
            ..sum
        })
    }

    /// Checks that the user grants as much.
    ///
    /// # Errors
    /// Returns an error if the test alone needs more.
    pub fn check(&self, resources: &Resources) -> Result<(), RunnerError> {
        let needs_mib = self.memory_mib;
        match resources.memory_mib {
            Some(budget_mib) if budget_mib < needs_mib => Err(RunnerError::Memory {
                needs_mib,
                budget_mib,
            }),
            _ => Ok(()),
        }
    }
}

/// Resources that tests may take together.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    pub memory_mib: u64,
    cores: f64,
    jobs: usize,
    groups: BTreeMap<String, usize>,
    /// How many threads the host runs at a time.
    processors: f64,
}

impl Budget {
    /// Returns the resources that the user grants; for the rest, those of the host.
    pub fn new(resources: &Resources) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        #[allow(clippy::cast_precision_loss)]
        let processors = processors as f64;
        let (jobs, cores) = match resources.jobs {
            JobCount::Auto => (usize::MAX, processors),
            JobCount::Exactly(jobs) => (jobs.get(), f64::INFINITY),
        };
        Self {
            memory_mib: resources
                .memory_mib
                .or_else(available_mib)
                .unwrap_or(u64::MAX),
            cores,
            jobs,
            groups: resources.groups.clone(),
            processors,
        }
    }

    /// Returns a warning for a test that the host may have no room for.
    pub fn warning(&self, demand: &Demand) -> Option<String> {
        (demand.memory_mib > self.memory_mib).then(|| {
            format!(
                "it asks for {} MiB of memory, and {} MiB are free: it runs alone",
                demand.memory_mib, self.memory_mib
            )
        })
    }

    /// How many tests can run at a time at most, if they are small.
    pub fn most_jobs(&self) -> usize {
        if self.jobs < usize::MAX {
            return self.jobs;
        }
        // The smallest test is one container.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let by_cores = (self.cores / ContainerNature::CORES) as usize;
        by_cores.max(1)
    }
}

/// How many threads of the host want to run now, as `/proc/loadavg` says. The averages there would hold up short tests
/// for a minute.
fn running_threads() -> u32 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let counts = text.split_whitespace().nth(3);
    let running = counts.and_then(|counts| counts.split('/').next());
    running
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

/// Grants tests their turn.
#[derive(Debug)]
pub(super) struct Schedule {
    budget: Budget,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_closed: bool,
    running: Vec<Demand>,
    waiting: Vec<Waiting>,
    last_start: Option<Instant>,
    /// Memory that something else takes beside the tests, in MiB.
    reserved_mib: u64,
}

/// A test that waits for its turn.
#[derive(Debug)]
struct Waiting {
    demand: Demand,
    /// By earlier runs; tests without any come first.
    expected_s: f64,
    /// How many others have begun before it, which is longer.
    passed_by: u32,
    grant: oneshot::Sender<Turn>,
}

/// The turn of a test, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    demand: Demand,
    state: Arc<Mutex<State>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if let Some(place) = state
            .running
            .iter()
            .position(|demand| *demand == self.demand)
        {
            state.running.swap_remove(place);
        }
    }
}

impl Schedule {
    pub fn new(budget: Budget) -> Self {
        Self {
            budget,
            state: Arc::default(),
        }
    }

    /// Grants tests so much less memory, in MiB, for what runs beside them.
    pub fn reserve(&self, memory_mib: u64) {
        lock(&self.state).reserved_mib = memory_mib;
    }

    /// Waits for the turn of a test; None if no more tests are to begin.
    pub async fn turn(&self, demand: Demand, expected_s: Option<f64>) -> Option<Turn> {
        let (grant, granted) = oneshot::channel();
        {
            let mut state = lock(&self.state);
            if state.is_closed {
                return None;
            }
            state.waiting.push(Waiting {
                demand,
                expected_s: expected_s.unwrap_or(f64::INFINITY),
                passed_by: 0,
                grant,
            });
            // Of equals the first one.
            state
                .waiting
                .sort_by(|left, right| right.expected_s.total_cmp(&left.expected_s));
        }
        self.grant();
        granted.await.ok()
    }

    /// Has no more tests begin.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.is_closed = true;
        state.waiting.clear();
    }

    pub fn is_closed(&self) -> bool {
        lock(&self.state).is_closed
    }

    /// Grants what can be granted now: to be called when a test has ended, and now and then.
    pub fn grant(&self) {
        let mut state = lock(&self.state);
        while !state.is_closed && self.may_start(&state) {
            let Some(place) = self.next(&state) else {
                return;
            };
            for longer in &mut state.waiting[..place] {
                longer.passed_by += 1;
            }
            let Waiting { demand, grant, .. } = state.waiting.remove(place);
            let turn = Turn {
                demand: demand.clone(),
                state: self.state.clone(),
            };
            match grant.send(turn) {
                Ok(()) => {
                    state.running.push(demand);
                    state.last_start = Some(Instant::now());
                }
                // A test that does not wait any more: its turn has not begun.
                Err(turn) => std::mem::forget(turn),
            }
        }
    }

    /// Whether the host can take one more start.
    fn may_start(&self, state: &State) -> bool {
        if state.running.is_empty() {
            return true;
        }
        let is_early = |last: Instant| last.elapsed() < PAUSE_UNDER_LOAD;
        let is_storm = state.last_start.is_some_and(is_early)
            && f64::from(running_threads()) > 2.0 * self.budget.processors;
        !is_storm
    }

    /// The longest test that fits beside those that run. One that has waited for room long enough is waited for; those
    /// that wait for their group are not.
    fn next(&self, state: &State) -> Option<usize> {
        for (place, waiting) in state.waiting.iter().enumerate() {
            if self.is_crowded(&state.running, &waiting.demand) {
                continue;
            }
            if self.has_room(state, &waiting.demand) {
                return Some(place);
            }
            if waiting.passed_by >= MOST_PASSING {
                return None;
            }
        }
        None
    }

    /// Whether a group of the test is full.
    fn is_crowded(&self, running: &[Demand], demand: &Demand) -> bool {
        demand.groups.iter().any(|group| {
            let in_group = running.iter().filter(|other| other.groups.contains(group));
            let most = self.budget.groups.get(group);
            most.is_some_and(|most| in_group.count() >= *most)
        })
    }

    fn has_room(&self, state: &State, demand: &Demand) -> bool {
        let running = &state.running;
        if running.len() >= self.budget.jobs {
            return false;
        }
        let memory: u64 = running.iter().map(|other| other.memory_mib).sum();
        let cores: f64 = running.iter().map(|other| other.cores).sum();
        running.is_empty()
            || memory + demand.memory_mib + state.reserved_mib <= self.budget.memory_mib
                && cores + demand.cores <= self.budget.cores
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(memory_mib: u64, cores: f64, jobs: usize) -> Schedule {
        Schedule::new(Budget {
            memory_mib,
            cores,
            jobs,
            groups: [("kvm".to_owned(), 1)].into(),
            // However busy the host is that runs this test.
            processors: f64::INFINITY,
        })
    }

    fn demand(memory_mib: u64, cores: f64, groups: &[&str]) -> Demand {
        Demand {
            memory_mib,
            cores,
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        }
    }

    #[test]
    fn tests_share_memory_processors_and_groups() {
        let schedule = schedule(1000, 2.0, 3);
        let fits = |running: &[Demand], wanted: &Demand| {
            let state = State {
                running: running.to_vec(),
                ..State::default()
            };
            schedule.has_room(&state, wanted) && !schedule.is_crowded(running, wanted)
        };
        let small = demand(400, 0.5, &[]);
        let one = std::slice::from_ref(&small);
        let two = [small.clone(), small.clone()];
        assert!(fits(&[], &demand(5000, 9.0, &[])), "alone anything runs");
        assert!(fits(one, &small));
        assert!(!fits(&two, &small), "memory");
        assert!(!fits(one, &demand(1, 1.6, &[])), "processors");
        let tiny = demand(1, 0.1, &[]);
        let three = [tiny.clone(), tiny.clone(), tiny.clone()];
        assert!(!fits(&three, &tiny), "jobs");
        let grouped = demand(1, 0.1, &["kvm"]);
        assert!(!fits(std::slice::from_ref(&grouped), &grouped), "groups");
        assert!(fits(std::slice::from_ref(&grouped), &tiny));
    }

    #[tokio::test]
    async fn the_longest_comes_first_and_an_unknown_one_before_it() {
        let schedule = schedule(1000, 1.0, 1);
        let small = demand(1, 1.0, &[]);
        let first = schedule.turn(small.clone(), Some(1.0)).await.unwrap();
        let order = Mutex::new(Vec::new());
        let wait = async |name: &'static str, expected_s| {
            let turn = schedule.turn(small.clone(), expected_s).await;
            order.lock().unwrap().push(name);
            drop(turn);
            schedule.grant();
        };
        let end_first = async {
            tokio::task::yield_now().await;
            drop(first);
            schedule.grant();
        };
        tokio::join!(
            wait("short", Some(2.0)),
            wait("long", Some(9.0)),
            wait("unknown", None),
            end_first
        );
        assert_eq!(*order.lock().unwrap(), ["unknown", "long", "short"]);
    }

    #[tokio::test]
    async fn small_tests_do_not_keep_a_large_one_waiting_for_ever() {
        let schedule = schedule(1000, 2.0, 9);
        let small = demand(1, 1.0, &[]);
        let first = schedule.turn(small.clone(), Some(1.0)).await.unwrap();
        let order = Mutex::new(Vec::new());
        let wait = async |name: &'static str, demand, expected_s| {
            let turn = schedule.turn(demand, Some(expected_s)).await;
            order.lock().unwrap().push(name);
            tokio::task::yield_now().await;
            drop(turn);
            schedule.grant();
        };
        let large = wait("large", demand(1, 2.0, &[]), 9.0);
        let crowd =
            futures_util::future::join_all((0..10).map(|_| wait("small", small.clone(), 1.0)));
        let end_first = async {
            while order.lock().unwrap().len() < 4 {
                tokio::task::yield_now().await;
            }
            drop(first);
            schedule.grant();
        };
        tokio::join!(large, crowd, end_first);
        let order = order.into_inner().unwrap();
        assert_eq!(
            order.iter().position(|name| *name == "large"),
            Some(4),
            "{order:?}"
        );
    }

    #[tokio::test]
    async fn a_closed_schedule_lets_nobody_begin() {
        let schedule = schedule(1000, 1.0, 1);
        let small = demand(1, 1.0, &[]);
        let first = schedule.turn(small.clone(), None).await;
        let close = async {
            tokio::task::yield_now().await;
            schedule.close();
        };
        let (second, ()) = tokio::join!(schedule.turn(small.clone(), None), close);
        assert!(first.is_some() && second.is_none());
        assert!(schedule.turn(small, None).await.is_none());
    }
}
