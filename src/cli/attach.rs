//! `snowglobe attach`: the prompt of a script that waits in another process.

use std::process::ExitCode;

use clap::Args;

use super::error::{Failed, code, print_to_stderr};
use super::frontend::{CommandFrontend, DisplayFormat};
use super::run_options::block_on;
use crate::prompt_output::PromptOutput;
use crate::report::Detail;
use crate::runner::{AttachEnd, attach_prompt, interrupts};

#[derive(Debug, Args)]
pub struct AttachCommand {
    /// The run, as its message names it, or the name of its test [default: the only one that waits].
    run: Option<String>,
}

impl AttachCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let output = PromptOutput::default();
        let frontend = CommandFrontend::new(DisplayFormat::Human, Detail::Normal, output.clone());
        let end = block_on(async {
            let mut interrupts = interrupts()?;
            let run = self.run.as_deref();
            Ok(attach_prompt(run, &frontend, output, &mut interrupts).await?)
        })?;
        Ok(match end {
            AttachEnd::Left => {
                print_to_stderr("detached: the run continues");
                ExitCode::SUCCESS
            }
            AttachEnd::Interrupted => ExitCode::from(code::INTERRUPTED),
        })
    }
}
