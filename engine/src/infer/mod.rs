//! ModelInfer without Python: decide, lease, decode, batch, run, encode, record.
