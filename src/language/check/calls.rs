//! Attributes and calls of the test API: unknown members, and arguments that do not fit.

use ruff_text_size::Ranged;
use rustpython_vm::compiler::ast;

use super::Finding;
use super::names::Occurrence;
use super::not_offered::remedy;
use super::quantities;
use super::types::{Scene, Type, has_member, literal};
use crate::language::{Class, Function, Parameter, ParameterKind};
use crate::suggestion::did_you_mean;

pub(super) fn check(scene: &Scene<'_, '_>) -> Vec<Finding> {
    let attributes = scene
        .names
        .attributes
        .iter()
        .filter_map(|place| attribute(scene, place));
    let calls = scene
        .names
        .calls
        .iter()
        .flat_map(|place| call(scene, place));
    let uncalled = scene
        .names
        .statements
        .iter()
        .filter_map(|place| uncalled(scene, place));
    attributes.chain(calls).chain(uncalled).collect()
}

/// A statement that only names a method.
fn uncalled(scene: &Scene<'_, '_>, place: &Occurrence<'_, ast::ExprAttribute>) -> Option<Finding> {
    let Type::Object(class) = scene.of(place.scope, &place.node.value) else {
        return None;
    };
    let method = class.method(place.node.attr.as_str())?;
    let message = format!("`{}` is named, and not called", method.name);
    let help = format!("call it: {}(…)", method.name);
    Some(Finding::warning("not-called", message, place.range()).with_help(Some(help)))
}

fn attribute(scene: &Scene<'_, '_>, place: &Occurrence<'_, ast::ExprAttribute>) -> Option<Finding> {
    let name = place.node.attr.as_str();
    let range = place.node.attr.range();
    let range = range.start().to_usize()..range.end().to_usize();
    let class = match scene.of(place.scope, &place.node.value) {
        Type::Object(class) => class,
        Type::ListOf(element) => {
            let finding = of_list(&element, name, range)?;
            return Some(if place.guarded {
                finding.softened()
            } else {
                finding
            });
        }
        _ => return None,
    };
    let known = has_member(class, name)
        || name.starts_with("__")
        || scene.names.own_attributes.contains(name);
    if known {
        return None;
    }
    let message = format!("{} has no `{name}`", article(class));
    let members = class.methods.iter().map(|method| method.name.as_str());
    let members = members.chain(
        class
            .properties
            .iter()
            .map(|property| property.name.as_str()),
    );
    let finding = Finding::error("unknown-attribute", message, range);
    let help = remedy(name).or_else(|| did_you_mean(name, members));
    let finding = finding.with_help(help);
    match &finding.help {
        // It has more members than the table; a slip is likely all the same.
        None if class.open => None,
        _ if class.open || place.guarded => Some(finding.softened()),
        _ => Some(finding),
    }
}

/// Reports a member that the elements of a list have, and the list has not.
fn of_list(element: &Type<'_>, name: &str, range: std::ops::Range<usize>) -> Option<Finding> {
    let Type::Object(class) = element else {
        return None;
    };
    class.method(name)?;
    let message = format!("a list has no `{name}`, {} has", article(class));
    Some(Finding::error("unknown-attribute", message, range))
}

fn article(class: &Class) -> String {
    match class.name.as_str() {
        "VLan" => "a VLAN".to_owned(),
        "Driver" => "the driver".to_owned(),
        "Log" => "the log".to_owned(),
        "Assertions" => "t".to_owned(),
        name => format!("a {}", name.to_lowercase()),
    }
}

fn call(scene: &Scene<'_, '_>, place: &Occurrence<'_, ast::ExprCall>) -> Vec<Finding> {
    let Type::Function(function) = scene.of(place.scope, &place.node.func) else {
        return Vec::new();
    };
    let mut call = CheckedCall {
        scene,
        function,
        arguments: &place.node.arguments,
        given: Vec::new(),
        perhaps_given: Vec::new(),
        findings: Vec::new(),
    };
    call.positional();
    call.keywords();
    let callee = place.node.func.range();
    call.missing(callee.start().to_usize()..place.range().end);
    let guarded = place.guarded;
    call.findings
        .into_iter()
        .map(|finding| if guarded { finding.softened() } else { finding })
        .collect()
}

struct CheckedCall<'s, 'v, 'a> {
    scene: &'s Scene<'v, 'a>,
    function: &'v Function,
    arguments: &'a ast::Arguments,
    /// The parameters that have an argument.
    given: Vec<&'v str>,
    /// Parameters that may have an argument from `*` or `**`.
    perhaps_given: Vec<&'v str>,
    findings: Vec<Finding>,
}

impl CheckedCall<'_, '_, '_> {
    fn positional(&mut self) {
        let mut open = self
            .function
            .parameters
            .iter()
            .filter(|parameter| parameter.kind == ParameterKind::Positional);
        let rest = self
            .function
            .parameters
            .iter()
            .find(|parameter| parameter.kind == ParameterKind::Rest);
        for argument in &self.arguments.args {
            if argument.is_starred_expr() {
                // How many it brings is not to be seen.
                self.perhaps_given
                    .extend(open.map(|parameter| parameter.name.as_str()));
                return;
            }
            if let Some(parameter) = open.next() {
                self.given.push(parameter.name.as_str());
                self.fits(argument, parameter);
            } else if let Some(rest) = rest {
                self.fits(argument, rest);
            } else {
                let message = format!("`{}` takes no such argument", self.function.name);
                self.find("surplus-argument", message, argument, Some(self.takes()));
                return;
            }
        }
    }

    fn keywords(&mut self) {
        let takes_any = self
            .function
            .parameters
            .iter()
            .any(|parameter| parameter.kind == ParameterKind::RestKeywords);
        for keyword in &self.arguments.keywords {
            let Some(name) = &keyword.arg else {
                // `**more` may bring all the others.
                self.perhaps_given
                    .extend(self.function.parameters.iter().map(|p| p.name.as_str()));
                continue;
            };
            let mut parameters = self.function.parameters.iter();
            let parameter = parameters.find(|parameter| {
                parameter.name == name.as_str()
                    && matches!(
                        parameter.kind,
                        ParameterKind::Positional | ParameterKind::KeywordOnly
                    )
            });
            match parameter {
                None if takes_any => {}
                None => {
                    let message = format!("`{}` has no argument `{name}`", self.function.name);
                    let names = self.function.parameters.iter().map(|p| p.name.as_str());
                    let help = did_you_mean(name, names).or_else(|| Some(self.takes()));
                    self.find("unknown-keyword", message, keyword, help);
                }
                Some(parameter) if self.given.contains(&parameter.name.as_str()) => {
                    let message = format!("the argument `{name}` is given twice");
                    self.find("surplus-argument", message, keyword, None);
                }
                Some(parameter) => {
                    self.given.push(parameter.name.as_str());
                    self.fits(&keyword.value, parameter);
                }
            }
        }
    }

    fn missing(&mut self, range: std::ops::Range<usize>) {
        let missing: Vec<String> = self
            .function
            .parameters
            .iter()
            .filter(|parameter| {
                matches!(
                    parameter.kind,
                    ParameterKind::Positional | ParameterKind::KeywordOnly
                )
            })
            .filter(|parameter| parameter.default.is_none())
            .filter(|parameter| !self.given.contains(&parameter.name.as_str()))
            .filter(|parameter| !self.perhaps_given.contains(&parameter.name.as_str()))
            .map(|parameter| format!("`{}`", parameter.name))
            .collect();
        if !missing.is_empty() {
            let message = format!("`{}` needs {}", self.function.name, missing.join(" and "));
            let help = Some(self.takes());
            self.findings
                .push(Finding::error("missing-argument", message, range).with_help(help));
        }
    }

    fn fits(&mut self, value: &ast::Expr, parameter: &Parameter) {
        if self.scene.fits(value, &parameter.annotation) == Some(false) {
            let message = format!(
                "`{}` of `{}` is {}, and not {}",
                parameter.name,
                self.function.name,
                self.scene.explain(&parameter.annotation),
                literal(value).unwrap_or_default(),
            );
            self.find("wrong-type", message, value, None);
        } else if let Some(error) = quantities::mistake(value, &parameter.annotation) {
            let message = format!("`{}` of `{}`: {error}", parameter.name, self.function.name);
            self.find("wrong-value", message, value, None);
        }
    }

    fn takes(&self) -> String {
        let parameters = crate::language::stub::signature(self.function, "", |parameter| {
            match &parameter.default {
                Some(default) => format!("{}={default}", parameter.name),
                None => parameter.name.clone(),
            }
        });
        format!("it is {}({parameters})", self.function.name)
    }

    fn find(
        &mut self,
        code: &'static str,
        message: String,
        at: &impl Ranged,
        help: Option<String>,
    ) {
        let range = at.range().start().to_usize()..at.range().end().to_usize();
        self.findings
            .push(Finding::error(code, message, range).with_help(help));
    }
}
