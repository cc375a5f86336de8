//! `snowglobe play`: shows recorded events on a display, for work on displays and for their tests.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::error::Failed;
use super::frontend::{CommandFrontend, DisplayFormat};
use crate::model::event::Record;
use crate::repl::Above;
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
        let frontend = CommandFrontend::new(self.format, detail, Above::default());
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
        let unreadable = Failed::host_at("cannot read", &self.file);
        let lines = File::open(&self.file)
            .and_then(|file| BufReader::new(file).lines().collect::<Result<Vec<_>, _>>())
            .map_err(unreadable)?;
        let record = |(number, line): (usize, &String)| {
            serde_json::from_str(line).map_err(|error| {
                Failed::Usage(format!(
                    "{}: line {} is no event: {error}",
                    self.file.display(),
                    number + 1
                ))
            })
        };
        lines.iter().enumerate().map(record).collect()
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
