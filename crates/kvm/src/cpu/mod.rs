//! What a guest is told that its processor can do.

mod build;
mod compare;
mod features;
mod leaves;
mod topology;

pub(crate) use build::Cpuid;
pub(crate) use compare::check_host_has;
pub(crate) use leaves::{Leaves, MAX_LEAVES};
