//! Snapshots, clones, suspended machines: guests that check themselves, through whatever may happen.
//!
//! Runs briefly by default. For longer runs, or one that failed again:
//!
//! - `CLADE_BRANCH_STEPS`: steps of each walk at random, 40
//! - `CLADE_BRANCH_KILLS`: how often a process is killed, 20
//! - `CLADE_BRANCH_SEED`: as a test printed it

#[path = "../common/mod.rs"]
mod common;
mod damage;
mod history;
mod kills;
mod model;
mod parallel;
mod settling;
mod translations;
mod walk;
mod world;
