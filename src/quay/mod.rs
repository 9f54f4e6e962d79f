//! quay
