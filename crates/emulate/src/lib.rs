//! The RISC-V engine: runs harts by interpretation and translation behind the engine contract.
//!
//! [`Emulator`] makes one [`Vcpu`](clade_engine::Vcpu) a hart. A hart is a `Core` (registers, TLB,
//! memory) and a cache of decoded blocks that the interpreter executes. Other threads reach it
//! through its `Port`. Firmware is either real code in M-mode or the built-in SBI.

// Where there is no translator, what only it uses stands idle.
#![cfg_attr(
    not(all(target_arch = "x86_64", target_os = "linux")),
    allow(dead_code)
)]

mod access;
mod block;
mod clint;
mod core;
mod engine;
mod executor;
mod found_code;
mod hsm;
mod imsic;
mod interpreter;
mod memory;
mod native;
mod port;
mod sbi;
mod stats;
mod stepper;
mod table;
mod time;
mod tlb;
mod translation;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod translator;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "no_translator.rs"]
mod translator;
mod tuning;

pub use clint::Clint;
pub use engine::{Boot, Emulator, EmulatorConfig, HartInterrupt};
pub use imsic::Imsic;
pub use interpreter::CACHE_BLOCK;
pub use sbi::DebugConsole;
pub use stats::Stats;
pub use stepper::Stepper;
pub use time::TIMEBASE_HZ;
pub use translation::{Part, Translation};
pub use tuning::{Tier, Tuning, translator_support};

/// The extensions of all harts, as the device tree's `riscv,isa-extensions` lists them.
pub const ISA_EXTENSIONS: &[&str] = &[
    "i",
    "m",
    "a",
    "f",
    "d",
    "c",
    "b",
    "zic64b",
    "zicbom",
    "zicbop",
    "zicboz",
    "ziccamoa",
    "ziccif",
    "zicclsm",
    "ziccrse",
    "zicntr",
    "zicond",
    "zicsr",
    "zifencei",
    "zihintntl",
    "zihintpause",
    "zihpm",
    "zimop",
    "za64rs",
    "zacas",
    "zawrs",
    "zfa",
    "zfhmin",
    "zca",
    "zcb",
    "zcd",
    "zcmop",
    "zba",
    "zbb",
    "zbc",
    "zbs",
    "smstateen",
    "ssccptr",
    "sscounterenw",
    "sstc",
    "sstvala",
    "sstvecd",
    "svadu",
    "svinval",
    "svnapot",
    "svpbmt",
];

/// The extensions that harts with an [`Imsic`] have besides.
pub const AIA_EXTENSIONS: &[&str] = &["smaia", "ssaia"];
