//! `snowglobe debug`: opens the prompt at a place of a test's script, from a checkpoint before it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::error::Failed;
use super::interactive::SessionOptions;
use crate::engine::RunMode;
use crate::prompt_output::PromptOutput;
use crate::repl::Prompt;
use crate::runner::{DebugPlace, InteractiveSession};

#[derive(Debug, Args)]
pub struct DebugCommand {
    /// The test file, a folder with a default.nix, or FLAKE#ATTRIBUTE.
    file: PathBuf,
    /// Open the prompt before this line of the script's file, at the start of this subtest, or before the statement that failed in the last run.
    #[arg(long, value_name = "LINE|FILE:LINE|SUBTEST|failure", default_value = "failure", value_parser = place)]
    at: DebugPlace,
    #[command(flatten)]
    options: SessionOptions,
}

impl DebugCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let output = PromptOutput::default();
        let prompt = Arc::new(Prompt(output.clone()));
        let mode = RunMode::PromptOnFailure(prompt);
        let session = InteractiveSession::Debug(self.at.clone());
        self.options.run(&self.file, mode, output, &session)
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "clap takes a parser that may fail"
)]
fn place(text: &str) -> Result<DebugPlace, String> {
    if text == "failure" {
        return Ok(DebugPlace::Failure);
    }
    let (file, number) = match text.rsplit_once(':') {
        Some((file, number)) if !file.is_empty() => (Some(PathBuf::from(file)), number),
        _ => (None, text),
    };
    Ok(match number.parse() {
        Ok(line) => DebugPlace::Line { file, line },
        Err(_) => DebugPlace::Subtest(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_lines_or_subtests() {
        assert_eq!(place("failure"), Ok(DebugPlace::Failure));
        let line = |file: Option<&str>, line| {
            Ok(DebugPlace::Line {
                file: file.map(PathBuf::from),
                line,
            })
        };
        assert_eq!(place("12"), line(None, 12));
        assert_eq!(place("script.py:3"), line(Some("script.py"), 3));
        for name in ["login", "a: b", ":3", "1.5"] {
            let expected = if name == ":3" {
                place(name)
            } else {
                Ok(DebugPlace::Subtest(name.to_owned()))
            };
            assert_eq!(place(name), expected);
        }
    }
}
