//! The stub for editors and type checkers (`.pyi`), made from the table of words.

use std::fmt::Write;

use super::vocabulary::{Class, Function, Kind, Vocabulary};

/// The stub's text; `machines` and `vlans` are what a test adds to the words.
#[must_use]
pub fn stub(vocabulary: &Vocabulary, machines: &[String], vlans: &[u32]) -> String {
    let mut text = String::from(
        "# The words of Snowglobe's test scripts, made by `snowglobe stubs`.\n\
         import datetime\nimport os as os\nimport pathlib\nimport re\n\
         from typing import Any, Callable, ContextManager, Dict, Iterator, List, Optional, Tuple, TypeAlias\n\n",
    );
    for (name, meaning) in &vocabulary.aliases {
        if vocabulary.class(meaning).is_none() {
            let _ = writeln!(text, "{name}: TypeAlias = {meaning}");
        }
    }
    for class in &vocabulary.classes {
        text.push_str(&class_stub(class));
    }
    for (name, meaning) in &vocabulary.aliases {
        if vocabulary.class(meaning).is_some() {
            let _ = writeln!(text, "{name} = {meaning}");
        }
    }
    text.push('\n');
    for function in &vocabulary.functions {
        text.push_str(&function_stub(function, "", ""));
    }
    text.push('\n');
    for (name, annotation) in &vocabulary.values {
        let _ = writeln!(text, "{name}: {annotation}");
    }
    for machine in machines {
        let _ = writeln!(text, "{machine}: Machine");
    }
    for vlan in vlans {
        let _ = writeln!(text, "vlan{vlan}: VLan");
    }
    text
}

fn class_stub(class: &Class) -> String {
    let base = if class.bases.is_empty() {
        String::new()
    } else {
        format!("({})", class.bases.join(", "))
    };
    let mut text = format!(
        "\nclass {}{base}:\n    \"\"\"{}\"\"\"\n",
        class.name, class.doc
    );
    for property in &class.properties {
        if property.settable {
            let _ = writeln!(text, "    {}: {}", property.name, property.annotation);
        } else {
            let _ = writeln!(
                text,
                "    @property\n    def {}(self) -> {}: ...",
                property.name, property.annotation
            );
        }
    }
    if class.open && base.is_empty() {
        text.push_str("    def __getattr__(self, name: str) -> Any: ...\n");
    }
    for method in &class.methods {
        text.push_str(&function_stub(method, "    ", "self"));
    }
    text
}

fn function_stub(function: &Function, indentation: &str, first: &str) -> String {
    let returns = if function.context_manager {
        function.returns.replace("Iterator", "ContextManager")
    } else {
        function.returns.clone()
    };
    let parameters = signature(function, first, |parameter| {
        let mut text = format!("{}: {}", parameter.name, parameter.annotation);
        if let Some(default) = &parameter.default {
            let _ = write!(text, " = {default}");
        }
        text
    });
    let doc = if function.doc.is_empty() {
        " ...\n".to_owned()
    } else {
        format!(
            "\n{indentation}    \"\"\"{}\"\"\"\n",
            function.doc.replace('"', "\\\"")
        )
    };
    format!(
        "{indentation}def {}({parameters}) -> {returns}:{doc}",
        function.name
    )
}

/// A list of parameters as Python writes it.
pub(super) fn signature(
    function: &Function,
    first: &str,
    show: impl Fn(&super::Parameter) -> String,
) -> String {
    let mut words: Vec<String> = Vec::new();
    if !first.is_empty() {
        words.push(first.to_owned());
    }
    let mut starred = false;
    for parameter in &function.parameters {
        match parameter.kind {
            Kind::Positional => words.push(show(parameter)),
            Kind::Rest => {
                starred = true;
                words.push(format!("*{}", show(parameter)));
            }
            Kind::KeywordOnly => {
                if !starred {
                    words.push("*".to_owned());
                }
                starred = true;
                words.push(show(parameter));
            }
            Kind::RestKeywords => words.push(format!("**{}", show(parameter))),
        }
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stub_is_python() {
        let text = stub(Vocabulary::standard(), &["server".to_owned()], &[1]);
        rustpython_vm::compiler::parser::parse_module(&text).unwrap();
        assert!(text.contains("\nserver: Machine\nvlan1: VLan\n"));
        assert!(text.contains("\nclass MachineSick(MachineError):\n"));
        assert!(text.contains("\nclass RequestedAssertionFailed(AssertionError):\n"));
        assert!(text.contains("def subtest(name: str) -> ContextManager[None]:"));
        assert!(text.contains(
            "    def succeed(self, *commands: str, timeout: Duration | None = None, user"
        ));
    }
}
