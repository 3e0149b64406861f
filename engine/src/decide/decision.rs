//! Who answers a request, and why: the twin of `vocabulary/decision.py`.

use std::sync::Arc;

use serde::Deserialize;

/// Why a target answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    Split,
    Override,
    Pinned,
    Named,
    Unsticky,
    Fallback,
    Holdout,
    Unenrolled,
}

impl Reason {
    /// Returns the reason of that name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            Self::Split,
            Self::Override,
            Self::Pinned,
            Self::Named,
            Self::Unsticky,
            Self::Fallback,
            Self::Holdout,
            Self::Unenrolled,
        ];
        all.into_iter().find(|reason| reason.name() == name)
    }

    /// Returns the name that Python and the wire have for it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Split => "SPLIT",
            Reason::Override => "OVERRIDE",
            Reason::Pinned => "PINNED",
            Reason::Named => "NAMED",
            Reason::Unsticky => "UNSTICKY",
            Reason::Fallback => "FALLBACK",
            Reason::Holdout => "HOLDOUT",
            Reason::Unenrolled => "UNENROLLED",
        }
    }
}

/// What a model is for: the twin of `vocabulary/task.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    Recommendation,
    Ranking,
    Price,
    Tensors,
}

/// What a decision says of the route's experiment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Enrolment {
    /// Empty where the route has none.
    pub experiment: String,
    /// Empty where the experiment is in none.
    pub layer: String,
    /// Whether the unit takes part; None where there is no experiment or no unit, or an override decided.
    pub enrolled: Option<bool>,
}

/// All that routing said of a request. There is one object for all requests that are decided alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Its place in its snapshot, `Snapshot::decisions`: what is kept for each decision can be kept in a list.
    pub index: usize,
    /// Empty where a model was named outright.
    pub route: String,
    /// The target that answers; empty likewise.
    pub target: String,
    pub model: String,
    /// At least 1, and available.
    pub version: i64,
    pub reason: Reason,
    /// The target that the unit was assigned to, whoever answers; empty where a model was named outright.
    pub assigned: String,
    /// The override that matched, counted from 0.
    pub override_index: Option<usize>,
    /// The probability with which the assigned target would be drawn, of a unit that takes part; None where nothing was
    /// drawn.
    pub propensity: Option<f64>,
    /// Of the route table, in hexadecimal; empty where a model was named outright.
    pub table_digest: String,
    /// What the route's salt, targets, weights and resolved versions were, as a digest; empty likewise.
    pub epoch: String,
    pub enrolment: Enrolment,
    /// Of the route's mirrors, each in its place: the fraction of requests that it gets copies of.
    pub mirrors: Arc<[f64]>,
    /// What the route is for; None where a model was named outright, which says so itself.
    pub task: Option<Task>,
}

impl Decision {
    /// Makes the one for a model that was named outright.
    pub fn outright(model: &str, version: i64, reason: Reason) -> Self {
        Self {
            index: 0,
            route: String::new(),
            target: String::new(),
            model: model.to_owned(),
            version,
            reason,
            assigned: String::new(),
            override_index: None,
            propensity: None,
            table_digest: String::new(),
            epoch: String::new(),
            enrolment: Enrolment::default(),
            mirrors: Arc::default(),
            task: None,
        }
    }

    /// Says whether a record of it is an exposure if it is of a unit; `vocabulary.exposure.arm_of`.
    pub fn exposes(&self) -> bool {
        matches!(self.reason, Reason::Split | Reason::Fallback) && self.enrolment.enrolled != Some(false)
    }
}
