//! `snowglobe check`: what is wrong with a test's script, before anything is built or booted.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::error::{Failed, code};
use super::findings::locate;
use super::sarif::sarif;
use super::source::SourceOptions;
use super::write_stdout;
use crate::input_file::read_script;
use crate::language::check::{Finding, Parts, TestContext, count, stops};
use crate::model::manifest::python_name;
use crate::nix_cli::Test;
use crate::report::Colours;
use crate::runner::{MISSING_TYPE_CHECK, TypeCheck, check_script, show_finding};
use crate::script_modules::{check_modules, imported_modules, modules_of_folders, names_in};
use crate::source_map::SourceMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FindingFormat {
    Human,
    Json,
    /// SARIF 2.1.0, for editors and code hosts.
    Sarif,
}

#[derive(Debug, Args)]
pub struct CheckCommand {
    /// The test file, a folder with a default.nix, or FLAKE#ATTRIBUTE.
    file: Option<PathBuf>,
    #[command(flatten)]
    options: SourceOptions,
    /// Check a Python file instead of a test. Needs no Nix.
    #[arg(long, value_name = "FILE.py", conflicts_with_all = ["file", "SourceOptions"])]
    script: Option<PathBuf>,
    /// The machines of --script [default: every name that is only used as a machine].
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "script")]
    nodes: Option<Vec<String>>,
    /// Require the type check. Without `ty`, explain how to install it.
    #[arg(long)]
    types: bool,
    /// Select the output format.
    #[arg(long, value_enum, default_value_t = FindingFormat::Human)]
    format: FindingFormat,
}

/// A script with what is needed to check it.
struct CheckedScript {
    name: String,
    source_map: SourceMap,
    context: TestContext,
    parts: Parts,
}

impl CheckCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let subjects = match (&self.script, &self.file) {
            (Some(script), _) => vec![self.bare(script)?],
            (None, Some(file)) => of_tests(file, &self.options)?,
            (None, None) => {
                return Err(Failed::Usage(
                    "nothing to check: give a test file, or a script with --script".to_owned(),
                ));
            }
        };
        let type_check = TypeCheck::find();
        if self.types && type_check.is_none() {
            return Err(Failed::Usage(MISSING_TYPE_CHECK.to_owned()));
        }
        let mut text = String::new();
        let mut located = Vec::new();
        let mut stopped = false;
        for subject in &subjects {
            let modules = imported_modules(&subject.source_map);
            let context = TestContext {
                modules: names_in(&modules),
                ..subject.context.clone()
            };
            let findings = check_script(
                &subject.source_map,
                &context,
                subject.parts,
                type_check.as_ref(),
            )?;
            let mut checked = check_modules(&modules, subject.parts);
            checked.push((&subject.source_map, findings));
            stopped |= checked.iter().any(|(_, findings)| stops(findings));
            match self.format {
                FindingFormat::Human => text.push_str(&subject.emit(&checked)),
                FindingFormat::Json | FindingFormat::Sarif => {
                    for (source_map, findings) in checked {
                        let findings = findings.iter();
                        located.extend(findings.map(|it| locate(&subject.name, it, source_map)));
                    }
                }
            }
        }
        let found = match self.format {
            FindingFormat::Human => None,
            FindingFormat::Json => serde_json::to_value(&located).ok(),
            FindingFormat::Sarif => {
                let folder = std::env::current_dir().unwrap_or_default();
                Some(sarif(&located, &folder))
            }
        };
        if let Some(found) = found {
            text = serde_json::to_string_pretty(&found).unwrap_or_default() + "\n";
        }
        write_stdout(&text)?;
        Ok(ExitCode::from(if stopped {
            code::WRONG_USAGE
        } else {
            code::PASSED
        }))
    }

    fn bare(&self, script: &Path) -> Result<CheckedScript, Failed> {
        Ok(CheckedScript {
            name: script.display().to_string(),
            source_map: read_script(script)?,
            context: TestContext {
                machines: self
                    .nodes
                    .as_ref()
                    .map(|nodes| nodes.iter().map(|name| python_name(name)).collect()),
                ..TestContext::default()
            },
            parts: Parts::ALL,
        })
    }
}

fn of_tests(file: &Path, options: &SourceOptions) -> Result<Vec<CheckedScript>, Failed> {
    let tests = options.evaluate(file)?;
    Ok(tests.iter().map(CheckedScript::of_test).collect())
}

impl CheckedScript {
    fn of_test(test: &Test) -> Self {
        let source_map = test.source_map();
        Self {
            name: test.label().to_owned(),
            context: TestContext {
                beside: modules_of_folders(&source_map, &test.manifest),
                ..TestContext::of(&test.manifest)
            },
            source_map,
            parts: Parts::of(&test.manifest),
        }
    }

    fn emit(&self, checked: &[(&SourceMap, Vec<Finding>)]) -> String {
        let mut text = String::new();
        let mut all = Vec::new();
        for (source_map, findings) in checked {
            for finding in findings {
                text += &show_finding(finding, source_map, Colours::of_stdout());
                text.push('\n');
            }
            all.extend(findings.iter().cloned());
        }
        let verdict = match count(&all) {
            nothing if nothing.is_empty() => "no findings".to_owned(),
            counts => counts,
        };
        text + &format!("{}: {verdict}\n", self.name)
    }
}
