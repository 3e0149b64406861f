//! Deciding, for the tests that hold this twin against Python's. Nothing serves through it.

use std::collections::HashMap;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::{Ask, Snapshot};

/// experiment, layer, enrolled.
type Enrolled = (String, String, Option<bool>);
/// route, target, model, version, reason, assigned, override (-1 for none), propensity, digest, epoch, enrolment,
/// mirrored.
type Fields = (String, String, String, i64, &'static str, String, i64, Option<f64>, String, String, Enrolled, bool);

/// Returns who answers by a snapshot that `turnout_server.engine.snapshot.names` wrote; None where Python has to say.
#[pyfunction]
fn decide(
    snapshot: &[u8],
    name: &str,
    version: &str,
    unit: &str,
    headers: HashMap<String, String>,
    draw: f64,
) -> PyResult<Option<Fields>> {
    let snapshot = Snapshot::from_json(snapshot).map_err(PyValueError::new_err)?;
    let headers = headers.into_iter().collect();
    let taken = Ask::new(name, version, unit, &headers).and_then(|ask| super::decide(&snapshot, &ask, draw));
    Ok(taken.map(|decision| {
        debug_assert_eq!(snapshot.decisions()[decision.index], decision);
        let decision = (*decision).clone();
        let override_index = decision.override_index.map_or(-1, |index| index as i64);
        (
            decision.route,
            decision.target,
            decision.model,
            decision.version,
            decision.reason.name(),
            decision.assigned,
            override_index,
            decision.propensity,
            decision.table_digest,
            decision.epoch,
            (decision.enrolment.experiment, decision.enrolment.layer, decision.enrolment.enrolled),
            decision.mirrors.iter().any(|&fraction| fraction > 0.0),
        )
    }))
}

/// Returns `routing.split.uniform` of a salt, a target and a unit.
#[pyfunction]
fn uniform(salt: &str, target: &str, unit: &str) -> f64 {
    super::split::uniform_of(&super::split::prefix(salt, target), unit)
}

/// Returns a target's score for a unit: the lowest of a route's wins.
#[pyfunction]
fn score(salt: &str, target: &str, unit: &str, weight: f64) -> f64 {
    super::split::score(uniform(salt, target, unit), weight)
}

/// Adds this file's functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(decide, module)?)?;
    module.add_function(wrap_pyfunction!(uniform, module)?)?;
    module.add_function(wrap_pyfunction!(score, module)?)
}
