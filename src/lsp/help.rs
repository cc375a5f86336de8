//! Completion, hover, signatures and definitions, as an editor asks for them.

use lsp_types::{
    CompletionItem, CompletionItemKind, CompletionTextEdit, Documentation, Hover, HoverContents,
    Location, MarkupContent, MarkupKind, ParameterInformation, ParameterLabel, Position,
    SignatureHelp, SignatureInformation, TextEdit,
};

use super::known_tests::KnownTests;
use super::open_file::{OpenFile, ScriptView};
use super::positions;
use crate::language::assist::{self, Completion, CompletionKind};
use crate::model::manifest::python_name;
use crate::source_map::NodePlace;

/// The script at a position of a file, and the position in it.
fn script_at(
    file: &OpenFile,
    known: &KnownTests,
    position: Position,
) -> Option<(ScriptView, usize)> {
    let offset = positions::offset(&file.text, position);
    let mut views = file.views(known).into_iter();
    views.find_map(|view| {
        let offset = view.script.in_script(offset)?;
        Some((view, offset))
    })
}

pub(super) fn completions(
    file: &OpenFile,
    known: &KnownTests,
    position: Position,
) -> Vec<CompletionItem> {
    let Some((view, offset)) = script_at(file, known, position) else {
        return Vec::new();
    };
    let found = assist::completions(view.written(), offset);
    let end = positions::offset(&file.text, position);
    let items = found.into_iter().filter_map(|one| {
        // Words have no escapes: as many bytes are before the position in the file.
        let begin = end.checked_sub(one.range.len())?;
        let range = positions::range(&file.text, &(begin..end));
        Some(completion_item(one, range))
    });
    items.collect()
}

fn completion_item(completion: Completion, range: lsp_types::Range) -> CompletionItem {
    // Editors sort by text: names of the test are before those that every script has.
    let rank = match completion.kind {
        CompletionKind::Argument => 0,
        CompletionKind::Machine | CompletionKind::Unit => 1,
        CompletionKind::Method | CompletionKind::Property => 2,
        CompletionKind::Variable => 3,
        CompletionKind::Function => 4,
        CompletionKind::Class => 5,
    };
    CompletionItem {
        kind: Some(match completion.kind {
            CompletionKind::Method => CompletionItemKind::METHOD,
            CompletionKind::Property => CompletionItemKind::PROPERTY,
            CompletionKind::Function => CompletionItemKind::FUNCTION,
            CompletionKind::Class => CompletionItemKind::CLASS,
            CompletionKind::Machine | CompletionKind::Variable => CompletionItemKind::VARIABLE,
            CompletionKind::Argument => CompletionItemKind::FIELD,
            CompletionKind::Unit => CompletionItemKind::VALUE,
        }),
        detail: (!completion.detail.is_empty()).then_some(completion.detail),
        documentation: (!completion.doc.is_empty())
            .then(|| Documentation::MarkupContent(markdown(completion.doc))),
        sort_text: Some(format!("{rank}{}", completion.label)),
        text_edit: Some(CompletionTextEdit::Edit(TextEdit {
            range,
            new_text: completion.label.clone(),
        })),
        label: completion.label,
        ..CompletionItem::default()
    }
}

pub(super) fn hover(file: &OpenFile, known: &KnownTests, position: Position) -> Option<Hover> {
    let (view, offset) = script_at(file, known, position)?;
    let found = assist::hover(view.written(), offset)?;
    let range = view.script.in_file(&found.range)?;
    Some(Hover {
        contents: HoverContents::Markup(markdown(format!(
            "```python\n{}\n```\n{}",
            found.code, found.doc
        ))),
        range: Some(positions::range(&file.text, &range)),
    })
}

pub(super) fn signature_help(
    file: &OpenFile,
    known: &KnownTests,
    position: Position,
) -> Option<SignatureHelp> {
    let (view, offset) = script_at(file, known, position)?;
    let found = assist::signature_at(view.written(), offset)?;
    // Names of the test API are ASCII, so that bytes are UTF-16 units.
    let label = |bytes: &std::ops::Range<usize>| {
        let unit = |byte: usize| u32::try_from(byte).unwrap_or(u32::MAX);
        ParameterLabel::LabelOffsets([unit(bytes.start), unit(bytes.end)])
    };
    let parameters = found.parameters.iter().map(|bytes| ParameterInformation {
        label: label(bytes),
        documentation: None,
    });
    let active = found.active.and_then(|active| u32::try_from(active).ok());
    Some(SignatureHelp {
        signatures: vec![SignatureInformation {
            label: found.text.clone(),
            documentation: Some(Documentation::MarkupContent(markdown(found.doc.clone()))),
            parameters: Some(parameters.collect()),
            active_parameter: active,
        }],
        active_signature: Some(0),
        active_parameter: active,
    })
}

/// Returns the node of a Nix file whose machine is at a position of a script.
pub(super) fn definition(
    file: &OpenFile,
    known: &KnownTests,
    position: Position,
    nodes_of: impl Fn() -> Option<(lsp_types::Url, String, Vec<NodePlace>)>,
) -> Option<Location> {
    let (view, offset) = script_at(file, known, position)?;
    let machine = assist::machine_at(view.written(), offset)?;
    let (uri, text, nodes) = nodes_of()?;
    let is_meant = |node: &&NodePlace| python_name(&node.name) == machine;
    // The only node has a second name.
    let node = nodes
        .iter()
        .find(is_meant)
        .or_else(|| (nodes.len() == 1).then(|| &nodes[0]))?;
    Some(Location {
        uri,
        range: positions::range(&text, &node.range),
    })
}

fn markdown(value: String) -> MarkupContent {
    MarkupContent {
        kind: MarkupKind::Markdown,
        value,
    }
}
