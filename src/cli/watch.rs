//! `snowglobe watch`: runs a file's tests again whenever something that they are made of changes.

use std::process::ExitCode;

use clap::Args;

use super::error::{Failed, code};
use super::run::RunCommand;
use super::run_options::block_on;
use crate::model::manifest::SnapshotSafety;
use crate::prompt_output::PromptOutput;
use crate::runner::{interrupts, watch};
use crate::session::ChangedMachines;

#[derive(Debug, Args)]
pub struct WatchCommand {
    #[command(flatten)]
    run: RunCommand,
    /// Restore NixOS machines that have changed, and activate their new system with switch-to-configuration instead of booting them. `--verify` boots them then.
    #[arg(long)]
    redeploy: bool,
}

impl WatchCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let output = PromptOutput::default();
        let frontend = self.run.frontend(output.clone());
        block_on(async {
            let request = || {
                let mut request = self.run.request_with(&output, SnapshotSafety::Auto)?;
                if self.redeploy {
                    request.settings.changed_machines = ChangedMachines::Redeploy;
                    for selection in &mut request.selections {
                        selection.evaluation.is_switchable = true;
                    }
                }
                Ok::<_, Failed>(request)
            };
            Box::pin(watch(request, &frontend, &mut interrupts()?)).await?;
            Ok(ExitCode::from(code::INTERRUPTED))
        })
    }
}
