//! The exception classes of the test API.

use rustpython_vm::builtins::{PyBaseExceptionRef, PyTypeRef};
use rustpython_vm::{AsObject, PyResult, VirtualMachine};

/// The module of the test API that defines them.
const ERRORS_MODULE: &str = "snowglobe.errors";

/// An exception of a class of the test API. Runs no bytecode to find it:
/// the next interrupt would strike there.
pub(super) fn api_exception(
    vm: &VirtualMachine,
    class: &'static str,
    message: &str,
) -> PyBaseExceptionRef {
    api_class(vm, class)
        .and_then(|class| vm.invoke_exception(&class, vec![vm.ctx.new_str(message).into()]))
        .unwrap_or_else(|error| error)
}

/// Whether an exception is of a class of the test API.
pub fn is_api_exception(
    vm: &VirtualMachine,
    exception: &PyBaseExceptionRef,
    class: &'static str,
) -> bool {
    api_class(vm, class).is_ok_and(|class| exception.fast_isinstance(&class))
}

fn api_class(vm: &VirtualMachine, class: &'static str) -> PyResult<PyTypeRef> {
    let modules = vm.sys_module.get_attr("modules", vm)?;
    let class = modules.get_item(ERRORS_MODULE, vm)?.get_attr(class, vm)?;
    class
        .downcast()
        .map_err(|_| vm.new_type_error("the test API has no such class"))
}
