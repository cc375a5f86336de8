//! `snowglobe driver`: runs what is built already, with the command line of nixpkgs' test driver.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::error::{Failed, exit_code};
use super::run_options::{RunOptions, block_on};
use crate::compat::{DriverArguments, DriverRun};
use crate::engine::RunMode;
use crate::machine::StateRetention;
use crate::prompt_output::PromptOutput;
use crate::repl::Prompt;
use crate::runner::{interrupts, run_built};
use crate::session::AttachPolicy;
use crate::session::RunSettings;

#[derive(Debug, Args)]
pub struct DriverCommand {
    /// The test script [default: $testScript], or the start scripts as in nixpkgs 20.09.
    #[arg(value_name = "SCRIPT")]
    files: Vec<PathBuf>,
    /// Run the test of this built manifest.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "start_scripts", "vlans", "files"])]
    manifest: Option<PathBuf>,
    /// Read the configuration file of nixpkgs' driver (26.05 or newer).
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["start_scripts", "vlans", "files"])]
    config: Option<PathBuf>,
    /// Run this script in the place of that of the configuration.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["manifest", "files"])]
    test_script: Option<PathBuf>,
    /// Start scripts of the machines [default: $startScripts].
    #[arg(long, value_name = "FILE", num_args = 0..)]
    start_scripts: Option<Vec<PathBuf>>,
    /// Names of the machines, in the order of their start scripts [default: $vmNames].
    #[arg(long, value_name = "NAME", num_args = 0..)]
    vm_names: Option<Vec<String>>,
    /// Takes the same value as --start-scripts [default: $vmStartScripts].
    #[arg(long, value_name = "FILE", num_args = 0.., conflicts_with = "start_scripts")]
    vm_start_scripts: Option<Vec<PathBuf>>,
    /// Names of the containers, in the order of their start scripts [default: $containerNames].
    #[arg(long, value_name = "NAME", num_args = 0..)]
    container_names: Option<Vec<String>>,
    /// Start scripts of the containers [default: $containerStartScripts].
    #[arg(long, value_name = "FILE", num_args = 0..)]
    container_start_scripts: Option<Vec<PathBuf>>,
    /// Numbers of the virtual networks [default: $vlans or $VLANS].
    #[arg(long, value_name = "NUMBER", num_args = 0..)]
    vlans: Option<Vec<u32>>,
    /// Write consoles, events, junit.xml and saved files to this folder [default: .].
    #[arg(
        short,
        long = "output_directory",
        alias = "output-directory",
        value_name = "DIR"
    )]
    output: Option<PathBuf>,
    /// Also write junit.xml to this path, relative to the output folder.
    #[arg(long, value_name = "FILE")]
    junit_xml: Option<PathBuf>,
    /// Reuse the machines' disks of the previous run, and keep them: `vm-state-NAME` in `$XDG_RUNTIME_DIR` or the temporary folder.
    #[arg(short = 'K', long, alias = "keep-vm-state")]
    keep_machine_state: bool,
    /// Open a prompt instead of running the script.
    #[arg(short = 'I', long, overrides_with = "_no_interactive")]
    interactive: bool,
    #[arg(long = "no-interactive", hide = true)]
    _no_interactive: bool,
    /// Accepted for compatibility; has no effect.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Wait at breakpoints and after a failure until `snowglobe attach` opens the prompt; the value has no effect.
    #[arg(long, value_name = "FILE", alias = "debug-hook")]
    debug_hook_attach: Option<String>,
    /// Accepted for compatibility; has no effect.
    #[arg(long, value_name = "NUMBER")]
    dump_vsocks: Option<String>,
    #[command(flatten)]
    run_options: RunOptions,
}

impl DriverCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let DriverRun {
            test,
            output,
            prompts,
        } = self.arguments().resolve()?;
        let prompt_output = PromptOutput::default();
        let mode = if self.interactive || prompts {
            RunMode::Prompt(Arc::new(Prompt(prompt_output.clone())))
        } else {
            RunMode::Script
        };
        let settings = RunSettings {
            states: if self.keep_machine_state {
                StateRetention::Persistent
            } else {
                StateRetention::ThisRun
            },
            // As with `enableDebugHook` of a test of nixpkgs, and without it.
            attach: match self.debug_hook_attach {
                Some(_) => AttachPolicy::AtFailures,
                None => AttachPolicy::Nowhere,
            },
            ..self.run_options.settings(mode, &prompt_output)
        };
        let frontend = self.run_options.frontend(prompt_output);
        let verdict = block_on(async {
            let mut interrupts = interrupts()?;
            let check = self.run_options.script_check();
            Ok(run_built(test, settings, check, &output, &frontend, &mut interrupts).await?)
        })?;
        if let Some(file) = &self.junit_xml {
            let (written, target) = (output.join("junit.xml"), output.join(file));
            // Copied onto itself, a file is emptied.
            let text = std::fs::read(&written);
            text.and_then(|text| std::fs::write(&target, text))
                .map_err(|error| {
                    Failed::Usage(format!("--junit-xml: {}: {error}", target.display()))
                })?;
        }
        Ok(exit_code(verdict))
    }

    fn arguments(&self) -> DriverArguments {
        let without_effect = [(self.dump_vsocks.is_some(), "--dump-vsocks")];
        let without_effect = without_effect
            .into_iter()
            .filter_map(|(given, word)| given.then_some(word));
        DriverArguments {
            files: self.files.clone(),
            manifest: self.manifest.clone(),
            config: self.config.clone(),
            test_script: self.test_script.clone(),
            start_scripts: self
                .start_scripts
                .clone()
                .or_else(|| self.vm_start_scripts.clone()),
            machine_names: self.vm_names.clone(),
            container_names: self.container_names.clone(),
            container_start_scripts: self.container_start_scripts.clone(),
            vlans: self.vlans.clone(),
            output: self.output.clone(),
            without_effect: without_effect.collect(),
        }
    }
}
