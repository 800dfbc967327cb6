//! WebAssembly values as text: arguments of `--invoke` and its results.

use std::str::FromStr;

use tierup_interp::{FuncType, Val, ValType};

/// One value per parameter.
///
/// # Errors
///
/// A message: too many, too few, or which one is not of its parameter's type.
pub(crate) fn parse_all(ty: &FuncType, texts: &[String]) -> Result<Vec<Val>, String> {
    let params = ty.params();
    if params.len() != texts.len() {
        return Err(format!("takes {} arguments, {} given", params.len(), texts.len()));
    }
    params
        .iter()
        .zip(texts)
        .enumerate()
        .map(|(i, (&ty, text))| parse(ty, text).ok_or_else(|| format!("argument {}: {text:?} is no {ty}", i + 1)))
        .collect()
}

fn parse(ty: ValType, text: &str) -> Option<Val> {
    Some(match ty {
        ValType::I32 => Val::I32(integer(text, |v: i32| v, |v: u32| v as i32)?),
        ValType::I64 => Val::I64(integer(text, |v: i64| v, |v: u64| v as i64)?),
        ValType::F32 => Val::F32(text.parse::<f32>().ok()?.to_bits()),
        ValType::F64 => Val::F64(text.parse::<f64>().ok()?.to_bits()),
        ValType::FuncRef if text == "null" => Val::FuncRef(None),
        ValType::ExternRef if text == "null" => Val::ExternRef(None),
        ValType::ExternRef => Val::ExternRef(Some(text.parse().ok()?)),
        _ => return None,
    })
}

/// Signed, or unsigned and wrapped, or hexadecimal bits.
fn integer<S: FromStr, U: FromStr + TryFrom<u64>, R>(
    text: &str,
    signed: impl Fn(S) -> R,
    unsigned: impl Fn(U) -> R,
) -> Option<R> {
    if let Some(digits) = text.strip_prefix("0x") {
        return U::try_from(u64::from_str_radix(digits, 16).ok()?).ok().map(unsigned);
    }
    text.parse().ok().map(signed).or_else(|| text.parse().ok().map(unsigned))
}

/// A value for people.
pub(crate) fn show(value: &Val) -> String {
    match value {
        Val::I32(v) => v.to_string(),
        Val::I64(v) => v.to_string(),
        Val::F32(bits) => f32::from_bits(*bits).to_string(),
        Val::F64(bits) => f64::from_bits(*bits).to_string(),
        Val::FuncRef(None) | Val::ExternRef(None) => "null".to_owned(),
        Val::FuncRef(Some(_)) => "a function".to_owned(),
        Val::ExternRef(Some(number)) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(parse(ValType::I32, "-1"), Some(Val::I32(-1)));
        assert_eq!(parse(ValType::I32, "4294967295"), Some(Val::I32(-1)));
        assert_eq!(parse(ValType::I32, "0xffffffff"), Some(Val::I32(-1)));
        assert_eq!(parse(ValType::I32, "4294967296"), None);
        assert_eq!(parse(ValType::I64, "0x8000000000000000"), Some(Val::I64(i64::MIN)));
        assert_eq!(parse(ValType::F32, "1.5"), Some(Val::F32(1.5f32.to_bits())));
        assert_eq!(parse(ValType::F64, "x"), None);
        assert_eq!(parse(ValType::ExternRef, "null"), Some(Val::ExternRef(None)));
        assert_eq!(parse(ValType::FuncRef, "7"), None);
    }

    #[test]
    fn as_many_as_there_are_parameters() {
        let ty = FuncType::new([ValType::I32], []);
        assert!(parse_all(&ty, &[]).unwrap_err().contains("takes 1"));
        assert!(parse_all(&ty, &["x".to_owned()]).unwrap_err().contains("argument 1"));
        assert_eq!(parse_all(&ty, &["3".to_owned()]), Ok(vec![Val::I32(3)]));
    }

    #[test]
    fn results() {
        assert_eq!(show(&Val::I32(-5)), "-5");
        assert_eq!(show(&Val::F64(0.1f64.to_bits())), "0.1");
    }
}
