//! One loaded version, and how its requests are put together.

use std::sync::Arc;

use serde::Deserialize;

use super::plane::Plane;
use crate::batch::Ns;
use crate::batch::admission::{Admission, Bounds};
use crate::batch::batcher::{Batcher, Rules};
use crate::batch::cost::CostModel;
use crate::batch::shares::Id;
use crate::batch::waiting::Key;
use crate::oip::signature::Spec;
use crate::oip::{Prepared, Signature};
use crate::ort::{self, Argument, Session};
use crate::tensor::{Data, Tensor};

/// What inputs without a batch axis may take; to compare larger ones would cost more than a batch saves.
const SHARED_BYTES: usize = 1024;

/// What Python says of a version.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Its number in this process.
    pub id: Id,
    pub model: String,
    pub version: i64,
    /// Whether requests may run together.
    pub batched: bool,
    /// Runs that were timed: (rows, nanoseconds).
    pub measured: Vec<(u64, Ns)>,
    pub max_rows: u64,
    pub max_delay_ns: Ns,
    pub inline_below_ns: f64,
    pub parallel: u64,
    pub queue_rows: u64,
    pub queue_bytes: u64,
    pub queue_wait_s: f64,
    pub queue_requests: u64,
}

/// One loaded version.
pub struct Servable {
    pub settings: Settings,
    pub signature: Signature,
    pub session: Arc<Session>,
    /// Where the signature's inputs stand among the session's, and its outputs.
    pub input_places: Vec<usize>,
    pub output_places: Vec<usize>,
    pub admission: Arc<Admission>,
}

impl Servable {
    /// Makes a servable of `plane`'s.
    ///
    /// Fails with words for people where the session has no such input or output.
    pub fn new(settings: Settings, signature: Signature, session: Arc<Session>, plane: &Plane) -> Result<Self, String> {
        let own = Bounds { rows: settings.queue_rows, nbytes: settings.queue_bytes };
        let (model, total) = (settings.model.clone(), plane.total.clone());
        let (wait_s, patient) = (settings.queue_wait_s, settings.queue_requests);
        let admission = Admission::new(model, settings.version, own, total, wait_s, patient);
        let input_places = places(&signature.inputs, session.inputs())?;
        let output_places = places(&signature.outputs, session.outputs())?;
        Ok(Self { signature, input_places, output_places, session, admission: Arc::new(admission), settings })
    }

    /// Makes the queue of one shard.
    pub fn batcher<T>(&self) -> Batcher<T> {
        let settings = &self.settings;
        let rules = Rules {
            max_rows: settings.max_rows,
            max_delay: settings.max_delay_ns,
            inline_below: settings.inline_below_ns,
            parallel: settings.parallel,
        };
        Batcher::new(self.admission.clone(), CostModel::new(&settings.measured), rules)
    }

    /// Returns what has to be equal for requests to run together; None for one that runs alone.
    pub fn key_of(&self, prepared: &Prepared) -> Option<Key> {
        if !self.settings.batched || prepared.rows == 0 {
            return None;
        }
        let mut key = Key::new();
        if !prepared.outputs.iter().copied().eq(0..self.signature.outputs.len()) {
            key.extend(prepared.outputs.iter().flat_map(|&index| (index as u32).to_le_bytes()));
        }
        let mut shared = 0;
        for (spec, input) in self.signature.inputs.iter().zip(&prepared.inputs) {
            let held = if spec.rowwise { 1 } else { 0 };
            let free = spec.free.iter().any(|&axis| axis >= held);
            if free {
                key.extend(input.shape[held..].iter().flat_map(|size| size.to_le_bytes()));
            }
            if !spec.rowwise {
                let raw = raw_of(input);
                shared += raw.len();
                if shared > SHARED_BYTES {
                    return None;
                }
                key.extend_from_slice(raw);
            }
        }
        Some(key)
    }
}

/// Returns the elements of a tensor of numbers.
pub fn raw_of(tensor: &Tensor) -> &[u8] {
    match &tensor.data {
        Data::Raw(raw) => raw,
        Data::Texts(_) => &[], // texts are declined before they get here
    }
}

fn places(specs: &[Spec], arguments: &[Argument]) -> Result<Vec<usize>, String> {
    let place = |spec: &Spec| arguments.iter().position(|argument| argument.name == spec.name);
    specs.iter().map(|spec| place(spec).ok_or_else(|| format!("the graph has no {:?}", spec.name))).collect()
}

impl Drop for Servable {
    fn drop(&mut self) {
        // The last to hold it may be a request on a shard, and to free a session may take long.
        ort::free_later(self.session.clone());
    }
}
