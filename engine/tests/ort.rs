//! The room `ort` with a real ONNX Runtime: `TURNOUT_ONNXRUNTIME=.../libonnxruntime.so.1 cargo test -- --ignored`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use turnout_engine::ort::{Input, Options, Output, RunErrorKind, RunOptions, Runtime, Session, free_later};
use turnout_engine::tensor::{DType, Data, Tensor};

fn runtime() -> &'static Runtime {
    let library = std::env::var_os("TURNOUT_ONNXRUNTIME").expect("TURNOUT_ONNXRUNTIME");
    Runtime::load(Path::new(&library)).expect("ONNX Runtime, with ORT_DISABLE_TELEMETRY=1")
}

fn opened(model: &str) -> Session {
    let store = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../model_store/models");
    Session::open(runtime(), &store.join(model).join("1/model.onnx"), &Options::default()).expect("a session")
}

/// Returns made-up inputs of so many rows: numbers that are one, and texts that are empty.
fn inputs(session: &Session, rows: i64) -> Vec<Tensor> {
    let made = |argument: &turnout_engine::ort::Argument| {
        let dtype = argument.dtype.expect("a dtype");
        let shape: Vec<i64> = argument
            .shape
            .iter()
            .map(|size| match size {
                turnout_engine::ort::Size::Fixed(size) => *size,
                _ => rows,
            })
            .collect();
        let count = shape.iter().product::<i64>() as usize;
        let data = match dtype {
            DType::Bytes => Data::Texts(vec![Bytes::from_static(b"Ideal"); count]),
            DType::Fp32 => Data::Raw(1f32.to_le_bytes().repeat(count).into()),
            DType::Int64 => Data::Raw(1i64.to_le_bytes().repeat(count).into()),
            other => panic!("{other:?}"),
        };
        Tensor { dtype, shape, data }
    };
    session.inputs().iter().map(made).collect()
}

fn run(session: &Session, tensors: &[Tensor]) -> Vec<Output> {
    let feeds: Vec<Input<'_>> = tensors.iter().enumerate().map(|(at, tensor)| Input::of(at, tensor)).collect();
    let wanted: Vec<usize> = (0..session.outputs().len()).collect();
    session.run(&feeds, &wanted, None).expect("a run").into_iter().collect()
}

fn tensors_of(outputs: &[Output]) -> Vec<Tensor> {
    outputs.iter().map(tensor_of).collect()
}

fn tensor_of(output: &Output) -> Tensor {
    let data = match output.dtype() {
        DType::Bytes => Data::Texts(output.texts().expect("texts")),
        _ => Data::Raw(Bytes::copy_from_slice(output.bytes())),
    };
    Tensor { dtype: output.dtype(), shape: output.shape().to_vec(), data }
}

#[test]
#[ignore = "needs ONNX Runtime"]
fn threads_share_a_session_whose_answers_outlive_it() {
    let session = Arc::new(opened("price"));
    let tensors = inputs(&session, 3);
    let expected = tensors_of(&run(&session, &tensors));
    assert_eq!(expected.len(), session.outputs().len());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (session, tensors) = (session.clone(), tensors.clone());
            thread::spawn(move || (0..50).map(|_| run(&session, &tensors)).collect::<Vec<_>>())
        })
        .collect();
    free_later(session);
    for thread in threads {
        assert!(thread.join().expect("no panic").iter().all(|found| tensors_of(found) == expected));
    }
}

#[test]
#[ignore = "needs ONNX Runtime"]
fn rows_alone_answer_as_in_company_wherever_their_bytes_lie() {
    let session = opened("ranking");
    let tensors = inputs(&session, 2);
    let expected = tensors_of(&run(&session, &tensors));
    for offset in 0..17 {
        let moved: Vec<Tensor> = tensors
            .iter()
            .map(|tensor| {
                let Data::Raw(raw) = &tensor.data else { return tensor.clone() };
                let room = [vec![0; offset], raw.to_vec()].concat();
                Tensor { data: Data::Raw(Bytes::from(room).slice(offset..)), ..tensor.clone() }
            })
            .collect();
        assert_eq!(tensors_of(&run(&session, &moved)), expected);
    }
}

#[test]
#[ignore = "needs ONNX Runtime"]
fn what_was_told_to_end_does_not_run_until_it_is_reset() {
    let session = opened("ranking");
    let tensors = inputs(&session, 1);
    let feeds: Vec<Input<'_>> = tensors.iter().enumerate().map(|(at, tensor)| Input::of(at, tensor)).collect();
    let options = RunOptions::new(runtime()).expect("options");
    options.terminate();
    let error = session.run(&feeds, &[0], Some(&options)).err().expect("an error");
    assert_eq!(error.kind, RunErrorKind::Terminated);
    options.reset();
    assert!(session.run(&feeds, &[0], Some(&options)).is_ok());
}

#[test]
#[ignore = "needs ONNX Runtime"]
fn what_does_not_hold_together_never_reaches_onnx_runtime() {
    let session = opened("ranking");
    let tensors = inputs(&session, 1);
    let feeds: Vec<Input<'_>> = tensors.iter().enumerate().map(|(at, tensor)| Input::of(at, tensor)).collect();
    let shape = [-1, 1 << 62, 1 << 62];
    let odd = [
        (vec![], vec![0]),
        ([feeds.clone(), feeds.clone()].concat(), vec![0]),
        (feeds.clone(), vec![99]),
        (vec![Input { index: 99, ..feeds[0] }], vec![0]),
        (vec![Input { shape: &shape, ..feeds[0] }], vec![0]),
        (vec![Input { shape: &shape[1..], ..feeds[0] }], vec![0]),
        (vec![Input { dtype: DType::Bytes, ..feeds[0] }], vec![0]),
        (vec![Input { dtype: DType::Fp64, ..feeds[0] }], vec![0]),
    ];
    for (feeds, wanted) in odd {
        let error = session.run(&feeds, &wanted, None).err().expect("an error");
        assert_eq!((error.kind, error.failure.code), (RunErrorKind::Failed, 0), "{error}");
    }
}
