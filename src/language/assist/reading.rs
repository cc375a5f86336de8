//! A script as it is read around a position.

use std::borrow::Cow;
use std::ops::Range;

use ruff_text_size::Ranged;
use rustpython_vm::compiler::ast::{self, Expr};
use rustpython_vm::compiler::parser;

use super::WrittenScript;
use crate::language::check::names::{Occurrence, Use};
use crate::language::check::types::{Scene, Type};
use crate::language::check::{tree_walk, unreadable, with_deep_stack};
use crate::language::{Function, ParameterKind, Vocabulary};

/// Text that completes a word, a call or a string at the position. The empty one is for a script that is whole.
const ENDINGS: [&str; 7] = ["", "x", ")", "x)", "\")", "')", "x:\n pass"];

/// A script with the position, while its tree is there.
pub(super) struct Reading<'r, 'a> {
    pub text: &'r str,
    pub offset: usize,
    pub scene: &'r Scene<'r, 'a>,
}

/// A call around the position.
pub(super) struct CallAround<'r, 'a> {
    pub place: &'r Occurrence<'a, ast::ExprCall>,
    pub function: &'r Function,
}

/// Reads a script around a position. `None` if no parser can read it, or the position is in a comment.
pub(super) fn read_at<T: Send>(
    script: WrittenScript<'_>,
    offset: usize,
    work: impl Fn(&Reading<'_, '_>) -> Option<T> + Send + Sync,
) -> Option<T> {
    let offset = script
        .text
        .floor_char_boundary(offset.min(script.text.len()));
    if unreadable(script.text).is_some() {
        return None;
    }
    with_deep_stack(|| {
        let (text, parsed) = ENDINGS
            .iter()
            .map(|ending| parse_with(script.text, offset, ending))
            .min_by_key(|(_, parsed)| parsed.errors().len())?;
        let tokens = parsed.tokens();
        let is_comment = tokens.iter().any(|token| {
            let range = token.range();
            token.kind().is_trivia()
                && text[range].starts_with('#')
                && range.start().to_usize() < offset
                && offset <= range.end().to_usize()
        });
        if is_comment {
            return None;
        }
        let module = parsed.try_into_module()?;
        let names = tree_walk::read(module.suite());
        let scene = Scene::new(Vocabulary::standard(), script.context, &names);
        work(&Reading {
            text: &text,
            offset,
            scene: &scene,
        })
    })
}

fn parse_with<'t>(
    text: &'t str,
    offset: usize,
    ending: &str,
) -> (Cow<'t, str>, parser::Parsed<ast::Mod>) {
    let text = match ending {
        "" => Cow::Borrowed(text),
        ending => Cow::Owned([&text[..offset], ending, &text[offset..]].concat()),
    };
    let options = parser::ParseOptions::from(parser::Mode::Module);
    let parsed = parser::parse_unchecked(&text, options);
    (text, parsed)
}

pub(super) fn bytes(node: &impl Ranged) -> Range<usize> {
    node.start().to_usize()..node.end().to_usize()
}

impl<'r, 'a> Reading<'r, 'a> {
    fn touches(&self, range: &Range<usize>) -> bool {
        range.start <= self.offset && self.offset <= range.end
    }

    /// The attribute whose name is at the position.
    pub fn attribute(&self) -> Option<&'r Occurrence<'a, ast::ExprAttribute>> {
        let mut attributes = self.scene.names.attributes.iter();
        attributes.find(|place| self.touches(&bytes(&place.node.attr)))
    }

    /// The use of a name at the position.
    pub fn name(&self) -> Option<&'r Use<'a>> {
        let mut uses = self.scene.names.uses.iter();
        uses.find(|used| {
            self.touches(&(used.range.start().to_usize()..used.range.end().to_usize()))
        })
    }

    /// The string literal that has the position between its quotes, and the bytes there.
    pub fn string(&self, call: &CallAround<'_, 'a>) -> Option<Range<usize>> {
        let arguments = &call.place.node.arguments;
        let keywords = arguments.keywords.iter().map(|keyword| &keyword.value);
        arguments
            .args
            .iter()
            .chain(keywords)
            .filter_map(|argument| string_content(argument, self.text))
            .find(|content| self.touches(content))
    }

    /// The innermost call that has the position among its arguments, if the test API has its function.
    pub fn call(&self) -> Option<CallAround<'r, 'a>> {
        let around = self.scene.names.calls.iter().filter(|place| {
            let parentheses = bytes(&place.node.arguments);
            let is_closed = self.text[parentheses.clone()].ends_with(')');
            parentheses.start < self.offset
                && (self.offset < parentheses.end || !is_closed && self.offset == parentheses.end)
        });
        let place = around.min_by_key(|place| place.range().len())?;
        match self.scene.of(place.scope, &place.node.func) {
            Type::Function(function) => Some(CallAround { place, function }),
            _ => None,
        }
    }

    /// The position of the parameter that the argument at the position is for.
    pub fn parameter(&self, call: &CallAround<'_, 'a>) -> Option<usize> {
        let arguments = &call.place.node.arguments;
        let parameters = &call.function.parameters;
        let named = arguments
            .keywords
            .iter()
            .find(|keyword| self.touches(&bytes(*keyword)));
        if let Some(name) = named.and_then(|keyword| keyword.arg.as_ref()) {
            return parameters.iter().position(|it| it.name == name.as_str());
        }
        let before = arguments
            .args
            .iter()
            .filter(|argument| bytes(*argument).end < self.offset);
        let position = before.count();
        let takes = |kind: ParameterKind| kind == ParameterKind::Positional;
        let positional = parameters.iter().take_while(|it| takes(it.kind)).count();
        if position < positional {
            return Some(position);
        }
        parameters
            .iter()
            .position(|it| it.kind == ParameterKind::Rest)
    }

    /// The bytes of the word before the position.
    pub fn word(&self) -> Range<usize> {
        let before = &self.text[..self.offset];
        let word = before.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_');
        word.len()..self.offset
    }
}

/// The bytes between the quotes of a string in one part.
fn string_content(argument: &Expr, text: &str) -> Option<Range<usize>> {
    let literal = argument.as_string_literal_expr()?;
    let [part] = literal.value.as_slice() else {
        return None;
    };
    let whole = bytes(part);
    let written = text.get(whole.clone())?;
    let prefix = written.find(['"', '\''])?;
    let quote = written[prefix..].chars().next()?;
    let is_long = written[prefix..].starts_with(&quote.to_string().repeat(3));
    let quotes = if is_long { 3 } else { 1 };
    let range = whole.start + prefix + quotes..whole.end.checked_sub(quotes)?;
    (range.start <= range.end).then_some(range)
}

/// The names that the script binds at its top.
pub(super) fn own_names<'r>(reading: &Reading<'r, '_>) -> Vec<&'r str> {
    let scope = &reading.scene.names.scopes[0];
    let mut names: Vec<&str> = scope.bindings.keys().copied().collect();
    names.sort_unstable();
    names
}
