//! Values as Python writes them, without most of the large ones: the rest of a list is never made into text.

use std::fmt::Write;

use rustpython_vm::builtins::{PyBytes, PyDict, PyFrozenSet, PyInt, PyList, PySet, PyStr, PyTuple};
use rustpython_vm::protocol::PyIter;
use rustpython_vm::{AsObject, Py, PyObject, PyObjectRef, PyResult, TryFromObject, VirtualMachine};

/// How much of a value is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// In characters.
    most: usize,
    /// How many parts of a collection, and how deep collections in collections.
    parts: usize,
    depth: u32,
}

impl Extent {
    /// Returns the extent for a line of about `most` characters.
    pub fn short(most: usize) -> Self {
        Self {
            most,
            parts: 20,
            depth: 4,
        }
    }

    /// Returns the extent for a file.
    pub fn whole() -> Self {
        Self {
            most: 1 << 20,
            parts: 100_000,
            depth: 32,
        }
    }
}

/// An integer with more bits is not written: that takes time.
const MOST_BITS: u64 = 2048;

const REST: &str = "…";

/// Writes a value as `repr` does, in about as many characters as its extent has.
///
/// # Errors
/// The exception of a class that writes its own values.
pub(super) fn short_repr(
    vm: &VirtualMachine,
    object: &PyObject,
    extent: Extent,
) -> PyResult<String> {
    let most = extent.most;
    let mut writer = Writer {
        vm,
        text: String::new(),
        extent,
    };
    writer.write(object, 0)?;
    let end = writer.text.char_indices().nth(most);
    if let Some((end, _)) = end {
        writer.text.truncate(end);
        writer.text.push_str(REST);
    }
    Ok(writer.text)
}

struct Writer<'a> {
    vm: &'a VirtualMachine,
    text: String,
    extent: Extent,
}

impl Writer<'_> {
    fn is_full(&self) -> bool {
        // More bytes than this are at least as many characters.
        self.text.len() > self.extent.most * 4
    }

    fn write(&mut self, object: &PyObject, depth: u32) -> PyResult<()> {
        if self.is_full() || depth == self.extent.depth {
            self.text.push_str(REST);
            return Ok(());
        }
        let vm = self.vm;
        if let Some(text) = object.downcast_ref::<PyStr>() {
            let text = text.to_string_lossy();
            let shown: String = text.chars().take(self.extent.most).collect();
            let rest = if shown.len() < text.len() { REST } else { "" };
            let shown = vm.ctx.new_str(shown);
            self.text
                .push_str(&shown.as_object().repr(vm)?.to_string_lossy());
            self.text.push_str(rest);
        } else if let Some(bytes) = object.downcast_ref::<PyBytes>() {
            let bytes = bytes.as_bytes();
            let shown = vm
                .ctx
                .new_bytes(bytes[..bytes.len().min(self.extent.most)].to_vec());
            self.text
                .push_str(&shown.as_object().repr(vm)?.to_string_lossy());
            self.text.push_str(if bytes.len() > self.extent.most {
                REST
            } else {
                ""
            });
        } else if let Some(number) = object.downcast_ref::<PyInt>() {
            match number.as_bigint().bits() {
                MOST_BITS.. => self.text.push_str("an integer of many digits"),
                _ => self.text.push_str(&object.repr(vm)?.to_string_lossy()),
            }
        } else if let Some(list) = object.downcast_ref::<PyList>() {
            let (items, length) = {
                let all = list.borrow_vec();
                (first(&all, self.extent.parts), all.len())
            };
            self.sequence(object, ["[", "]"], &items, length, depth)?;
        } else if let Some(tuple) = object.downcast_ref::<PyTuple>() {
            let all = tuple.as_slice();
            let end = if all.len() == 1 { ",)" } else { ")" };
            self.sequence(
                object,
                ["(", end],
                &first(all, self.extent.parts),
                all.len(),
                depth,
            )?;
        } else if let Some(dict) = object.downcast_ref::<PyDict>() {
            self.dictionary(object, dict, depth)?;
        } else if object.downcast_ref::<PySet>().is_some()
            || object.downcast_ref::<PyFrozenSet>().is_some()
        {
            let length = object.length(vm)?;
            let all = PyIter::try_from_object(vm, object.to_owned())?;
            let items = all.iter::<PyObjectRef>(vm)?.take(self.extent.parts);
            let items = items.collect::<PyResult<Vec<_>>>()?;
            let ends = if length == 0 {
                ["set(", ")"]
            } else {
                ["{", "}"]
            };
            self.sequence(object, ends, &items, length, depth)?;
        } else if let Some(fields) = fields_of_dataclass(vm, object) {
            self.text.push_str(&object.class().name());
            self.text.push('(');
            for (number, (name, value)) in
                (&*fields).into_iter().take(self.extent.parts).enumerate()
            {
                self.text.push_str(if number > 0 { ", " } else { "" });
                self.text.push_str(&name.str(vm)?.to_string_lossy());
                self.text.push('=');
                self.write(&value, depth + 1)?;
            }
            self.text.push(')');
        } else {
            self.text.push_str(&object.repr(vm)?.to_string_lossy());
        }
        Ok(())
    }

    fn sequence(
        &mut self,
        object: &PyObject,
        [begin, end]: [&str; 2],
        items: &[PyObjectRef],
        length: usize,
        depth: u32,
    ) -> PyResult<()> {
        let name = name_of_subclass(object);
        self.text.push_str(&name);
        self.text.push_str(begin);
        for (number, item) in items.iter().enumerate() {
            self.text.push_str(if number > 0 { ", " } else { "" });
            self.write(item, depth + 1)?;
        }
        self.rest_of(items.len(), length);
        self.text.push_str(end);
        Ok(())
    }

    fn dictionary(&mut self, object: &PyObject, dict: &Py<PyDict>, depth: u32) -> PyResult<()> {
        self.text.push_str(&name_of_subclass(object));
        self.text.push('{');
        let mut shown = 0;
        for (key, value) in dict.into_iter().take(self.extent.parts) {
            self.text.push_str(if shown > 0 { ", " } else { "" });
            self.write(&key, depth + 1)?;
            self.text.push_str(": ");
            self.write(&value, depth + 1)?;
            shown += 1;
        }
        self.rest_of(shown, dict.__len__());
        self.text.push('}');
        Ok(())
    }

    fn rest_of(&mut self, shown: usize, length: usize) {
        if length > shown {
            let _ = write!(self.text, ", {REST} {} more", length - shown);
        }
    }
}

fn first(all: &[PyObjectRef], most: usize) -> Vec<PyObjectRef> {
    all.iter().take(most).cloned().collect()
}

/// The name of a class that is a kind of list, set, or dictionary; nothing for these themselves.
fn name_of_subclass(object: &PyObject) -> String {
    let name = object.class().name().to_string();
    match name.as_str() {
        "list" | "tuple" | "dict" | "set" => String::new(),
        _ => name,
    }
}

fn fields_of_dataclass(
    vm: &VirtualMachine,
    object: &PyObject,
) -> Option<rustpython_vm::builtins::PyDictRef> {
    object
        .class()
        .as_object()
        .get_attr("__dataclass_fields__", vm)
        .ok()?;
    object.dict()
}
