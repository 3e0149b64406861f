//! What names mean at one moment, and the decision that it makes for a request. Never changes; a new one replaces it.
//!
//! Every decision that can be taken is made beforehand, so that a request costs a look-up, a hash and a count.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::ask::Ask;
use super::decision::{Decision, Reason};
use super::document::{self, Document};
use super::enrolment::{Gate, enrolment_of};
use super::split::Splitter;

/// Of a version number: the largest that fits a signed 64-bit integer in full.
const MOST_DIGITS: usize = 18;
/// The label whose version a model's bare name means, where the model has it.
const CHAMPION: &str = "champion";

/// A decision; None where nobody could answer.
type Taken = Option<Arc<Decision>>;

/// What routes, models, versions and labels mean at one moment.
#[derive(Debug)]
pub struct Snapshot {
    routes: HashMap<String, Route>,
    models: HashMap<String, Model>,
    decisions: Vec<Arc<Decision>>,
}

#[derive(Debug)]
struct Route {
    splitter: Splitter,
    overrides: Vec<Override>,
    /// By target, for requests with a unit.
    split: Vec<Taken>,
    /// By target, for requests without one.
    unsticky: Vec<Taken>,
    experiment: Option<Experiment>,
    /// The only model of its targets; None where there are several.
    model: Option<String>,
}

/// Who takes part, and what those get who do not: all of it the control's.
#[derive(Debug)]
struct Experiment {
    gate: Gate,
    holdout: Taken,
    unenrolled: Taken,
    unsticky: Taken,
}

#[derive(Debug)]
struct Override {
    headers: Vec<(String, Option<String>)>,
    /// None for all.
    units: Option<HashSet<String>>,
    taken: Taken,
}

#[derive(Debug, Default)]
struct Model {
    /// What the bare name gets: the champion, or without that label the newest version.
    bare: Taken,
    versions: HashMap<i64, Arc<Decision>>,
    labels: HashMap<String, Taken>,
}

/// Returns who answers `ask`; `draw` is uniform in [0, 1), and used only where there is no unit to stick to.
///
/// None where `routing.decide` would refuse, or say that nobody is available.
pub fn decide(snapshot: &Snapshot, ask: &Ask<'_>, draw: f64) -> Option<Arc<Decision>> {
    let route = snapshot.routes.get(ask.name());
    if ask.version().is_empty() {
        return match route {
            Some(route) => route.assign(ask, draw).clone(),
            None => snapshot.models.get(ask.name())?.bare.clone(),
        };
    }
    let model = match (snapshot.models.get(ask.name()), route) {
        (Some(model), _) => model,
        (None, Some(route)) => snapshot.models.get(route.model.as_deref()?)?,
        (None, None) => return None,
    };
    if ask.version().bytes().all(|byte| byte.is_ascii_digit()) {
        let digits = &ask.version()[..ask.version().len().min(MOST_DIGITS)];
        return model.versions.get(&digits.parse().ok()?).cloned();
    }
    model.labels.get(ask.version())?.clone()
}

impl Snapshot {
    /// Reads a snapshot from JSON.
    ///
    /// Fails with words for people: JSON of another form, or a table that Python would not have made.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let mut making = Making::default();
        for model in &document.models {
            making.model(model)?;
        }
        for route in &document.routes {
            making.route(route, &document.digest)?;
        }
        Ok(Self { routes: making.routes, models: making.models, decisions: making.decisions })
    }

    /// Returns every decision that can be taken, each at its own index.
    pub fn decisions(&self) -> &[Arc<Decision>] {
        &self.decisions
    }
}

impl Route {
    fn assign(&self, ask: &Ask<'_>, draw: f64) -> &Taken {
        if let Some(first) = self.overrides.iter().find(|rule| rule.matches(ask)) {
            return &first.taken;
        }
        match (&self.experiment, ask.unit()) {
            (None, "") => &self.unsticky[self.splitter.draw(draw)],
            (Some(experiment), "") => &experiment.unsticky,
            (experiment, unit) => match experiment.as_ref().and_then(|experiment| experiment.keeps_out(unit)) {
                Some(taken) => taken,
                None => &self.split[self.splitter.pick(unit)],
            },
        }
    }
}

impl Experiment {
    /// Returns what a unit gets that does not take part; None where it does.
    fn keeps_out(&self, unit: &str) -> Option<&Taken> {
        self.gate.keeps_out(unit).map(|reason| match reason {
            Reason::Holdout => &self.holdout,
            _ => &self.unenrolled,
        })
    }
}

impl Override {
    fn matches(&self, ask: &Ask<'_>) -> bool {
        let has = |name: &str, value: &Option<String>| value.is_some() && ask.header(name) == value.as_deref();
        self.units.as_ref().is_none_or(|units| units.contains(ask.unit()))
            && self.headers.iter().all(|(name, value)| has(name, value))
    }
}

/// A snapshot in the making.
#[derive(Default)]
struct Making {
    routes: HashMap<String, Route>,
    models: HashMap<String, Model>,
    decisions: Vec<Arc<Decision>>,
}

impl Making {
    fn model(&mut self, given: &document::Model) -> Result<(), String> {
        let mut model = Model::default();
        for &version in &given.available {
            let pinned = self.keep(Decision::outright(&given.name, version, Reason::Pinned));
            model.versions.insert(version, pinned);
        }
        let bare = match given.labels.get(CHAMPION) {
            Some(champion) => Some(champion).filter(|version| given.available.contains(version)),
            None => given.available.iter().max(),
        };
        model.bare = bare.map(|&version| self.keep(Decision::outright(&given.name, version, Reason::Named)));
        let labels = given.labels.iter();
        model.labels = labels.map(|(label, version)| (label.clone(), model.versions.get(version).cloned())).collect();
        match self.models.insert(given.name.clone(), model) {
            Some(_) => Err(format!("two models are called {:?}", given.name)),
            None => Ok(()),
        }
    }

    fn route(&mut self, given: &document::Route, digest: &str) -> Result<(), String> {
        let targets = &given.targets;
        let arms = targets.iter().map(|target| (target.name.as_str(), target.weight));
        let splitter = Splitter::new(&given.salt, arms, given.total)
            .ok_or_else(|| format!("route {:?}: every weight is 0", given.name))?;
        let control = given.experiment.as_ref().map(|experiment| experiment.control);
        let named = given.overrides.iter().map(|rule| rule.target).chain(given.fallback).chain(control);
        if named.into_iter().any(|index| index >= targets.len()) {
            return Err(format!("route {:?}: an override, the fallback or the control names no target", given.name));
        }
        let by_target = |reason: Reason, making: &mut Self| -> Vec<Taken> {
            (0..targets.len()).map(|assigned| making.served(given, digest, assigned, reason, None)).collect()
        };
        let split = by_target(Reason::Split, self);
        let unsticky = if control.is_none() { by_target(Reason::Unsticky, self) } else { Vec::new() };
        let experiment = given.experiment.as_ref().map(|experiment| self.experiment(given, digest, experiment));
        let experiment = experiment.transpose().map_err(|error| format!("route {:?}: {error}", given.name))?;
        let mut overrides = Vec::with_capacity(given.overrides.len());
        for (index, rule) in given.overrides.iter().enumerate() {
            overrides.push(Override {
                headers: rule.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
                units: (!rule.units.is_empty()).then(|| rule.units.iter().flatten().cloned().collect()),
                taken: self.served(given, digest, rule.target, Reason::Override, Some(index)),
            });
        }
        let model = targets.first().map(|target| target.model.clone());
        let model = model.filter(|model| targets.iter().all(|target| target.model == *model));
        let route = Route { splitter, overrides, split, unsticky, experiment, model };
        match self.routes.insert(given.name.clone(), route) {
            Some(_) => Err(format!("two routes are called {:?}", given.name)),
            None => Ok(()),
        }
    }

    fn experiment(
        &mut self,
        route: &document::Route,
        digest: &str,
        given: &document::Experiment,
    ) -> Result<Experiment, String> {
        let mut control = |reason| self.served(route, digest, given.control, reason, None);
        Ok(Experiment {
            gate: Gate::new(&route.salt, given)?,
            holdout: control(Reason::Holdout),
            unenrolled: control(Reason::Unenrolled),
            unsticky: control(Reason::Unsticky),
        })
    }

    /// Returns who answers for the target that a request was assigned to, for `drawn`.
    fn served(
        &mut self,
        route: &document::Route,
        digest: &str,
        assigned: usize,
        drawn: Reason,
        override_index: Option<usize>,
    ) -> Taken {
        let (target, version, reason) = match (self.answers(&route.targets[assigned]), route.fallback) {
            (Some(version), _) => (&route.targets[assigned], version, drawn),
            (None, Some(fallback)) => {
                let target = &route.targets[fallback];
                (target, self.answers(target)?, Reason::Fallback)
            }
            (None, None) => return None,
        };
        let was_drawn = drawn == Reason::Split || (drawn == Reason::Unsticky && route.experiment.is_none());
        let propensity = was_drawn.then_some(route.targets[assigned].propensity);
        Some(self.keep(Decision {
            index: 0,
            route: route.name.clone(),
            target: target.name.clone(),
            model: target.model.clone(),
            version,
            reason,
            assigned: route.targets[assigned].name.clone(),
            override_index,
            propensity,
            table_digest: digest.to_owned(),
            epoch: route.epoch.clone(),
            enrolment: route.experiment.as_ref().map(|given| enrolment_of(given, drawn)).unwrap_or_default(),
            mirrors: route.mirrors.as_slice().into(),
            task: Some(route.task),
        }))
    }

    /// Returns the version that answers for a target itself.
    fn answers(&self, target: &document::Target) -> Option<i64> {
        let version = target.version?;
        self.models.get(&target.model)?.versions.contains_key(&version).then_some(version)
    }

    fn keep(&mut self, mut decision: Decision) -> Arc<Decision> {
        decision.index = self.decisions.len();
        let kept = Arc::new(decision);
        self.decisions.push(Arc::clone(&kept));
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A route with an override and a fallback over versions 1 (`champion`) and 2; `available` is given.
    fn snapshot(available: &str) -> Snapshot {
        let target = |name: &str, version: &str, weight: &str| {
            format!(
                r#"{{"name": "{name}", "model": "price", "version": {version}, "weight": {weight}, "propensity": 0.5}}"#
            )
        };
        let json = format!(
            r#"{{"digest": "d", "routes": [{{
                "name": "cost", "task": "price", "salt": "s", "epoch": "e", "mirrors": [], "total": 2, "fallback": 0,
                "targets": [{}, {}],
                "overrides": [
                    {{"headers": {{"x-odd": null}}, "units": [], "target": 0}},
                    {{"headers": {{}}, "units": [null], "target": 0}},
                    {{"headers": {{"x-qa": "on"}}, "units": ["", "u"], "target": 1}}
                ]
            }}], "models": [
                {{"name": "price", "available": {available}, "labels": {{"champion": 1, "gone": 9}}}},
                {{"name": "stored", "available": [], "labels": {{}}}},
                {{"name": "unlabelled", "available": [3, 4], "labels": {{"challenger": 3}}}}
            ]}}"#,
            target("control", "1", "1.0"),
            target("canary", "2", "1"),
        );
        Snapshot::from_json(json.as_bytes()).unwrap()
    }

    fn taken(snapshot: &Snapshot, name: &str, version: &str, unit: &str, draw: f64) -> Option<(i64, Reason, String)> {
        let headers = [("x-qa", "on"), ("x-odd", "")].into_iter().filter(|_| unit == "u").collect();
        let decision = decide(snapshot, &Ask::new(name, version, unit, &headers)?, draw)?;
        assert!(Arc::ptr_eq(&decision, &snapshot.decisions()[decision.index]));
        Some((decision.version, decision.reason, decision.assigned.clone()))
    }

    #[test]
    fn a_route_splits_draws_overrides_and_falls_back() {
        let both = snapshot("[1, 2]");
        assert_eq!(taken(&both, "cost", "", "", 0.4), Some((1, Reason::Unsticky, "control".into())));
        assert_eq!(taken(&both, "cost", "", "", 0.6), Some((2, Reason::Unsticky, "canary".into())));
        assert_eq!(taken(&both, "cost", "", "u", 0.4), Some((2, Reason::Override, "canary".into())));
        assert_eq!(taken(&both, "cost", "", "a", 0.4).unwrap().1, Reason::Split);
        let one = snapshot("[1]");
        assert_eq!(taken(&one, "cost", "", "", 0.6), Some((1, Reason::Fallback, "canary".into())));
        assert_eq!(taken(&snapshot("[]"), "cost", "", "", 0.6), None);
    }

    #[test]
    fn who_does_not_take_part_gets_the_control_and_so_does_who_has_no_unit() {
        let experiment = |control: usize, enrolment: f64, holdout: f64| {
            let json = format!(
                r#"{{"digest": "d", "routes": [{{
                    "name": "cost", "task": "price", "salt": "s", "epoch": "e", "mirrors": [], "total": 1,
                    "fallback": null, "overrides": [{{"headers": {{"x-qa": "on"}}, "units": [], "target": 1}}],
                    "targets": [
                        {{"name": "control", "model": "price", "version": 1, "weight": 0, "propensity": 0}},
                        {{"name": "canary", "model": "price", "version": 2, "weight": 1, "propensity": 1}}
                    ],
                    "experiment": {{
                        "name": "trial", "control": {control}, "buckets": [[0, 1000]], "enrolment": {enrolment},
                        "layer": {{"name": "checkout", "salt": "l", "holdout": {holdout}}}
                    }}
                }}], "models": [{{"name": "price", "available": [1, 2], "labels": {{}}}}]}}"#
            );
            Snapshot::from_json(json.as_bytes())
        };
        let say = |snapshot: &Snapshot, unit: &str| {
            let headers = [("x-qa", "on")].into_iter().filter(|_| unit == "u").collect();
            let decision = decide(snapshot, &Ask::new("cost", "", unit, &headers).unwrap(), 0.9).unwrap();
            assert_eq!((&*decision.enrolment.experiment, &*decision.enrolment.layer), ("trial", "checkout"));
            (decision.reason, decision.version, decision.propensity, decision.enrolment.enrolled)
        };
        let none = experiment(0, 0.0, 0.0).unwrap();
        assert_eq!(say(&none, "a"), (Reason::Unenrolled, 1, None, Some(false)));
        assert_eq!(say(&none, ""), (Reason::Unsticky, 1, None, None));
        assert_eq!(say(&none, "u"), (Reason::Override, 2, None, None));
        assert_eq!(say(&experiment(0, 1.0, 0.0).unwrap(), "a"), (Reason::Split, 2, Some(1.0), Some(true)));
        assert_eq!(say(&experiment(0, 1.0, 1.0).unwrap(), "a"), (Reason::Holdout, 1, None, Some(false)));
        assert!(experiment(2, 1.0, 0.0).unwrap_err().contains("the control names no target"));
    }

    #[test]
    fn models_and_versions_are_named_outright() {
        let both = snapshot("[1, 2]");
        let none = String::new();
        assert_eq!(taken(&both, "price", "", "", 0.0), Some((1, Reason::Named, none.clone())));
        assert_eq!(taken(&both, "unlabelled", "", "", 0.0), Some((4, Reason::Named, none.clone())));
        // Without its champion nobody else gets its traffic.
        assert_eq!(taken(&snapshot("[2]"), "price", "", "", 0.0), None);
        for (version, wanted) in [("1", 1), ("002", 2), ("champion", 1)] {
            for name in ["price", "cost"] {
                assert_eq!(taken(&both, name, version, "", 0.0), Some((wanted, Reason::Pinned, none.clone())));
            }
        }
        for (name, version) in [
            ("price", "3"),
            ("price", "gone"),
            ("price", "other"),
            ("price", "9999999999999999999999"),
            ("price", "\u{661}"), // a digit elsewhere, and no label
            ("stored", ""),
            ("nothing", ""),
            ("nothing", "1"),
        ] {
            assert_eq!(taken(&both, name, version, "", 0.0), None, "{name} {version}");
        }
    }

    #[test]
    fn what_python_would_not_have_written_is_refused() {
        assert!(Snapshot::from_json(b"{}").is_err());
        assert!(Snapshot::from_json(br#"{"digest": "", "routes": [], "models": []}"#).is_ok());
        let wrong = r#"{"digest": "", "models": [], "routes": [{"name": "r", "task": "tensors", "salt": "s", "epoch": "",
            "mirrors": [], "total": 1, "targets": [], "overrides": [], "fallback": null}]}"#;
        assert!(Snapshot::from_json(wrong.as_bytes()).unwrap_err().contains("every weight is 0"));
    }
}
