//! The requests' messages as prost reads them: the second opinion on what the engine reads by hand.

use std::collections::HashMap;

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub struct ModelInferRequest {
    #[prost(string, tag = "1")]
    pub model_name: String,
    #[prost(string, tag = "2")]
    pub model_version: String,
    #[prost(string, tag = "3")]
    pub id: String,
    #[prost(map = "string, message", tag = "4")]
    pub parameters: HashMap<String, Parameter>,
    #[prost(message, repeated, tag = "5")]
    pub inputs: Vec<Input>,
    #[prost(message, repeated, tag = "6")]
    pub outputs: Vec<Wanted>,
    #[prost(bytes = "vec", repeated, tag = "7")]
    pub raw_input_contents: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Input {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
    #[prost(map = "string, message", tag = "4")]
    pub parameters: HashMap<String, Parameter>,
    #[prost(message, optional, tag = "5")]
    pub contents: Option<Contents>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Wanted {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(map = "string, message", tag = "2")]
    pub parameters: HashMap<String, Parameter>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Parameter {
    #[prost(oneof = "Choice", tags = "1, 2, 3, 4, 5")]
    pub choice: Option<Choice>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Choice {
    #[prost(bool, tag = "1")]
    Bool(bool),
    #[prost(int64, tag = "2")]
    Signed(i64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(uint64, tag = "5")]
    Unsigned(u64),
}

#[derive(Clone, PartialEq, Message)]
pub struct Contents {
    #[prost(bool, repeated, tag = "1")]
    pub bools: Vec<bool>,
    #[prost(int32, repeated, tag = "2")]
    pub ints: Vec<i32>,
    #[prost(int64, repeated, tag = "3")]
    pub longs: Vec<i64>,
    #[prost(uint32, repeated, tag = "4")]
    pub unsigned: Vec<u32>,
    #[prost(uint64, repeated, tag = "5")]
    pub unsigned_longs: Vec<u64>,
    #[prost(float, repeated, tag = "6")]
    pub floats: Vec<f32>,
    #[prost(double, repeated, tag = "7")]
    pub doubles: Vec<f64>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub texts: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ModelInferResponse {
    #[prost(string, tag = "1")]
    pub model_name: String,
    #[prost(string, tag = "2")]
    pub model_version: String,
    #[prost(string, tag = "3")]
    pub id: String,
    #[prost(map = "string, message", tag = "4")]
    pub parameters: HashMap<String, Parameter>,
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<Input>,
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub raw_output_contents: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub struct StreamAnswer {
    #[prost(string, tag = "1")]
    pub error_message: String,
    #[prost(message, optional, tag = "2")]
    pub infer_response: Option<ModelInferResponse>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Selector {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub version: String,
    #[prost(string, tag = "3")]
    pub unit: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Column {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(oneof = "Values", tags = "2, 3, 4")]
    pub values: Option<Values>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Values {
    #[prost(message, tag = "2")]
    Floats(Floats),
    #[prost(message, tag = "3")]
    Integers(Integers),
    #[prost(message, tag = "4")]
    Texts(Texts),
}

#[derive(Clone, PartialEq, Message)]
pub struct Floats {
    #[prost(float, repeated, tag = "1")]
    pub values: Vec<f32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Integers {
    #[prost(int64, repeated, tag = "1")]
    pub values: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Texts {
    #[prost(string, repeated, tag = "1")]
    pub values: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Matrix {
    #[prost(string, repeated, tag = "1")]
    pub names: Vec<String>,
    #[prost(float, repeated, tag = "2")]
    pub values: Vec<f32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PredictPriceRequest {
    #[prost(message, optional, tag = "1")]
    pub selector: Option<Selector>,
    #[prost(message, repeated, tag = "2")]
    pub features: Vec<Column>,
    #[prost(message, optional, tag = "3")]
    pub matrix: Option<Matrix>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RankRequest {
    #[prost(message, optional, tag = "1")]
    pub selector: Option<Selector>,
    #[prost(string, repeated, tag = "2")]
    pub candidate_ids: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    pub context_features: Vec<Column>,
    #[prost(message, repeated, tag = "4")]
    pub candidate_features: Vec<Column>,
    #[prost(int32, tag = "5")]
    pub top_k: i32,
    #[prost(message, optional, tag = "6")]
    pub matrix: Option<Matrix>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RecommendRequest {
    #[prost(message, optional, tag = "1")]
    pub selector: Option<Selector>,
    #[prost(string, repeated, tag = "2")]
    pub history: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub excluded: Vec<String>,
    #[prost(int32, tag = "4")]
    pub top_k: i32,
}

/// Any typed answer, as far as it is looked at: its rows and who served.
#[derive(Clone, PartialEq, Message)]
pub struct Answer {
    #[prost(message, repeated, tag = "1")]
    pub rows: Vec<Row>,
    #[prost(message, optional, tag = "2")]
    pub served: Option<Served>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Row {}

#[derive(Clone, PartialEq, Message)]
pub struct Served {
    #[prost(string, tag = "3")]
    pub model: String,
    #[prost(string, tag = "7")]
    pub request_id: String,
}
