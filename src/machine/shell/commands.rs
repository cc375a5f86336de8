//! Commands in the guest's root shell.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use super::GuestShell;
use crate::agent::{CommandOutcome, Expect, GuestProgram, ShellError, quote};
use crate::machine::{MachineError, Overdue, Seconds};
use crate::model::event::{CommandResult, Details};
use crate::model::manifest::ShellOptions;

/// Time that is added to a command's own limit, which the guest keeps. After it, something that the command started
/// holds its output open.
const SHELL_GRACE: Duration = Duration::from_secs(5);

/// The longest script that is an argument of bash: Linux takes 128 KiB. Longer
/// ones are files.
const LONGEST_ARGUMENT: usize = 100 << 10;

/// A longer command is cut in messages.
const LONGEST_SHOWN: usize = 2000;

/// Where the guest keeps what the last demanded command said on its error output.
const STDERR_FILE: &str = "/run/snowglobe-stderr";

/// Who runs a command, with what in the environment, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// None for root. Others get a login of their own.
    pub user: Option<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: Option<String>,
}

/// The parts of a command's result that a caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub output: bool,
    pub status: bool,
}

impl Wanted {
    fn expect(self) -> Expect {
        match (self.output, self.status) {
            (true, true) => Expect::OutputAndStatus,
            (true, false) => Expect::Output,
            (false, _) => Expect::Nothing,
        }
    }
}

impl GuestShell {
    /// Runs a command under `bash` with `set -euo pipefail`, for at most `limit`.
    ///
    /// # Errors
    /// Returns an error if the machine is off, ends, or its shell no longer answers.
    pub async fn execute(
        &self,
        command: &str,
        expect: Expect,
        limit: Option<Duration>,
    ) -> Result<CommandOutcome, MachineError> {
        self.execute_as(command, command, expect, limit).await
    }

    /// Runs a program of Snowglobe as [`Self::execute`] runs a command.
    pub(in crate::machine) async fn execute_program(
        &self,
        program: &GuestProgram,
        expect: Expect,
        limit: Option<Duration>,
    ) -> Result<CommandOutcome, MachineError> {
        self.execute_as(&program.text(), program.line(), expect, limit)
            .await
    }

    /// Runs a script as [`Self::execute`] runs a command; messages show `shown`.
    pub(in crate::machine) async fn execute_as(
        &self,
        script: &str,
        shown: &str,
        expect: Expect,
        limit: Option<Duration>,
    ) -> Result<CommandOutcome, MachineError> {
        let line = self.strict_line(script, expect, limit).await?;
        self.run_line(&line, shown, expect, limit).await
    }

    /// The line that runs a command strictly, for at most `limit`. A long
    /// command goes to the guest as a file.
    pub(in crate::machine) async fn strict_line(
        &self,
        command: &str,
        expect: Expect,
        limit: Option<Duration>,
    ) -> Result<String, MachineError> {
        if command.len() <= LONGEST_ARGUMENT {
            let line = in_bash(command, limit);
            if line.len() <= LONGEST_ARGUMENT {
                return Ok(line);
            }
        }
        // As an argument, the script would be before these two.
        let arguments = if expect == Expect::Answer {
            "shift; "
        } else {
            ""
        };
        let (mount, path) = self.stage_script(&format!("{arguments}{}", strict(command)))?;
        let message = format!(
            "a command of {} bytes could not be handed over",
            command.len()
        );
        Box::pin(self.must(mount, &message)).await?;
        Ok(with_limit(&format!("bash {}", quote(&path)), limit))
    }

    /// Returns the line that runs a command in a setting.
    pub(in crate::machine) async fn line_in_setting(
        &self,
        command: &str,
        setting: &Setting,
    ) -> Result<String, MachineError> {
        let line = self.apply_setting(command, setting)?;
        self.strict_line(&line, Expect::Output, None).await
    }

    /// Returns a command of nixpkgs' test API with its setting around it.
    pub(in crate::machine) fn apply_setting(
        &self,
        command: &str,
        setting: &Setting,
    ) -> Result<String, MachineError> {
        match self.life.context.shell_options {
            ShellOptions::Strict => self.apply_setting_strictly(command, setting),
            ShellOptions::None => self.apply_setting_strictly(&as_in_20_09(command), setting),
        }
    }

    /// Returns a command with its setting around it, which runs under `set -euo pipefail`.
    pub(in crate::machine) fn apply_setting_strictly(
        &self,
        command: &str,
        setting: &Setting,
    ) -> Result<String, MachineError> {
        let line = setting.apply(command);
        if setting.user.is_some() && line.len() > LONGEST_ARGUMENT {
            return Err(self.life.unable(format!(
                "cannot run a command of {} bytes as another user: it takes {LONGEST_ARGUMENT}; copy it there as a file",
                command.len()
            )));
        }
        Ok(line)
    }

    /// Runs a command with nixpkgs' result: the status, -1 if it is not wanted and -2 if the output is not either, and the
    /// output.
    ///
    /// # Errors
    /// As for [`GuestShell::execute`].
    pub async fn execute_command(
        &self,
        command: &str,
        setting: &Setting,
        wanted: Wanted,
        limit: Option<Duration>,
    ) -> Result<(i32, String), MachineError> {
        let line = self.apply_setting(command, setting)?;
        let outcome = self
            .execute_as(&line, &setting.explain(command), wanted.expect(), limit)
            .await?;
        let missing = if wanted.output { -1 } else { -2 };
        let output = String::from_utf8_lossy(&outcome.output).into_owned();
        Ok((outcome.status.unwrap_or(missing), output))
    }

    /// Sleeps in the guest, by the guest's clock.
    ///
    /// # Errors
    /// As for [`GuestShell::execute`].
    pub async fn sleep(&self, seconds: Seconds) -> Result<(), MachineError> {
        let command = format!("sleep {seconds}");
        self.succeed(&[command], &Setting::default(), None)
            .await
            .map(drop)
    }

    /// Runs a line of the shell that `command` stands for in messages.
    async fn run_line(
        &self,
        line: &str,
        command: &str,
        expect: Expect,
        limit: Option<Duration>,
    ) -> Result<CommandOutcome, MachineError> {
        self.connect().await?;
        let running = self.life.running()?;
        let shell = self.channel(&running).await?;
        let last = limit.map(|limit| limit + SHELL_GRACE);
        let work = async {
            match shell.run(line, expect, last).await {
                Err(ShellError::Overdue { busy }) => {
                    Err(self.output_held_open(command, limit, &busy))
                }
                Err(error @ (ShellError::Closed | ShellError::Connect(_))) => Err(error.into()),
                Err(source) => Err(MachineError::Command {
                    machine: self.life.name().to_owned(),
                    command: shortened(command),
                    source,
                }),
                Ok(outcome) => Ok(outcome),
            }
        };
        self.life.guard(&running, work).await
    }

    fn output_held_open(&self, command: &str, limit: Option<Duration>, busy: &str) -> MachineError {
        // `timeout` in the guest has ended the command itself.
        let holder = match busy {
            "" => "something that it started",
            busy => busy,
        };
        Overdue {
            hint: format!("; {holder} still held its output open"),
            ..self.life.overdue(
                &format!("the end of `{}`", shortened(command)),
                limit.unwrap_or_default(),
            )
        }
        .error()
    }

    /// Runs commands that must succeed; returns their output.
    ///
    /// # Errors
    /// Returns an error if one fails, and as for [`GuestShell::execute`].
    pub async fn succeed(
        &self,
        commands: &[String],
        setting: &Setting,
        limit: Option<Duration>,
    ) -> Result<String, MachineError> {
        let failed = |status| {
            (status != 0).then(|| format!("failed on {} (exit code {status})", self.life.name()))
        };
        self.demand("must succeed", commands, setting, limit, failed)
            .await
    }

    /// Runs commands that must fail; returns their output.
    ///
    /// # Errors
    /// Returns an error if one succeeds, and as for [`GuestShell::execute`].
    pub async fn fail(
        &self,
        commands: &[String],
        setting: &Setting,
        limit: Option<Duration>,
    ) -> Result<String, MachineError> {
        let succeeded = |status| {
            (status == 0).then(|| format!("unexpectedly succeeded on {}", self.life.name()))
        };
        self.demand("must fail", commands, setting, limit, succeeded)
            .await
    }

    /// Runs commands one after another, as long as `wrong` finds nothing wrong
    /// with their status; returns their output.
    async fn demand(
        &self,
        demand: &str,
        commands: &[String],
        setting: &Setting,
        limit: Option<Duration>,
        wrong: impl Fn(i32) -> Option<String>,
    ) -> Result<String, MachineError> {
        let mut all = String::new();
        for command in commands {
            let shown = setting.explain(command);
            let work = async {
                let _turn = self.demanding.lock().await;
                let outcome = self
                    .run_keeping_stderr(&self.apply_setting(command, setting)?, &shown, limit)
                    .await?;
                let stdout = String::from_utf8_lossy(&outcome.output).into_owned();
                let status = outcome.status.unwrap_or_default();
                let Some(wrong) = wrong(status) else {
                    return Ok(stdout);
                };
                let stderr = self.kept_stderr().await;
                let unit = unit_of_command(command, &stderr).filter(|_| status != 0);
                let about_unit = match unit {
                    Some(unit) => self.unit_details(&unit, None).await,
                    None => Details::default(),
                };
                let result = CommandResult {
                    command: shown.clone(),
                    status: Some(status),
                    stdout,
                    stderr,
                };
                Err(MachineError::Assertion {
                    message: format!("command `{shown}` {wrong}{}", timed_out(status, limit)),
                    details: Box::new(Details {
                        command: Some(result),
                        ..about_unit
                    }),
                })
            };
            all.push_str(&self.life.step(format!("{demand}: {shown}"), work).await?);
        }
        Ok(all)
    }

    /// As [`GuestShell::execute_as`]; the command's error output goes to the console
    /// as ever, and to a file of the guest besides.
    async fn run_keeping_stderr(
        &self,
        script: &str,
        shown: &str,
        limit: Option<Duration>,
    ) -> Result<CommandOutcome, MachineError> {
        // `exec`, so that no shell stays behind that holds the command's output open.
        let keep = format!("2> >(exec tee {STDERR_FILE} >&2)");
        let expect = Expect::OutputAndStatus;
        let line = self.strict_line(script, expect, limit).await?;
        let line = format!("{line} {keep}");
        self.run_line(&line, shown, expect, limit).await
    }

    /// Returns the error output of the last command that was checked, as far as the guest still answers.
    async fn kept_stderr(&self) -> String {
        // The copy may be a moment late.
        let command = format!("sleep 0.1; cat {STDERR_FILE}");
        match self
            .execute(&command, Expect::Output, Some(SHELL_GRACE))
            .await
        {
            Ok(outcome) => String::from_utf8_lossy(&outcome.output).replace('\0', ""),
            Err(_) => String::new(),
        }
    }
}

impl Setting {
    /// The command line that runs a command in this setting.
    #[must_use]
    pub fn apply(&self, command: &str) -> String {
        let mut words = String::new();
        for (name, value) in &self.env {
            let _ = write!(words, "export {}; ", quote(&format!("{name}={value}")));
        }
        if let Some(folder) = self.cwd.as_deref() {
            // `cd -` goes to the previous folder.
            let folder = if folder == "-" { "./-" } else { folder };
            let _ = write!(words, "cd -- {}; ", quote(folder));
        }
        words.push_str(command);
        match &self.user {
            None => words,
            Some(user) => {
                let strict = format!("exec {}", in_bash(&words, None));
                format!("su -l -s /bin/sh -c {} {}", quote(&strict), quote(user))
            }
        }
    }

    /// The command as messages show it.
    #[must_use]
    pub fn explain(&self, command: &str) -> String {
        let command = shortened(command);
        match &self.user {
            Some(user) => format!("{command} (as {user})"),
            None => command,
        }
    }
}

/// Returns the unit that a failed command was about: by systemctl's words on the error output, or by the command.
fn unit_of_command(command: &str, stderr: &str) -> Option<String> {
    const NAME: &str = r"([A-Za-z0-9@:_.\\-]+)";
    if command.contains("--user") {
        return None;
    }
    let words = format!(r#"Job for {NAME} (?:failed|canceled)|systemctl status "?{NAME}"#);
    let call = format!(
        r"\bsystemctl(?:\s+-\S+)*\s+(?:start|restart|reload|try-restart|reload-or-restart|status|is-active)(?:\s+-\S+)*\s+{NAME}"
    );
    let found = |pattern: &str, text: &str| {
        let groups = Regex::new(pattern).ok()?.captures(text)?;
        let mut names = groups.iter().skip(1).flatten();
        names
            .next()
            .map(|name| name.as_str().trim_end_matches('.').to_owned())
    };
    found(&words, stderr).or_else(|| found(&call, command))
}

/// `timeout` itself reports a timeout by the status 124.
fn timed_out(status: i32, limit: Option<Duration>) -> String {
    match limit {
        Some(limit) if status == 124 => format!(": it took longer than {} s", limit.as_secs_f64()),
        _ => String::new(),
    }
}

/// The bash command line that runs `command`.
pub(in crate::machine) fn in_bash(command: &str, limit: Option<Duration>) -> String {
    with_limit(&format!("bash -c {}", quote(&strict(command))), limit)
}

/// A script that ends at the first command that fails.
fn strict(command: &str) -> String {
    format!("set -euo pipefail; {command}")
}

/// A script as nixpkgs 20.09's driver runs it: without options of bash, and what it leaves in the background may
/// keep its output open.
fn as_in_20_09(command: &str) -> String {
    format!(
        "set +eu +o pipefail
snowglobe_output=$(mktemp -p /run 2> /dev/null || mktemp)
(
{command}
) > \"$snowglobe_output\"
snowglobe_status=$?
cat \"$snowglobe_output\"
rm -f \"$snowglobe_output\"
exit $snowglobe_status"
    )
}

fn with_limit(line: &str, limit: Option<Duration>) -> String {
    match limit {
        Some(limit) => format!("timeout {} {line}", limit.as_secs_f64()),
        None => line.to_owned(),
    }
}

/// A command as messages show it: the beginning of a long one.
pub(in crate::machine) fn shortened(command: &str) -> String {
    if command.len() <= LONGEST_SHOWN {
        return command.to_owned();
    }
    let shown = command.floor_char_boundary(LONGEST_SHOWN / 2);
    format!("{}… ({} bytes)", &command[..shown], command.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_on_units_are_known() {
        let of = |command, stderr| unit_of_command(command, stderr);
        let failed =
            "Job for web.service failed because of …\nSee \"systemctl status web.service\" and";
        assert_eq!(of("./deploy", failed).as_deref(), Some("web.service"));
        assert_eq!(
            of("set -x; systemctl --no-block restart -q web@1 && true", "").as_deref(),
            Some("web@1")
        );
        assert_eq!(of("systemctl --user start web", failed), None);
        assert_eq!(of("echo systemctl", ""), None);
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
    fn commands_of_20_09_may_leave_a_process() {
        let command = "false | true; echo \"$unset\"; sleep 30 & echo $!; (exit 3)";
        let output = std::process::Command::new("bash")
            .args(["-c", &strict(&as_in_20_09(command))])
            .stderr(std::process::Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let pid = nix::unistd::Pid::from_raw(text.trim().parse().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }

    #[test]
    fn settings_dress_a_command() {
        let setting = Setting {
            user: None,
            env: [("A".to_owned(), "it's".to_owned())].into(),
            cwd: Some("/tmp".to_owned()),
        };
        let line = in_bash(&setting.apply("echo \"$A\"; pwd"), None);
        let output = std::process::Command::new("bash")
            .arg("-c")
            .arg(line)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "it's\n/tmp\n");
        let alice = Setting {
            user: Some("alice".to_owned()),
            ..Setting::default()
        };
        assert!(alice.apply("id").starts_with("su -l -s /bin/sh -c "));
        assert!(alice.apply("id").ends_with(" alice"));
        assert_eq!(alice.explain("id"), "id (as alice)");
    }
}
