//! Calling an export by name, with arguments and results as text.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::wasm_wave::wasm::DisplayType;
use wasmtime::component::{self, ComponentExportIndex, InstancePre};
use wasmtime::{Extern, Instance, Store, Val, ValType};

use super::component::Parts;
use super::{Guest, INITIALIZE, Outcome, RunError};

/// How a call ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Invoked {
    /// With these results.
    Returned(Vec<String>),
    /// Not by returning.
    Ended(Outcome),
}

type Called = Result<wasmtime::Result<Vec<String>>, RunError>;

pub(super) fn in_module(store: &mut Store<Guest>, instance: &Instance, name: &str, args: &[String]) -> Called {
    let Some(function) = instance.get_func(&mut *store, name) else {
        let exports = instance.exports(&mut *store);
        let functions = exports.filter_map(|export| {
            let name = export.name().to_owned();
            matches!(export.into_extern(), Extern::Func(_)).then_some(name)
        });
        return Err(RunError::NoExport { name: name.to_owned(), exports: functions.collect() });
    };
    let ty = function.ty(&*store);
    let types: Vec<_> = ty.params().collect();
    let values = types.iter().zip(args).map(|(ty, text)| number(ty, text)).collect::<Result<Vec<_>, _>>();
    let values = match values {
        Ok(_) if types.len() != args.len() => Err(count(args.len())),
        values => values,
    };
    let values = values.map_err(|problem| RunError::Arguments {
        name: name.to_owned(),
        takes: format!("({})", types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        problem,
    })?;

    if name != INITIALIZE && instance.get_func(&mut *store, INITIALIZE).is_some() {
        let initialize = instance.get_typed_func::<(), ()>(&mut *store, INITIALIZE).map_err(RunError::Instantiate)?;
        if let Err(error) = initialize.call(&mut *store, ()) {
            return Ok(Err(error));
        }
    }
    let mut results = vec![Val::I32(0); ty.results().len()];
    Ok(function.call(store, &values, &mut results).map(|()| results.iter().map(shown).collect()))
}

pub(super) async fn in_component(
    store: &mut Store<Parts>,
    linked: &InstancePre<Parts>,
    instance: &component::Instance,
    name: &str,
    args: &[String],
) -> Called {
    let found = find(linked, name).and_then(|index| instance.get_func(&mut *store, index));
    let Some(function) = found else {
        return Err(RunError::NoExport { name: name.to_owned(), exports: exports(linked) });
    };
    let ty = function.ty(&*store);
    let params: Vec<_> = ty.params().collect();
    let parsed = params.iter().zip(args).map(|((param, ty), text)| {
        component::Val::from_wave(ty, text).map_err(|error| format!("{param} cannot be {text:?}: {error}"))
    });
    let values = match parsed.collect::<Result<Vec<_>, _>>() {
        Ok(_) if params.len() != args.len() => Err(count(args.len())),
        values => values,
    };
    let values = values.map_err(|problem| RunError::Arguments {
        name: name.to_owned(),
        takes: {
            let params = params.iter().map(|(name, ty)| format!("{name}: {}", DisplayType(ty)));
            format!("({})", params.collect::<Vec<_>>().join(", "))
        },
        problem,
    })?;
    let mut results = vec![component::Val::Bool(false); ty.results().len()];
    let called = function.call_async(&mut *store, &values, &mut results).await;
    Ok(called.and_then(|()| results.iter().map(component::Val::to_wave).collect()))
}

/// `FUNCTION`, or `INTERFACE#FUNCTION`.
fn find(linked: &InstancePre<Parts>, name: &str) -> Option<ComponentExportIndex> {
    let component = linked.component();
    match name.split_once('#') {
        None => component.get_export_index(None, name),
        Some((interface, function)) => {
            let interface = component.get_export_index(None, interface)?;
            component.get_export_index(Some(&interface), function)
        }
    }
}

/// All functions, under the names that [`find`] finds.
fn exports(linked: &InstancePre<Parts>) -> Vec<String> {
    let (engine, ty) = (linked.engine(), linked.component().component_type());
    let mut names = Vec::new();
    for (name, export) in ty.exports(engine) {
        match export.ty {
            ComponentItem::ComponentFunc(_) => names.push(name.to_owned()),
            ComponentItem::ComponentInstance(instance) => {
                let functions = instance.exports(engine).filter_map(|(function, export)| {
                    matches!(export.ty, ComponentItem::ComponentFunc(_)).then(|| format!("{name}#{function}"))
                });
                names.extend(functions);
            }
            _ => {}
        }
    }
    names
}

fn count(args: usize) -> String {
    if args == 1 { "1 argument was given".to_owned() } else { format!("{args} arguments were given") }
}

/// A number of that type; integers may be written signed or unsigned, and in hexadecimal.
fn number(ty: &ValType, text: &str) -> Result<Val, String> {
    let wrong = || format!("{text:?} is no {ty}");
    let integer = || {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let digits = digits.strip_prefix("0x").map_or((digits, 10), |digits| (digits, 16));
        let magnitude = i128::from(u64::from_str_radix(digits.0, digits.1).ok()?);
        Some(if negative { magnitude.saturating_neg() } else { magnitude })
    };
    match ty {
        ValType::I32 => integer()
            .and_then(|value| i32::try_from(value).ok().or_else(|| Some(u32::try_from(value).ok()?.cast_signed())))
            .map(Val::I32),
        ValType::I64 => integer()
            .and_then(|value| i64::try_from(value).ok().or_else(|| Some(u64::try_from(value).ok()?.cast_signed())))
            .map(Val::I64),
        ValType::F32 => text.parse().ok().map(|value: f32| Val::F32(value.to_bits())),
        ValType::F64 => text.parse().ok().map(|value: f64| Val::F64(value.to_bits())),
        ValType::V128 | ValType::Ref(_) => return Err(format!("a {ty} cannot be written as text")),
    }
    .ok_or_else(wrong)
}

fn shown(value: &Val) -> String {
    match value {
        Val::I32(value) => value.to_string(),
        Val::I64(value) => value.to_string(),
        Val::F32(bits) => f32::from_bits(*bits).to_string(),
        Val::F64(bits) => f64::from_bits(*bits).to_string(),
        Val::V128(value) => format!("{:#034x}", value.as_u128()),
        other => format!("{other:?}"),
    }
}
