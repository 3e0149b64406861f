//! A version's signature as Python writes it for the engine, and requests held against any that is taken.

use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use prost::Message;
use turnout_engine::oip::Signature;

use crate::edits::edited;
use crate::made::{DTYPES, Tensor, inference, pricing, ranking, recommendation, width};
use crate::memory::bounded;
use crate::{infer, typed};

/// Bytes of memory for each byte of JSON: a tensor takes some 40 there, and its spec, its name and a table's place here.
const TIMES: usize = 64;

/// Takes JSON.
pub fn raw(json: &[u8]) {
    check(json);
}

/// Takes what a signature with features is made of, whose JSON may be damaged.
pub fn made(data: &[u8]) {
    let mut from = Unstructured::new(data);
    let _ = featured(&mut from).and_then(|json| {
        let mut json = json.into_bytes();
        check(&json);
        edited(&mut from, &mut json)?;
        check(&json);
        Ok(())
    });
}

/// Whatever is taken as a signature, requests can be held against.
fn check(json: &[u8]) {
    let Ok(signature) = bounded(json.len(), TIMES, || Signature::from_json(json)) else { return };
    for (index, spec) in signature.inputs.iter().enumerate() {
        assert_eq!(signature.input(&spec.name, 0), Some(index));
        assert!(spec.free.iter().all(|&axis| spec.shape[axis] < 0));
    }
    let tensors = |specs: &[turnout_engine::oip::signature::Spec]| -> Vec<Tensor> {
        let dtype = |spec: &turnout_engine::oip::signature::Spec| turnout_engine::oip::dtypes::name_of(spec.dtype);
        specs.iter().map(|spec| (spec.name.clone(), dtype(spec), spec.shape.clone())).collect()
    };
    let mut seed = Unstructured::new(json);
    let wants = |size: &i64| *size <= 64;
    if signature.inputs.iter().all(|spec| spec.shape.iter().all(wants) && spec.shape.len() <= 4)
        && let Ok(request) = inference(&mut seed, &tensors(&signature.inputs), &tensors(&signature.outputs))
    {
        infer::check(&request.encode_to_vec(), &signature);
    }
    let names: Vec<&str> = ["a", "b", "c", "context"].to_vec();
    let _ = (|| -> Result<()> {
        let mut seed = Unstructured::new(json);
        typed::price(&pricing(&mut seed, &names)?.encode_to_vec(), &signature);
        typed::rank(&ranking(&mut seed, &names)?.encode_to_vec(), &signature);
        typed::recommend(&recommendation(&mut seed)?.encode_to_vec(), &signature);
        Ok(())
    })();
}

/// Returns tensors of some kinds, some of them with one name.
pub fn tensors(from: &mut Unstructured<'_>) -> Result<Vec<Tensor>> {
    let mut tensors = Vec::new();
    for name in ["x", "y", "z"].iter().take(from.int_in_range(0..=3)?) {
        let name = if from.ratio(1, 32)? { from.arbitrary()? } else { (*name).to_owned() };
        let mut shape = Vec::new();
        for _ in 0..from.int_in_range(0..=3)? {
            shape.push(*from.choose(&[-1, -1, 1, 2, 0])?);
        }
        tensors.push((name, *from.choose(&DTYPES)?, shape));
    }
    Ok(tensors)
}

/// Returns the JSON of a signature without features.
pub fn json(inputs: &[Tensor], outputs: &[Tensor], batched: bool) -> String {
    let all = |tensors: &[Tensor]| -> Vec<serde_json::Value> {
        let one = |(name, dtype, shape): &Tensor| serde_json::json!({"name": name, "dtype": dtype, "shape": shape});
        tensors.iter().map(one).collect()
    };
    serde_json::json!({"inputs": all(inputs), "outputs": all(outputs), "batched": batched}).to_string()
}

/// Returns the JSON of a signature for a typed task, with features named as `typed` asks for them.
fn featured(from: &mut Unstructured<'_>) -> Result<String> {
    let outputs: Vec<Tensor> = match from.int_in_range(0..=2)? {
        0 => vec![("score".into(), *from.choose(&DTYPES)?, vec![-1])],
        1 => ["price", "low", "high"].map(|name| (name.to_owned(), "FP32", vec![-1])).to_vec(),
        _ => vec![("item_ids".into(), *from.choose(&DTYPES)?, vec![-1, -1]), ("scores".into(), "FP32", vec![-1, -1])],
    };
    let (mut inputs, mut features): (Vec<Tensor>, Vec<serde_json::Value>) = (Vec::new(), Vec::new());
    let inputs_of_items = from.ratio(1, 4)?;
    if inputs_of_items {
        for name in ["history", "exclude", "k"] {
            let shape = if name == "k" { vec![1] } else { vec![-1, -1] };
            inputs.push((name.into(), *from.choose(&DTYPES)?, shape));
        }
    } else {
        let names = ["a", "b", "c", "context"];
        let mut rest = &names[..from.int_in_range(0..=4)?];
        while !rest.is_empty() {
            let (own, others) = rest.split_at(from.int_in_range(1..=rest.len())?);
            rest = others;
            let dtype = *from.choose(&DTYPES)?;
            let is_matrix = own.len() > 1 || from.arbitrary()?;
            let rows = *from.choose(&[-1, -1, -1, 1, 2])?;
            let tail: Vec<i64> = if is_matrix { vec![own.len() as i64] } else { vec![] };
            let mut each = Vec::new();
            for name in own {
                let default = from.ratio(1, 2)?.then(|| "00".repeat(width(dtype)));
                each.push(serde_json::json!({"name": name, "default": default}));
            }
            features.push(serde_json::json!({"rows": rows, "tail": tail, "features": each}));
            inputs.push((own[0].to_owned(), dtype, [&[rows][..], &tail].concat()));
        }
    }
    let most = if from.ratio(1, 4)? { Some(from.int_in_range(0..=20)?) } else { None::<u64> };
    let mut document: serde_json::Value =
        serde_json::from_str(&json(&inputs, &outputs, from.ratio(3, 4)?)).expect("it was just written");
    document["max_rows"] = most.into();
    document["max_elements"] = most.map(|most| most * 4).into();
    if !inputs_of_items {
        document["features"] = features.into();
    }
    Ok(document.to_string())
}

/// Returns signatures of every kind.
pub fn usual() -> &'static [Signature] {
    static USUAL: LazyLock<Vec<Signature>> = LazyLock::new(|| {
        let of = |tensors: &[(&str, &'static str, &[i64])]| {
            let tensors: Vec<Tensor> =
                tensors.iter().map(|&(name, dtype, shape)| (name.to_owned(), dtype, shape.to_vec())).collect();
            Signature::from_json(json(&tensors, &tensors, true).as_bytes()).expect("a signature")
        };
        let every: Vec<(&str, &str, &[i64])> = DTYPES.iter().map(|&dtype| (dtype, dtype, &[-1, -1][..])).collect();
        vec![
            of(&[("x", "FP32", &[-1, 1])]),
            of(&[("x", "BYTES", &[-1]), ("y", "INT8", &[-1, 2])]),
            of(&[("x", "INT64", &[]), ("y", "BOOL", &[-1])]),
            of(&every),
        ]
    });
    &USUAL
}
