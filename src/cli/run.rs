//! `snowglobe run`: evaluates, builds and runs tests, and tells the verdict.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio::sync::mpsc;

use super::as_derivation;
use super::conduct::{Conduct, exit_code, interrupts};
use super::error::{Failed, code};
use super::source::{Prepared, Source};
use crate::event::{Level, Verdict};
use crate::nix::{self, Check, Nix, Test};
use crate::report::Output;
use crate::session;

#[derive(Debug, Args)]
pub struct RunCommand {
    #[command(flatten)]
    source: Source,
    /// Where the output goes: consoles, events, junit.xml, saved files [default: ./result-NAME].
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Have Nix run each test as a build, on whichever of its builders; the file's derivations are those of `mkCheck`.
    #[arg(long)]
    as_derivation: bool,
    /// With --as-derivation: take builders without KVM, too.
    #[arg(long, requires = "as_derivation")]
    allow_emulation: bool,
    #[command(flatten)]
    conduct: Conduct,
}

impl RunCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let prepared = self.source.prepare()?;
        let runtime = tokio::runtime::Runtime::new()?;
        let result = runtime.block_on(self.run_all(prepared));
        // A thread that a script left may be inside a call: the process ends
        // without waiting for it.
        std::mem::forget(runtime);
        result
    }

    async fn run_all(&self, prepared: Prepared) -> Result<ExitCode, Failed> {
        let mut interrupts = interrupts()?;
        if self.as_derivation {
            let folder = |check: &Check, count| self.folder(&check.name, &check.attribute, count);
            let work = as_derivation::run(prepared, &self.conduct, self.allow_emulation, folder);
            let code = tokio::select! {
                code = work => code?,
                _ = interrupts.recv() => code::INTERRUPTED,
            };
            return Ok(ExitCode::from(code));
        }
        // What is wrong with the command line is told first.
        self.conduct.subtests()?;
        let work = async {
            let tests =
                nix::evaluate(&prepared.nix, &prepared.library, &prepared.evaluation).await?;
            for test in &tests {
                self.conduct
                    .check(test.label(), &test.origin(), &test.manifest)?;
                session::preflight(&test.manifest)?;
            }
            Ok::<_, Failed>(tests)
        };
        let tests = tokio::select! {
            tests = work => tests?,
            _ = interrupts.recv() => return Ok(ExitCode::from(code::INTERRUPTED)),
        };
        let mut worst = code::PASSED;
        for test in &tests {
            let folder = self.folder(&test.name, &test.attribute, tests.len());
            let verdict = self
                .run_one(&prepared.nix, test, folder, &mut interrupts)
                .await?;
            let code = exit_code(verdict);
            worst = worst.max(code);
            if verdict == Verdict::Interrupted {
                break;
            }
        }
        Ok(ExitCode::from(worst))
    }

    async fn run_one(
        &self,
        nix: &Nix,
        test: &Test,
        folder: PathBuf,
        interrupts: &mut mpsc::UnboundedReceiver<()>,
    ) -> Result<Verdict, Failed> {
        let output = Output::create(&folder, &test.name)?;
        let (root, output_folder) = (output.root(), output.folder().to_owned());
        let telling = self.conduct.tell(output)?;
        let events = &telling.events;
        let tell = |event| events.tell(event);
        let built = tokio::select! {
            built = nix::build(nix, &test.derivation, &root, &tell) => Some(built),
            _ = interrupts.recv() => None,
        };
        let result = match built {
            None => {
                events.note(Level::Warning, "interrupted while building");
                Ok(Verdict::Interrupted)
            }
            Some(Err(error)) => Err(error.into()),
            Some(Ok(manifest)) => {
                self.conduct
                    .run(&manifest, test.origin(), output_folder, events, interrupts)
                    .await
            }
        };
        telling.end();
        result
    }

    fn folder(&self, name: &str, attribute: &str, count: usize) -> PathBuf {
        let label = if attribute.is_empty() {
            name
        } else {
            attribute
        };
        match &self.output {
            Some(folder) if count == 1 => folder.clone(),
            Some(folder) => folder.join(file_name(label)),
            None if count == 1 => PathBuf::from(format!("result-{}", file_name(name))),
            None => PathBuf::from(format!("result-{}", file_name(label))),
        }
    }
}

/// A test's name as the name of a file.
fn file_name(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c == '/' || c.is_whitespace() || c.is_control() {
                '-'
            } else {
                c
            }
        })
        .collect()
}
