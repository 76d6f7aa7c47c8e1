//! What the directed tests share: an assembler, a small machine and page tables.
#![allow(dead_code, unreachable_pub, missing_docs)]

pub mod asm;
pub mod machine;
pub mod paging;
