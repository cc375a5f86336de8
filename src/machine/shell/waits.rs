//! Waiting for something to become true in the guest.
//!
//! A loop in the guest asks again for some time, and then reports: where others
//! want the shell, after two seconds. Where the guest has nothing else to do it
//! polls often; if it is busy, as at boot, the intervals grow, so that polling
//! does not delay what is waited for.

use std::time::{Duration, Instant};

use super::AwaitedPort;
use super::GuestShell;
use super::commands::Setting;
use super::failed_units::{UNIT_FAILED, UnitWatch};
use crate::agent::{
    ATTEMPTS, CAPTURE, CommandOutcome, Expect, GuestProgram, NOT_YET, PAUSE, POLL, SYSTEMD_BUS,
    UNIT_SIGNALS,
};
use crate::machine::{MachineError, Overdue};
use crate::model::event::{CommandResult, Details};

/// How long a round in the guest lasts: one that cannot be ended for others
/// that want the shell, and one that can.
const ROUND: Duration = Duration::from_secs(2);
const LONG_ROUND: Duration = Duration::from_mins(1);

/// First pauses between two attempts, in milliseconds: of a wait, and of its
/// later rounds.
const FIRST_PAUSE_MS: u32 = 20;
const LATER_PAUSE_MS: u32 = 120;

/// How many shells a wait may lose before it fails. A reboot takes two: that of
/// the system that stops may be killed, and started anew, before the restart.
/// More are the doing of the command that is tried again and again.
const MOST_SHELLS_LOST: u32 = 2;

/// How long one attempt may last beyond the deadline of the wait.
const ATTEMPT_GRACE: Duration = Duration::from_secs(1);

/// The kind of a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketKind {
    Stream,
    Datagram,
}

impl SocketKind {
    /// The kind that the test API asks for.
    #[must_use]
    pub fn of(is_datagram: bool) -> Self {
        if is_datagram {
            Self::Datagram
        } else {
            Self::Stream
        }
    }
}

/// How it is known when to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::machine) enum PollTrigger {
    /// Time has passed.
    Interval,
    /// systemd says that the attempt's unit has changed (see agent/unit-signals.sh).
    UnitSignals,
}

/// How asking in the guest ended, and the last attempt.
#[derive(Debug)]
pub(in crate::machine) enum PollOutcome {
    Reached(CommandOutcome),
    /// The attempt said by one of the statuses for it, 70 to 74, that it never will be.
    Hopeless(i32, CommandOutcome),
    Overdue(CommandOutcome),
}

impl GuestShell {
    /// Waits until a command succeeds; returns its output.
    ///
    /// # Errors
    /// Returns an error if it does not within `limit`, and as for [`GuestShell::execute`].
    pub async fn wait_until_succeeds(
        &self,
        command: &str,
        setting: &Setting,
        limit: Duration,
    ) -> Result<String, MachineError> {
        let attempt = capturing(self.line_in_setting(command, setting).await?);
        let shown = setting.explain(command);
        self.wait_for(
            &format!("`{shown}` to succeed"),
            Some(&shown),
            attempt,
            limit,
        )
        .await
    }

    /// Waits until a command fails; returns its output.
    ///
    /// # Errors
    /// Returns an error if it does not within `limit`, and as for [`GuestShell::execute`].
    pub async fn wait_until_fails(
        &self,
        command: &str,
        setting: &Setting,
        limit: Duration,
    ) -> Result<String, MachineError> {
        let line = self.line_in_setting(command, setting).await?;
        let attempt = capturing(line).map_line(|line| format!("! {line}"));
        let shown = setting.explain(command);
        self.wait_for(&format!("`{shown}` to fail"), Some(&shown), attempt, limit)
            .await
    }

    /// Waits until a file is there.
    ///
    /// # Errors
    /// Returns an error if it is not within `limit`, and as for [`GuestShell::execute`].
    pub async fn wait_for_file(&self, file: &str, limit: Duration) -> Result<(), MachineError> {
        // Not quoted: existing scripts wait for patterns and for $HOME/….
        let attempt = file_attempt(file);
        self.wait_for(&format!("file {file}"), None, attempt, limit)
            .await
            .map(drop)
    }

    /// Waits until something listens on a TCP port. Needs no program in the
    /// guest but bash.
    ///
    /// # Errors
    /// Returns an error if nothing does within `limit`, and as for [`GuestShell::execute`].
    pub async fn wait_for_open_port(
        &self,
        port: u16,
        address: &str,
        limit: Duration,
    ) -> Result<(), MachineError> {
        let attempt = port_attempt(address, port);
        let what = format!("TCP port {port} of {address} to open");
        let waited = self.wait_for(&what, None, attempt, limit).await;
        waited.map(drop).map_err(|error| match error {
            MachineError::Timeout(overdue) => Overdue {
                port: Some(AwaitedPort {
                    address: address.to_owned(),
                    port,
                }),
                ..*overdue
            }
            .error(),
            other => other,
        })
    }

    /// Waits until nothing listens on a TCP port.
    ///
    /// # Errors
    /// Returns an error if something still does after `limit`, and as for [`GuestShell::execute`].
    pub async fn wait_for_closed_port(
        &self,
        port: u16,
        address: &str,
        limit: Duration,
    ) -> Result<(), MachineError> {
        let attempt = port_attempt(address, port).map_line(|line| format!("! {line}"));
        self.wait_for(
            &format!("TCP port {port} of {address} to close"),
            None,
            attempt,
            limit,
        )
        .await
        .map(drop)
    }

    /// Waits until something listens on a Unix socket.
    ///
    /// # Errors
    /// Returns an error if nothing does within `limit`, and as for [`GuestShell::execute`].
    pub async fn wait_for_unix_socket(
        &self,
        path: &str,
        kind: SocketKind,
        limit: Duration,
    ) -> Result<(), MachineError> {
        let kind = match kind {
            SocketKind::Stream => "stream",
            SocketKind::Datagram => "datagram",
        };
        let attempt = ATTEMPTS.call("socket_open", [path, kind]);
        self.wait_for(&format!("Unix socket {path}"), None, attempt, limit)
            .await
            .map(drop)
    }

    /// Waits until `attempt`, which may set `output` to an output in base64, is
    /// true; returns that output.
    pub(in crate::machine) async fn wait_for(
        &self,
        what: &str,
        command: Option<&str>,
        attempt: GuestProgram,
        limit: Duration,
    ) -> Result<String, MachineError> {
        let polled = self
            .life
            .step(
                format!("waiting for {what}"),
                Box::pin(self.poll(attempt, PollTrigger::Interval, limit)),
            )
            .await?;
        match polled {
            PollOutcome::Reached(outcome) => {
                Ok(String::from_utf8_lossy(&outcome.output).into_owned())
            }
            PollOutcome::Hopeless(_, outcome) | PollOutcome::Overdue(outcome) => Err(Overdue {
                details: last_attempt(command, &outcome),
                ..self.life.overdue(what, limit)
            }
            .error()),
        }
    }

    /// Asks in the guest, round after round, until `attempt` is true, says
    /// that it never will be, or the time is over. Goes on in the new system if
    /// the guest restarts.
    pub(in crate::machine) async fn poll(
        &self,
        attempt: GuestProgram,
        trigger: PollTrigger,
        limit: Duration,
    ) -> Result<PollOutcome, MachineError> {
        let begin = Instant::now();
        let mut pause = FIRST_PAUSE_MS;
        let mut shells_lost = 0;
        let mut watch = UnitWatch::default();
        loop {
            let left = limit.saturating_sub(begin.elapsed());
            let longest = self.longest_round().await?;
            let round = left.min(longest);
            let program = round_program(&attempt, trigger, pause, round);
            let watched = watch.begins_after(begin.elapsed(), round, longest);
            let script = self.watching_units(program, watched).text();
            pause = LATER_PAUSE_MS;
            let limit_of_round = Some(left + ATTEMPT_GRACE);
            let round = self.execute_as(&script, attempt.line(), Expect::Answer, limit_of_round);
            let outcome = match round.await {
                // What is waited for may come when the guest has restarted.
                Err(error) if error.has_lost_the_shell() && shells_lost < MOST_SHELLS_LOST => {
                    shells_lost += 1;
                    continue;
                }
                other => other?,
            };
            match outcome.status {
                Some(0) => return Ok(PollOutcome::Reached(outcome)),
                // 124: `timeout` ended an attempt that hung.
                Some(NOT_YET | 124) if begin.elapsed() < limit => {}
                Some(UNIT_FAILED) if begin.elapsed() < limit => {
                    self.take_failure(&outcome.output).await?;
                }
                Some(NOT_YET | 124 | UNIT_FAILED) => return Ok(PollOutcome::Overdue(outcome)),
                status => return Ok(PollOutcome::Hopeless(status.unwrap_or_default(), outcome)),
            }
        }
    }

    async fn longest_round(&self) -> Result<Duration, MachineError> {
        self.connect().await?;
        let running = self.life.running()?;
        let shell = self.channel(&running).await?;
        Ok(if shell.yields() { LONG_ROUND } else { ROUND })
    }
}

/// A round in the guest: an attempt and a pause, again and again.
fn round_program(
    attempt: &GuestProgram,
    trigger: PollTrigger,
    first_pause_ms: u32,
    round: Duration,
) -> GuestProgram {
    let poll = format!("poll \"$1\" {}", round.as_secs());
    let program = attempt.clone().map_line(|line| match trigger {
        PollTrigger::Interval => {
            format!("attempt() {{\n{line}\n}}\ninterval={first_pause_ms}\n{poll}")
        }
        PollTrigger::UnitSignals => format!("attempt() {{\n{line}\n}}\n{poll}"),
    });
    let pauses = match trigger {
        PollTrigger::Interval => PAUSE,
        PollTrigger::UnitSignals => UNIT_SIGNALS,
    };
    let program = program.with(POLL).with(pauses);
    match trigger {
        PollTrigger::Interval => program,
        PollTrigger::UnitSignals => program.with(SYSTEMD_BUS),
    }
}

/// Runs a line, keeps its output, and ends as it did.
fn capturing(line: String) -> GuestProgram {
    GuestProgram::from(line)
        .with(CAPTURE)
        .map_line(|line| format!("capture {line}"))
}

/// Returns the program that succeeds when a file exists. The name is not quoted.
pub(in crate::machine) fn file_attempt(file: &str) -> GuestProgram {
    GuestProgram::from(format!("test -e {file}"))
}

/// Returns the program that succeeds when something listens on a TCP port.
pub(in crate::machine) fn port_attempt(address: &str, port: u16) -> GuestProgram {
    ATTEMPTS.call("port_open", [address, &port.to_string()])
}

/// Returns the output of the last attempt, for the report; its errors are on the console.
fn last_attempt(command: Option<&str>, outcome: &CommandOutcome) -> Details {
    let result = command.map(|command| CommandResult {
        command: command.to_owned(),
        status: None,
        stdout: String::from_utf8_lossy(&outcome.output).into_owned(),
        stderr: String::new(),
    });
    Details {
        command: result,
        ..Details::default()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Runs a round and returns its answer.
    fn run(script: &str) -> String {
        let output = Command::new("bash")
            .args(["-c", script, "bash", "/dev/stdout"])
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn round(attempt: &str, limit: Duration) -> String {
        let attempt = GuestProgram::from(attempt.to_owned()).with(CAPTURE);
        let program = round_program(&attempt, PollTrigger::Interval, FIRST_PAUSE_MS, limit);
        format!("look_at_units() {{ :; }}\n{}", program.text())
    }

    #[test]
    fn a_round_ends_when_the_thing_happens() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("there").display().to_string();
        let script = round(&format!("test -e {file}"), Duration::from_secs(10));
        assert_eq!(
            run(&format!("(sleep 0.2; touch {file}) &\n{script}")),
            "0 \n"
        );
    }

    #[test]
    fn a_round_ends_by_itself() {
        assert_eq!(run(&round("false", Duration::ZERO)), "75 \n");
    }

    #[test]
    fn the_output_of_the_last_attempt_comes_back_whole() {
        let attempt = "capture printf 'a\\0b\\n\\n'";
        assert_eq!(run(&round(attempt, Duration::from_secs(1))), "0 YQBiCgo=\n");
    }

    #[test]
    fn a_status_of_a_command_says_nothing_of_the_poll() {
        assert_eq!(
            run(&round("capture bash -c 'exit 70'", Duration::ZERO)),
            "75 \n"
        );
    }

    #[test]
    fn an_attempt_can_say_that_it_is_hopeless() {
        assert_eq!(run(&round("(exit 70)", Duration::from_secs(5))), "70 \n");
    }
}
