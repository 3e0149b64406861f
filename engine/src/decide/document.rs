//! What `turnout_server.engine.snapshot.names` writes: everything that deciding needs, already resolved.

use std::collections::HashMap;

use serde::Deserialize;

use super::decision::Task;

/// What names mean at one moment.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Of the route table, in hexadecimal.
    pub digest: String,
    pub routes: Vec<Route>,
    /// All that the store has, or that answers.
    pub models: Vec<Model>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    pub name: String,
    pub task: Task,
    pub salt: String,
    pub epoch: String,
    /// The fractions of its requests that mirrors get copies of.
    pub mirrors: Vec<f64>,
    /// The sum of the weights, exactly rounded.
    pub total: f64,
    pub targets: Vec<Target>,
    pub overrides: Vec<Override>,
    /// An index into the targets.
    pub fallback: Option<usize>,
    pub experiment: Option<Experiment>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    pub name: String,
    /// An index into the targets.
    pub control: usize,
    pub layer: Option<Layer>,
    pub buckets: Vec<Span>,
    pub enrolment: f64,
}

/// Buckets from the first number up to the second, which is not one of them.
pub type Span = (u16, u16);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    pub name: String,
    pub salt: String,
    pub holdout: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    pub name: String,
    pub model: String,
    /// None for a label that names no version.
    pub version: Option<i64>,
    pub weight: f64,
    pub propensity: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// Metadata and their exact values, all of which have to be there. None for one that no request can have.
    pub headers: HashMap<String, Option<String>>,
    /// Units, any of which matches; empty matches all. None for one that no request can have.
    pub units: Vec<Option<String>>,
    /// An index into the targets.
    pub target: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub name: String,
    /// The versions that can answer, ascending.
    pub available: Vec<i64>,
    /// Versions by label.
    pub labels: HashMap<String, i64>,
}
