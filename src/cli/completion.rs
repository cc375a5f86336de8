//! Completion in shells: a shell asks this program for the words that may follow.

use std::fs::File;
use std::process::ExitCode;

use clap::{Arg, Command, CommandFactory};
use clap_complete::CompleteEnv;
use clap_complete::env::Shells;

use super::candidates;
use super::error::Failed;
use super::write_stdout;

/// The variable by which the script that a shell has sourced asks for words. Its value is the name of the shell.
const VARIABLE: &str = "SNOWGLOBE_COMPLETE";

const PROGRAM: &str = "snowglobe";

/// Answers a shell that asks for words. None if no shell asks.
pub fn answer<C: CommandFactory>() -> Option<ExitCode> {
    std::env::var_os(VARIABLE).filter(|shell| !shell.is_empty())?;
    // The shell shows what is written to standard error in the middle of the line that is typed.
    if let Ok(nowhere) = File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stderr(nowhere);
    }
    let completion = CompleteEnv::with_factory(|| with_candidates(C::command())).var(VARIABLE);
    let folder = std::env::current_dir().ok();
    let done = completion.try_complete(std::env::args_os(), folder.as_deref());
    Some(ExitCode::from(u8::from(done.is_err())))
}

/// Adds to the arguments of all commands what their values may be, beside those that clap knows.
fn with_candidates(command: Command) -> Command {
    command.mut_subcommands(|command| match command.get_name() {
        // Its files are scripts.
        "driver" => command,
        _ => command.mut_args(with_candidates_of),
    })
}

fn with_candidates_of(argument: Arg) -> Arg {
    let candidates = match argument.get_id().as_str() {
        "file" | "files" => candidates::test_files(),
        "attributes" => candidates::attributes(),
        "node" => candidates::nodes(),
        "only" => candidates::subtests(),
        "filter" | "exclude" => candidates::test_names(),
        "test" => candidates::known_tests(),
        "running" => candidates::running_nodes(),
        "nixpkgs" => candidates::nixpkgs(),
        "packages" => candidates::words(&["debian", "debian:bookworm", "debian:trixie"]),
        "partition" => candidates::words(&["hash:", "slice:"]),
        "jobs" | "eval_jobs" | "timeout_factor" => candidates::words(&["auto"]),
        _ => return argument,
    };
    argument.add(candidates)
}

/// Prints the script by which a shell asks for words.
pub fn print_script(shell: clap_complete::Shell) -> Result<ExitCode, Failed> {
    let shells = Shells::builtins();
    let mut script = Vec::new();
    // Both lists have the same shells.
    if let Some(completer) = shells.completer(&shell.to_string()) {
        completer
            .write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)
            .map_err(Failed::host("cannot make the completion script"))?;
    }
    write_stdout(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
