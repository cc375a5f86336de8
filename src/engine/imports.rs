//! Imports of the modules beside the test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustpython_vm::builtins::{PyCode, PyModule, PyStrRef};
use rustpython_vm::{PyObjectRef, PyRef, PyResult, VirtualMachine};
use serde_json::{Value, json};

use super::compile::compile_source;
use super::state::EngineState;
use super::values::{from_json, to_json};
use crate::script_modules::{ModulePlace, find_module, module_folders, read_module};
use crate::source_map::SourceMap;

/// Adds the functions that `script_modules.py` imports modules with.
pub(super) fn add_imports(
    vm: &VirtualMachine,
    native: &PyRef<PyModule>,
    state: &Arc<EngineState>,
) -> PyResult<()> {
    let shared = state.clone();
    let find = move |name: PyStrRef, folders: PyObjectRef, vm: &VirtualMachine| -> PyResult {
        let folders = serde_json::from_value(to_json(&folders, vm)?).unwrap_or_default();
        from_json(found_module(&shared, &name.to_string_lossy(), folders), vm)
    };
    native.set_attr("find_module", vm.new_function("find_module", find), vm)?;
    let shared = state.clone();
    let compile = move |file: PyStrRef, vm: &VirtualMachine| -> PyResult<PyRef<PyCode>> {
        compile_script_module(&shared, &file.to_string_lossy(), vm)
    };
    native.set_attr(
        "compile_module",
        vm.new_function("compile_module", compile),
        vm,
    )
}

/// Finds a module by the last part of its name, in the folders of its package or of the script.
pub(super) fn found_module(
    state: &EngineState,
    name: &str,
    of_package: Option<Vec<PathBuf>>,
) -> Value {
    let own = module_folders(&state.script.source_map);
    let folders = match of_package {
        None => own,
        // Packages of elsewhere have their own finders.
        Some(of_package) => {
            let is_own = |folder: &PathBuf| own.iter().any(|own| folder.starts_with(own));
            of_package.into_iter().filter(is_own).collect()
        }
    };
    let text = |path: &Path| path.display().to_string();
    match find_module(name, &folders) {
        None => Value::Null,
        Some(ModulePlace::Module(file)) => json!({ "file": text(&file), "folder": null }),
        Some(ModulePlace::Package(file)) => {
            json!({ "file": text(&file), "folder": file.parent().map(text) })
        }
        Some(ModulePlace::Folder(folder)) => json!({ "file": null, "folder": text(&folder) }),
    }
}

/// Reads a module beside the test.
///
/// # Errors
/// Returns what is wrong with the file.
pub(super) fn read_script_module(
    state: &EngineState,
    file: &str,
) -> Result<Arc<SourceMap>, String> {
    let source_map =
        read_module(Path::new(file)).map_err(|error| format!("{file} cannot be read: {error}"))?;
    let source_map = Arc::new(source_map);
    state.sources.add_module(file, source_map.clone());
    Ok(source_map)
}

fn compile_script_module(
    state: &EngineState,
    file: &str,
    vm: &VirtualMachine,
) -> PyResult<PyRef<PyCode>> {
    let source_map = read_script_module(state, file).map_err(|error| vm.new_os_error(error))?;
    compile_source(vm, source_map.script(), file, |_| ())
}
