//! Prints `docs/isa.md`, made from the instruction table.

fn main() {
    print!("{}", clade_riscv::isa::markdown());
}
