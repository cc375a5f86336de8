//! The manual's page of words, made from the table.

use std::fmt::Write;

use super::stub::signature;
use super::vocabulary::{Class, Function, Origin, Vocabulary};

const HEAD: &str = include_str!("manual.md");

/// The page `docs/src/script.md`.
#[must_use]
pub fn manual(vocabulary: &Vocabulary) -> String {
    let mut text = HEAD.to_owned();
    text.push_str("\n## Words\n\n| word | meaning |\n|---|---|\n");
    for function in &vocabulary.functions {
        text.push_str(&row(function));
    }
    for class in &vocabulary.classes {
        if !class.methods.is_empty() {
            text.push_str(&section(class));
        }
    }
    text
}

fn section(class: &Class) -> String {
    let mut text = format!(
        "\n## {}\n\n{}\n\n| member | meaning |\n|---|---|\n",
        class.name, class.doc
    );
    for property in &class.properties {
        let _ = writeln!(
            text,
            "| `{}: {}` | {} |",
            property.name,
            property.annotation.replace('|', "\\|"),
            property.doc
        );
    }
    for method in class
        .methods
        .iter()
        .filter(|method| !method.name.starts_with("__"))
    {
        text.push_str(&row(method));
    }
    text
}

fn row(function: &Function) -> String {
    let parameters = signature(function, "", |parameter| match &parameter.default {
        Some(default) => format!("{}={default}", parameter.name),
        None => parameter.name.clone(),
    });
    let origin = match function.origin {
        Origin::Common => "",
        Origin::Own => " *(Snowglobe's own)*",
    };
    format!(
        "| `{}({parameters})` | {}{origin} |\n",
        function.name, function.doc
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manuals_page_is_that_of_the_table() {
        let page = include_str!("../../docs/src/script.md");
        assert!(
            page == manual(Vocabulary::standard()),
            "write it anew: snowglobe stubs --format manual > docs/src/script.md"
        );
    }
}
