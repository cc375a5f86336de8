//! `snowglobe build`: builds what tests need, and runs nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::error::{Failed, code};
use super::frontend::is_on_terminal;
use super::run_options::block_on;
use super::source::Source;
use super::write_stdout;
use crate::prompt_output::PromptOutput;
use crate::report::{
    Detail, PlainDisplay, Report, TerminalDisplay, make_room_when_suspended, progress_bars,
};
use crate::runner::{build, interrupts};

#[derive(Debug, Args)]
pub struct BuildCommand {
    #[command(flatten)]
    source: Source,
    /// Make this link to the result; without it, Nix' garbage collector may remove the result.
    #[arg(short, long, value_name = "LINK")]
    out_link: Option<PathBuf>,
    /// Also show build logs.
    #[arg(short, long)]
    verbose: bool,
}

impl BuildCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let selection = self.source.select()?;
        let link = self.out_link.as_deref();
        let built = block_on(async {
            Ok(build(&selection, link, &|| self.display(), &mut interrupts()?).await?)
        })?;
        let Some(paths) = built else {
            return Ok(ExitCode::from(code::INTERRUPTED));
        };
        let lines = paths.iter().fold(String::new(), |lines, path| {
            lines + &path.display().to_string() + "\n"
        });
        write_stdout(&lines)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Progress on standard error: standard output is for the store paths.
    fn display(&self) -> Box<dyn Report> {
        let detail = if self.verbose {
            Detail::Everything
        } else {
            Detail::Normal
        };
        if is_on_terminal() {
            let bars = progress_bars();
            make_room_when_suspended(bars.clone());
            let output = PromptOutput::default();
            Box::new(TerminalDisplay::new(detail, output, bars))
        } else {
            Box::new(PlainDisplay::on_stderr(detail))
        }
    }
}
