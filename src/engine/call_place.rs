//! Finds the place in the script that makes a call, in the embedded interpreter.

use rustpython_vm::VirtualMachine;

use super::call_report::CallPlace;
use super::sources::SCRIPT_NAME;

/// Start of the names that tracebacks give the modules of the test API.
const API_PATH: &str = "snowglobe";

/// Looks among the frames of this thread, from the innermost to the script.
pub(super) fn find_place(vm: &VirtualMachine) -> CallPlace {
    let mut function = None;
    let mut next = vm.current_frame();
    while let Some(frame) = next {
        let code = frame.iframe().code();
        let path = code.source_path().as_str();
        if path == SCRIPT_NAME {
            // Also of a frame that has gone on since it was first looked at.
            let line = u32::try_from(frame.lineno()).ok();
            return CallPlace { function, line };
        }
        if path.starts_with(API_PATH) {
            function = Some(code.obj_name.to_string());
        }
        next = frame.f_back(vm);
    }
    CallPlace {
        function,
        line: None,
    }
}
