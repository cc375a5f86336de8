//! Describes exceptions of the embedded interpreter.

use rustpython_vm::builtins::PyBaseExceptionRef;
use rustpython_vm::{AsObject, PyResult, VirtualMachine};
use serde::de::DeserializeOwned;

use super::failure::failure_of;
use super::raised::{AssertionPlace, ColumnUnit, RaisedException};
use super::state::EngineState;
use super::values::to_json;
use crate::model::event::Failure;

/// The module of the test API that describes exceptions.
const MODULE: &str = "snowglobe.raised";

/// Describes what a script raised, with the calls that led there. Long texts are cut, and saved.
pub fn describe(
    vm: &VirtualMachine,
    exception: &PyBaseExceptionRef,
    state: &EngineState,
) -> Failure {
    let raised = ask(vm, "raised", |function| {
        function.call((exception.clone(),), vm)
    });
    // It has a name in any case.
    let raised = raised.unwrap_or_else(|| RaisedException {
        name: exception.class().name().to_string(),
        ..RaisedException::default()
    });
    failure_of(&raised, ColumnUnit::Character, state, |place| {
        let AssertionPlace {
            call,
            begin,
            end,
            names,
            scoped_names,
        } = place;
        let list = |names: Vec<String>| {
            let names = names.into_iter().map(|name| vm.ctx.new_str(name).into());
            vm.ctx.new_list(names.collect())
        };
        let (names, scoped) = (list(names), list(scoped_names));
        ask(vm, "explain_call", |function| {
            function.call((exception.clone(), call, begin, end, names, scoped), vm)
        })
    })
}

/// Returns the result of a function of the module; `None` if it raises an exception.
fn ask<T: DeserializeOwned>(
    vm: &VirtualMachine,
    name: &'static str,
    call: impl FnOnce(rustpython_vm::PyObjectRef) -> PyResult,
) -> Option<T> {
    let asked = || -> PyResult<serde_json::Value> {
        let modules = vm.sys_module.get_attr("modules", vm)?;
        let function = modules.get_item(MODULE, vm)?.get_attr(name, vm)?;
        let result = call(function)?;
        to_json(&result, vm)
    };
    serde_json::from_value(asked().ok()?).ok()
}
