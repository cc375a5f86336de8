//! `snowglobe stubs`: the test API, for editors, type checkers and the manual.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::error::Failed;
use super::write_stdout;
use crate::language::{Vocabulary, manual, stub};
use crate::model::manifest::python_name;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StubFormat {
    /// A Python stub (`.pyi`).
    Pyi,
    /// The manual's page, in Markdown.
    Manual,
}

#[derive(Debug, Args)]
pub struct StubsCommand {
    /// Machines to add to the stub, by the names of their nodes.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    nodes: Vec<String>,
    /// Choose what to print.
    #[arg(long, value_enum, default_value_t = StubFormat::Pyi)]
    format: StubFormat,
}

impl StubsCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let machines: Vec<String> = self.nodes.iter().map(|node| python_name(node)).collect();
        let vocabulary = Vocabulary::standard();
        write_stdout(&match self.format {
            StubFormat::Pyi => stub(vocabulary, &machines, &[]),
            StubFormat::Manual => manual(vocabulary),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
