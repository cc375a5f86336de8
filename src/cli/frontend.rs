//! The displays of a command: on a terminal, in a pipe, for programs.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Once;

use clap::ValueEnum;
use indicatif::MultiProgress;

use super::error::{print_to_stderr, show_message, show_warning};
use crate::language::check::Finding;
use crate::model::outcome::RunResults;
use crate::prompt_output::PromptOutput;
use crate::report::{
    Colours, Detail, JsonDisplay, LogReader, OutputStream, PlainDisplay, Report, RunFailures,
    TerminalDisplay, annotations, is_in_workflow, make_room_when_suspended, progress_bars,
};
use crate::runner::{Frontend, RunnerError, show_finding};
use crate::source_map::SourceMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DisplayFormat {
    /// Text, with live progress on a terminal.
    Human,
    /// Text without live progress.
    Plain,
    /// The event stream: one JSON object a line.
    Json,
    /// Text, and one line with the verdict for `run --as-derivation`.
    #[value(hide = true)]
    BuildLog,
}

/// Whether live progress can be shown.
pub fn is_on_terminal() -> bool {
    std::io::stdout().is_terminal() && std::io::stderr().is_terminal()
}

/// Shows runs on standard output and standard error.
#[derive(Debug)]
pub struct CommandFrontend {
    format: DisplayFormat,
    detail: Detail,
    /// Where a prompt is, if there is one.
    output: PromptOutput,
    /// The live progress.
    bars: MultiProgress,
    /// Done once the bars make room for a shell.
    follows_suspension: Once,
}

impl CommandFrontend {
    pub fn new(format: DisplayFormat, detail: Detail, output: PromptOutput) -> Self {
        Self {
            format,
            detail,
            output,
            bars: progress_bars(),
            follows_suspension: Once::new(),
        }
    }
}

impl Frontend for CommandFrontend {
    fn display(&self) -> Box<dyn Report> {
        let detail = self.detail;
        match self.format {
            DisplayFormat::Json => Box::new(JsonDisplay::exclusive()),
            DisplayFormat::Human if is_on_terminal() => {
                let bars = &self.bars;
                let follow = || make_room_when_suspended(bars.clone());
                self.follows_suspension.call_once(follow);
                let output = self.output.clone();
                Box::new(TerminalDisplay::new(detail, output, bars.clone()))
            }
            DisplayFormat::Human | DisplayFormat::Plain => {
                Box::new(PlainDisplay::new(detail, LogReader::Person))
            }
            DisplayFormat::BuildLog => Box::new(PlainDisplay::new(detail, LogReader::BuildLog)),
        }
    }

    fn annotate(&self, results: &RunResults, failures: &RunFailures) {
        let is_wanted = self.format != DisplayFormat::Json && is_in_workflow();
        if is_wanted {
            let workspace = std::env::var_os("GITHUB_WORKSPACE").map(PathBuf::from);
            let text = annotations(results, failures, workspace.as_deref());
            OutputStream::shared().print(text.as_bytes());
        }
    }

    fn show_findings(&self, findings: &[Finding], source_map: &SourceMap) {
        for finding in findings {
            let text = show_finding(finding, source_map, Colours::of_stderr());
            self.bars.suspend(|| print_to_stderr(&text));
        }
    }

    fn show_error(&self, error: &RunnerError) {
        self.bars.suspend(|| show_message(&error.to_string()));
    }

    fn show_warning(&self, text: &str) {
        self.bars.suspend(|| show_warning(text));
    }
}
