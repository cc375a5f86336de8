//! `snowglobe play`: shows recorded events on a display, for work on displays and for their tests.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::error::Failed;
use super::frontend::{CommandFrontend, DisplayFormat};
use crate::bounded_file::for_each_line;
use crate::model::event::Record;
use crate::prompt_output::PromptOutput;
use crate::report::Detail;
use crate::runner::Frontend;

#[derive(Debug, Args)]
pub struct PlayCommand {
    /// The events.jsonl of a run.
    file: PathBuf,
    /// Select the output format.
    #[arg(long, value_enum, default_value_t = DisplayFormat::Human)]
    format: DisplayFormat,
    /// Also show consoles and build logs.
    #[arg(short, long)]
    verbose: bool,
    /// Play so many times as fast as the run was; 0 shows everything at once.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    speed: f64,
}

impl PlayCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let detail = if self.verbose {
            Detail::Everything
        } else {
            Detail::Normal
        };
        let frontend = CommandFrontend::new(self.format, detail, PromptOutput::default());
        let mut display = frontend.display();
        let mut shown_s = 0.0;
        for record in self.records()? {
            std::thread::sleep(self.pause(record.time_s - shown_s));
            shown_s = record.time_s;
            display.take(&record);
        }
        display
            .finish()
            .map_err(Failed::host("cannot write to standard output"))?;
        Ok(ExitCode::SUCCESS)
    }

    fn records(&self) -> Result<Vec<Record>, Failed> {
        let mut records = Vec::new();
        let read = for_each_line(&self.file, |number, line| {
            let record = serde_json::from_slice(line).map_err(|error| {
                let message = format!("line {number} is no event: {error}");
                io::Error::new(io::ErrorKind::InvalidData, message)
            })?;
            records.push(record);
            Ok::<_, io::Error>(())
        });
        read.map_err(|error| {
            let message = format!("{}: {error}", self.file.display());
            if error.kind() == io::ErrorKind::InvalidData {
                Failed::Usage(message)
            } else {
                Failed::host_at("cannot read", &self.file)(error)
            }
        })?;
        Ok(records)
    }

    fn pause(&self, seconds: f64) -> Duration {
        let pause = if self.speed > 0.0 {
            seconds / self.speed
        } else {
            0.0
        };
        Duration::try_from_secs_f64(pause).unwrap_or_default()
    }
}
