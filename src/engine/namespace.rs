//! The names of a script in the embedded interpreter, for a prompt.

use rustpython_vm::builtins::PyBaseExceptionRef;
use rustpython_vm::compiler::{Mode, parser};
use rustpython_vm::scope::Scope;
use rustpython_vm::{AsObject, PyObjectRef, PyResult, VirtualMachine};

use super::describe::describe;
use super::embedded::Embedded;
use super::exceptions::is_api_exception;
use super::mode::{AfterTyped, Namespace};
use super::values::to_json;
use crate::model::event::Event;

pub(super) struct EmbeddedNames<'a> {
    pub vm: &'a VirtualMachine,
    pub scope: &'a Scope,
    pub embedded: &'a Embedded,
}

impl EmbeddedNames<'_> {
    fn find_names(&self, path: &[&str]) -> PyResult<Vec<String>> {
        let vm = self.vm;
        let globals = self.scope.globals.as_object();
        // At a breakpoint in a function.
        let locals = self.scope.locals.as_ref().map(AsObject::as_object);
        let Some((first, attributes)) = path.split_first() else {
            let mut found = names(vm, &vm.call_method(vm.builtins.as_object(), "__dir__", ())?)?;
            for space in locals.into_iter().chain([globals]) {
                found.extend(names(vm, &vm.call_method(space, "keys", ())?)?);
            }
            return Ok(found);
        };
        let mut spaces = locals.into_iter().chain([globals]);
        let found = spaces.find_map(|space| space.get_item(*first, vm).ok());
        let mut object =
            found.ok_or_else(|| vm.new_name_error("it has no value", vm.ctx.new_str(*first)))?;
        for attribute in attributes {
            object = object.get_attr(&vm.ctx.new_str(*attribute), vm)?;
        }
        names(vm, &vm.call_method(&object, "__dir__", ())?)
    }

    fn report(&self, exception: &PyBaseExceptionRef) {
        let state = &self.embedded.state;
        let is_interrupt = is_api_exception(self.vm, exception, "Interrupted");
        state.report_typed((!is_interrupt).then(|| describe(self.vm, exception, state)));
    }
}

impl Namespace for EmbeddedNames<'_> {
    fn emit(&self, event: Event) {
        self.embedded.state.emit(event);
    }

    fn is_whole(&self, text: &str) -> bool {
        is_whole(self.vm, text)
    }

    fn names_after(&self, path: &[&str]) -> Vec<String> {
        self.find_names(path).unwrap_or_default()
    }

    fn run(&self, text: &str) -> AfterTyped {
        let (vm, state) = (self.vm, &self.embedded.state);
        let name = state.sources.add(text);
        let code = vm
            .compile(text, Mode::Single, &name)
            .map_err(|error| error.into_pyexception(vm, Some(text)));
        let result = code.and_then(|code| {
            self.embedded
                .interrupter
                .while_armed(|| vm.run_code_obj(code, self.scope.clone()))
        });
        state.print_rest();
        match result {
            Ok(_) => AfterTyped::Read,
            Err(exception) if exception.fast_isinstance(vm.ctx.exceptions.system_exit) => {
                AfterTyped::Leave
            }
            Err(exception) => {
                self.report(&exception);
                AfterTyped::Read
            }
        }
    }
}

fn names(vm: &VirtualMachine, names: &PyObjectRef) -> PyResult<Vec<String>> {
    let list = vm.call_method(vm.builtins.as_object(), "list", (names.clone(),))?;
    let names = to_json(&list, vm)?;
    Ok(serde_json::from_value(names).unwrap_or_default())
}

fn is_whole(vm: &VirtualMachine, text: &str) -> bool {
    let ended = text.ends_with('\n') || text.trim().is_empty();
    match vm.compile(text, Mode::Single, "<prompt>") {
        Ok(_) => ended || !text.contains('\n') || !ends_in_block(text),
        Err(error) => {
            let exception = error.into_pyexception_maybe_incomplete(vm, Some(text), !ended);
            !exception.fast_isinstance(vm.ctx.exceptions.incomplete_input_error)
        }
    }
}

fn ends_in_block(text: &str) -> bool {
    parser::parse_module(text).is_ok_and(|parsed| {
        let last = parsed.into_syntax().body.pop();
        last.is_some_and(|statement| {
            !(statement.is_expr_stmt()
                || statement.is_assign_stmt()
                || statement.is_ann_assign_stmt()
                || statement.is_aug_assign_stmt()
                || statement.is_import_stmt()
                || statement.is_import_from_stmt()
                || statement.is_assert_stmt()
                || statement.is_raise_stmt()
                || statement.is_delete_stmt())
        })
    })
}

#[cfg(test)]
mod tests {
    use rustpython::InterpreterBuilderExt as _;

    use super::*;

    #[test]
    fn blocks_wait_for_an_empty_line() {
        let interpreter = rustpython::InterpreterBuilder::new()
            .init_stdlib()
            .interpreter();
        interpreter.enter(|vm| {
            let whole = |text| is_whole(vm, text);
            assert!(whole("x = 1"));
            assert!(whole("f(1,\n  2)"));
            assert!(!whole("f(1,"));
            assert!(!whole("if x:"));
            assert!(!whole("if x:\n    y"));
            assert!(whole("if x:\n    y\n"));
            assert!(!whole("'''a\nb"));
            assert!(whole("x ="));
            assert!(whole("for x in y: z"));
        });
    }
}
