//! Units that fail while a script waits for something: a warning at once, and the first thing in the report of a wait
//! that has run out of time.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::GuestShell;
use super::properties::properties;
use crate::agent::{Expect, FAILED_UNITS, GuestProgram, SYSTEMD_BUS, quote};
use crate::machine::MachineError;
use crate::model::event::{Event, Level, UnitState};
use crate::model::failed_units::FailedUnitPolicy;

/// The status of a poll that reports a unit (see agent/failed-units.sh).
pub(super) const UNIT_FAILED: i32 = 76;

/// How long a wait lasts before it looks at units: most are shorter.
const QUIET: Duration = Duration::from_secs(2);

/// How often a wait looks that asks the guest in short rounds.
const SHORT_ROUNDS: Duration = Duration::from_secs(10);

/// How many units a report describes, and how long the guest may take for it.
const MOST_DESCRIBED: usize = 3;
const ANSWER_LIMIT: Duration = Duration::from_mins(1);

/// How many units of a guest are remembered, and how many warnings come of them.
const MOST_KNOWN: usize = 100;
const MOST_WARNINGS: usize = 200;

/// How much of a report is read: agent/failed-units.sh sends no more.
const MOST_BYTES: usize = 16_000;

/// The units of a machine that have failed so far, and those that may.
#[derive(Debug, Default)]
pub(super) struct FailedUnits(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    failures: BTreeMap<String, UnitFailure>,
    /// Number of reports by the guest.
    reports: usize,
    /// Patterns, as the shell reads them.
    expected: Vec<String>,
}

/// The last failure of a unit, as the guest reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct UnitFailure {
    unit: String,
    /// As systemd calls it: `exit-code`, `signal`, `timeout`.
    result: String,
    /// How its process ended.
    end: String,
    invocation: String,
    restarts: u64,
    journal: String,
}

/// When a wait has looked at units.
#[derive(Debug, Default)]
pub(super) struct UnitWatch {
    looked: Option<Duration>,
}

impl UnitWatch {
    /// Returns the seconds after which the next round of a wait looks at units, which has lasted so long; `None` if it
    /// does not. Rounds are as long as the guest's shell allows, unless the wait ends before.
    pub fn begins_after(
        &mut self,
        elapsed: Duration,
        round: Duration,
        longest: Duration,
    ) -> Option<u64> {
        let is_long = longest > SHORT_ROUNDS;
        let due = match self.looked {
            None => QUIET,
            Some(_) if is_long => Duration::ZERO,
            Some(looked) => looked + SHORT_ROUNDS,
        };
        let after = due.saturating_sub(elapsed);
        if after >= round {
            return None;
        }
        self.looked = Some(elapsed + after);
        Some(
            after
                .as_millis()
                .div_ceil(1000)
                .try_into()
                .unwrap_or(u64::MAX),
        )
    }
}

impl GuestShell {
    /// Notes that units may fail: those that a pattern fits, as the shell reads it.
    pub fn expect_failed(&self, unit: &str) {
        let pattern = match unit.rsplit_once('.') {
            Some(_) => unit.to_owned(),
            None => format!("{unit}.service"),
        };
        self.failed.lock().expected.push(pattern);
    }

    fn failed_unit_policy(&self) -> FailedUnitPolicy {
        self.life.context.failed_units
    }

    /// Returns the part of a round that looks at units, after so many seconds.
    pub(super) fn watching_units(&self, program: GuestProgram, after: Option<u64>) -> GuestProgram {
        let is_wanted = self.failed_unit_policy() != FailedUnitPolicy::Ignore
            && self.failed.lock().reports < MOST_WARNINGS;
        let after = after.filter(|_| is_wanted);
        let Some(after) = after else {
            return program.map_line(|line| format!("look_at_units() {{ :; }}\n{line}"));
        };
        let settings = self.watch_settings(after);
        program
            .with(FAILED_UNITS)
            .with(SYSTEMD_BUS)
            .map_line(|line| format!("{settings}\n{line}"))
    }

    fn watch_settings(&self, after: u64) -> String {
        let known = self.failed.lock();
        let facts = known.failures.values().map(|failure| {
            let UnitFailure {
                unit,
                invocation,
                restarts,
                ..
            } = failure;
            quote(&format!("{unit} {invocation} {restarts}"))
        });
        let facts: Vec<String> = facts.collect();
        let expected: Vec<String> = known.expected.iter().map(|it| quote(it)).collect();
        format!(
            "watch_after={after}\nknown=({})\nexpected=({})",
            facts.join(" "),
            expected.join(" ")
        )
    }

    /// Takes the report of a poll on a unit that has failed.
    ///
    /// # Errors
    /// Returns an error if units that fail end the wait.
    pub(super) async fn take_failure(&self, output: &[u8]) -> Result<(), MachineError> {
        let output = &output[..output.len().min(MOST_BYTES)];
        let failure = UnitFailure::read(&String::from_utf8_lossy(output));
        if failure.unit.is_empty() {
            return Ok(());
        }
        let earlier = {
            let mut known = self.failed.lock();
            known.reports += 1;
            if known.failures.len() == MOST_KNOWN {
                known.failures.pop_first();
            }
            known.failures.insert(failure.unit.clone(), failure.clone())
        };
        match self.failed_unit_policy() {
            FailedUnitPolicy::Ignore => {}
            FailedUnitPolicy::Warn => self.life.context.events.emit(Event::Note {
                machine: Some(self.life.name().to_owned()),
                level: Level::Warning,
                text: failure.describe(earlier.as_ref()),
            }),
            FailedUnitPolicy::Fail => {
                let state = format!(
                    "has failed ({}) while the script waited (`machine.expect_failed` allows it)",
                    failure.cause()
                );
                return Err(self.unit_error(&failure.unit, None, &state).await);
            }
        }
        Ok(())
    }

    /// Describes the units that have failed, but for one and those that are expected; none if the guest does not answer.
    pub async fn failed_units(&self, but: Option<&str>) -> Vec<UnitState> {
        if self.failed_unit_policy() == FailedUnitPolicy::Ignore || !self.is_connected() {
            return Vec::new();
        }
        let settings = self.watch_settings(0);
        let program = GuestProgram::from(format!("{settings}\nfailed_units")).with(FAILED_UNITS);
        let asked = self.execute_program(&program, Expect::Output, Some(ANSWER_LIMIT));
        let Ok(outcome) = asked.await else {
            return Vec::new();
        };
        let units = String::from_utf8_lossy(&outcome.output).into_owned();
        let others = units.lines().filter(|unit| Some(*unit) != but);
        let mut described = Vec::new();
        for unit in others.take(MOST_DESCRIBED) {
            described.extend(self.unit_details(unit, None).await.unit);
        }
        described
    }
}

impl FailedUnits {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnitFailure {
    /// Reads the properties of a unit, an empty line, and the end of its journal.
    fn read(text: &str) -> Self {
        let (facts, journal) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut facts = properties(facts);
        let mut fact = |name: &str| facts.remove(name).unwrap_or_default();
        let status = fact("ExecMainStatus");
        Self {
            unit: fact("Id"),
            result: fact("Result"),
            // Numbers of waitid(2).
            end: match fact("ExecMainCode").as_str() {
                "1" => format!("exit code {status}"),
                "2" | "3" => format!("signal {status}"),
                _ => String::new(),
            },
            invocation: fact("InvocationID"),
            restarts: fact("NRestarts").parse().unwrap_or_default(),
            journal: journal.trim_end().to_owned(),
        }
    }

    /// Returns systemd's word for the failure, and how the process ended.
    fn cause(&self) -> String {
        match self.end.as_str() {
            "" => self.result.clone(),
            end => format!("{}, {end}", self.result),
        }
    }

    fn describe(&self, earlier: Option<&Self>) -> String {
        let (unit, cause) = (&self.unit, self.cause());
        let restarts = match self.restarts {
            0 => String::new(),
            1 => ", restarted once".to_owned(),
            restarts => format!(", restarted {restarts} times"),
        };
        if earlier.is_some_and(|earlier| earlier.result == self.result) {
            return format!("unit {unit} has failed again ({cause}{restarts})");
        }
        let mut text = format!("unit {unit} has failed ({cause}{restarts})");
        if !self.journal.is_empty() {
            text.push_str("; its journal ends:");
            for line in self.journal.lines() {
                let _ = write!(text, "\n  {line}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_described_once_and_then_counted() {
        let text = "Id=web.service\nResult=exit-code\nExecMainCode=1\nExecMainStatus=127\nNRestarts=1\nInvocationID=ab\n\nweb: not found\n";
        let first = UnitFailure::read(text);
        assert_eq!(
            first.describe(None),
            "unit web.service has failed (exit-code, exit code 127, restarted once); its journal ends:\n  web: not found"
        );
        let second = UnitFailure {
            restarts: 5,
            ..first.clone()
        };
        assert_eq!(
            second.describe(Some(&first)),
            "unit web.service has failed again (exit-code, exit code 127, restarted 5 times)"
        );
    }

    #[test]
    fn hostile_words_are_no_failure() {
        assert_eq!(UnitFailure::read("\n\nx").unit, "");
        assert_eq!(UnitFailure::read("NRestarts=x\nId=a=b").unit, "a=b");
    }

    #[test]
    fn short_waits_look_at_no_units() {
        let seconds = Duration::from_secs;
        let mut watch = UnitWatch::default();
        let mut begins = |elapsed, round, longest| {
            watch.begins_after(seconds(elapsed), seconds(round), seconds(longest))
        };
        assert_eq!(begins(0, 2, 2), None);
        assert_eq!(begins(3, 2, 2), Some(0));
        assert_eq!(begins(5, 2, 2), None);
        assert_eq!(begins(13, 2, 2), Some(0));
        let mut watch = UnitWatch::default();
        let mut begins =
            |elapsed, round| watch.begins_after(seconds(elapsed), seconds(round), seconds(60));
        assert_eq!(begins(0, 60), Some(2));
        assert_eq!(begins(60, 5), Some(0));
    }
}
