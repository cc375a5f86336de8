//! The displays of a command: on a terminal, in a pipe, for programs.

use std::io::IsTerminal;

use clap::ValueEnum;

use super::error::{show_message, show_warning};
use super::findings::show;
use crate::language::check::Finding;
use crate::repl::Above;
use crate::report::{
    Annotated, Colours, Detail, JsonDisplay, LogReader, ManyPlain, ManyTerminal, PlainDisplay,
    Report, TerminalDisplay,
};
use crate::runner::{Frontend, RunnerError};
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

/// The display with annotations, in a workflow of GitHub.
fn annotated(display: Box<dyn Report>) -> Box<dyn Report> {
    if std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true") {
        Box::new(Annotated::new(display))
    } else {
        display
    }
}

/// Shows runs on standard output and standard error.
#[derive(Debug)]
pub struct CommandFrontend {
    pub format: DisplayFormat,
    pub detail: Detail,
    /// Where a prompt is, if there is one.
    pub above: Above,
}

impl Frontend for CommandFrontend {
    fn display(&self) -> Box<dyn Report> {
        let detail = self.detail;
        match self.format {
            DisplayFormat::Json => Box::new(JsonDisplay::exclusive()),
            DisplayFormat::Human if is_on_terminal() => {
                Box::new(TerminalDisplay::new(detail, self.above.clone()))
            }
            DisplayFormat::Human | DisplayFormat::Plain => {
                annotated(Box::new(PlainDisplay::new(detail, LogReader::Person)))
            }
            DisplayFormat::BuildLog => Box::new(PlainDisplay::new(detail, LogReader::BuildLog)),
        }
    }

    fn display_of_many(&self) -> Box<dyn Report> {
        match self.format {
            DisplayFormat::Json => Box::new(JsonDisplay::exclusive()),
            DisplayFormat::Human if is_on_terminal() => Box::new(ManyTerminal::new(self.detail)),
            _ => annotated(Box::new(ManyPlain::new(self.detail))),
        }
    }

    fn show_findings(&self, findings: &[Finding], source_map: &SourceMap) {
        for finding in findings {
            eprintln!("{}", show(finding, source_map, Colours::of_stderr()));
        }
    }

    fn show_error(&self, error: &RunnerError) {
        show_message(&error.to_string());
    }

    fn show_warning(&self, text: &str) {
        show_warning(text);
    }
}
