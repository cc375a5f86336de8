//! Commands in the guest's root shell.

use std::sync::Arc;
use std::time::Duration;

use super::{Machine, MachineError};
use crate::qemu::{Expect, Outcome};

/// What is added to a command's own limit before the shell is given up.
const SHELL_GRACE: Duration = Duration::from_secs(15);

/// How much of a command's output goes into a message.
const EXCERPT_BYTES: usize = 4000;

impl Machine {
    /// Runs a command under `bash` with `set -euo pipefail`, for at most `limit`.
    ///
    /// # Errors
    /// When the machine is off, ends, or its shell no longer answers.
    pub async fn execute(
        self: &Arc<Self>,
        command: &str,
        expect: Expect,
        limit: Option<Duration>,
    ) -> Result<Outcome, MachineError> {
        self.connect().await?;
        let running = self.running()?;
        let shell = self.shell(&running).await?;
        let line = in_bash(command, limit);
        let work = async { Ok(shell.run(&line, expect).await?) };
        let Some(limit) = limit else {
            return self.guard(&running, work).await;
        };
        match tokio::time::timeout(limit + SHELL_GRACE, self.guard(&running, work)).await {
            Ok(result) => result,
            // `timeout' in the guest has ended the command; its output is still open.
            Err(_) => Err(MachineError::Timeout {
                what: format!("the end of `{command}'"),
                limit,
                detail: "; something that it started still holds its output open".to_owned(),
            }),
        }
    }

    /// Runs commands that must succeed; gives their output.
    ///
    /// # Errors
    /// When one fails, and as for [`Machine::execute`].
    pub async fn succeed(
        self: &Arc<Self>,
        commands: &[String],
        limit: Option<Duration>,
    ) -> Result<String, MachineError> {
        let mut output = String::new();
        for command in commands {
            let (status, text) = self.demand("must succeed", command, limit).await?;
            if status != 0 {
                return Err(MachineError::Assertion(format!(
                    "command `{command}' failed on {} (exit code {status}){}{}",
                    self.name(),
                    timed_out(status, limit),
                    shown(&text)
                )));
            }
            output.push_str(&text);
        }
        Ok(output)
    }

    /// Runs commands that must fail; gives their output.
    ///
    /// # Errors
    /// When one succeeds, and as for [`Machine::execute`].
    pub async fn fail(
        self: &Arc<Self>,
        commands: &[String],
        limit: Option<Duration>,
    ) -> Result<String, MachineError> {
        let mut output = String::new();
        for command in commands {
            let (status, text) = self.demand("must fail", command, limit).await?;
            if status == 0 {
                return Err(MachineError::Assertion(format!(
                    "command `{command}' unexpectedly succeeded on {}{}",
                    self.name(),
                    shown(&text)
                )));
            }
            output.push_str(&text);
        }
        Ok(output)
    }

    /// Runs a command whose status decides over the test; gives it and the output.
    async fn demand(
        self: &Arc<Self>,
        demand: &str,
        command: &str,
        limit: Option<Duration>,
    ) -> Result<(i32, String), MachineError> {
        let work = self.execute(command, Expect::OutputAndStatus, limit);
        let outcome = self.step(format!("{demand}: {command}"), work).await?;
        let text = String::from_utf8_lossy(&outcome.output).into_owned();
        Ok((outcome.status.unwrap_or_default(), text))
    }
}

/// `timeout` itself tells of an overrun by the status 124.
fn timed_out(status: i32, limit: Option<Duration>) -> String {
    match limit {
        Some(limit) if status == 124 => format!(": it took longer than {} s", limit.as_secs_f64()),
        _ => String::new(),
    }
}

/// The bash command line that runs `command`.
pub(super) fn in_bash(command: &str, limit: Option<Duration>) -> String {
    let script = quote(&format!("set -euo pipefail; {command}"));
    match limit {
        Some(limit) => format!("timeout {} bash -c {script}", limit.as_secs_f64()),
        None => format!("bash -c {script}"),
    }
}

/// A word that the shell takes as it is. A NUL byte cannot be in any.
pub(super) fn quote(word: &str) -> String {
    let clean = word.replace('\0', "");
    shlex::try_quote(&clean).map_or_else(|_| String::new(), std::borrow::Cow::into_owned)
}

/// The output for a message, long ones cut in the middle.
pub(super) fn shown(output: &str) -> String {
    let output = output.trim_end();
    if output.is_empty() {
        return "; it printed nothing".to_owned();
    }
    if output.len() <= EXCERPT_BYTES {
        return format!("; it printed:\n{output}");
    }
    let head = floor(output, EXCERPT_BYTES / 2);
    let tail = floor(output, output.len() - EXCERPT_BYTES / 2);
    format!(
        "; it printed:\n{}\n[… {} bytes …]\n{}",
        &output[..head],
        tail - head,
        &output[tail..]
    )
}

/// The last character boundary up to `index`.
fn floor(text: &str, index: usize) -> usize {
    (0..=index)
        .rev()
        .find(|index| text.is_char_boundary(*index))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_command_as_they_are() {
        for word in [
            "",
            "a b",
            "it's \"$b\" `c` \\",
            "two\nlines",
            "héllo!",
            "-n",
            "~",
        ] {
            let line = format!("printf %s {}", quote(word));
            let output = std::process::Command::new("bash")
                .arg("-c")
                .arg(line)
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }

    #[test]
    fn commands_have_a_limit_and_are_strict() {
        assert_eq!(in_bash("true", None), "bash -c 'set -euo pipefail; true'");
        assert_eq!(
            in_bash("true", Some(Duration::from_millis(1500))),
            "timeout 1.5 bash -c 'set -euo pipefail; true'"
        );
    }

    #[test]
    fn long_output_is_cut_in_the_middle() {
        let text = format!("begin{}é{}end", "x".repeat(1995), "y".repeat(5000));
        let shown = shown(&text);
        assert!(shown.contains("begin") && shown.contains("end") && shown.contains("bytes"));
        assert!(shown.len() < EXCERPT_BYTES + 100);
    }
}
