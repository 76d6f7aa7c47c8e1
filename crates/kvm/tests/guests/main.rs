//! Small guests of our own on whatever KVM this host has, one that interprets its guests included.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod confined;
mod dirty;
mod doorbells;
mod interrupts;
mod io;
mod machine;
mod models;
mod modes;
mod probe;
mod state;
