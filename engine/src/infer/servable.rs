//! One loaded version, and how its requests are put together.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Deserialize;

use super::plane::Plane;
use crate::batch::Ns;
use crate::batch::admission::{Admission, Room};
use crate::batch::batcher::{Batcher, Rules};
use crate::batch::cost::CostModel;
use crate::batch::shares::Id;
use crate::batch::waiting::Key;
use crate::decide::Task;
use crate::memory::{Memory, Need, Running};
use crate::oip::signature::Spec;
use crate::oip::texts;
use crate::oip::{Prepared, Signature};
use crate::ort::{self, Argument, Session};
use crate::tensor::Data;

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
    /// What it is for.
    pub task: Task,
    /// Whether requests may run together.
    pub batched: bool,
    /// Runs that were timed: (rows, nanoseconds).
    pub measured: Vec<(u64, Ns)>,
    /// What runs took: (rows, bytes).
    #[serde(default)]
    pub needs: Vec<(u64, usize)>,
    pub max_rows: u64,
    pub max_delay_ns: Ns,
    pub inline_below_ns: f64,
    pub parallel: u64,
    pub queue_wait_s: f64,
    pub queue_requests: u64,
    /// How long a run in a thread may take.
    pub run_timeout_ns: Ns,
}

/// There is no memory for a run.
#[derive(Debug, PartialEq)]
pub struct NoMemory {
    /// What it would take, as estimated, or has asked for.
    pub nbytes: usize,
    /// Whether there ever is so much.
    pub ever: bool,
}

/// One loaded version.
pub struct Servable {
    pub settings: Settings,
    pub signature: Signature,
    pub session: Arc<Session>,
    /// Where the signature's inputs stand among the session's, and its outputs.
    pub input_places: Vec<usize>,
    pub output_places: Vec<usize>,
    /// What its runs take.
    pub need: Need,
    memory: Arc<OnceLock<Arc<Memory>>>,
    admission: Arc<Admission>,
    holds: AtomicUsize,
    timed_out: AtomicU64,
}

impl Servable {
    /// Makes a servable of `plane`'s, for which what waits is counted in `room`.
    ///
    /// Fails with words for people where the session has no such input or output.
    pub fn new(
        settings: Settings,
        signature: Signature,
        session: Arc<Session>,
        room: Arc<Room>,
        plane: &Plane,
    ) -> Result<Self, String> {
        let (model, total) = (settings.model.clone(), plane.total.clone());
        let (wait_s, patient) = (settings.queue_wait_s, settings.queue_requests);
        let admission = Admission::new(model, settings.version, room, total, wait_s, patient);
        let input_places = places(&signature.inputs, session.inputs())?;
        let output_places = places(&signature.outputs, session.outputs())?;
        Ok(Self {
            signature,
            input_places,
            output_places,
            session,
            need: Need::new(&settings.needs),
            memory: plane.memory.clone(),
            admission: Arc::new(admission),
            holds: AtomicUsize::new(0),
            timed_out: AtomicU64::new(0),
            settings,
        })
    }

    /// Returns how many requests and runs need it.
    pub fn holds(&self) -> usize {
        self.holds.load(Ordering::Acquire)
    }

    /// Returns how many runs were ended because they took too long.
    pub fn timed_out(&self) -> u64 {
        self.timed_out.load(Ordering::Relaxed)
    }

    /// Notes that one was.
    pub fn note_timed_out(&self) {
        self.timed_out.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes the memory that a run of so large a size should take, so many bytes of input among it; None where nobody counts.
    ///
    /// # Errors
    /// How many bytes that is, where they are not there now.
    pub fn borrow(&self, size: u64, inputs: usize) -> Result<Option<Running>, NoMemory> {
        let Some(memory) = self.memory.get() else { return Ok(None) };
        let need = self.need.of(size).saturating_sub(inputs);
        let nbytes = inputs.saturating_add(need);
        Running::new(memory, inputs, need).map(Some).ok_or(NoMemory { nbytes, ever: true })
    }

    /// Says whether a run could ever have so many bytes.
    pub fn could_have(&self, nbytes: usize) -> bool {
        self.memory.get().is_none_or(|memory| nbytes <= memory.limit())
    }

    /// Returns how large a batch may be.
    pub fn most_size(&self) -> u64 {
        self.memory.get().map_or(u64::MAX, |memory| self.need.size_in(memory.for_a_batch()))
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
        if self.settings.batched && prepared.rows > 0 { key_of(&self.signature, prepared) } else { None }
    }
}

/// What a request has of a version from its decision to its end, and a run until it has been counted: while there is
/// one, Python does not unload the version.
pub struct Hold(Arc<Servable>);

impl Hold {
    /// Takes hold.
    pub fn of(servable: &Arc<Servable>) -> Self {
        servable.holds.fetch_add(1, Ordering::Relaxed);
        Self(servable.clone())
    }
}

impl Clone for Hold {
    fn clone(&self) -> Self {
        Self::of(&self.0)
    }
}

impl Deref for Hold {
    type Target = Servable;

    fn deref(&self) -> &Servable {
        &self.0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Whoever sees that nobody holds it sees what was counted before, too.
        self.0.holds.fetch_sub(1, Ordering::Release);
    }
}

/// Returns what has to be equal for rows to be put together; None where that is too much to compare.
///
/// The inputs come first, since each says how long it is: what is left after them are the outputs.
fn key_of(signature: &Signature, prepared: &Prepared) -> Option<Key> {
    let mut key = Key::new();
    let mut shared = 0;
    for (spec, input) in signature.inputs.iter().zip(&prepared.inputs) {
        let held = if spec.rowwise { 1 } else { 0 };
        let free = spec.free.iter().any(|&axis| axis >= held);
        if free {
            key.extend(input.shape[held..].iter().flat_map(|size| size.to_le_bytes()));
        }
        if !spec.rowwise {
            shared += input.data.raw().len() + texts::encoded_len(input.data.texts());
            if shared > SHARED_BYTES {
                return None;
            }
            key.extend_from_slice(input.data.raw());
            texts::encode(&mut key, input.data.texts());
        }
    }
    if !prepared.outputs.iter().copied().eq(0..signature.outputs.len()) {
        key.extend(prepared.outputs.iter().flat_map(|&index| (index as u32).to_le_bytes()));
    }
    Some(key)
}

/// What Python counts for a text besides its characters: an object's address.
const TEXT_BYTES: usize = 8;

/// Returns what a request's inputs take, as `Runner._nbytes_of` counts it.
pub fn nbytes_of(prepared: &Prepared) -> u64 {
    let of_text = |text: &Bytes| TEXT_BYTES + std::str::from_utf8(text).map_or(text.len(), |text| text.chars().count());
    let of_one = |data: &Data| data.raw().len() + data.texts().iter().map(of_text).sum::<usize>();
    prepared.inputs.iter().map(|input| of_one(&input.data) as u64).sum()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{DType, Tensor};

    const SIGNATURE: &str = r#"{"batched": true,
        "inputs": [{"name": "x", "dtype": "FP32", "shape": [-1]}, {"name": "k", "dtype": "FP32", "shape": [2, -1]}],
        "outputs": [{"name": "a", "dtype": "FP32", "shape": [-1]}, {"name": "b", "dtype": "FP32", "shape": [-1]},
                    {"name": "c", "dtype": "FP32", "shape": [-1]}]}"#;

    fn key(outputs: &[usize], shape: [i64; 2], raw: &[u8]) -> Option<Key> {
        let signature = Signature::from_json(SIGNATURE.as_bytes()).unwrap();
        let tensor = |shape: &[i64], raw: &[u8]| Tensor {
            dtype: DType::Fp32,
            shape: shape.to_vec(),
            data: Data::Raw(Bytes::copy_from_slice(raw)),
        };
        let inputs = vec![tensor(&[1], &[0; 4]), tensor(&shape, raw)];
        key_of(&signature, &Prepared { inputs, rows: 1, size: 1, outputs: outputs.to_vec() })
    }

    #[test]
    fn no_two_kinds_of_requests_have_one_key() {
        let all = key(&[0, 1, 2], [2, 2], &[1, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7]);
        assert_eq!(all, key(&[0, 1, 2], [2, 2], &[1, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7]));
        // Its first outputs and sizes, read as the other's sizes and elements, are the same bytes.
        assert_ne!(all, key(&[2, 0], [2, 1], &[7; 8]));
        assert_ne!(key(&[1], [2, 0], &[]), key(&[0], [2, 0], &[]));
    }

    #[test]
    fn large_inputs_that_all_rows_share_are_not_compared() {
        assert!(key(&[0, 1, 2], [2, 128], &[0; SHARED_BYTES]).is_some());
        assert!(key(&[0, 1, 2], [2, 129], &[0; SHARED_BYTES + 8]).is_none());
    }
}
