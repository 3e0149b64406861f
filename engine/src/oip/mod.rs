//! The Open Inference Protocol's messages, straight from and to bytes.
