//! From Python's exceptions to what a report needs of them.

use rustpython_vm::builtins::PyBaseExceptionRef;
use rustpython_vm::compiler::{self, CompileOpts, Mode};
use rustpython_vm::{AsObject, VirtualMachine};
use thiserror::Error;

use super::engine::SCRIPT_NAME;
use crate::event::{Failure, Frame};

/// A script that is no Python.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the test script is wrong at line {line}, column {column}: {message}\n{source_line}\n{:>width$}", "^", width = .column)]
pub struct SyntaxProblem {
    pub message: String,
    pub line: usize,
    pub column: usize,
    pub source_line: String,
}

pub(super) fn check_syntax(source: &str) -> Result<(), SyntaxProblem> {
    let Err(error) = compiler::compile(source, Mode::Exec, SCRIPT_NAME, CompileOpts::default())
    else {
        return Ok(());
    };
    let (line, column) = error.python_location();
    let source_line = source
        .lines()
        .nth(line.saturating_sub(1))
        .unwrap_or_default();
    let indentation = source_line.len() - source_line.trim_start().len();
    Err(SyntaxProblem {
        message: error.to_string(),
        line,
        column: column.saturating_sub(indentation).max(1),
        source_line: source_line.trim_start().to_owned(),
    })
}

/// What a script raised, told with the lines of `source` it came through.
pub(super) fn describe(
    vm: &VirtualMachine,
    exception: &PyBaseExceptionRef,
    source: &str,
) -> Failure {
    let lines: Vec<&str> = source.lines().collect();
    let traceback = exception
        .__traceback__()
        .map(|traceback| {
            traceback
                .iter()
                .filter_map(|entry| {
                    let code = entry.frame.iframe().code();
                    let line = entry.lineno.get();
                    (code.source_path().as_str() == SCRIPT_NAME).then(|| Frame {
                        function: code.qualname.as_str().to_owned(),
                        line: u32::try_from(line).unwrap_or(u32::MAX),
                        source: lines
                            .get(line.saturating_sub(1))
                            .map(|line| line.trim().to_owned())
                            .unwrap_or_default(),
                    })
                })
                .collect()
        })
        .unwrap_or_default();
    let message = exception
        .as_object()
        .str(vm)
        .map(|text| text.to_string_lossy().into_owned())
        .unwrap_or_default();
    Failure {
        kind: exception.class().name().to_string(),
        message,
        subtest: None,
        traceback,
        console: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_scripts_pass() {
        assert_eq!(check_syntax("start_all()\n"), Ok(()));
    }

    #[test]
    fn problems_are_shown_where_they_are() {
        let problem = check_syntax("if True:\n    x = (1 +\n").unwrap_err();
        assert_eq!(problem.line, 2);
        assert!(problem.source_line.starts_with("x = "), "{problem}");
    }
}
