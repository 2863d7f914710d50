//! From a check as it is encoded to its native form. What is not among the allowed forms is refused here.

use biscuit_auth::format::schema;
use biscuit_auth::format::schema::{op, op_binary, term};

use crate::token::check::{Ambient, Bound, Check, Comparison, Constant, Order, Query, Slot, Test};
use crate::token::limits::Limits;
use crate::token::symbols::Symbols;

/// The most comparisons in one query.
pub(super) const COMPARISONS_MAX: usize = 8;
/// The most terms of the fact in a query.
const TERMS_MAX: usize = 4;
/// The last second of the year 9999, the last that RFC 3339 can write.
pub(super) const DATE_MAX: u64 = 253_402_300_799;

/// A rule of the profile that was broken.
pub(super) type Rule = &'static str;

/// The native form of `check`, which stands in `block`.
pub(super) fn check(
    check: &schema::Check,
    block: usize,
    symbols: &Symbols<'_>,
    limits: &Limits,
) -> Result<Check, Rule> {
    match check.kind {
        // Some implementations write the default out.
        None | Some(0) => {}
        Some(1) => return Err("`check all` is not allowed, only `check if`"),
        Some(_) => return Err("`reject if` is not allowed, only `check if`"),
    }
    if check.queries.is_empty() || check.queries.len() > limits.queries_max {
        return Err("a check has too many `or` alternatives, or none");
    }
    let mut source = "check if ".to_owned();
    let mut queries = Vec::with_capacity(check.queries.len());
    for (i, rule) in check.queries.iter().enumerate() {
        if i > 0 {
            source.push_str(" or ");
        }
        queries.push(query(rule, symbols, &mut source)?);
    }
    Ok(Check { block, source: source.into(), queries: queries.into() })
}

fn query(rule: &schema::Rule, symbols: &Symbols<'_>, source: &mut String) -> Result<Query, Rule> {
    if !rule.scope.is_empty() {
        return Err("`trusting` is not allowed");
    }
    if symbols.text(rule.head.name)? != "query" || !rule.head.terms.is_empty() {
        return Err("the head of a check's query is `query()`");
    }
    let [pattern] = rule.body.as_slice() else {
        return Err("a check's query names exactly one fact: joins and bare expressions are not allowed");
    };
    if pattern.terms.is_empty() || pattern.terms.len() > TERMS_MAX {
        return Err("a fact in a check has too many terms, or none");
    }
    if rule.expressions.len() > COMPARISONS_MAX {
        return Err("a check's query has too many comparisons");
    }
    let name = symbols.name(pattern.name)?;
    let (terms, variables) = slots(&pattern.terms, symbols)?;
    let comparisons = rule
        .expressions
        .iter()
        .map(|expression| comparison(expression, &variables, symbols))
        .collect::<Result<Vec<_>, _>>()?;
    let query = Query { fact: Ambient::named(name), terms: terms.into(), comparisons: comparisons.into() };
    query.write(name, &variables, source);
    Ok(query)
}

/// The terms of a fact pattern, and for each the name of its variable; empty for a constant.
fn slots<'a>(terms: &[schema::Term], symbols: &Symbols<'a>) -> Result<(Vec<Slot>, Vec<&'a str>), Rule> {
    let mut slots = Vec::with_capacity(terms.len());
    let mut variables: Vec<&str> = Vec::with_capacity(terms.len());
    for term in terms {
        if let Some(term::Content::Variable(index)) = term.content {
            let name = symbols.name(u64::from(index))?;
            if variables.contains(&name) {
                return Err("a variable stands twice in one fact");
            }
            slots.push(Slot::Variable);
            variables.push(name);
        } else {
            slots.push(Slot::Constant(constant(term, symbols)?));
            variables.push("");
        }
    }
    Ok((slots, variables))
}

fn comparison(expression: &schema::Expression, variables: &[&str], symbols: &Symbols<'_>) -> Result<Comparison, Rule> {
    const FORM: Rule = "a comparison has the form `$variable <op> constant`, `$variable.starts_with(\"…\")` or \
                        `{…}.contains($variable)`; parts are joined by `,`";
    let [left, right, operator] = expression.ops.as_slice() else { return Err(FORM) };
    let (Some(op::Content::Value(left)), Some(op::Content::Value(right)), Some(op::Content::Binary(operator))) =
        (&left.content, &right.content, &operator.content)
    else {
        return Err(FORM);
    };
    if operator.ffi_name.is_some() {
        return Err("calls of outside functions are not allowed");
    }
    let slot = |term: &schema::Term| match term.content {
        Some(term::Content::Variable(index)) => {
            let name = symbols.name(u64::from(index))?;
            variables.iter().position(|known| *known == name).ok_or("a comparison uses a variable that no fact binds")
        }
        _ => Err(FORM),
    };
    let ordered = |order| match constant(right, symbols)? {
        Constant::Integer(bound) => Ok(Test::Order(order, Bound::Integer(bound))),
        Constant::Date(bound) => Ok(Test::Order(order, Bound::Date(bound))),
        Constant::String(_) | Constant::Bytes(_) | Constant::Boolean(_) => Err("only integers and dates have an order"),
    };
    match op_binary::Kind::from_i32(operator.kind) {
        Some(op_binary::Kind::LessThan) => Ok(Comparison { slot: slot(left)?, test: ordered(Order::Less)? }),
        Some(op_binary::Kind::LessOrEqual) => Ok(Comparison { slot: slot(left)?, test: ordered(Order::LessOrEqual)? }),
        Some(op_binary::Kind::GreaterThan) => Ok(Comparison { slot: slot(left)?, test: ordered(Order::Greater)? }),
        Some(op_binary::Kind::GreaterOrEqual) => {
            Ok(Comparison { slot: slot(left)?, test: ordered(Order::GreaterOrEqual)? })
        }
        Some(op_binary::Kind::Equal) => {
            Ok(Comparison { slot: slot(left)?, test: Test::Equal(constant(right, symbols)?) })
        }
        Some(op_binary::Kind::HeterogeneousEqual) => Err("`==` is not allowed: write `===`"),
        Some(op_binary::Kind::Prefix) => match constant(right, symbols)? {
            Constant::String(prefix) => Ok(Comparison { slot: slot(left)?, test: Test::StartsWith(prefix) }),
            _ => Err("`starts_with` takes a string"),
        },
        Some(op_binary::Kind::Contains) => {
            Ok(Comparison { slot: slot(right)?, test: Test::OneOf(set(left, symbols)?) })
        }
        _ => Err("an operator is not among `<`, `<=`, `>`, `>=`, `===`, `starts_with` and `contains`"),
    }
}

fn set(term: &schema::Term, symbols: &Symbols<'_>) -> Result<Box<[Constant]>, Rule> {
    let Some(term::Content::Set(set)) = &term.content else {
        return Err("`contains` is asked of a set of constants");
    };
    let set = set.set.iter().map(|term| constant(term, symbols)).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = set.first() else { return Err("a set is empty") };
    if set.iter().any(|constant| std::mem::discriminant(constant) != std::mem::discriminant(first)) {
        return Err("a set mixes types");
    }
    Ok(set.into())
}

/// The constant that `term` is. Not a variable, set, null, array or map.
pub(super) fn constant(term: &schema::Term, symbols: &Symbols<'_>) -> Result<Constant, Rule> {
    match &term.content {
        Some(term::Content::Integer(value)) => Ok(Constant::Integer(*value)),
        Some(term::Content::String(index)) => Ok(Constant::String(symbols.text(*index)?.into())),
        Some(term::Content::Date(secs)) if *secs > DATE_MAX => Err("a date lies beyond the year 9999"),
        Some(term::Content::Date(secs)) => Ok(Constant::Date(*secs)),
        Some(term::Content::Bytes(bytes)) if bytes.len() > symbols.string_bytes_max => {
            Err("a string or byte string is too long")
        }
        Some(term::Content::Bytes(bytes)) => Ok(Constant::Bytes(bytes.as_slice().into())),
        Some(term::Content::Bool(value)) => Ok(Constant::Boolean(*value)),
        Some(term::Content::Variable(_)) => Err("a variable stands where a constant must"),
        Some(term::Content::Set(_) | term::Content::Null(_) | term::Content::Array(_) | term::Content::Map(_))
        | None => Err("a term is not an integer, string, date, byte string or boolean"),
    }
}
