//! The compiled route table, as Python writes it, and the decisions that it makes.

use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use serde_json::{Value, json};
use turnout_engine::decide::split::{score, uniform_of};
use turnout_engine::decide::{Ask, Reason, Snapshot, decide};
use turnout_engine::metadata::Metadata;

use crate::edits::edited;
use crate::memory::bounded;

/// Bytes of memory for each byte of JSON: each target has its decisions made beforehand, by reason, with the route's texts
/// in each, so what one may take grows with the square of a table; these are short.
const TIMES: usize = 4096;
const NAMES: [&str; 4] = ["cost", "price", "rank", ""];

/// Takes JSON.
pub fn raw(json: &[u8]) {
    check(json);
}

/// Takes what a table is made of, whose JSON may be damaged.
pub fn made(data: &[u8]) {
    let mut from = Unstructured::new(data);
    let _ = document(&mut from).and_then(|document| {
        let mut json = document.to_string().into_bytes();
        check(&json);
        edited(&mut from, &mut json)?;
        check(&json);
        Ok(())
    });
}

fn check(json: &[u8]) {
    let Ok(snapshot) = bounded(json.len(), TIMES, || Snapshot::from_json(json)) else { return };
    for (index, decision) in snapshot.decisions().iter().enumerate() {
        assert_eq!(decision.index, index);
        assert_eq!(decision.route.is_empty(), decision.task.is_none() || decision.route.is_empty());
    }
    // serde takes a list for an object; Python writes objects.
    let document: Value = serde_json::from_slice(json).expect("it was just read");
    let named = |key: &str| -> Vec<&str> {
        document[key].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect()
    };
    let headers: Metadata = [("x-qa", "on"), ("x-b", "")].into_iter().collect();
    let mut names = named("routes");
    names.extend(named("models"));
    names.extend(NAMES);
    for name in names.into_iter().take(8) {
        for version in ["", "1", "002", "champion", "99999999999999999999"] {
            for (unit, draw) in [("", 0.0), ("", 0.5), ("", 1.0_f64.next_down()), ("u", 0.0), ("vip", 0.0)] {
                let Some(ask) = Ask::new(name, version, unit, &headers) else { continue };
                let taken = decide(&snapshot, &ask, draw);
                if let Some(decision) = &taken {
                    assert!(Arc::ptr_eq(decision, &snapshot.decisions()[decision.index]));
                }
                if document.is_object() && version.is_empty() {
                    let found = taken.as_ref().map(|decision| (decision.target.as_str(), decision.version));
                    if let Some(expected) = plain(&document, &ask, draw) {
                        assert_eq!(found, expected, "{name:?} {unit:?} {draw}");
                    }
                }
                let pinned = taken.is_none_or(|decision| decision.reason == Reason::Pinned);
                assert!(pinned || version.is_empty());
            }
        }
    }
}

/// Decides for a route or a model, straight from the document; None where that is not as Python writes it.
#[allow(clippy::type_complexity)]
fn plain<'a>(document: &'a Value, ask: &Ask<'_>, draw: f64) -> Option<Option<(&'a str, i64)>> {
    let named = |key: &str, name: &str| {
        let all = document[key].as_array()?;
        all.iter().find(|one| one["name"].as_str() == Some(name))
    };
    let available = |model: &str| -> Vec<i64> {
        let versions = named("models", model).and_then(|model| model["available"].as_array());
        versions.into_iter().flatten().filter_map(Value::as_i64).collect()
    };
    let Some(route) = named("routes", ask.name()) else {
        let known = available(ask.name());
        let champion = named("models", ask.name()).and_then(|model| model["labels"]["champion"].as_i64());
        let bare = match champion {
            Some(champion) => known.contains(&champion).then_some(champion),
            None => known.into_iter().max(),
        };
        return Some(bare.map(|version| ("", version)));
    };
    let targets = route["targets"].as_array()?;
    let matches = |rule: &&Value| {
        let units = rule["units"].as_array().into_iter().flatten().collect::<Vec<_>>();
        let headers = rule["headers"].as_object().into_iter().flatten();
        (units.is_empty() || units.iter().any(|unit| unit.as_str() == Some(ask.unit())))
            && headers.into_iter().all(|(name, value)| value.is_string() && ask.header(name) == value.as_str())
    };
    let assigned = match route["overrides"].as_array()?.iter().find(matches) {
        Some(rule) => usize::try_from(rule["target"].as_u64()?).ok()?,
        None if ask.unit().is_empty() => {
            let mut point = draw * route["total"].as_f64()?;
            let mut last = None;
            for (index, target) in
                targets.iter().enumerate().filter(|(_, target)| target["weight"].as_f64() > Some(0.0))
            {
                point -= target["weight"].as_f64()?;
                last = Some(index);
                if point < 0.0 {
                    break;
                }
            }
            last?
        }
        None => {
            let salt = route["salt"].as_str()?;
            let mut best: Option<(f64, usize)> = None;
            for (index, target) in targets.iter().enumerate() {
                let (name, weight) = (target["name"].as_str()?, target["weight"].as_f64()?);
                if weight > 0.0 {
                    let key = format!("{}:{salt}{}:{name}", salt.len(), name.len());
                    let found = score(uniform_of(key.as_bytes(), ask.unit()), weight);
                    if best.is_none_or(|(lowest, _)| found < lowest) {
                        best = Some((found, index));
                    }
                }
            }
            best?.1
        }
    };
    let answers = |target: &'a Value| {
        let version = target["version"].as_i64()?;
        available(target["model"].as_str()?).contains(&version).then_some((target["name"].as_str()?, version))
    };
    let fallback = route["fallback"].as_u64().and_then(|index| targets.get(usize::try_from(index).ok()?));
    Some(answers(&targets[assigned]).or_else(|| fallback.and_then(answers)))
}

fn document(from: &mut Unstructured<'_>) -> Result<Value> {
    let mut models = Vec::new();
    for name in NAMES.iter().take(from.int_in_range(0..=3)?) {
        let available: Vec<u8> = from.arbitrary()?;
        let labels = if from.ratio(1, 2)? { json!({"champion": from.arbitrary::<u8>()?}) } else { json!({}) };
        models.push(json!({"name": name, "available": available, "labels": labels}));
    }
    let mut routes = Vec::new();
    for name in NAMES.iter().take(from.int_in_range(0..=2)?) {
        let count = from.int_in_range(1..=5)?;
        let mut targets = Vec::new();
        for index in 0..count {
            let weight = match from.int_in_range(0..=3)? {
                0 => 0.0,
                1 => f64::from(from.arbitrary::<u8>()?),
                2 => f64::from(from.arbitrary::<u32>()?) / 7.0,
                _ => 1.0,
            };
            let version = if from.ratio(1, 8)? { json!(null) } else { json!(from.int_in_range(0..=4)?) };
            targets.push(json!({"name": format!("t{index}"), "model": from.choose(&NAMES)?, "version": version,
                "weight": weight, "propensity": 0.5}));
        }
        let mut overrides = Vec::new();
        for _ in 0..from.int_in_range(0..=2)? {
            let headers = *from.choose(&[r#"{"x-qa": "on"}"#, r#"{"x-qa": "off"}"#, r#"{"x-b": null}"#, "{}"])?;
            let headers: Value = serde_json::from_str(headers).expect("JSON");
            let units = from.choose(&[json!([]), json!(["u"]), json!([null, "vip"]), json!([""])])?.clone();
            overrides.push(json!({"headers": headers, "units": units, "target": from.int_in_range(0..=count - 1)?}));
        }
        let total: f64 = targets.iter().filter_map(|target| target["weight"].as_f64()).sum();
        let fallback = if from.ratio(1, 2)? { json!(from.int_in_range(0..=count - 1)?) } else { json!(null) };
        routes.push(json!({"name": name, "task": from.choose(&["price", "tensors", "ranking"])?, "salt": "s",
            "epoch": "e", "mirrors": [0.5], "total": total, "targets": targets, "overrides": overrides,
            "fallback": fallback}));
    }
    Ok(json!({"digest": "d", "routes": routes, "models": models}))
}
