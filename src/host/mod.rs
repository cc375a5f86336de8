//! The host makes the calls of the test API: it reaches the machines and emits events.

mod call;
mod call_error;
mod capture;
mod complete;
mod drive;
mod driver_operation;
mod fault;
mod seed;
mod subtests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::event_bus::{Events, monotonic_ns};
use crate::machine::{Machine, MachineError, Overdue, port_hint};
use crate::model::event::{Details, Failure, Level, Subtest};
use crate::network::Network;

pub use call::Call;
pub use call_error::CallError;
pub use capture::CaptureMode;
use capture::RunCaptures;
pub use driver_operation::{DriverOperation, Reading};
use fault::RunFaults;
pub use seed::Seed;
use subtests::SubtestStack;
pub use subtests::{AfterFailure, Subtests};

/// The folder of saved disks in the output folder.
pub const DISKS: &str = "disks";

/// Everything a script can reach.
#[derive(Debug)]
pub struct Host {
    machines: Mutex<BTreeMap<String, Arc<Machine>>>,
    pub vlans: Vec<u32>,
    networks: Arc<[Network]>,
    faults: Mutex<RunFaults>,
    captures: RunCaptures,
    pub seed: Seed,
    pub events: Events,
    pub output_folder: PathBuf,
    pub shared_folder: PathBuf,
    factory: MachineFactory,
    subtests: Mutex<SubtestStack>,
    /// The offset of the monotonic clock that scripts read, in nanoseconds.
    clock_shift_ns: AtomicI64,
    /// How many failures were completed.
    completed: AtomicUsize,
    /// How often the script has come to the statement that is counted.
    reached: AtomicU32,
    /// The name of the machine that was called last.
    last_called: Mutex<Option<String>>,
}

/// Where the script finds its files.
#[derive(Debug)]
pub struct Folders {
    pub output: PathBuf,
    pub shared: PathBuf,
}

/// The virtual networks of a test.
#[derive(Debug, Default)]
pub struct HostNetworks {
    pub numbers: Vec<u32>,
    /// None for a run that starts no machine.
    pub open: Arc<[Network]>,
    pub seed: Seed,
}

/// Makes machines that the test has no node for, from a command and a name.
pub struct MachineFactory(pub Box<Make>);

type Make = dyn Fn(&str, &str) -> Result<Arc<Machine>, MachineError> + Send + Sync;

impl std::fmt::Debug for MachineFactory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MachineFactory")
    }
}

impl Host {
    #[must_use]
    pub fn new(
        machines: BTreeMap<String, Arc<Machine>>,
        networks: HostNetworks,
        events: Events,
        folders: Folders,
        factory: MachineFactory,
        subtests: Subtests,
    ) -> Self {
        Self {
            machines: Mutex::new(machines),
            vlans: networks.numbers,
            networks: networks.open,
            faults: Mutex::default(),
            captures: RunCaptures::default(),
            seed: networks.seed,
            events,
            output_folder: folders.output,
            shared_folder: folders.shared,
            factory,
            subtests: Mutex::new(SubtestStack::new(subtests)),
            clock_shift_ns: AtomicI64::default(),
            completed: AtomicUsize::default(),
            reached: AtomicU32::default(),
            last_called: Mutex::default(),
        }
    }

    /// Has the clock that only goes forward continue from `reading`, in nanoseconds.
    pub fn continue_clock(&self, reading: i64) {
        let shift = reading.saturating_sub(monotonic_ns());
        self.clock_shift_ns.store(shift, Ordering::Relaxed);
    }

    /// Returns how often the script has come to the statement that is counted.
    #[must_use]
    pub fn reached(&self) -> u32 {
        self.reached.load(Ordering::Relaxed)
    }

    /// The machines by the names of their nodes.
    #[must_use]
    pub fn machines(&self) -> BTreeMap<String, Arc<Machine>> {
        lock(&self.machines).clone()
    }

    /// Subtests to go into because of others that are in them.
    pub fn enter_subtests(&self, names: Vec<String>) {
        lock(&self.subtests).enter(names);
    }

    /// Which subtests are wanted.
    #[must_use]
    pub fn subtests(&self) -> Subtests {
        lock(&self.subtests).wanted.clone()
    }

    /// The failure of a run with `--only` that has run no subtest.
    #[must_use]
    pub fn missing_subtest(&self) -> Option<Failure> {
        let subtests = lock(&self.subtests);
        let only = subtests.wanted.only.as_ref()?;
        let message = match subtests.skipped.as_slice() {
            _ if !subtests.done.is_empty() => return None,
            [] => format!(
                "no subtest matches {:?}: the script came to none",
                only.as_str()
            ),
            skipped => format!(
                "no subtest matches {:?}; there are: {}",
                only.as_str(),
                skipped.join(", ")
            ),
        };
        Some(Failure {
            kind: "NoSubtest".to_owned(),
            message,
            ..Failure::default()
        })
    }

    /// The subtests that have ended, and the failures that the script went on after.
    #[must_use]
    pub fn finished(&self) -> (Vec<Subtest>, Vec<Failure>) {
        let subtests = lock(&self.subtests);
        (subtests.done.clone(), subtests.failures.clone())
    }

    /// Makes a call.
    ///
    /// # Errors
    /// Returns the error of the operation, or an error for a machine that does not exist.
    pub async fn make(&self, call: Call) -> Result<Value, CallError> {
        let (machine, operation) = match call {
            Call::Driver(operation) => return self.drive(operation).await,
            Call::Machine { machine, operation } => (self.named(&machine)?, operation),
        };
        *lock(&self.last_called) = Some(machine.name().to_owned());
        let mut performed = Box::pin(machine.perform(operation)).await;
        if let Err(MachineError::Timeout(overdue)) = &mut performed {
            self.explain_port(&machine, overdue).await;
        }
        performed.map_err(|error| CallError {
            details: Some(Box::new(Details {
                machine: Some(machine.name().to_owned()),
                ..error.details().cloned().unwrap_or_default()
            })),
            ..CallError::from(error)
        })
    }

    /// Adds what listens on the port of another machine that one has waited for.
    async fn explain_port(&self, machine: &Machine, overdue: &mut Overdue) {
        let Some(awaited) = overdue.port.clone().filter(|awaited| !awaited.is_own()) else {
            return;
        };
        let host_name = awaited.address.split('.').next().unwrap_or_default();
        let Ok(other) = self.named(host_name) else {
            return;
        };
        let Some(listeners) = other.shell().listeners().await else {
            return;
        };
        let is_dropped = machine.shell().is_dropped(&awaited).await;
        let other = Some((other.name(), is_dropped));
        let hint = port_hint(awaited.port, &listeners, other);
        overdue.hint.insert_str(0, &hint);
    }

    /// A machine, by its node's name or its own.
    fn named(&self, name: &str) -> Result<Arc<Machine>, CallError> {
        let machines = lock(&self.machines);
        let found = machines
            .get(name)
            .or_else(|| machines.values().find(|machine| machine.name() == name));
        found
            .cloned()
            .ok_or_else(|| CallError::machine(format!("there is no machine {name}")))
    }

    /// Returns an open network of the test; `None` if there is none of this number.
    fn network(&self, number: u32) -> Option<&Network> {
        let mut networks = self.networks.iter();
        networks.find(|network| network.number() == number)
    }

    /// Attaches the user's terminal to a shell on the machine that a failure is about, else on the one that was called
    /// last, else on any that runs.
    pub async fn attach_shell(&self, failure: &Failure) {
        let machines = self.machines();
        let last_called = lock(&self.last_called).clone();
        let concerned = failure.details.machine.clone().or(last_called);
        let machine = machines
            .values()
            .filter(|machine| machine.life().is_up())
            .max_by_key(|machine| Some(machine.name()) == concerned.as_deref());
        let Some(machine) = machine else {
            let text = "no shell: no machine is running";
            self.events.note(Level::Warning, text);
            return;
        };
        if let Err(error) = Box::pin(machine.shell().shell_interact(None)).await {
            self.events.note(Level::Error, error.to_string());
        }
    }
}

/// Returns the name that is wanted, or with the first number behind it, from 2, that makes it one that is not taken.
fn free_name(wanted: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let mut name = wanted.to_owned();
    let mut number = 2;
    while is_taken(&name) {
        name = format!("{wanted}-{number}");
        number += 1;
    }
    name
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
