//! `snowglobe watch`: runs a file's tests again whenever something that they are made of changes.

use std::process::ExitCode;

use clap::Args;

use super::error::{Failed, code};
use super::run::RunCommand;
use super::run_options::block_on;
use crate::prompt_output::PromptOutput;
use crate::runner::{interrupts, watch};

#[derive(Debug, Args)]
pub struct WatchCommand {
    #[command(flatten)]
    run: RunCommand,
}

impl WatchCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let output = PromptOutput::default();
        let frontend = self.run.frontend(output.clone());
        block_on(async {
            let request = || self.run.request(&output);
            Box::pin(watch(request, &frontend, &mut interrupts()?)).await?;
            Ok(ExitCode::from(code::INTERRUPTED))
        })
    }
}
