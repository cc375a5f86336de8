//! Completion in shells: a shell asks this program for the words that may follow.

use std::ffi::OsString;
use std::fs::File;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::CompleteEnv;
use clap_complete::env::Shells;

use super::error::Failed;
use super::write_stdout;

/// The variable by which the script that a shell has sourced asks for words. Its value is the name of the shell.
const VARIABLE: &str = "SNOWGLOBE_COMPLETE";

/// The number of the word to complete, in the words after `--`; without it, the last one.
const INDEX_VARIABLE: &str = "_CLAP_COMPLETE_INDEX";

const PROGRAM: &str = "snowglobe";

/// Answers a shell that asks for words. None if no shell asks.
pub fn answer<C: CommandFactory>() -> Option<ExitCode> {
    std::env::var_os(VARIABLE).filter(|shell| !shell.is_empty())?;
    // The shell shows what is written to standard error in the middle of the line that is typed.
    if let Ok(nowhere) = File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stderr(nowhere);
    }
    let completion = CompleteEnv::with_factory(C::command).var(VARIABLE);
    let folder = std::env::current_dir().ok();
    let done = completion.try_complete(std::env::args_os(), folder.as_deref());
    Some(ExitCode::from(u8::from(done.is_err())))
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

/// The command line, but for the word to complete.
pub fn other_words() -> Vec<OsString> {
    let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    let mut words: Vec<OsString> = words.collect();
    let index = std::env::var(INDEX_VARIABLE).ok();
    let index = index.and_then(|index| index.parse().ok());
    let index = index.unwrap_or(words.len().saturating_sub(1));
    if index < words.len() {
        words.remove(index);
    }
    words
}
