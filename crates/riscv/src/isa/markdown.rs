//! `docs/isa.md`, made from the tables.

use super::spec::Format;
use super::{COMPRESSED, CompressedSpec, Extension, Op, Spec};

/// The documentation of the instruction set in Markdown: the text of `docs/isa.md`.
pub fn markdown() -> String {
    let mut text = String::from(INTRODUCTION);
    for &extension in Extension::ALL {
        let base = Op::ALL
            .iter()
            .map(|op| op.spec())
            .filter(|spec| spec.extension == extension);
        let compressed = COMPRESSED.iter().filter(|spec| spec.extension == extension);
        text += &format!("\n## {}: {}\n", extension.name(), extension.title());
        text += &table(BASE_HEADER, base.map(base_row));
        text += &table(COMPRESSED_HEADER, compressed.map(compressed_row));
    }
    text
}

const INTRODUCTION: &str = "\
# The instructions of the `emulate` engine

<!-- Made from the tables in crates/riscv/src/isa by `cargo run -p clade-riscv --example isa_doc`. -->

In an encoding, `0` and `1` are fixed and a letter is a bit of an operand: `d`, `s`, `t` and `u` of the
registers rd, rs1, rs2 and rs3, `m` of the rounding mode, `q` and `l` are aq and rl, and `i` is a bit of an
immediate. `-` is ignored. Among the bits under capital letters at least one is set. Where two encodings match
a word, the one that fixes more bits is meant. Everything else is an illegal instruction.

Among the operands, `d`, `s`, `t` and `u` are integer registers, and with an `f` before them
floating-point ones. `imm` is a signed immediate, `uimm` one of five bits in rs1's place, `shamt` a shift amount,
`upper` bits 31:12 of a value, `target` an address relative to the instruction's, `csr` the number or name of a
control and status register, `pred` and `succ` the accesses that a fence orders, and `fli` one of 32 constants. `rm` is
the rounding mode, dynamic when left out; `rx` too, `rne` when left out, as the result is exact in every mode.

**Privileged** and **sensitive** are meant as in Popek and Goldberg's theorem (1974). A privileged instruction runs in
the most privileged mode and traps in a lesser one: always, or when a control register or the number of the CSR
says so. A sensitive instruction changes the mode or the machine's resources, or what it does depends on
them. The theorem: where every sensitive instruction is privileged, a virtual machine monitor can be built that
executes everything else directly. That is so in the table below. `ecall` and `ebreak` are neither: they do
nothing but trap, in every mode.
";

const BASE_HEADER: &str = "\
| instruction | operands | encoding | class | privileged | sensitive |
|---|---|---|---|---|---|
";

const COMPRESSED_HEADER: &str = "\
| instruction | operands | encoding | expands to |
|---|---|---|---|
";

/// A table, or nothing when it would have no rows.
fn table(header: &str, rows: impl Iterator<Item = String>) -> String {
    let rows: String = rows.collect();
    if rows.is_empty() {
        rows
    } else {
        format!("\n{header}{rows}")
    }
}

fn base_row(spec: &Spec) -> String {
    let mark = |property: bool| if property { "yes" } else { "" };
    let number = if matches!(spec.format, Format::Mop | Format::MopRr) {
        ".N"
    } else {
        ""
    };
    format!(
        "| `{}{number}` | {} | `{}` | {} | {} | {} |\n",
        spec.mnemonic,
        operands(spec.operands),
        spec.pattern,
        spec.class.name(),
        mark(spec.privileged),
        mark(spec.sensitive),
    )
}

fn compressed_row(spec: &CompressedSpec) -> String {
    let number = if spec.extension == Extension::Zcmop {
        ".N"
    } else {
        ""
    };
    format!(
        "| `{}{number}` | {} | `{}` | `{}` |\n",
        spec.mnemonic,
        operands(spec.operands),
        spec.pattern,
        spec.op.spec().mnemonic,
    )
}

fn operands(operands: &str) -> String {
    if operands.is_empty() {
        String::new()
    } else {
        format!("`{operands}`")
    }
}
