//! The instruction table is consistent, and decoder and encoder are each other's inverse.

use clade_riscv::isa::{
    COMPRESSED, CompressedSpec, Extension, Format, Inst, Op, Spec, decode, encode,
};
use proptest::prelude::*;

/// Operations carved out of another one's encodings, with that other one.
const CARVED: &[(Op, Op)] = &[
    (Op::Pause, Op::Fence),
    (Op::NtlP1, Op::Add),
    (Op::NtlPall, Op::Add),
    (Op::NtlS1, Op::Add),
    (Op::NtlAll, Op::Add),
    (Op::PrefetchI, Op::Ori),
    (Op::PrefetchR, Op::Ori),
    (Op::PrefetchW, Op::Ori),
];

/// The bits of a pattern that bear one of `letters`.
fn bits(pattern: &str, letters: &str) -> u32 {
    let marks = pattern.chars().filter(|c| *c != ' ');
    marks.fold(0, |bits, c| bits << 1 | u32::from(letters.contains(c)))
}

/// Whether some word matches both encodings.
fn overlap((mask_a, value_a): (u32, u32), (mask_b, value_b): (u32, u32)) -> bool {
    (value_a ^ value_b) & mask_a & mask_b == 0
}

/// What the decoder must find, the slow way.
fn find_slowly(word: u32) -> Option<&'static Spec> {
    let rows = Op::ALL.iter().map(|op| op.spec());
    rows.filter(|spec| word & spec.mask == spec.value)
        .max_by_key(|spec| spec.mask.count_ones())
}

fn find_compressed_slowly(word: u16) -> Option<&'static CompressedSpec> {
    let rows = COMPRESSED.iter().filter(|spec| spec.matches(word));
    rows.max_by_key(|spec| spec.mask.count_ones())
}

/// Whether the word's rounding mode or register pair is one of the reserved ones.
fn is_reserved(spec: &Spec, word: u32) -> bool {
    match spec.format {
        Format::R1Rm | Format::RRm | Format::R4 => matches!(word >> 12 & 7, 5 | 6),
        Format::AmoPair => word & (1 << 7 | 1 << 20) != 0,
        _ => false,
    }
}

fn check_word(word: u32) {
    let expected = find_slowly(word).filter(|spec| !is_reserved(spec, word));
    let inst = decode(word);
    assert_eq!(
        inst.map(|inst| inst.op),
        expected.map(|spec| spec.op),
        "{word:#010x}"
    );
    let (Some(inst), Some(spec)) = (inst, expected) else {
        return;
    };
    let ignored = bits(spec.pattern, "-");
    assert_eq!(
        encode(&inst),
        Some(word & !ignored),
        "{word:#010x} is {inst:?}"
    );
    assert_eq!(inst.len, 4);
}

fn any_op() -> impl Strategy<Value = Op> {
    proptest::sample::select(Op::ALL)
}

fn any_inst() -> impl Strategy<Value = Inst> {
    let registers = (0u8..40, 0u8..40, 0u8..40, 0u8..40);
    let imm = prop_oneof![
        any::<i32>(),
        -3000..5000i32,
        -70_000..70_000i32,
        any::<i32>().prop_map(|imm| imm << 12)
    ];
    (any_op(), registers, 0u8..9, imm).prop_map(|(op, (rd, rs1, rs2, rs3), rm, imm)| {
        let letters = op.spec().format.letters();
        let only = |letter, value| if letters.contains(letter) { value } else { 0 };
        Inst {
            op,
            rd: only('d', rd),
            rs1: only('s', rs1),
            rs2: only('t', rs2),
            rs3: only('u', rs3),
            rm: if letters.contains(['m', 'q']) { rm } else { 0 },
            len: 4,
            imm: if letters.contains('i') { imm } else { 0 },
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_word_decodes_as_the_table_says(word in any::<u32>()) {
        check_word(word | 3);
    }

    #[test]
    fn any_operands_of_a_row_encode_back(op in any_op(), word in any::<u32>()) {
        check_word(word & !op.spec().mask | op.spec().value);
    }

    /// The encoder accepts exactly what some word decodes to, and refuses what does not fit.
    #[test]
    fn what_encodes_decodes_to_the_same(inst in any_inst()) {
        if let Some(word) = encode(&inst) {
            let decoded = decode(word).expect("an encoded instruction decodes");
            let carved = CARVED.contains(&(decoded.op, inst.op));
            prop_assert!(decoded == inst || carved, "{inst:?} became {decoded:?}");
        }
    }
}

#[test]
fn every_row_has_an_instruction_that_encodes() {
    for &op in Op::ALL {
        let spec = op.spec();
        assert_eq!(
            op as usize,
            Op::ALL.iter().position(|&other| other == op).unwrap()
        );
        assert_eq!(spec.op, op);
        // Registers other than x0, so that the word is not a hint's.
        let word = spec.value | bits(spec.pattern, "dst") & (2 << 7 | 2 << 15 | 2 << 20);
        let inst = decode(word).unwrap_or_else(|| panic!("{op:?} does not decode"));
        assert_eq!(inst.op, op);
        assert_eq!(encode(&inst), Some(word));
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let inst = |op| Inst {
        op,
        rd: 0,
        rs1: 0,
        rs2: 0,
        rs3: 0,
        rm: 0,
        len: 4,
        imm: 0,
    };
    let refused = [
        Inst {
            rd: 32,
            ..inst(Op::Add)
        },
        Inst {
            rs3: 32,
            ..inst(Op::FmaddS)
        },
        Inst {
            rs3: 1,
            ..inst(Op::Add)
        },
        Inst {
            imm: 1,
            ..inst(Op::Add)
        },
        Inst {
            rs2: 1,
            ..inst(Op::Addi)
        },
        Inst {
            imm: 2048,
            ..inst(Op::Addi)
        },
        Inst {
            imm: -2049,
            ..inst(Op::Sd)
        },
        Inst {
            imm: 64,
            ..inst(Op::Slli)
        },
        Inst {
            imm: 32,
            ..inst(Op::Slliw)
        },
        Inst {
            imm: -1,
            ..inst(Op::Csrrw)
        },
        Inst {
            imm: 4096,
            ..inst(Op::Csrrw)
        },
        Inst {
            imm: 3,
            ..inst(Op::Beq)
        },
        Inst {
            imm: 4096,
            ..inst(Op::Beq)
        },
        Inst {
            imm: 1 << 20,
            ..inst(Op::Jal)
        },
        Inst {
            imm: 1,
            ..inst(Op::Lui)
        },
        Inst {
            imm: 16,
            ..inst(Op::PrefetchR)
        },
        Inst {
            rm: 5,
            ..inst(Op::FaddS)
        },
        Inst {
            rm: 8,
            ..inst(Op::FaddS)
        },
        Inst {
            rm: 1,
            ..inst(Op::FsgnjS)
        },
        Inst {
            rm: 4,
            ..inst(Op::AmoaddW)
        },
        Inst {
            rd: 1,
            ..inst(Op::AmocasQ)
        },
        Inst {
            imm: 32,
            ..inst(Op::MopR)
        },
        Inst {
            rs1: 1,
            ..inst(Op::Ecall)
        },
    ];
    for inst in refused {
        assert_eq!(encode(&inst), None, "{inst:?}");
    }
}

#[test]
fn rows_overlap_only_where_one_is_carved_out_of_the_other() {
    let mut carved = Vec::new();
    for a in Op::ALL.iter().map(|op| op.spec()) {
        for b in Op::ALL.iter().map(|op| op.spec()).filter(|b| b.op != a.op) {
            if overlap((a.mask, a.value), (b.mask, b.value))
                && a.mask.count_ones() >= b.mask.count_ones()
            {
                assert!(
                    a.mask != b.mask && a.mask & b.mask == b.mask,
                    "{a:?} and {b:?} are ambiguous"
                );
                carved.push((a.op, b.op));
            }
        }
    }
    carved.sort_unstable();
    let mut expected = CARVED.to_vec();
    expected.sort_unstable();
    assert_eq!(carved, expected);
}

#[test]
fn compressed_rows_overlap_only_where_one_is_carved_out_of_the_other() {
    for word in (0..=u16::MAX).filter(|word| word & 3 != 3) {
        let matching: Vec<_> = COMPRESSED.iter().filter(|row| row.matches(word)).collect();
        for a in &matching {
            for b in matching.iter().filter(|b| b.mnemonic != a.mnemonic) {
                let nested = a.mask & b.mask == a.mask || a.mask & b.mask == b.mask;
                assert!(
                    a.mask != b.mask && nested,
                    "{word:#06x}: {a:?} and {b:?} are ambiguous"
                );
            }
        }
    }
}

#[test]
fn letters_of_a_pattern_are_those_of_its_format() {
    for spec in Op::ALL.iter().map(|op| op.spec()) {
        let (pattern, letters) = (spec.pattern, spec.format.letters());
        assert_eq!(
            spec.mask | bits(pattern, letters) | bits(pattern, "-"),
            u32::MAX,
            "{spec:?}"
        );
        let places = [("d", 7), ("s", 15), ("t", 20), ("u", 27)];
        for (letter, shift) in places {
            let found = bits(pattern, letter);
            assert!(
                found == 0 || found == 31 << shift,
                "{spec:?} has a crooked {letter}"
            );
        }
    }
}

#[test]
fn every_halfword_expands_to_what_the_table_says() {
    let mut legal = 0;
    for word in (0..=u16::MAX).filter(|word| word & 3 != 3) {
        let expected = find_compressed_slowly(word);
        // The high half does not count.
        let inst = decode(0xabcd_0000 | u32::from(word));
        assert_eq!(inst, decode(u32::from(word)));
        assert_eq!(
            inst.map(|inst| inst.op),
            expected.map(|spec| spec.op),
            "{word:#06x}"
        );
        let Some(inst) = inst else { continue };
        assert_eq!(inst.len, 2);
        let long =
            encode(&inst).unwrap_or_else(|| panic!("{word:#06x}: {inst:?} has no long form"));
        let decoded = decode(long).unwrap();
        let carved = CARVED.contains(&(decoded.op, inst.op));
        assert!(
            decoded == Inst { len: 4, ..inst } || carved,
            "{word:#06x}: {inst:?}, {decoded:?}"
        );
        legal += 1;
    }
    assert!(legal > 47_000);
}

#[test]
fn long_encodings_and_all_zeros_and_ones_are_illegal() {
    assert_eq!(decode(0), None);
    assert_eq!(decode(u32::MAX), None);
    for word in [0x0000_001fu32, 0x0000_003f, 0x1234_567f] {
        assert_eq!(decode(word), None, "{word:#010x}");
    }
}

/// Popek and Goldberg's theorem: where this holds, a monitor can execute all else directly.
#[test]
fn every_sensitive_instruction_is_privileged() {
    let mut sensitive = Op::ALL
        .iter()
        .map(|op| op.spec())
        .filter(|spec| spec.sensitive)
        .peekable();
    assert!(sensitive.peek().is_some());
    for spec in sensitive {
        assert!(spec.privileged, "{}", spec.mnemonic);
    }
}

#[test]
fn blocks_end_where_control_or_the_machine_may_change() {
    let ends = [
        Op::Beq,
        Op::Jal,
        Op::Jalr,
        Op::Csrrw,
        Op::Csrrci,
        Op::Ecall,
        Op::Ebreak,
        Op::Mret,
        Op::Sret,
        Op::Wfi,
        Op::WrsNto,
        Op::WrsSto,
        Op::FenceI,
        Op::SfenceVma,
        Op::SinvalVma,
        Op::SfenceWInval,
        Op::SfenceInvalIr,
    ];
    let goes_on = [
        Op::Addi,
        Op::Ld,
        Op::Fence,
        Op::Pause,
        Op::AmoaddD,
        Op::FaddD,
        Op::CboZero,
        Op::MopR,
    ];
    assert!(ends.iter().all(|op| op.ends_block()));
    assert!(!goes_on.iter().any(|op| op.ends_block()));
}

#[test]
fn every_extension_has_rows() {
    for &extension in Extension::ALL {
        let base = Op::ALL.iter().any(|op| op.spec().extension == extension);
        let compressed = COMPRESSED.iter().any(|row| row.extension == extension);
        assert!(base || compressed, "{extension:?}");
    }
}

#[test]
fn display_has_numbers_and_abi_names() {
    let load = decode(0x0081_3503).unwrap();
    assert_eq!(load.to_string(), "ld x10,8(x2)");
    assert_eq!(format!("{load:#}"), "ld a0,8(sp)");
    assert_eq!(decode(0xfe00_0ee3).unwrap().to_string(), "beq x0,x0,.-4");
    assert_eq!(decode(0x8330_000f).unwrap().to_string(), "fence.tso");
}

/// `docs/isa.md` is what the table says now; `CLADE_BLESS=1` rewrites it.
#[test]
fn documentation_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/isa.md");
    let expected = clade_riscv::isa::markdown();
    if std::env::var_os("CLADE_BLESS").is_some() {
        std::fs::write(path, &expected).expect("docs/isa.md can be written");
    }
    let found = std::fs::read_to_string(path).expect("docs/isa.md can be read");
    let stale = "docs/isa.md is stale: run the tests with CLADE_BLESS=1 and commit it";
    for (line, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "line {}: {stale}", line + 1);
    }
    assert_eq!(found.len(), expected.len(), "bytes: {stale}");
}
