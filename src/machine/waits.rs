//! Waiting for something to become true in the guest.
//!
//! A loop in the guest asks again for some time, and then reports: where others
//! want the shell, after two seconds. Where the guest has nothing else to do it
//! polls often; if it is busy, as at boot, the intervals grow, so that polling
//! does not delay what is waited for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::commands::{Setting, quote};
use super::{Machine, MachineError, Overdue, signals};
use crate::event::{CommandResult, Details};
use crate::qemu::{CommandOutcome, Expect, NOT_YET};

/// How long a round in the guest lasts: one that cannot be ended for others
/// that want the shell, and one that can.
const ROUND: Duration = Duration::from_secs(2);
const LONG_ROUND: Duration = Duration::from_mins(1);

/// Pauses between two attempts, in milliseconds: the first of a wait, the
/// first of its later rounds, that of an idle guest, and the longest.
const FIRST_PAUSE_MS: u32 = 20;
const LATER_PAUSE_MS: u32 = 120;
const IDLE_PAUSE_MS: u32 = 40;
const LONGEST_PAUSE_MS: u32 = 500;

/// How long one attempt may last beyond the deadline of the wait.
const ATTEMPT_GRACE: Duration = Duration::from_secs(1);

/// What is spoken over a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketKind {
    Stream,
    Datagram,
}

/// How it is known when to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PollTrigger {
    /// Time has passed.
    Interval,
    /// systemd says that the attempt's unit has changed (see [`signals`]).
    UnitSignals,
}

/// How asking in the guest ended, and the last attempt.
#[derive(Debug)]
pub(super) enum PollOutcome {
    Reached(CommandOutcome),
    /// The attempt said by one of the statuses for it, 70 to 74, that it never will be.
    Hopeless(i32, CommandOutcome),
    Overdue(CommandOutcome),
}

impl Machine {
    /// Waits until a command succeeds; returns its output.
    ///
    /// # Errors
    /// When it does not within `limit`, and as for [`Machine::execute`].
    pub async fn wait_until_succeeds(
        self: &Arc<Self>,
        command: &str,
        setting: &Setting,
        limit: Duration,
    ) -> Result<String, MachineError> {
        let attempt = capturing(&self.dressed_line(command, setting).await?);
        let shown = setting.explain(command);
        self.wait_for(
            &format!("`{shown}` to succeed"),
            Some(&shown),
            &attempt,
            limit,
        )
        .await
    }

    /// Waits until a command fails; returns its output.
    ///
    /// # Errors
    /// When it does not within `limit`, and as for [`Machine::execute`].
    pub async fn wait_until_fails(
        self: &Arc<Self>,
        command: &str,
        setting: &Setting,
        limit: Duration,
    ) -> Result<String, MachineError> {
        let line = self.dressed_line(command, setting).await?;
        let attempt = format!("! {}", capturing(&line));
        let shown = setting.explain(command);
        self.wait_for(&format!("`{shown}` to fail"), Some(&shown), &attempt, limit)
            .await
    }

    /// Waits until a file is there.
    ///
    /// # Errors
    /// When it is not within `limit`, and as for [`Machine::execute`].
    pub async fn wait_for_file(
        self: &Arc<Self>,
        file: &str,
        limit: Duration,
    ) -> Result<(), MachineError> {
        // Not quoted: existing scripts wait for patterns and for $HOME/….
        let attempt = file_attempt(file);
        self.wait_for(&format!("file {file}"), None, &attempt, limit)
            .await
            .map(drop)
    }

    /// Waits until something listens on a TCP port. Needs no program in the
    /// guest but bash.
    ///
    /// # Errors
    /// When nothing does within `limit`, and as for [`Machine::execute`].
    pub async fn wait_for_open_port(
        self: &Arc<Self>,
        port: u16,
        address: &str,
        limit: Duration,
    ) -> Result<(), MachineError> {
        let attempt = port_attempt(address, port);
        self.wait_for(
            &format!("TCP port {port} of {address} to open"),
            None,
            &attempt,
            limit,
        )
        .await
        .map(drop)
    }

    /// Waits until nothing listens on a TCP port.
    ///
    /// # Errors
    /// When something still does after `limit`, and as for [`Machine::execute`].
    pub async fn wait_for_closed_port(
        self: &Arc<Self>,
        port: u16,
        address: &str,
        limit: Duration,
    ) -> Result<(), MachineError> {
        let attempt = format!("! {}", port_attempt(address, port));
        self.wait_for(
            &format!("TCP port {port} of {address} to close"),
            None,
            &attempt,
            limit,
        )
        .await
        .map(drop)
    }

    /// Waits until something listens on a Unix socket.
    ///
    /// # Errors
    /// When nothing does within `limit`, and as for [`Machine::execute`].
    pub async fn wait_for_unix_socket(
        self: &Arc<Self>,
        path: &str,
        kind: SocketKind,
        limit: Duration,
    ) -> Result<(), MachineError> {
        // In the kernel's list, 00010000 marks a socket that takes connections.
        let fits = match kind {
            SocketKind::Stream => "[ $f = 00010000 ]",
            SocketKind::Datagram => "[ $t = 0002 ]",
        };
        let attempt = format!(
            "( while read -r _ _ _ f t _ _ p; do [ \"$p\" = {} ] && {fits} && exit 0; done < /proc/net/unix; exit 1 )",
            quote(path)
        );
        self.wait_for(&format!("Unix socket {path}"), None, &attempt, limit)
            .await
            .map(drop)
    }

    /// Waits until `attempt`, a line of bash that may set `o` to an output in
    /// base64, is true; returns that output.
    pub(super) async fn wait_for(
        self: &Arc<Self>,
        what: &str,
        command: Option<&str>,
        attempt: &str,
        limit: Duration,
    ) -> Result<String, MachineError> {
        let polled = self
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
                ..self.overdue(what, limit)
            }
            .error()),
        }
    }

    /// Asks in the guest, round after round, until `attempt` is true, says
    /// that it never will be, or the time is over.
    pub(super) async fn poll(
        self: &Arc<Self>,
        attempt: &str,
        trigger: PollTrigger,
        limit: Duration,
    ) -> Result<PollOutcome, MachineError> {
        let begin = Instant::now();
        let mut pause = FIRST_PAUSE_MS;
        loop {
            let left = limit.saturating_sub(begin.elapsed());
            let round = left.min(self.longest_round().await?);
            let script = match trigger {
                PollTrigger::Interval => round_script(attempt, pause, round),
                PollTrigger::UnitSignals => rounds(attempt, &signals::listen(), round),
            };
            pause = LATER_PAUSE_MS;
            let outcome = self
                .execute(&script, Expect::Answer, Some(left + ATTEMPT_GRACE))
                .await?;
            match outcome.status {
                Some(0) => return Ok(PollOutcome::Reached(outcome)),
                // 124: `timeout` ended an attempt that hung.
                Some(NOT_YET | 124) if begin.elapsed() < limit => {}
                Some(NOT_YET | 124) => return Ok(PollOutcome::Overdue(outcome)),
                status => return Ok(PollOutcome::Hopeless(status.unwrap_or_default(), outcome)),
            }
        }
    }

    async fn longest_round(self: &Arc<Self>) -> Result<Duration, MachineError> {
        self.connect().await?;
        let running = self.running()?;
        let shell = self.shell(&running).await?;
        Ok(if shell.yields() { LONG_ROUND } else { ROUND })
    }
}

/// Bash that asks more often where the guest has nothing else to do.
fn round_script(attempt: &str, first_pause: u32, round: Duration) -> String {
    // The fifth word of /proc/stat counts hundredths of a second in which the
    // processors had nothing to do: half of the pause is idle.
    let pause = format!(
        "i={first_pause}; pause() {{ \
         read -r _ _ _ _ b _ < /proc/stat; rest $i; read -r _ _ _ _ a _ < /proc/stat; \
         if [ $(((a - b) * 20)) -ge $i ]; then i={IDLE_PAUSE_MS}; \
         else i=$((i * 3 / 2)); [ $i -le {LONGEST_PAUSE_MS} ] || i={LONGEST_PAUSE_MS}; fi; }}"
    );
    rounds(attempt, &pause, round)
}

/// Bash that tries until the attempt is true, it says by a status above 69
/// that it never will be, or the round is over; writes that and `o` to the file
/// it is given. `pause` defines what is done between two attempts: a function
/// of this name, which may use `rest MILLISECONDS`, or `end 0`.
fn rounds(attempt: &str, pause: &str, round: Duration) -> String {
    let round = round.as_secs();
    // A pipe on which nothing comes serves for rests: to start a process, as
    // `sleep` is, may take longer than the rest.
    format!(
        "set +eu; answer=$1; o=; exec {{never}}<> <(:); \
         end() {{ echo \"$1 $o\" > \"$answer\"; exit; }}; \
         seconds() {{ printf -v s %d.%03d $(($1 / 1000)) $(($1 % 1000)); }}; \
         rest() {{ seconds $1; read -r -t $s -u $never; }}; {pause}; \
         while :; do {attempt}; s=$?; \
         [ $s -eq 0 ] && end 0; \
         [ $s -ge 70 ] && [ $s -lt 75 ] && end $s; \
         [ $SECONDS -ge {round} ] && end {NOT_YET}; \
         pause; done"
    )
}

/// Bash that runs a line, keeps its output in `o`, and ends as it did.
fn capturing(line: &str) -> String {
    // Its statuses are its own: none says that the wait is hopeless.
    format!("{{ o=$({line} | base64 -w 0; exit ${{PIPESTATUS[0]}}) || false; }}")
}

/// Bash that is true when a file is there.
pub(super) fn file_attempt(file: &str) -> String {
    format!("test -e {file}")
}

/// Bash that is true when something listens on a TCP port. Needs no process.
pub(super) fn port_attempt(address: &str, port: u16) -> String {
    format!("{{ : 3<>{}; }} 2> /dev/null", device(address, port))
}

/// Bash's own way to a TCP connection.
pub(super) fn device(address: &str, port: u16) -> String {
    quote(&format!("/dev/tcp/{address}/{port}"))
}

/// What the last attempt printed, for the report; its errors are on the console.
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

    /// What a round answers.
    fn run(script: &str) -> String {
        let output = Command::new("bash")
            .args(["-c", script, "bash", "/dev/stdout"])
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[test]
    fn a_round_ends_when_the_thing_happens() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("there");
        let attempt = format!("test -e {}", file.display());
        let script = format!(
            "(sleep 0.2; touch {}) & {}",
            file.display(),
            round_script(&attempt, 20, Duration::from_secs(10))
        );
        assert_eq!(run(&script), "0 \n");
    }

    #[test]
    fn a_round_ends_by_itself() {
        assert_eq!(run(&round_script("false", 20, Duration::ZERO)), "75 \n");
    }

    #[test]
    fn the_output_of_the_last_attempt_comes_back_whole() {
        let attempt = "o=$(printf 'a\\0b\\n\\n' | base64 -w 0; exit ${PIPESTATUS[0]})";
        assert_eq!(
            run(&round_script(attempt, 20, Duration::from_secs(1))),
            "0 YQBiCgo=\n"
        );
    }

    #[test]
    fn an_attempt_can_say_that_it_is_hopeless() {
        assert_eq!(
            run(&round_script("(exit 70)", 20, Duration::from_secs(5))),
            "70 \n"
        );
    }
}
