//! `snowglobe report`: one report of several runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::error::{Failed, exit_code_of_run, show_message};
use super::frontend::{CommandFrontend, DisplayFormat};
use super::many_options::known_history;
use crate::folders::real_path;
use crate::prompt_output::PromptOutput;
use crate::report::{Detail, RunFolder, WrittenReports, merge_results, write_reports};
use crate::runner::{Frontend, RunnerError, show_results};

#[derive(Debug, Args)]
pub struct ReportCommand {
    /// Output folders of runs: those that hold a run.json.
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Write report.html, junit.xml and run.json to this folder.
    #[arg(short, long, value_name = "DIR", default_value = "results")]
    output: PathBuf,
    /// Select the output format.
    #[arg(long, value_enum, default_value_t = DisplayFormat::Human)]
    format: DisplayFormat,
}

impl ReportCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        fs::create_dir_all(&self.output).map_err(Failed::host_at("cannot make", &self.output))?;
        // The folder may be one of those that are read.
        let results = merge_results(&self.folders, &self.output)?;
        let history = known_history();
        let written = if self.is_input(&self.output) {
            // What it has of its tests is what the report is made of.
            write_reports(&self.output, &results, &history)
        } else {
            RunFolder::claim(&self.output).and_then(|folder| folder.finish(&results, &history))
        };
        let WrittenReports { page, failures } = written.map_err(RunnerError::from)?;
        let frontend = CommandFrontend::new(self.format, Detail::Normal, PromptOutput::default());
        show_results(&frontend, &results, page)?;
        frontend.annotate(&results, &failures);
        for reason in &results.missing {
            show_message(&format!("the report is not whole: {reason}"));
        }
        Ok(exit_code_of_run(&results))
    }

    fn is_input(&self, output: &Path) -> bool {
        let output = real_path(output);
        self.folders
            .iter()
            .any(|folder| real_path(folder) == output)
    }
}
