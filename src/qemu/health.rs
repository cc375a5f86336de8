//! What a console tells of the health of its guest.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use regex_lite::{Regex, RegexBuilder};
use tokio::sync::{mpsc, watch};

use super::Exit;

/// A sign of sickness that every console is watched for.
struct Known {
    name: &'static str,
    pattern: &'static str,
    /// A script that speaks of it has it in mind: for its run the sign is none.
    mention: &'static str,
}

/// The words of the kernel, of systemd and of NixOS' first stage.
const KNOWN: [Known; 7] = [
    Known {
        name: "kernel panic",
        pattern: r"Kernel panic - not syncing",
        mention: r"panic|sysrq",
    },
    Known {
        name: "kernel oops",
        pattern: r"(Oops|general protection fault.*): [0-9a-f]{4} \[#|BUG: unable to handle|BUG: kernel NULL pointer",
        mention: r"oops|sysrq|\bBUG\b",
    },
    // Not that of a control group, which has a limit because somebody set one.
    Known {
        name: "out of memory",
        pattern: r"Out of memory: Kill(ed)? process",
        mention: r"\boom|out of memory",
    },
    Known {
        name: "soft lockup",
        pattern: r"watchdog: BUG: soft lockup",
        mention: r"lockup",
    },
    Known {
        name: "no root file system",
        pattern: r"VFS: Unable to mount root fs|VFS: Cannot open root device|Failed to mount /sysroot|ALERT!.*does not exist\.",
        mention: r"/sysroot|mount root",
    },
    Known {
        name: "emergency shell",
        pattern: r"You are in (emergency|rescue) mode|Entering (emergency|rescue) mode|Dropping to a shell!",
        mention: r"emergency|rescue",
    },
    Known {
        name: "failed first stage",
        pattern: r"An error occurred in stage 1 of the boot process",
        mention: r"stage 1",
    },
];

/// How scripts say which sicknesses they want: they are taken at their word.
const SAID: &str = r"\bexpect\s*[(=]";

/// What a guest suffers from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sickness {
    /// Such as `kernel panic`.
    pub name: String,
    /// The line that told.
    pub line: String,
}

impl fmt::Display for Sickness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.line)
    }
}

#[derive(Debug, Clone)]
struct Sign {
    name: String,
    pattern: Regex,
}

impl Sign {
    fn is_meant_by(&self, wish: &Wish, line: &str) -> bool {
        wish.name.eq_ignore_ascii_case(&self.name) || wish.pattern.is_match(line)
    }
}

/// A sickness that a test wants: by its name, or by what the console says.
#[derive(Debug)]
struct Wish {
    name: String,
    pattern: Regex,
}

impl Wish {
    fn new(text: &str) -> Result<Self, regex_lite::Error> {
        Ok(Self {
            name: text.to_owned(),
            pattern: compile(text)?,
        })
    }
}

/// A wish that is waited for.
#[derive(Debug)]
struct Expectation {
    id: u64,
    wish: Wish,
    seen: bool,
}

#[derive(Debug, Default)]
struct State {
    sickness: Option<Sickness>,
    /// Wanted for a while, and to be seen.
    expected: Vec<Expectation>,
    next_id: u64,
}

/// The health of one machine. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Health {
    signs: Arc<Mutex<Vec<Sign>>>,
    /// What is no sickness until the machine is started again.
    allowed: Arc<Mutex<Vec<Wish>>>,
    state: Arc<watch::Sender<State>>,
    alarm: Alarm,
}

/// What ends a test because of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    Sick(Sickness),
    /// QEMU has ended, and nobody had asked it to.
    Died(Exit),
}

/// Where trouble is told, with the machine's name.
#[derive(Debug, Clone)]
pub struct Alarm(pub mpsc::UnboundedSender<(String, Trouble)>);

impl Health {
    /// The health of a machine in a test with this script.
    #[must_use]
    pub fn new(script: &str, alarm: Alarm) -> Self {
        let says = |pattern| compile(pattern).is_ok_and(|regex| regex.is_match(script));
        let said = says(SAID);
        let signs = KNOWN
            .iter()
            .filter(|known| said || !says(known.mention))
            .filter_map(|known| sign(known.name, known.pattern).ok())
            .collect();
        Self {
            signs: Arc::new(Mutex::new(signs)),
            allowed: Arc::default(),
            state: Arc::new(watch::Sender::new(State::default())),
            alarm,
        }
    }

    /// The machine starts: it is healthy, and may have these sicknesses.
    ///
    /// # Errors
    /// When one is no regular expression.
    pub fn begin(&self, allowed: &[String]) -> Result<(), regex_lite::Error> {
        let allowed: Result<_, _> = allowed.iter().map(|text| Wish::new(text)).collect();
        *self.allowed.lock().unwrap_or_else(PoisonError::into_inner) = allowed?;
        self.state.send_modify(|state| state.sickness = None);
        Ok(())
    }

    /// Lines that match are a sign of sickness from now on.
    ///
    /// # Errors
    /// When it is no regular expression.
    pub fn watch_for(&self, pattern: &str) -> Result<(), regex_lite::Error> {
        let sign = sign(&format!("console text {pattern:?}"), pattern)?;
        self.signs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sign);
        Ok(())
    }

    /// A sickness of this name, or a line that matches, is wanted until
    /// [`Health::forget`] is called with what this gives.
    ///
    /// # Errors
    /// When it is no regular expression.
    pub fn expect(&self, text: &str) -> Result<u64, regex_lite::Error> {
        let wish = Wish::new(text)?;
        let mut id = 0;
        self.state.send_modify(|state| {
            state.next_id += 1;
            id = state.next_id;
            let seen = false;
            state.expected.push(Expectation { id, wish, seen });
        });
        Ok(id)
    }

    /// Whether what was expected has happened.
    #[must_use]
    pub fn was_seen(&self, id: u64) -> bool {
        let state = self.state.borrow();
        state.expected.iter().any(|one| one.id == id && one.seen)
    }

    /// Ends when what was expected happens.
    pub async fn seen(&self, id: u64) {
        let mut state = self.state.subscribe();
        let seen = |state: &State| state.expected.iter().any(|one| one.id == id && one.seen);
        // The sender is part of this value: it cannot be gone.
        let _ = state.wait_for(seen).await;
    }

    /// The expectation is over. A sickness that was wanted is no matter any more.
    pub fn forget(&self, id: u64) {
        self.state.send_modify(|state| {
            if state.expected.iter().any(|one| one.id == id && one.seen) {
                state.sickness = None;
            }
            state.expected.retain(|one| one.id != id);
        });
    }

    /// What the guest suffers from.
    #[must_use]
    pub fn sickness(&self) -> Option<Sickness> {
        self.state.borrow().sickness.clone()
    }

    /// Ends when the guest is sick.
    pub async fn sick(&self) -> Sickness {
        let mut state = self.state.subscribe();
        let sick = state.wait_for(|state| state.sickness.is_some()).await;
        match sick.ok().and_then(|state| state.sickness.clone()) {
            Some(sickness) => sickness,
            None => std::future::pending().await,
        }
    }

    /// Looks at a line of the console of `machine`.
    pub fn look_at(&self, machine: &str, line: &str) {
        let sign = {
            let signs = self.signs.lock().unwrap_or_else(PoisonError::into_inner);
            signs
                .iter()
                .find(|sign| sign.pattern.is_match(line))
                .cloned()
        };
        let Some(sign) = sign else {
            self.note_expected(|wish| wish.pattern.is_match(line));
            return;
        };
        let allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        if allowed.iter().any(|one| sign.is_meant_by(one, line)) {
            return;
        }
        let sickness = Sickness {
            name: sign.name.clone(),
            line: line.trim().to_owned(),
        };
        let wanted = self.note_expected(|wish| sign.is_meant_by(wish, line));
        self.state.send_modify(|state| {
            state.sickness.get_or_insert_with(|| sickness.clone());
        });
        if !wanted {
            self.tell(machine, Trouble::Sick(sickness));
        }
    }

    /// Raises the alarm.
    pub fn tell(&self, machine: &str, trouble: Trouble) {
        // Nobody hears it once the test is over.
        let _ = self.alarm.0.send((machine.to_owned(), trouble));
    }

    fn note_expected(&self, is: impl Fn(&Wish) -> bool) -> bool {
        self.state.send_if_modified(|state| {
            let mut found = false;
            for expectation in state.expected.iter_mut().filter(|one| is(&one.wish)) {
                expectation.seen = true;
                found = true;
            }
            found
        })
    }
}

fn sign(name: &str, pattern: &str) -> Result<Sign, regex_lite::Error> {
    Ok(Sign {
        name: name.to_owned(),
        pattern: Regex::new(pattern)?,
    })
}

/// People write these as they come.
fn compile(pattern: &str) -> Result<Regex, regex_lite::Error> {
    RegexBuilder::new(pattern).case_insensitive(true).build()
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    fn health(script: &str) -> (Health, UnboundedReceiver<(String, Trouble)>) {
        let (sender, receiver) = unbounded_channel();
        (Health::new(script, Alarm(sender)), receiver)
    }

    const PANIC: &str = "[    1.0] Kernel panic - not syncing: Attempted to kill init!";

    #[test]
    fn every_pattern_compiles_and_knows_its_words() {
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
        ];
        for (line, name) in lines {
            let (health, mut alarms) = health("machine.succeed('true')");
            health.look_at("m", line);
            let Ok((_, Trouble::Sick(sickness))) = alarms.try_recv() else {
                panic!("{line} is no sign");
            };
            assert_eq!(sickness.name, name, "{line}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_none() {
        let (health, mut alarms) = health("");
        for line in [
            "Memory cgroup out of memory: Killed process 7 (tail)",
            "traps: x[1] general protection fault ip:1 sp:2 error:0 in x[3]",
            "Starting rescue.service",
        ] {
            health.look_at("m", line);
        }
        assert!(alarms.try_recv().is_err());
        assert_eq!(health.sickness(), None);
    }

    #[test]
    fn a_script_that_speaks_of_it_has_it_in_mind() {
        let (first, mut alarms) = health("machine.wait_for_console_text('Kernel panic')");
        first.look_at("m", PANIC);
        assert!(alarms.try_recv().is_err());
        let (first, mut alarms) = health("with machine.expect('kernel panic'): pass");
        first.look_at("m", PANIC);
        assert!(alarms.try_recv().is_ok());
        let (second, mut alarms) = health("wait_for_room()");
        second.look_at("m", "Out of memory: Killed process 7 (tail)");
        assert!(alarms.try_recv().is_ok());
    }

    #[test]
    fn an_expected_sickness_raises_no_alarm_and_is_over_afterwards() {
        let (health, mut alarms) = health("");
        let id = health.expect("kernel panic").unwrap();
        assert!(!health.was_seen(id));
        health.look_at("m", PANIC);
        assert!(health.was_seen(id));
        assert!(health.sickness().is_some());
        health.forget(id);
        assert_eq!(health.sickness(), None);
        assert!(alarms.try_recv().is_err());
        health.look_at("m", PANIC);
        assert!(alarms.try_recv().is_ok());
    }

    #[test]
    fn a_start_can_allow_a_sickness() {
        let (health, mut alarms) = health("");
        health.begin(&["kernel panic".to_owned()]).unwrap();
        health.look_at("m", PANIC);
        assert_eq!(health.sickness(), None);
        health.begin(&[]).unwrap();
        health.look_at("m", PANIC);
        assert!(alarms.try_recv().is_ok());
    }
}
