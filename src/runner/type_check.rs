//! The type check by `ty`, if it is installed, over the stub of the test API.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::error::RunnerError;
use crate::child::on_path;
use crate::folders::private_temporary_folder;
use crate::language::check::{self, Finding, Parts, Severity, TestContext, Toggle, stops};
use crate::language::{Vocabulary, stub};
use crate::model::manifest::only_machine_name;
use crate::source_map::SourceMap;

/// The message if it is not installed.
pub const MISSING_TYPE_CHECK: &str = "types are checked by the program `ty`, which is not on PATH: \
     install it with `pip install ty` or `uv tool install ty`, or run snowglobe from its flake, which brings it";

/// The first line of the script's file for the type check.
const IMPORT: &str = "from snowglobe_api import *\n";

/// The program.
#[derive(Debug)]
pub struct TypeCheck {
    program: PathBuf,
}

impl TypeCheck {
    #[must_use]
    pub fn find() -> Option<Self> {
        on_path("ty").map(|program| Self { program })
    }

    /// Returns what it says of a script, as warnings.
    ///
    /// # Errors
    /// Returns an error if it cannot be started.
    pub fn run(
        &self,
        source_map: &SourceMap,
        context: &TestContext,
    ) -> Result<Vec<Finding>, RunnerError> {
        let folder = private_temporary_folder()
            .map_err(RunnerError::host("cannot make a temporary folder for ty"))?;
        let write = |name: &str, text: String| {
            let file = folder.path().join(name);
            let written = fs::write(&file, text);
            written.map_err(RunnerError::host_at("cannot write", &file))?;
            Ok::<_, RunnerError>(file)
        };
        let mut machines = context.machines.clone().unwrap_or_default();
        let only = only_machine_name(machines.len()).filter(|only| machines[0] != *only);
        machines.extend(only.map(str::to_owned));
        let vlans = context.vlans.clone().unwrap_or_default();
        let text = stub(Vocabulary::standard(), &machines, &vlans);
        write("snowglobe_api.pyi", text)?;
        let script = write("test_script.py", format!("{IMPORT}{}", source_map.script()))?;
        let output = Command::new(&self.program)
            .args([
                "check",
                "--output-format",
                "concise",
                "--color",
                "never",
                "--exit-zero",
            ])
            .arg("--project")
            .arg(folder.path())
            .arg(&script)
            .current_dir(folder.path())
            .output()
            .map_err(RunnerError::host_at("cannot start", &self.program))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text
            .lines()
            .filter_map(|line| finding(line, source_map))
            .collect())
    }
}

/// Checks a script; types only if nothing else is wrong.
///
/// # Errors
/// Returns an error if the type check cannot be started.
pub fn check_script(
    script: &SourceMap,
    context: &TestContext,
    parts: Parts,
    type_check: Option<&TypeCheck>,
) -> Result<Vec<Finding>, RunnerError> {
    let mut findings = check::check(script.script(), context, parts);
    // On a script that is wrong already it would only say so again.
    if let Some(type_check) = type_check
        && parts.types == Toggle::On
        && !stops(&findings)
    {
        findings.extend(type_check.run(script, context)?);
    }
    Ok(findings)
}

/// A line such as `test_script.py:3:5: error[unresolved-reference] Name `x` …`.
fn finding(line: &str, source_map: &SourceMap) -> Option<Finding> {
    let mut parts = line.splitn(4, ':');
    let number = |part: Option<&str>| part.and_then(|part| part.trim().parse::<usize>().ok());
    parts
        .next()
        .filter(|file| file.ends_with("test_script.py"))?;
    let from_1 = |part| number(part)?.checked_sub(1);
    let (line, column) = (from_1(parts.next())?, from_1(parts.next())?);
    let message = parts.next()?.trim();
    let begin = source_map.offset(line, 1);
    let text = &source_map.script()[begin..];
    let begin = begin
        + text
            .char_indices()
            .nth(column)
            .map_or(text.len(), |(offset, _)| offset);
    let length = source_map.script()[begin..]
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(0)
        .max(1);
    Some(Finding {
        level: Severity::Warning,
        code: "types",
        message: message.to_owned(),
        help: None,
        range: Some(begin..begin + length),
    })
}
