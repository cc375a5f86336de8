//! systemd's units in the guest.

use std::collections::BTreeMap;
use std::time::Duration;

use super::GuestShell;
use super::properties::properties;
use super::waits::{PollOutcome, PollTrigger};
use crate::agent::{Expect, GuestProgram, UNITS, quote};
use crate::machine::{MachineError, Overdue};
use crate::model::event::{Details, UnitState};
use crate::suggestion::did_you_mean;

/// How long systemctl itself may take.
const ANSWER_LIMIT: Duration = Duration::from_mins(15);

/// How much of a unit's journal goes into a report.
const JOURNAL_LINES: usize = 20;

/// The exit status of an attempt whose unit has failed (see agent/units.sh).
pub(in crate::machine) const FAILED: i32 = 70;

impl GuestShell {
    /// Runs systemctl, for the system or for a user's manager; returns its
    /// status and output.
    ///
    /// # Errors
    /// As for [`GuestShell::execute`].
    pub async fn systemctl(
        &self,
        query: &str,
        user: Option<&str>,
    ) -> Result<(i32, String), MachineError> {
        let outcome = self
            .execute_program(
                &systemctl_program(query, user),
                Expect::OutputAndStatus,
                Some(ANSWER_LIMIT),
            )
            .await?;
        Ok((
            outcome.status.unwrap_or_default(),
            String::from_utf8_lossy(&outcome.output).into_owned(),
        ))
    }

    /// All properties of a unit.
    ///
    /// # Errors
    /// Returns an error if systemctl fails, and as for [`GuestShell::execute`].
    pub async fn unit_info(
        &self,
        unit: &str,
        user: Option<&str>,
    ) -> Result<BTreeMap<String, String>, MachineError> {
        let query = format!("--no-pager show -- {}", quote(unit));
        let (status, output) = self.systemctl(&query, user).await?;
        if status != 0 {
            return Err(MachineError::assertion(format!(
                "systemctl cannot show the unit {unit} on {} (exit code {status})",
                self.life.name()
            )));
        }
        Ok(properties(&output))
    }

    /// One property of a unit.
    ///
    /// # Errors
    /// Returns an error if the unit has none of this name, and as for [`GuestShell::unit_info`].
    pub async fn unit_property(
        &self,
        unit: &str,
        property: &str,
        user: Option<&str>,
    ) -> Result<String, MachineError> {
        let query = format!(
            "--no-pager show --property={} -- {}",
            quote(property),
            quote(unit)
        );
        let (status, output) = self.systemctl(&query, user).await?;
        if status != 0 {
            return Err(MachineError::assertion(format!(
                "systemctl cannot show the property {property} of the unit {unit} on {} (exit code {status})",
                self.life.name()
            )));
        }
        properties(&output).remove(property).ok_or_else(|| {
            MachineError::assertion(format!(
                "the unit {unit} on {} has no property {property}",
                self.life.name()
            ))
        })
    }

    /// Waits until a unit is active. Ends early when it has failed, or is
    /// inactive with nothing on its way to change that.
    ///
    /// # Errors
    /// Returns an error if it does not become active, and as for [`GuestShell::execute`].
    pub async fn wait_for_unit(
        &self,
        unit: &str,
        user: Option<&str>,
        limit: Duration,
    ) -> Result<(), MachineError> {
        let for_user = user
            .map(|user| format!(" of user {user}"))
            .unwrap_or_default();
        let attempt = unit_attempt(unit, user);
        // A user's manager has a socket of its own.
        let trigger = match user {
            None => PollTrigger::UnitSignals,
            Some(_) => PollTrigger::Interval,
        };
        self.life
            .step(format!("waiting for unit {unit}{for_user}"), async {
                match Box::pin(self.poll(attempt, trigger, limit)).await? {
                    PollOutcome::Reached(_) => Ok(()),
                    PollOutcome::Hopeless(status, _) => {
                        Err(self.hopeless(unit, user, status).await)
                    }
                    PollOutcome::Overdue(_) => Err(Overdue {
                        details: self.unit_details(unit, user).await,
                        ..self.life.overdue(&format!("unit {unit}{for_user}"), limit)
                    }
                    .error()),
                }
            })
            .await
    }

    /// Why a unit that an attempt gave up is not active.
    pub(in crate::machine) async fn hopeless(
        &self,
        unit: &str,
        user: Option<&str>,
        status: i32,
    ) -> MachineError {
        if status == FAILED {
            self.unit_error(unit, user, "has failed").await
        } else {
            self.inactive(unit, user).await
        }
    }

    /// Why a unit will not become active by itself.
    async fn inactive(&self, unit: &str, user: Option<&str>) -> MachineError {
        let loaded = self.unit_property(unit, "LoadState", user).await;
        if loaded.is_ok_and(|state| state == "not-found") {
            let meant = self.similar_unit(unit, user).await;
            let meant = meant.map(|question| format!("; {question}"));
            let state = format!(
                "does not exist: systemd has no unit of this name{}",
                meant.unwrap_or_default()
            );
            return self.unit_error(unit, user, &state).await;
        }
        let state = "is inactive, and no job is pending that could start it";
        let Some(failed) = self.failed_dependency(unit, user).await else {
            return self.unit_error(unit, user, state).await;
        };
        MachineError::Assertion {
            message: format!(
                "unit {unit} on {} {state}: {failed}, which it depends on, has failed",
                self.life.name()
            ),
            details: Box::new(self.unit_details(&failed, user).await),
        }
    }

    /// Asks for the unit that may be meant by a name that systemd does not know.
    async fn similar_unit(&self, unit: &str, user: Option<&str>) -> Option<String> {
        let all = "--no-pager --plain --no-legend --full";
        let (_, files) = self
            .systemctl(&format!("list-unit-files {all}"), user)
            .await
            .ok()?;
        let (_, units) = self
            .systemctl(&format!("list-units --all {all}"), user)
            .await
            .ok()?;
        let name = match unit.rsplit_once('.') {
            Some(_) => unit.to_owned(),
            None => format!("{unit}.service"),
        };
        let lines = files.lines().chain(units.lines());
        did_you_mean(
            &name,
            lines.filter_map(|line| line.split_whitespace().next()),
        )
    }

    /// A unit that has failed, of those that another one needs.
    async fn failed_dependency(&self, unit: &str, user: Option<&str>) -> Option<String> {
        let needed = format!("list-dependencies --plain --no-pager -- {}", quote(unit));
        let failed = "list-units --state=failed --plain --no-legend --no-pager --full";
        let (_, needed) = self.systemctl(&needed, user).await.ok()?;
        let (_, failed) = self.systemctl(failed, user).await.ok()?;
        let needed: Vec<&str> = needed.lines().skip(1).map(str::trim).collect();
        failed
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .find(|failed| needed.contains(failed))
            .map(str::to_owned)
    }

    pub(super) async fn unit_error(
        &self,
        unit: &str,
        user: Option<&str>,
        state: &str,
    ) -> MachineError {
        MachineError::Assertion {
            message: format!("unit {unit} on {} {state}", self.life.name()),
            details: Box::new(self.unit_details(unit, user).await),
        }
    }

    /// Returns the status of a unit and the end of its journal, for reports.
    pub(super) async fn unit_details(&self, unit: &str, user: Option<&str>) -> Details {
        let query = format!("--no-pager --full --lines=0 status -- {} 2>&1", quote(unit));
        let status = self.systemctl(&query, user).await;
        let of_user = user.map_or("--unit", |_| "--user-unit");
        let journal = format!(
            "journalctl --no-pager --quiet --lines={JOURNAL_LINES} {of_user}={}",
            quote(unit)
        );
        let journal = self
            .execute(&journal, Expect::Output, Some(ANSWER_LIMIT))
            .await;
        Details {
            unit: Some(UnitState {
                unit: unit.to_owned(),
                status: status.map_or_else(|_| String::new(), |(_, output)| output),
                journal: journal.map_or_else(
                    |_| String::new(),
                    |outcome| String::from_utf8_lossy(&outcome.output).into_owned(),
                ),
            }),
            ..Details::default()
        }
    }
}

/// An attempt of a poll: whether the unit is active.
pub(in crate::machine) fn unit_attempt(unit: &str, user: Option<&str>) -> GuestProgram {
    UNITS.call("unit_active", std::iter::once(unit).chain(user))
}

fn systemctl_program(query: &str, user: Option<&str>) -> GuestProgram {
    match user {
        None => GuestProgram::from(format!("systemctl {query}")),
        Some(user) => UNITS.call("user_systemctl", [user, query]),
    }
}
