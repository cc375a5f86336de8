//! Watches a console for crashes of its guest.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use regex_lite::{Regex, RegexBuilder};
use tokio::sync::{mpsc, watch};

use super::Exit;

/// A crash that every console is watched for.
struct KnownCrash {
    name: &'static str,
    pattern: &'static str,
    /// If the test script matches this, it expects the crash: the pattern is
    /// not used for its run.
    mention: &'static str,
}

/// Lines of the kernel, systemd and NixOS' first stage that announce a crash.
const KNOWN_CRASHES: [KnownCrash; 9] = [
    KnownCrash {
        name: "kernel panic",
        pattern: r"Kernel panic - not syncing",
        mention: r"panic|sysrq",
    },
    KnownCrash {
        name: "kernel oops",
        pattern: r"(Oops|general protection fault.*): [0-9a-f]{4} \[#|BUG: unable to handle|BUG: kernel NULL pointer",
        mention: r"oops|sysrq|\bBUG\b",
    },
    // Not that of a control group, whose limit the test has set.
    KnownCrash {
        name: "out of memory",
        pattern: r"Out of memory: Kill(ed)? process",
        mention: r"\boom|out of memory",
    },
    // What Snowglobe prints for the kernel of a container.
    KnownCrash {
        name: "out of processes",
        pattern: r"Out of processes: the container",
        mention: r"out of processes",
    },
    KnownCrash {
        name: "soft lockup",
        pattern: r"watchdog: BUG: soft lockup",
        mention: r"lockup",
    },
    KnownCrash {
        name: "no root file system",
        pattern: r"VFS: Unable to mount root fs|VFS: Cannot open root device|Failed to mount /sysroot|ALERT!.*does not exist\.",
        mention: r"/sysroot|mount root",
    },
    KnownCrash {
        name: "emergency shell",
        pattern: r"You are in (emergency|rescue) mode|Entering (emergency|rescue) mode|Dropping to a shell!",
        mention: r"emergency|rescue",
    },
    KnownCrash {
        name: "failed first stage",
        pattern: r"An error occurred in stage 1 of the boot process",
        mention: r"stage 1",
    },
    // No other sign: the guest finishes to boot, and a test would wait for its shell to the end.
    KnownCrash {
        name: "no shell for tests",
        pattern: r"Dependency failed for backdoor\.service|backdoor\.service/start failed",
        mention: r"backdoor",
    },
];

/// How scripts name the crashes that they expect. Such a script is not searched
/// for mentions.
const EXPECTS: &str = r"\bexpect\s*[(=]";

/// A crash of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFailure {
    /// Such as `kernel panic`.
    pub name: String,
    /// The line of the console that matched.
    pub line: String,
}

impl fmt::Display for MachineFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.line)
    }
}

/// A pattern whose match is a crash.
#[derive(Debug, Clone)]
struct CrashPattern {
    name: String,
    regex: Regex,
}

impl CrashPattern {
    fn new(name: &str, pattern: &str) -> Result<Self, regex_lite::Error> {
        Ok(Self {
            name: name.to_owned(),
            regex: Regex::new(pattern)?,
        })
    }

    fn is_covered_by(&self, expected: &ExpectedCrash, line: &str) -> bool {
        expected.name.eq_ignore_ascii_case(&self.name) || expected.regex.is_match(line)
    }
}

/// A crash that a test expects: by its name, or by a match in the console.
#[derive(Debug)]
struct ExpectedCrash {
    name: String,
    regex: Regex,
}

impl ExpectedCrash {
    fn new(text: &str) -> Result<Self, regex_lite::Error> {
        Ok(Self {
            name: text.to_owned(),
            regex: ignoring_case(text)?,
        })
    }
}

/// An expected crash that a script waits for.
#[derive(Debug)]
struct Expectation {
    id: u64,
    crash: ExpectedCrash,
    seen: bool,
}

#[derive(Debug, Default)]
struct WatchState {
    failure: Option<MachineFailure>,
    expectations: Vec<Expectation>,
    next_id: u64,
}

/// Watches one machine. Clones share their state.
#[derive(Debug, Clone)]
pub struct FailureWatch {
    patterns: Arc<Mutex<Vec<CrashPattern>>>,
    /// Crashes that are allowed until the machine is started again.
    allowed: Arc<Mutex<Vec<ExpectedCrash>>>,
    state: Arc<watch::Sender<WatchState>>,
    reporter: FaultReporter,
}

/// A fault of a machine that ends its test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineFault {
    Failed(MachineFailure),
    /// The process of the machine has ended, and neither Snowglobe nor the guest has ended it.
    Died(Exit),
    /// The host has no room for what the machine writes; says what that is.
    DiskFull(String),
    /// The host cannot run the machine, or has ended a process that the machine needs; says why.
    Host(String),
}

/// Where faults are reported, with the machine's name.
#[derive(Debug, Clone)]
pub struct FaultReporter(pub mpsc::UnboundedSender<(String, MachineFault)>);

impl FailureWatch {
    /// Watches a machine of a test with this script.
    #[must_use]
    pub fn new(script: &str, reporter: FaultReporter) -> Self {
        let matches = |pattern| ignoring_case(pattern).is_ok_and(|regex| regex.is_match(script));
        let names_expected = matches(EXPECTS);
        let patterns = KNOWN_CRASHES
            .iter()
            .filter(|known| names_expected || !matches(known.mention))
            .filter_map(|known| CrashPattern::new(known.name, known.pattern).ok())
            .collect();
        Self {
            patterns: Arc::new(Mutex::new(patterns)),
            allowed: Arc::default(),
            state: Arc::new(watch::Sender::new(WatchState::default())),
            reporter,
        }
    }

    /// Starts to watch a machine that starts, and that may crash in these ways.
    ///
    /// # Errors
    /// Returns an error if one is not a regular expression.
    pub fn begin(&self, allowed: &[String]) -> Result<(), regex_lite::Error> {
        let allowed: Result<_, _> = allowed
            .iter()
            .map(|text| ExpectedCrash::new(text))
            .collect();
        *self.allowed.lock().unwrap_or_else(PoisonError::into_inner) = allowed?;
        self.state.send_modify(|state| state.failure = None);
        Ok(())
    }

    /// Takes lines that match for a crash from now on.
    ///
    /// # Errors
    /// Returns an error if it is not a regular expression.
    pub fn watch_for(&self, pattern: &str) -> Result<(), regex_lite::Error> {
        let pattern = CrashPattern::new(&format!("console text {pattern:?}"), pattern)?;
        self.patterns
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(pattern);
        Ok(())
    }

    /// Expects a crash of this name, or a line that matches, until
    /// [`FailureWatch::end_expectation`] is called with the number that this returns.
    ///
    /// # Errors
    /// Returns an error if it is not a regular expression.
    pub fn expect(&self, text: &str) -> Result<u64, regex_lite::Error> {
        let crash = ExpectedCrash::new(text)?;
        let mut id = 0;
        self.state.send_modify(|state| {
            state.next_id += 1;
            id = state.next_id;
            let seen = false;
            state.expectations.push(Expectation { id, crash, seen });
        });
        Ok(id)
    }

    /// Whether an expected crash has happened.
    #[must_use]
    pub fn was_seen(&self, id: u64) -> bool {
        let state = self.state.borrow();
        state
            .expectations
            .iter()
            .any(|one| one.id == id && one.seen)
    }

    /// Waits until an expected crash happens.
    pub async fn seen(&self, id: u64) {
        let mut state = self.state.subscribe();
        let seen = |state: &WatchState| {
            state
                .expectations
                .iter()
                .any(|one| one.id == id && one.seen)
        };
        // The sender is part of this value: it cannot be gone.
        let _ = state.wait_for(seen).await;
    }

    /// Ends an expectation. If its crash has happened, the machine counts as
    /// working again.
    pub fn end_expectation(&self, id: u64) {
        self.state.send_modify(|state| {
            if state
                .expectations
                .iter()
                .any(|one| one.id == id && one.seen)
            {
                state.failure = None;
            }
            state.expectations.retain(|one| one.id != id);
        });
    }

    /// The crash of the machine, if it has crashed.
    #[must_use]
    pub fn failure(&self) -> Option<MachineFailure> {
        self.state.borrow().failure.clone()
    }

    /// Waits until the machine crashes.
    pub async fn failed(&self) -> MachineFailure {
        let mut state = self.state.subscribe();
        let failed = state.wait_for(|state| state.failure.is_some()).await;
        match failed.ok().and_then(|state| state.failure.clone()) {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }

    /// Looks for a crash in a line of the console of `machine`.
    pub fn look_at(&self, machine: &str, line: &str) {
        let pattern = {
            let patterns = self.patterns.lock().unwrap_or_else(PoisonError::into_inner);
            patterns
                .iter()
                .find(|pattern| pattern.regex.is_match(line))
                .cloned()
        };
        let Some(pattern) = pattern else {
            self.note_expected(|crash| crash.regex.is_match(line));
            return;
        };
        let allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        if allowed
            .iter()
            .any(|crash| pattern.is_covered_by(crash, line))
        {
            return;
        }
        let failure = MachineFailure {
            name: pattern.name.clone(),
            line: line.trim().to_owned(),
        };
        let expected = self.note_expected(|crash| pattern.is_covered_by(crash, line));
        self.state.send_modify(|state| {
            state.failure.get_or_insert_with(|| failure.clone());
        });
        if !expected {
            self.report(machine, MachineFault::Failed(failure));
        }
    }

    /// Reports a fault.
    pub fn report(&self, machine: &str, fault: MachineFault) {
        // Nothing receives it after the end of the test.
        let _ = self.reporter.0.send((machine.to_owned(), fault));
    }

    /// Marks the expectations that a line fulfils; returns whether there are any.
    fn note_expected(&self, is: impl Fn(&ExpectedCrash) -> bool) -> bool {
        self.state.send_if_modified(|state| {
            let mut found = false;
            for expectation in state.expectations.iter_mut().filter(|one| is(&one.crash)) {
                expectation.seen = true;
                found = true;
            }
            found
        })
    }
}

/// Users write these in any case.
fn ignoring_case(pattern: &str) -> Result<Regex, regex_lite::Error> {
    RegexBuilder::new(pattern).case_insensitive(true).build()
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    fn watch_with(script: &str) -> (FailureWatch, UnboundedReceiver<(String, MachineFault)>) {
        let (sender, receiver) = unbounded_channel();
        (FailureWatch::new(script, FaultReporter(sender)), receiver)
    }

    const PANIC: &str = "[    1.0] Kernel panic - not syncing: Attempted to kill init!";

    #[test]
    fn every_pattern_matches_its_message() {
        let lines = [
            (PANIC, "kernel panic"),
            ("Oops: 0002 [#1] PREEMPT SMP", "kernel oops"),
            (
                "general protection fault, probably for non-canonical address 0x1: 0000 [#1]",
                "kernel oops",
            ),
            (
                "Out of memory: Killed process 7 (tail) total-vm:1kB",
                "out of memory",
            ),
            (
                "watchdog: BUG: soft lockup - CPU#0 stuck for 26s!",
                "soft lockup",
            ),
            ("[FAILED] Failed to mount /sysroot.", "no root file system"),
            (
                "You are in emergency mode. After logging in, type",
                "emergency shell",
            ),
            (
                "An error occurred in stage 1 of the boot process, which must mount",
                "failed first stage",
            ),
            (
                "[  549.29] systemd[1]: Dependency failed for backdoor.service.",
                "no shell for tests",
            ),
        ];
        for (line, name) in lines {
            let (watch, mut faults) = watch_with("machine.succeed('true')");
            watch.look_at("m", line);
            let Ok((_, MachineFault::Failed(failure))) = faults.try_recv() else {
                panic!("{line} is no crash");
            };
            assert_eq!(failure.name, name, "{line}");
        }
    }

    #[test]
    fn similar_lines_are_no_crash() {
        let (watch, mut faults) = watch_with("");
        for line in [
            "Memory cgroup out of memory: Killed process 7 (tail)",
            "traps: x[1] general protection fault ip:1 sp:2 error:0 in x[3]",
            "Starting rescue.service",
        ] {
            watch.look_at("m", line);
        }
        assert!(faults.try_recv().is_err());
        assert_eq!(watch.failure(), None);
    }

    #[test]
    fn a_script_that_mentions_a_crash_expects_it() {
        let (first, mut faults) = watch_with("machine.wait_for_console_text('Kernel panic')");
        first.look_at("m", PANIC);
        assert!(faults.try_recv().is_err());
        let (first, mut faults) = watch_with("with machine.expect('kernel panic'): pass");
        first.look_at("m", PANIC);
        assert!(faults.try_recv().is_ok());
        let (second, mut faults) = watch_with("wait_for_room()");
        second.look_at("m", "Out of memory: Killed process 7 (tail)");
        assert!(faults.try_recv().is_ok());
    }

    #[test]
    fn an_expected_crash_is_not_reported_and_is_over_afterwards() {
        let (watch, mut faults) = watch_with("");
        let id = watch.expect("kernel panic").unwrap();
        assert!(!watch.was_seen(id));
        watch.look_at("m", PANIC);
        assert!(watch.was_seen(id));
        assert!(watch.failure().is_some());
        watch.end_expectation(id);
        assert_eq!(watch.failure(), None);
        assert!(faults.try_recv().is_err());
        watch.look_at("m", PANIC);
        assert!(faults.try_recv().is_ok());
    }

    #[test]
    fn a_start_can_allow_a_crash() {
        let (watch, mut faults) = watch_with("");
        watch.begin(&["kernel panic".to_owned()]).unwrap();
        watch.look_at("m", PANIC);
        assert_eq!(watch.failure(), None);
        watch.begin(&[]).unwrap();
        watch.look_at("m", PANIC);
        assert!(faults.try_recv().is_ok());
    }
}
