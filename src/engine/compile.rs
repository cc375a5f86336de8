//! Compiles the script and its modules: subtests can be skipped, and assertions remember their values.

use ruff_source_file::SourceFileBuilder;
use rustpython_vm::builtins::PyCode;
use rustpython_vm::compiler::ast::{Mod, Stmt};
use rustpython_vm::compiler::codegen::compile::compile_top;
use rustpython_vm::compiler::{Mode, parser};
use rustpython_vm::{PyRef, PyResult, VirtualMachine};

use super::assertions::remember_values;
use super::selection::{holders, make_skippable};
use super::sources::SCRIPT_NAME;
use super::state::EngineState;
use super::stepping::make_steppable;

/// Compiles the script of a test.
///
/// # Errors
/// Returns the `SyntaxError` of a script that is wrong.
pub(super) fn compile_script(vm: &VirtualMachine, state: &EngineState) -> PyResult<PyRef<PyCode>> {
    compile_source(vm, state.script.source_map.script(), SCRIPT_NAME, |suite| {
        let host = state.host();
        if let Some((only, host)) = host.and_then(|host| Some((host.subtests().only?, host))) {
            host.enter_subtests(holders(suite, &only));
            make_skippable(suite);
        }
        if state.script.stop.is_some() {
            make_steppable(suite, state.script.source_map.script());
        }
    })
}

/// Compiles the text of the script or of a module of its user, whose tree `rewrite` may change.
///
/// # Errors
/// Returns the `SyntaxError` of a text that is wrong.
pub(super) fn compile_source(
    vm: &VirtualMachine,
    source: &str,
    name: &str,
    rewrite: impl FnOnce(&mut [Stmt]),
) -> PyResult<PyRef<PyCode>> {
    // The compiler checks more of a text than of a tree.
    vm.compile(source, Mode::Exec, name)
        .map_err(|error| error.into_pyexception(vm, Some(source)))?;
    let parsed =
        parser::parse_module(source).map_err(|error| vm.new_value_error(error.to_string()))?;
    let mut module = parsed.into_syntax();
    rewrite(&mut module.body);
    remember_values(&mut module.body);
    let file = SourceFileBuilder::new(name, source).finish();
    let code = compile_top(Mod::Module(module), file, Mode::Exec, vm.compile_opts())
        .map_err(|error| vm.new_value_error(error.to_string()))?;
    // With the interpreter: a set of constants needs it.
    Ok(PyCode::new_ref_from_bytecode(vm, code))
}
