//! What the requests do.

mod contents;
mod extended;
mod folders;
mod names;
mod session;
mod status;
