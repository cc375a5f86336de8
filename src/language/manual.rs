//! The manual's page about the test API, generated from its vocabulary.

use std::fmt::Write;

use super::stub::signature;
use super::vocabulary::{Availability, Class, Function, Vocabulary};

const HEAD: &str = include_str!("manual.md");

/// The page `docs/src/script.md`.
#[must_use]
pub fn manual(vocabulary: &Vocabulary) -> String {
    let mut text = HEAD.to_owned();
    text.push_str("\n## Functions\n\n| function | description |\n|---|---|\n");
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
        "\n## {}\n\n{}\n\n| member | description |\n|---|---|\n",
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
    let availability = match function.availability {
        Availability::Nixpkgs => "",
        Availability::Extension => " *Snowglobe extension*",
    };
    format!(
        "| `{}({parameters})` | {}{availability} |\n",
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
            "regenerate it: snowglobe stubs --format manual > docs/src/script.md"
        );
    }
}
