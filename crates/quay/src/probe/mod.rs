//! Whether what a configuration names answers: the database, both Redis servers, the storage, Clair, the certificate.

mod database;
mod dialled;
mod run;
mod scanner;
mod storage;

pub use run::{Answer, Probed, probe};
