//! The way in: objects from outside become [`Change`](crate::model::Change)s.
//!
//! `convert` and `folder` are pure; `manifests` and `notify` are the rim where
//! files are read, `api` is where the API server is asked. Nothing past here
//! sees an unvalidated word.

pub mod api;
pub mod convert;
pub mod documents;
pub mod folder;
pub mod identity;
pub mod known;
pub mod loose;
pub mod manifests;
pub mod notify;
pub mod objects;
