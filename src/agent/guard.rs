//! The guard: a program in the guest beside its shell.

use super::error::ShellError;
use super::line::{GUARD_PORT, REPLIES_PORT, TERMINAL_DEVICE};
use super::program::{FIND_PORTS, GUARD, TERMINAL};
use super::stream::LineWriter;

/// The terminal of the guest's shell: its first virtio console.
const SHELL_DEVICE: &str = "/dev/hvc0";

/// Where the shell's errors go: the serial console.
const ERRORS: &str = "/dev/console";

/// Where the process ID of a shell that the guard starts passes through.
const PID_FILE: &str = "/run/snowglobe-shell";

/// Where the guest keeps the session that has the terminal of people.
const SESSION_FILE: &str = "/run/snowglobe-terminal";

/// The longest command for a terminal, in bytes: Linux takes no argument of more than 128 KiB, and this one is in base64.
const MOST_COMMAND_BYTES: usize = 64 << 10;

/// The program, in bash.
pub(super) fn guard_text() -> String {
    TERMINAL.text() + &GUARD.text()
}

/// A line for the guest's shell: starts the guard if there is a port for
/// it, and prints the file of the port for replies, or nothing.
pub(super) fn set_up_line() -> String {
    let program = guard_text();
    let arguments = [
        REPLIES_PORT,
        GUARD_PORT,
        &program,
        SHELL_DEVICE,
        ERRORS,
        PID_FILE,
        TERMINAL_DEVICE,
        SESSION_FILE,
    ];
    // 20.09's shell prompts for each line of a command that has several.
    format!(
        "PS2=\n{}\n",
        FIND_PORTS.call("find_ports", arguments).text()
    )
}

/// The guard, as far as it starts what has the terminal of people, beside the guest's shell and whatever that does.
#[derive(Debug, Clone)]
pub struct TerminalGuard(pub(super) LineWriter);

impl TerminalGuard {
    /// Starts a shell on the terminal, or runs a line of bash there, in place of what has it. It begins when it reads a
    /// line with `number`; see [`TerminalText`](super::TerminalText).
    ///
    /// # Errors
    /// Returns an error if the guest has gone, or the command is longer than 64 KiB.
    pub async fn start(
        &self,
        (rows, columns): (u16, u16),
        number: u64,
        command: Option<&str>,
    ) -> Result<(), ShellError> {
        use base64::Engine as _;
        let command = command.unwrap_or_default();
        if command.len() > MOST_COMMAND_BYTES {
            return Err(ShellError::LongCommand(MOST_COMMAND_BYTES));
        }
        let command = base64::engine::general_purpose::STANDARD.encode(command);
        self.0
            .write(format!("terminal {rows} {columns} {number} {command}\n").as_bytes())
            .await
    }

    /// Has the terminal another size.
    ///
    /// # Errors
    /// Returns an error if the guest has gone.
    pub async fn resize(&self, (rows, columns): (u16, u16)) -> Result<(), ShellError> {
        self.0
            .write(format!("resize {rows} {columns}\n").as_bytes())
            .await
    }

    /// Ends what has the terminal.
    ///
    /// # Errors
    /// Returns an error if the guest has gone.
    pub async fn hang_up(&self) -> Result<(), ShellError> {
        self.0.write(b"hang-up\n").await
    }
}
