//! The index and the writer against a model: a map of pages.

mod format;
mod model;
