//! Literals that are no fraction, rate, size or port, although they are of the right type.

use rustpython_vm::compiler::ast::{Expr, Number, UnaryOp};

use crate::model::quantity::{BitRate, ByteSize, Fraction, QuantityError};

/// Returns why a literal cannot be the value of a parameter with this annotation; `None` if it can, or is no literal.
pub(super) fn mistake(value: &Expr, annotation: &str) -> Option<String> {
    let mut kinds = annotation.split('|').map(str::trim);
    let text = |error: QuantityError| Some(error.to_string());
    kinds.find_map(|kind| match kind {
        "Fraction" => Fraction::try_from(number(value)?).err().and_then(text),
        "Rate" => BitRate::try_from(string(value)?).err().and_then(text),
        "Size" => ByteSize::try_from(string(value)?).err().and_then(text),
        "Port" => {
            let port = number(value)?;
            let is_port = (0.0..=65535.0).contains(&port);
            (!is_port).then(|| format!("{port} is no port: ports are numbers from 0 to 65535"))
        }
        "Duration" => {
            let seconds = number(value)?;
            (seconds < 0.0).then(|| format!("{seconds} is no length of time"))
        }
        _ => None,
    })
}

#[allow(clippy::cast_precision_loss)]
fn number(value: &Expr) -> Option<f64> {
    match value {
        Expr::NumberLiteral(literal) => match &literal.value {
            Number::Int(number) => number.as_i64().map(|number| number as f64),
            Number::Float(number) => Some(*number),
            Number::Complex { .. } => None,
        },
        Expr::UnaryOp(unary) if unary.op == UnaryOp::USub => number(&unary.operand).map(|n| -n),
        _ => None,
    }
}

fn string(value: &Expr) -> Option<String> {
    let literal = value.as_string_literal_expr()?;
    Some(literal.value.to_str().to_owned())
}
