//! Bash that runs in a guest: a line, and the functions of `*.sh` that it calls.

use std::collections::BTreeSet;

/// A file of functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShellFile(&'static str);

pub const ATTEMPTS: ShellFile = ShellFile(include_str!("attempts.sh"));
pub const BACKGROUND: ShellFile = ShellFile(include_str!("background.sh"));
pub const CAPTURE: ShellFile = ShellFile(include_str!("capture.sh"));
pub const CLOCK: ShellFile = ShellFile(include_str!("clock.sh"));
pub const FAILED_UNITS: ShellFile = ShellFile(include_str!("failed-units.sh"));
pub const FAULTS: ShellFile = ShellFile(include_str!("faults.sh"));
pub const LISTENERS: ShellFile = ShellFile(include_str!("listeners.sh"));
pub const PAUSE: ShellFile = ShellFile(include_str!("pause.sh"));
pub const POLL: ShellFile = ShellFile(include_str!("poll.sh"));
pub const SHARED_FOLDERS: ShellFile = ShellFile(include_str!("shared-folders.sh"));
pub const SYSTEMD_BUS: ShellFile = ShellFile(include_str!("systemd-bus.sh"));
pub const UNITS: ShellFile = ShellFile(include_str!("units.sh"));
pub const UNIT_SIGNALS: ShellFile = ShellFile(include_str!("unit-signals.sh"));
pub(super) const FIND_PORTS: ShellFile = ShellFile(include_str!("find-ports.sh"));
pub(super) const TERMINAL: ShellFile = ShellFile(include_str!("terminal.sh"));
pub(super) const GUARD: ShellFile = ShellFile(include_str!("guard.sh"));

impl ShellFile {
    /// Its text without comments: all of it goes through the guest's console.
    pub(super) fn text(self) -> String {
        let is_code = |line: &&str| {
            let line = line.trim_start();
            !line.is_empty() && !line.starts_with('#')
        };
        let lines = self.0.lines().filter(is_code);
        lines.flat_map(|line| [line, "\n"]).collect()
    }

    /// A call of one of its functions. Arguments are quoted.
    pub fn call<A: AsRef<str>>(
        self,
        function: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> GuestProgram {
        let mut line = function.to_owned();
        for argument in arguments {
            line.push(' ');
            line.push_str(&quote(argument.as_ref()));
        }
        GuestProgram::from(line).with(self)
    }
}

/// A line of bash, and the functions that it calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuestProgram {
    files: BTreeSet<ShellFile>,
    line: String,
}

impl From<String> for GuestProgram {
    fn from(line: String) -> Self {
        Self {
            files: BTreeSet::new(),
            line,
        }
    }
}

impl GuestProgram {
    /// Returns the program with the functions of `file` before it.
    #[must_use]
    pub fn with(mut self, file: ShellFile) -> Self {
        self.files.insert(file);
        self
    }

    /// Returns the program with its line changed by `change`.
    #[must_use]
    pub fn map_line(self, change: impl FnOnce(String) -> String) -> Self {
        Self {
            line: change(self.line),
            ..self
        }
    }

    /// Several lines as one, with `separator` between two.
    #[must_use]
    pub fn join(programs: impl IntoIterator<Item = Self>, separator: &str) -> Self {
        let mut joined = Self::default();
        let mut lines = Vec::new();
        for program in programs {
            joined.files.extend(program.files);
            lines.push(program.line);
        }
        joined.line = lines.join(separator);
        joined
    }

    /// Returns the whole program, for bash.
    #[must_use]
    pub fn text(&self) -> String {
        let functions: String = self.files.iter().map(|file| file.text()).collect();
        functions + &self.line
    }

    /// Returns the last line, which messages show for the program.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }
}

/// A word that the shell takes as it is. NUL bytes, which no word can have, are
/// refused where the script's calls come in.
#[must_use]
pub fn quote(word: &str) -> String {
    let clean = word.replace('\0', "");
    shlex::try_quote(&clean).map_or_else(|_| String::new(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

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
            let output = Command::new("bash").arg("-c").arg(line).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }

    #[test]
    fn functions_come_once_and_before_the_line() {
        let one = ATTEMPTS.call("port_open", ["localhost", "1"]);
        let other = ATTEMPTS.call("port_open", ["a b", "2"]);
        let both = GuestProgram::join([one, other], " || ");
        let text = both.text();
        assert_eq!(text.matches("port_open() {").count(), 1);
        assert!(text.ends_with("port_open localhost 1 || port_open 'a b' 2"));
        assert!(!text.contains('#'), "{text}");
    }
}
