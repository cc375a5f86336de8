//! Values between Python and JSON.

use rustpython_vm::builtins::{PyDict, PyFloat, PyInt, PyList, PyStr, PyTuple};
use rustpython_vm::{AsObject, PyObject, PyResult, VirtualMachine, py_serde};
use serde_json::Value;

/// A Python value as JSON.
///
/// # Errors
/// A `TypeError` for what JSON has no word for, a `RecursionError` for a value
/// that contains itself.
pub fn to_json(object: &PyObject, vm: &VirtualMachine) -> PyResult<Value> {
    // py_serde would follow a value that contains itself until the stack ends.
    vm.with_recursion("while passing a value to a machine", || convert(object, vm))
}

/// A JSON value as Python's.
///
/// # Errors
/// Returns an error if Python refuses it, which it has no reason to.
pub fn from_json(value: Value, vm: &VirtualMachine) -> PyResult {
    py_serde::deserialize(vm, value).map_err(|error| vm.new_value_error(error.to_string()))
}

fn convert(object: &PyObject, vm: &VirtualMachine) -> PyResult<Value> {
    if vm.is_none(object) {
        Ok(Value::Null)
    } else if let Some(text) = object.downcast_ref::<PyStr>() {
        Ok(Value::from(text.to_string_lossy().into_owned()))
    } else if object.fast_isinstance(vm.ctx.types.bool_type) {
        Ok(Value::from(object.to_owned().is_true(vm)?))
    } else if let Some(number) = object.downcast_ref::<PyInt>() {
        number.try_to_primitive::<i64>(vm).map(Value::from)
    } else if let Some(number) = object.downcast_ref::<PyFloat>() {
        serde_json::Number::from_f64(number.to_f64())
            .map(Value::Number)
            .ok_or_else(|| vm.new_value_error("a number that is not finite"))
    } else if let Some(dict) = object.downcast_ref::<PyDict>() {
        let mut map = serde_json::Map::new();
        for (key, value) in dict {
            let key = key.str(vm)?.to_string_lossy().into_owned();
            map.insert(key, to_json(&value, vm)?);
        }
        Ok(Value::Object(map))
    } else if object.downcast_ref::<PyList>().is_some()
        || object.downcast_ref::<PyTuple>().is_some()
    {
        vm.extract_elements_with(object, |item| to_json(&item, vm))
            .map(Value::Array)
    } else {
        Err(vm.new_type_error(format!(
            "a value of type '{}' means nothing to a machine",
            object.class().name()
        )))
    }
}
