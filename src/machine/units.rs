//! systemd's units in the guest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::commands::quote;
use super::waits::Round;
use super::{Machine, MachineError};
use crate::event::{Details, UnitState};
use crate::qemu::Expect;

/// How long systemctl itself may take.
const ANSWER_LIMIT: Duration = Duration::from_mins(15);

/// How much of a unit's journal goes into a report.
const JOURNAL_LINES: usize = 20;

/// What an attempt of [`Machine::wait_for_unit`] says by its status.
const FAILED: i32 = 70;
const INACTIVE: i32 = 71;

impl Machine {
    /// Runs systemctl, for the system or for a user's manager; gives its
    /// status and output.
    ///
    /// # Errors
    /// As for [`Machine::execute`].
    pub async fn systemctl(
        self: &Arc<Self>,
        query: &str,
        user: Option<&str>,
    ) -> Result<(i32, String), MachineError> {
        let outcome = self
            .execute(
                &systemctl_line(query, user),
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
    /// When systemctl fails, and as for [`Machine::execute`].
    pub async fn unit_info(
        self: &Arc<Self>,
        unit: &str,
        user: Option<&str>,
    ) -> Result<BTreeMap<String, String>, MachineError> {
        let query = format!("--no-pager show {}", quote(unit));
        let (status, output) = self.systemctl(&query, user).await?;
        if status != 0 {
            return Err(MachineError::assertion(format!(
                "systemctl cannot tell of the unit {unit} on {} (exit code {status})",
                self.name()
            )));
        }
        Ok(properties(&output))
    }

    /// One property of a unit.
    ///
    /// # Errors
    /// When the unit has none of this name, and as for [`Machine::unit_info`].
    pub async fn unit_property(
        self: &Arc<Self>,
        unit: &str,
        property: &str,
        user: Option<&str>,
    ) -> Result<String, MachineError> {
        let query = format!(
            "--no-pager show {} --property={}",
            quote(unit),
            quote(property)
        );
        let (status, output) = self.systemctl(&query, user).await?;
        if status != 0 {
            return Err(MachineError::assertion(format!(
                "systemctl cannot tell the property {property} of the unit {unit} on {} (exit code {status})",
                self.name()
            )));
        }
        properties(&output).remove(property).ok_or_else(|| {
            MachineError::assertion(format!(
                "the unit {unit} on {} has no property {property}",
                self.name()
            ))
        })
    }

    /// Waits until a unit is active. Ends early when it has failed, or is
    /// inactive with nothing on its way to change that.
    ///
    /// # Errors
    /// When it does not become active, and as for [`Machine::execute`].
    pub async fn wait_for_unit(
        self: &Arc<Self>,
        unit: &str,
        user: Option<&str>,
        limit: Duration,
    ) -> Result<(), MachineError> {
        let for_user = user
            .map(|user| format!(" of user {user}"))
            .unwrap_or_default();
        let attempt = unit_attempt(unit, user);
        self.step(format!("waiting for unit {unit}{for_user}"), async {
            let begin = Instant::now();
            let mut pause = 20;
            loop {
                match self.round(&attempt, begin, limit, &mut pause).await? {
                    Round::Reached(_) => break Ok(()),
                    Round::Hopeless(FAILED, _) => {
                        break Err(self.unit_error(unit, user, "has failed").await);
                    }
                    Round::Hopeless(INACTIVE, _) => {
                        let loaded = self.unit_property(unit, "LoadState", user).await;
                        let state = match loaded.as_deref() {
                            Ok("not-found") => "does not exist: systemd has no unit of this name",
                            _ => "is inactive, and no job is pending that could start it",
                        };
                        break Err(self.unit_error(unit, user, state).await);
                    }
                    Round::NotYet(_) | Round::Hopeless(..) if begin.elapsed() >= limit => {
                        break Err(MachineError::Timeout {
                            what: format!("unit {unit}{for_user} on {}", self.name()),
                            limit,
                            hint: String::new(),
                            details: self.unit_details(unit, user).await,
                        });
                    }
                    Round::NotYet(_) | Round::Hopeless(..) => {}
                }
            }
        })
        .await
    }

    async fn unit_error(
        self: &Arc<Self>,
        unit: &str,
        user: Option<&str>,
        state: &str,
    ) -> MachineError {
        MachineError::Assertion {
            message: format!("unit {unit} on {} {state}", self.name()),
            details: self.unit_details(unit, user).await,
        }
    }

    /// What systemd says of a unit, and the end of its journal; for reports.
    async fn unit_details(self: &Arc<Self>, unit: &str, user: Option<&str>) -> Box<Details> {
        let query = format!("--no-pager --full --lines=0 status {} 2>&1", quote(unit));
        let status = self.systemctl(&query, user).await;
        let of_user = user.map_or("--unit", |_| "--user-unit");
        let journal = format!(
            "journalctl --no-pager --quiet --lines={JOURNAL_LINES} {of_user} {}",
            quote(unit)
        );
        let journal = self
            .execute(&journal, Expect::Output, Some(ANSWER_LIMIT))
            .await;
        Box::new(Details {
            unit: Some(UnitState {
                unit: unit.to_owned(),
                status: status.map_or_else(|_| String::new(), |(_, output)| output),
                journal: journal.map_or_else(
                    |_| String::new(),
                    |outcome| String::from_utf8_lossy(&outcome.output).into_owned(),
                ),
            }),
            ..Details::default()
        })
    }
}

/// Bash that is true when the unit is active, and says by its status when it
/// never will be.
fn unit_attempt(unit: &str, user: Option<&str>) -> String {
    let ask = systemctl_line(
        &format!("show --property=ActiveState {}", quote(unit)),
        user,
    );
    let jobs = systemctl_line("list-jobs --full 2>&1", user);
    format!(
        "( s=$({ask}); case $s in \
         ActiveState=active) exit 0;; \
         ActiveState=failed) exit {FAILED};; \
         ActiveState=inactive) {jobs} | grep -q 'No jobs' || exit 1; \
         [ \"$({ask})\" = ActiveState=inactive ] && exit {INACTIVE}; exit 1;; \
         *) exit 1;; esac )"
    )
}

fn systemctl_line(query: &str, user: Option<&str>) -> String {
    match user {
        None => format!("systemctl {query}"),
        Some(user) => {
            let line = format!("XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user {query}");
            format!("su -l {} --shell /bin/sh -c {}", quote(user), quote(&line))
        }
    }
}

fn properties(output: &str) -> BTreeMap<String, String> {
    output
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_a_manager_of_their_own() {
        assert_eq!(
            systemctl_line("start x", Some("alice")),
            "su -l alice --shell /bin/sh -c 'XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user start x'"
        );
    }

    #[test]
    fn properties_may_hold_equal_signs() {
        let parsed = properties("Id=a.service\nEnvironment=A=1 B=2\n\n");
        assert_eq!(parsed["Environment"], "A=1 B=2");
    }
}
