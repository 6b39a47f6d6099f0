//! Faults and strategies in words, as they are typed: `api/1=exits-after:5s`, `api@2`, `rolling:max-surge=2`.

use super::{Fault, Mishap, Scenario};
use crate::{
    model::Millis,
    plan::{Plan, ServicePlan, Side},
    strategy::{BatchSize, Canary, Rolling, Strategy},
    world::Behaviour,
};
use pipeline::config::{
    problem::{hints, shorten},
    scalar::{Share, ShareKind, Span},
};

/// Why words were not understood, and what may be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WordError {
    message: String,
    /// What to type instead, each a sentence.
    pub hints: Vec<String>,
}

impl WordError {
    fn new(message: impl Into<String>, hints: impl IntoIterator<Item = String>) -> Self {
        Self { message: message.into(), hints: hints.into_iter().collect() }
    }
}

/// What stands before a unit of the bundle that stood before.
const PREVIOUS: &str = "previous:";

/// What stands before the number or the name of a wave.
const WAVE: &str = "wave:";

/// Reads `UNIT[@BATCH]` or `UNIT@wave:WAVE`: a unit that exits once. `UNIT` is `api/1`, or `api` for all of its units;
/// `previous:` before it means the bundle that stood before. `WAVE` is a wave's number, from 1, or its name.
///
/// # Errors
/// When the plan has no such unit, batch or wave.
pub fn parse_fail(text: &str, plan: &Plan) -> Result<Fault, WordError> {
    let (unit, when) = match text.split_once('@') {
        Some((unit, when)) => (unit, Some(when)),
        None => (text, None),
    };
    let fault = parse_unit(unit, plan)?;
    if let Some(wave) = when.and_then(|when| when.strip_prefix(WAVE)) {
        let mishap = Mishap::ExitsInWave { wave: parse_wave(wave, &fault, plan)? };
        return Ok(Fault { mishap, ..fault });
    }
    let batch = when.map(|batch| parse_batch(batch, &fault, plan)).transpose()?;
    Ok(Fault { mishap: Mishap::Exits { batch }, ..fault })
}

/// Reads `UNIT=BEHAVIOUR`: how a unit behaves whenever it is started.
///
/// # Errors
/// When the plan has no such unit, or there is no such behaviour.
pub fn parse_fault(text: &str, plan: &Plan) -> Result<Fault, WordError> {
    let Some((unit, behaviour)) = text.split_once('=') else {
        let message = format!("`{}` names no behaviour", shorten(text));
        return Err(WordError::new(
            message,
            ["a fault is UNIT=BEHAVIOUR, such as `api/1=never-ready`".to_owned()],
        ));
    };
    let behaviour = parse_behaviour(behaviour)?;
    Ok(Fault { mishap: Mishap::Behaves(behaviour), ..parse_unit(unit, plan)? })
}

/// Reads a strategy: `recreate`, or `rolling` with what differs from the defaults of the configuration, such as
/// `rolling:max-surge=2,max-unavailable=1,batches=1+50%`.
///
/// # Errors
/// When there is no such strategy or parameter, or it could replace no unit.
pub fn parse_strategy(text: &str) -> Result<Strategy, WordError> {
    let (name, parameters) = text.split_once(':').unwrap_or((text, ""));
    match name {
        "recreate" | "blue-green" | "canary" if !parameters.is_empty() => {
            Err(WordError::new(format!("`{name}` takes no parameters"), []))
        }
        "recreate" => Ok(Strategy::Recreate),
        "blue-green" => Ok(Strategy::BlueGreen),
        // The defaults of `[strategy]` in an environment file.
        "canary" => match parse_rolling("")? {
            Strategy::Rolling(rolling) => {
                Ok(Strategy::Canary(Canary { units: 1, steps: vec![5, 25, 50], rolling }))
            }
            other => Ok(other),
        },
        "rolling" => parse_rolling(parameters),
        _ => {
            let message = format!("there is no strategy `{}`", shorten(name));
            Err(WordError::new(message, hints(name, STRATEGIES)))
        }
    }
}

const STRATEGIES: [&str; 4] = ["recreate", "rolling", "canary", "blue-green"];

const PARAMETERS: [&str; 3] = ["max-surge", "max-unavailable", "batches"];

fn parse_rolling(parameters: &str) -> Result<Strategy, WordError> {
    // The defaults of `[strategy]` in an environment file.
    let mut rolling = Rolling {
        batches: vec![BatchSize::Count(1), BatchSize::Percent(25), BatchSize::Percent(100)],
        max_surge: 1,
        max_unavailable: 0,
    };
    for parameter in parameters.split(',').filter(|parameter| !parameter.is_empty()) {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match key {
            "max-surge" => rolling.max_surge = parse_count(key, value)?,
            "max-unavailable" => rolling.max_unavailable = parse_count(key, value)?,
            "batches" => {
                rolling.batches = value.split('+').map(parse_size).collect::<Result<_, _>>()?;
            }
            _ => {
                let message = format!("`rolling` has no parameter `{}`", shorten(key));
                return Err(WordError::new(message, hints(key, PARAMETERS)));
            }
        }
    }
    if rolling.max_surge == 0 && rolling.max_unavailable == 0 {
        let hint = "give one of them, such as `rolling:max-surge=0,max-unavailable=1`";
        let message = "without `max-surge` and `max-unavailable` no unit could be replaced";
        return Err(WordError::new(message, [hint.to_owned()]));
    }
    Ok(Strategy::Rolling(rolling))
}

fn parse_count(key: &str, value: &str) -> Result<u32, WordError> {
    // As large as a number of replicas can be.
    let count: Option<u16> = value.parse().ok();
    count.map(u32::from).ok_or_else(|| {
        let message = format!("`{key}` takes a number of units, not `{}`", shorten(value));
        WordError::new(message, [format!("for example `{key}=1`")])
    })
}

fn parse_size(text: &str) -> Result<BatchSize, WordError> {
    let share: Share = text.parse().map_err(|error| {
        let message = format!("`{}` is no size of a batch: expected {error}", shorten(text));
        WordError::new(message, ["batches are joined by `+`, such as `batches=1+25%+100%`".to_owned()])
    })?;
    Ok(match share.kind() {
        ShareKind::Count(count) => BatchSize::Count(u32::from(count)),
        ShareKind::Percent(percent) => BatchSize::Percent(u32::from(percent)),
    })
}

/// Reads a unit; the mishap is to be filled in.
fn parse_unit(text: &str, plan: &Plan) -> Result<Fault, WordError> {
    let (previous, name) = match text.strip_prefix(PREVIOUS) {
        Some(name) => (true, name),
        None => (false, text),
    };
    let sides = plan.services.iter().filter_map(|service| {
        let side: Option<&Side> = if previous { service.from.as_ref() } else { service.to.as_ref() };
        Some((service, side?.replicas))
    });
    let sides: Vec<_> = sides.collect();
    for (service, replicas) in &sides {
        let slots = (0..*replicas).map(Some);
        let mut named = std::iter::once(None).chain(slots);
        if let Some(slot) = named.find(|slot| unit_name(service.service.as_str(), *slot) == name) {
            let mishap = Mishap::Exits { batch: None };
            return Ok(Fault { service: service.service.clone(), slot, previous, mishap });
        }
    }
    let names: Vec<String> = sides
        .iter()
        .flat_map(|(service, replicas)| {
            let slots = std::iter::once(None).chain((0..*replicas).map(Some));
            slots.map(|slot| unit_name(service.service.as_str(), slot))
        })
        .collect();
    let stands = if previous { "stood before" } else { "is started by this plan" };
    let message = match names.is_empty() {
        true => format!("no unit {stands}, so none can fail"),
        false => format!("no unit `{}` {stands}", shorten(name)),
    };
    Err(WordError::new(message, hints(name, names.iter().map(String::as_str))))
}

fn unit_name(service: &str, slot: Option<u16>) -> String {
    slot.map_or_else(|| service.to_owned(), |slot| format!("{service}/{slot}"))
}

fn parse_batch(text: &str, fault: &Fault, plan: &Plan) -> Result<usize, WordError> {
    if fault.previous {
        let hint = "leave `@` and the number out".to_owned();
        return Err(WordError::new("the way back to the previous bundle has no batches", [hint]));
    }
    let batches = plan.service(&fault.service).map_or(0, ServicePlan::batches);
    let batch = text.parse().ok().filter(|batch| (1..=batches).contains(batch));
    batch.ok_or_else(|| {
        let message = format!("`{}` has no batch `{}`", fault.service, shorten(text));
        WordError::new(message, [format!("its batches are numbered from 1 to {batches}")])
    })
}

fn parse_wave(text: &str, fault: &Fault, plan: &Plan) -> Result<usize, WordError> {
    if fault.previous {
        let hint = format!("leave `@{WAVE}` and what follows out");
        return Err(WordError::new("the way back to the previous bundle has no waves", [hint]));
    }
    if plan.waves.is_empty() {
        let hint = "waves are described by `[[waves]]` in the environment's file".to_owned();
        return Err(WordError::new("this plan has no waves: it reaches all targets together", [hint]));
    }
    let named = plan.waves.iter().position(|wave| wave.name.as_str() == text).map(|index| index + 1);
    let number = text.parse().ok().filter(|number| (1..=plan.waves.len()).contains(number));
    named.or(number).ok_or_else(|| {
        let names: Vec<&str> = plan.waves.iter().map(|wave| wave.name.as_str()).collect();
        WordError::new(format!("the plan has no wave `{}`", shorten(text)), hints(text, names))
    })
}

/// What a behaviour takes after a colon, and what is made of it.
enum Takes {
    Nothing(Behaviour),
    /// A duration; with a default it may be left out.
    Duration(Option<Millis>, fn(Millis) -> Behaviour),
    /// A share in per cent.
    Percent(fn(u64) -> Behaviour),
}

fn behaviours() -> [(&'static str, Takes); 10] {
    [
        ("good", Takes::Duration(Some(Scenario::default().ready_after), Behaviour::Good)),
        ("exits-after", Takes::Duration(None, Behaviour::ExitsAfter)),
        ("never-ready", Takes::Nothing(Behaviour::NeverReady)),
        ("hangs", Takes::Nothing(Behaviour::Hangs)),
        ("flaps", Takes::Duration(None, Behaviour::Flaps)),
        ("wrong-release", Takes::Nothing(Behaviour::WrongRelease)),
        ("wrong-port", Takes::Nothing(Behaviour::WrongPort)),
        ("out-of-memory-after", Takes::Duration(None, Behaviour::OutOfMemoryAfter)),
        ("fails-requests", Takes::Percent(Behaviour::FailsRequests)),
        ("unprobeable", Takes::Nothing(Behaviour::Unprobeable)),
    ]
}

fn parse_behaviour(text: &str) -> Result<Behaviour, WordError> {
    let (name, argument) = match text.split_once(':') {
        Some((name, argument)) => (name, Some(argument)),
        None => (text, None),
    };
    let all = behaviours();
    let Some((name, takes)) = all.iter().find(|(known, _)| *known == name) else {
        let message = format!("there is no behaviour `{}`", shorten(name));
        return Err(WordError::new(message, hints(name, all.iter().map(|(name, _)| *name))));
    };
    let expected = |what: &str, example: &str| {
        WordError::new(format!("`{name}` takes {what}"), [format!("for example `{name}:{example}`")])
    };
    match (takes, argument) {
        (Takes::Nothing(behaviour), None) => Ok(*behaviour),
        (Takes::Nothing(_), Some(_)) => {
            Err(WordError::new(format!("`{name}` takes nothing after it"), [format!("write `{name}` alone")]))
        }
        (Takes::Duration(Some(default), make), None) => Ok(make(*default)),
        (Takes::Duration(_, make), argument) => {
            let span: Option<Span> = argument.and_then(|argument| argument.parse().ok());
            span.map(|span| make(span.as_millis())).ok_or_else(|| expected("a duration", "5s"))
        }
        (Takes::Percent(make), argument) => {
            let digits = |text: &str| text.strip_suffix('%').unwrap_or(text).parse().ok();
            let share = argument.and_then(digits);
            let share = share.filter(|share| *share <= 100);
            share.map(make).ok_or_else(|| expected("a share of the requests in per cent, 0 to 100", "20"))
        }
    }
}
