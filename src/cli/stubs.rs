//! `snowglobe stubs`: the test API, for editors, type checkers and the manual.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::error::Failed;
use super::source::SourceOptions;
use super::write_stdout;
use crate::language::check::TestContext;
use crate::language::{Vocabulary, manual, stub};
use crate::model::manifest::{only_machine_name, python_name};
use crate::nix_cli::Test;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StubFormat {
    /// A Python stub (`.pyi`).
    Pyi,
    /// The manual's page, in Markdown.
    Manual,
}

#[derive(Debug, Args)]
pub struct StubsCommand {
    /// Add the machines and networks of this test file, folder or FLAKE#ATTRIBUTE.
    #[arg(conflicts_with = "nodes")]
    file: Option<PathBuf>,
    #[command(flatten)]
    options: SourceOptions,
    /// Machines to add to the stub, by the names of their nodes.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    nodes: Vec<String>,
    /// Choose what to print.
    #[arg(long, value_enum, default_value_t = StubFormat::Pyi)]
    format: StubFormat,
}

impl StubsCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let (machines, vlans) = if let Some(file) = &self.file {
            self.names_of_tests(file)?
        } else {
            let machines = self.nodes.iter().map(|node| python_name(node));
            (machines.collect(), Vec::new())
        };
        let vocabulary = Vocabulary::standard();
        write_stdout(&match self.format {
            StubFormat::Pyi => stub(vocabulary, &machines, &vlans),
            StubFormat::Manual => manual(vocabulary),
        })?;
        Ok(ExitCode::SUCCESS)
    }

    /// The machines and networks of all tests of a file, by their names in scripts.
    fn names_of_tests(&self, file: &Path) -> Result<(Vec<String>, Vec<u32>), Failed> {
        let tests = self.options.evaluate(file)?;
        let mut names = (BTreeSet::new(), BTreeSet::new());
        for Test { manifest, .. } in &tests {
            let context = TestContext::of(manifest);
            names.0.extend(context.machines.unwrap_or_default());
            names.0.extend(context.further_names);
            names
                .0
                .extend(only_machine_name(manifest.nodes.len()).map(str::to_owned));
            names.1.extend(&manifest.vlans);
        }
        Ok((Vec::from_iter(names.0), Vec::from_iter(names.1)))
    }
}
