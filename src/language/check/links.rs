//! Links and cables that a test does not have, and faults that never begin.

use rustpython_vm::compiler::ast::{Expr, ExprCall};

use super::Finding;
use super::names::Occurrence;
use super::types::{Scene, Type, vlan_number};

pub(super) fn check(scene: &Scene<'_, '_>) -> Vec<Finding> {
    let calls = scene.names.calls.iter();
    let calls = calls.filter_map(|place| {
        let finding = link(scene, place).or_else(|| cable(scene, place))?;
        Some(if place.guarded {
            finding.softened()
        } else {
            finding
        })
    });
    let statements = scene.names.statement_calls.iter();
    calls
        .chain(statements.filter_map(|place| unbegun(scene, place)))
        .collect()
}

/// `a.to(b)` and `between(a, b)`: both are on a common network, and on the one that is named.
fn link(scene: &Scene<'_, '_>, place: &Occurrence<'_, ExprCall>) -> Option<Finding> {
    let call = place.node;
    let arguments = &call.arguments.args;
    let (ends, vlan_place) = match &*call.func {
        Expr::Attribute(method) if method.attr.as_str() == "to" => {
            ([&*method.value, arguments.first()?], 1)
        }
        Expr::Name(function)
            if function.id.as_str() == "between"
                && matches!(scene.of(place.scope, &call.func), Type::Function(_)) =>
        {
            ([arguments.first()?, arguments.get(1)?], 2)
        }
        _ => return None,
    };
    let [a, b] = [
        scene.node(place.scope, ends[0])?,
        scene.node(place.scope, ends[1])?,
    ];
    if a == b {
        let message = format!("`{a}` has no link to itself");
        return Some(Finding::error("no-link", message, place.range()));
    }
    let [of_a, of_b] = [scene.networks_of(a)?, scene.networks_of(b)?];
    let shared: Vec<u32> = of_a
        .iter()
        .copied()
        .filter(|one| of_b.contains(one))
        .collect();
    let only = arguments.get(vlan_place);
    let only = only.or_else(|| {
        call.arguments
            .find_keyword("vlan")
            .map(|keyword| &keyword.value)
    });
    match only.and_then(vlan) {
        _ if shared.is_empty() => {
            let message = format!("`{a}` and `{b}` share no virtual network");
            let help = format!(
                "`{a}` is on {}, `{b}` on {}: name the router between them",
                list(of_a),
                list(of_b)
            );
            Some(Finding::error("no-link", message, place.range()).with_help(Some(help)))
        }
        Some(number) if !shared.contains(&number) => {
            let message = format!("`{a}` and `{b}` are not both on vlan{number}");
            let help = format!("they share {}", list(&shared));
            Some(Finding::error("no-link", message, place.range()).with_help(Some(help)))
        }
        _ => None,
    }
}

/// `a.cable(vlan1)`: the machine is on the network.
fn cable(scene: &Scene<'_, '_>, place: &Occurrence<'_, ExprCall>) -> Option<Finding> {
    let method = place.node.func.as_attribute_expr()?;
    if method.attr.as_str() != "cable" {
        return None;
    }
    let node = scene.node(place.scope, &method.value)?;
    let networks = scene.networks_of(node)?;
    let number = vlan(place.node.arguments.args.first()?)?;
    if networks.contains(&number) {
        return None;
    }
    let message = format!("`{node}` is not on vlan{number}");
    let help = format!("it is on {}", list(networks));
    Some(Finding::error("no-link", message, place.range()).with_help(Some(help)))
}

/// A statement that makes a fault or a capture, and does nothing with it.
fn unbegun(scene: &Scene<'_, '_>, place: &Occurrence<'_, ExprCall>) -> Option<Finding> {
    let Type::Function(function) = scene.of(place.scope, &place.node.func) else {
        return None;
    };
    let (what, begin) = match function.returns.as_str() {
        "Fault" => ("fault", ".set()"),
        "Capture" => ("capture", ".start()"),
        _ => return None,
    };
    let message = format!("the {what} that `{}` returns never begins", function.name);
    let help = format!("begin it with a block (`with …:`), or with `{begin}`");
    Some(Finding::error("not-begun", message, place.range()).with_help(Some(help)))
}

/// Returns the number of the virtual network that an expression names.
fn vlan(expression: &Expr) -> Option<u32> {
    vlan_number(expression.as_name_expr()?.id.as_str())
}

fn list(networks: &[u32]) -> String {
    match networks {
        [] => "none".to_owned(),
        some => {
            let names = some.iter().map(|number| format!("vlan{number}"));
            names.collect::<Vec<_>>().join(", ")
        }
    }
}
