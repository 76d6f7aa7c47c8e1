//! The decoder and the disassembler against two that we did not write: GNU objdump and LLVM's llvm-mc.
//!
//! Debian has them in `binutils-riscv64-linux-gnu` and `llvm-22` (or `llvm-19`). Where one is missing, or is
//! too old to know an extension, that comparison is left out, and the test says so.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output};

use clade_riscv::isa::{COMPRESSED, Extension, Format, Op, decode, disassemble};

/// How many random words are made for each row of the table.
const WORDS_PER_ROW: usize = 400;
/// How many random words are made without regard to the table.
const RANDOM_WORDS: usize = 100_000;

/// An instruction as an oracle sees it: its text, or `None` when the oracle does not know it.
type Answer = Option<String>;

#[test]
fn agrees_with_objdump() {
    let Some(objdump) = Objdump::find() else {
        return;
    };
    let words = words();
    let answers = objdump.answers("objdump-32", &words, "no-aliases,numeric");
    compare(
        "objdump, 32 bits",
        &words,
        &answers,
        &objdump.extensions,
        explained_for_objdump,
    );
    let words = halfwords();
    let answers = objdump.answers("objdump-16", &words, "no-aliases,numeric");
    compare(
        "objdump, 16 bits",
        &words,
        &answers,
        &objdump.extensions,
        explained_for_objdump,
    );
}

#[test]
fn abi_names_agree_with_objdump() {
    let Some(objdump) = Objdump::find() else {
        return;
    };
    let words = words();
    let answers = objdump.answers("objdump-abi", &words, "no-aliases");
    let mut compared = 0;
    for (&word, answer) in words.iter().zip(&answers) {
        let (Some(inst), Some(theirs)) = (decode(word), answer) else {
            continue;
        };
        let hint = inst.op.spec().extension == Extension::Zihintntl;
        if hint || inst.op.spec().operands.contains("target") || inst.imm == 0x320 {
            continue;
        }
        let ours = canonical(&format!("{inst:#}"));
        assert!(
            same(&ours, theirs),
            "{word:#010x}: ours is {ours:?}, objdump's {theirs:?}"
        );
        compared += 1;
    }
    assert!(compared > 10_000, "only {compared} instructions compared");
}

#[test]
fn agrees_with_llvm() {
    let Some(llvm) = LlvmMc::find() else { return };
    let words = words();
    let answers = llvm.answers("llvm-32", &words);
    compare(
        "llvm-mc, 32 bits",
        &words,
        &answers,
        &llvm.extensions,
        explained,
    );
    let words = halfwords();
    let answers = llvm.answers("llvm-16", &words);
    compare(
        "llvm-mc, 16 bits",
        &words,
        &answers,
        &llvm.extensions,
        explained,
    );
}

/// Compares our answers with an oracle's for all words whose extension the oracle knows.
fn compare(
    oracle: &str,
    words: &[u32],
    answers: &[Answer],
    known: &BTreeSet<Extension>,
    explained: fn(u32, &Answer, &Answer) -> bool,
) {
    assert_eq!(
        words.len(),
        answers.len(),
        "{oracle} answered for another number of words"
    );
    let (mut valid, mut invalid, mut skipped) = (0, 0, 0);
    let (mut exceptions, mut differences) = (0, Vec::new());
    for (i, (&word, theirs)) in words.iter().zip(answers).enumerate() {
        if extension(word).is_some_and(|extension| !known.contains(&extension)) {
            skipped += 1;
            continue;
        }
        let address = i as u64 * if word & 3 == 3 { 4 } else { 2 };
        let pc = if oracle.starts_with("objdump") {
            address
        } else {
            0
        };
        let ours = decode(word).map(|_| canonical(&disassemble(word, pc)));
        match (&ours, theirs) {
            (Some(ours), Some(theirs)) if same(ours, theirs) => valid += 1,
            (None, None) => invalid += 1,
            _ if explained(word, &ours, theirs) => exceptions += 1,
            _ => differences.push(format!("{word:#010x}: ours {ours:?}, theirs {theirs:?}")),
        }
    }
    say(&format!(
        "{oracle}: {valid} instructions and {invalid} illegal words agree; {exceptions} explained \
         exceptions; {skipped} left out because the oracle is too old for their extension"
    ));
    let shown = differences
        .iter()
        .take(40)
        .map(|d| format!("\n  {d}"))
        .collect::<String>();
    assert!(
        differences.is_empty(),
        "{} differences from {oracle}:{shown}",
        differences.len()
    );
    assert!(valid > words.len() / 20, "too little was compared");
}

/// Differences between us and LLVM that are right; binutils shares them where it knows the instructions.
fn explained(word: u32, ours: &Answer, theirs: &Answer) -> bool {
    match (ours.as_deref(), theirs.as_deref()) {
        // Fields that an implementation shall ignore (unprivileged spec, chapters on RV32I and Zifencei).
        (Some(ours), None) => ours.starts_with("fence") && word & 0xfff8_0f80 != 0,
        // Hints that have mnemonics of their own with us only.
        (Some("pause"), Some(theirs)) => theirs == "fence w,0",
        (Some(ours), Some(theirs)) if ours.contains("ntl.") => {
            let register = ["p1", "pall", "s1", "all"]
                .iter()
                .position(|level| ours.ends_with(&format!("ntl.{level}")))
                .map(|level| format!("x{}", level + 2));
            register.is_some_and(|register| {
                theirs == format!("add x0,x0,{register}")
                    || theirs == format!("c.add x0,{register}")
            })
        }
        // A hint whose immediate does nothing.
        (Some(ours), Some(theirs)) => ours.replace("c.addi x0,", "c.nop ") == theirs,
        _ => false,
    }
}

/// Differences between us and binutils 2.40 that are right.
fn explained_for_objdump(word: u32, ours: &Answer, theirs: &Answer) -> bool {
    if explained(word, ours, theirs) {
        return true;
    }
    match (ours.as_deref(), theirs.as_deref()) {
        // It knows the exact conversions with the rounding mode `rne` only.
        (Some(_), None) => decode(word)
            .is_some_and(|inst| inst.op.spec().operands.ends_with(",rx") && inst.rm != 0),
        // Reserved.
        (None, Some(theirs)) => theirs == "c.addi16sp x2,0",
        (Some("c.nop"), Some(theirs)) => theirs == "c.addi x0,0",
        // RV128 gives these hints a meaning.
        (Some(ours), Some(theirs)) => {
            theirs.contains("64 ") && theirs.replace("64 ", " ") + ",0" == ours
        }
        _ => false,
    }
}

/// The extension that brings the instruction in `word`, `None` when it is none.
fn extension(word: u32) -> Option<Extension> {
    let inst = decode(word)?;
    if inst.len == 4 {
        return Some(inst.op.spec().extension);
    }
    let word = word as u16;
    let rows = COMPRESSED.iter().filter(|row| word & row.mask == row.value);
    let row = rows.max_by_key(|row| row.mask.count_ones())?;
    Some(row.extension)
}

/// Random operands for every row, every CSR's number, and random words.
fn words() -> Vec<u32> {
    let mut random = SplitMix(1);
    let mut words = Vec::new();
    for &op in Op::ALL {
        let spec = op.spec();
        let count = if spec.format == Format::None {
            1
        } else {
            WORDS_PER_ROW
        };
        words.extend((0..count).map(|_| random.next() & !spec.mask | spec.value));
    }
    words.extend((0..4096).map(|csr| csr << 20 | 0x0001_20f3));
    // Longer encodings, whose five low bits are set, are not words for the oracles.
    words.extend(
        (0..RANDOM_WORDS)
            .map(|_| random.next() | 3)
            .map(|w| if w & 31 == 31 { w ^ 16 } else { w }),
    );
    words
}

/// All 16-bit words.
fn halfwords() -> Vec<u32> {
    (0..=0xffff).filter(|word| word & 3 != 3).collect()
}

/// Sebastiano Vigna's generator.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) as u32
    }
}

/// Mnemonic, a blank, operands separated by commas, numbers in decimal.
fn canonical(text: &str) -> String {
    let text = text.split('#').next().unwrap_or_default();
    let mut parts = text.split_whitespace();
    let mnemonic = parts.next().unwrap_or_default();
    let operands: String = parts.collect();
    let operands: Vec<String> = operands.split(',').map(number).collect();
    format!("{mnemonic} {}", operands.join(","))
        .trim_end()
        .to_owned()
}

/// `operand` with the number that it may be in decimal.
fn number(operand: &str) -> String {
    if let Some(hex) = operand.strip_prefix("0x")
        && let Ok(number) = u64::from_str_radix(hex, 16)
    {
        return (number as i64).to_string();
    }
    operand
        .parse::<f64>()
        .map_or(operand.to_owned(), |number| number.to_string())
}

/// Whether two canonical texts mean the same.
fn same(ours: &str, theirs: &str) -> bool {
    ours == theirs || theirs.strip_suffix(",dyn") == Some(ours) || same_csr(ours, theirs)
}

/// Whether two texts differ only in that one of them has a name for the CSR.
fn same_csr(ours: &str, theirs: &str) -> bool {
    let (ours, theirs): (Vec<_>, Vec<_>) = (ours.split(',').collect(), theirs.split(',').collect());
    let named = |csr: &str| csr.parse::<u16>().is_err();
    ours.len() == 3
        && theirs.len() == 3
        && ours[0].starts_with("csr")
        && (ours[0], ours[2]) == (theirs[0], theirs[2])
        && named(ours[1]) != named(theirs[1])
}

/// Writes past the test harness's capture: a comparison left out must be seen.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Runs a command; `None` when it is missing or fails.
fn run(command: &mut Command) -> Option<Output> {
    command
        .output()
        .ok()
        .filter(|output| output.status.success())
}

/// GNU as and objdump.
struct Objdump {
    extensions: BTreeSet<Extension>,
}

impl Objdump {
    fn find() -> Option<Objdump> {
        let version = run(Command::new("riscv64-linux-gnu-objdump").arg("--version"));
        if version.is_none() || run(Command::new("riscv64-linux-gnu-as").arg("--version")).is_none()
        {
            say("SKIPPED: no riscv64-linux-gnu-objdump; install binutils-riscv64-linux-gnu");
            return None;
        }
        let empty = file("empty.s");
        std::fs::write(&empty, "").unwrap();
        let assembles = |march: &str| {
            let mut command = Command::new("riscv64-linux-gnu-as");
            command
                .arg(format!("-march={march}"))
                .arg("-o")
                .arg(file("empty.o"))
                .arg(&empty);
            run(&mut command).is_some()
        };
        let known = |extension: &&Extension| {
            **extension == Extension::Priv
                || extension.name().len() == 1
                || assembles(&format!("rv64g_{}", extension.name().to_lowercase()))
        };
        Some(Objdump {
            extensions: Extension::ALL.iter().filter(known).copied().collect(),
        })
    }

    /// What objdump makes of `words`, laid one after another from address 0.
    fn answers(&self, name: &str, words: &[u32], options: &str) -> Vec<Answer> {
        let (binary, source, object) = (
            file(&format!("{name}.bin")),
            file(&format!("{name}.s")),
            file(&format!("{name}.o")),
        );
        let bytes: Vec<u8> = words.iter().flat_map(|&word| bytes(word)).collect();
        std::fs::write(&binary, bytes).unwrap();
        std::fs::write(&source, format!(".text\n.incbin {binary:?}\n")).unwrap();
        let known = self
            .extensions
            .iter()
            .filter(|&&extension| extension != Extension::Priv);
        let march: String = known
            .map(|extension| extension.name().to_lowercase())
            .filter(|name| name.len() > 1)
            .map(|name| format!("_{name}"))
            .collect();
        let mut assemble = Command::new("riscv64-linux-gnu-as");
        assemble
            .arg(format!("-march=rv64gc{march}"))
            .arg("-o")
            .arg(&object)
            .arg(&source);
        run(&mut assemble).expect("as assembles");
        // Without its symbols objdump does not know that the section holds data.
        run(Command::new("riscv64-linux-gnu-strip")
            .arg("-s")
            .arg(&object))
        .expect("strip strips");
        let mut dump = Command::new("riscv64-linux-gnu-objdump");
        let output = run(dump.arg("-dz").arg("-M").arg(options).arg(&object)).expect("it dumps");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .filter_map(|line| line.splitn(3, '\t').nth(2))
            .map(objdump_answer)
            .collect()
    }
}

fn objdump_answer(text: &str) -> Answer {
    let text = canonical(text);
    if text.starts_with("fence ") {
        return Some(text.replace("unknown", "0"));
    }
    let illegal = text.starts_with('.') || text.contains("unknown") || text == "c.unimp";
    (!illegal).then_some(text)
}

fn bytes(word: u32) -> Vec<u8> {
    let length = if word & 3 == 3 { 4 } else { 2 };
    word.to_le_bytes()[..length].to_vec()
}

/// LLVM's llvm-mc as a disassembler.
struct LlvmMc {
    program: String,
    extensions: BTreeSet<Extension>,
}

impl LlvmMc {
    /// The newest one that knows all of our extensions.
    fn find() -> Option<LlvmMc> {
        let names = (19..40).rev().map(|version| format!("llvm-mc-{version}"));
        let mut programs = names.chain(["llvm-mc".to_owned()]);
        let known = |program: &String| -> Option<LlvmMc> {
            let output = run(Command::new(program).args(["--triple=riscv64", "-mattr=help"]))
                .filter(|output| !output.stderr.is_empty() || !output.stdout.is_empty())?;
            let help =
                String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
            let names: BTreeSet<&str> = help
                .lines()
                .filter_map(|line| line.split_whitespace().next())
                .collect();
            let known = Extension::ALL.iter().filter(|extension| {
                matches!(extension, Extension::I | Extension::Priv)
                    || names.contains(extension.name().to_lowercase().as_str())
            });
            let extensions: BTreeSet<Extension> = known.copied().collect();
            let program = program.clone();
            extensions.contains(&Extension::Zcb).then_some(LlvmMc {
                program,
                extensions,
            })
        };
        let found = programs.find_map(|program| known(&program));
        if found.is_none() {
            say("SKIPPED: no llvm-mc of version 19 or newer; install llvm-22 or llvm-19");
        }
        found
    }

    fn answers(&self, name: &str, words: &[u32]) -> Vec<Answer> {
        let input = file(&format!("{name}.hex"));
        let lines = words.iter().map(|&word| {
            bytes(word)
                .iter()
                .map(|byte| format!("{byte:#04x} "))
                .collect::<String>()
                + "\n"
        });
        std::fs::write(&input, lines.collect::<String>()).unwrap();
        let known = self
            .extensions
            .iter()
            .map(|extension| extension.name().to_lowercase());
        let known = known.filter(|name| name != "i" && name != "priv");
        let features: Vec<String> = known.map(|name| format!("+{name}")).collect();
        let mut command = Command::new(&self.program);
        command.args([
            "--disassemble",
            "--triple=riscv64",
            "-M",
            "no-aliases",
            "-M",
            "numeric",
        ]);
        command
            .arg(format!("-mattr={}", features.join(",")))
            .arg(&input);
        let output = command.output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        let invalid: BTreeSet<usize> = errors
            .lines()
            .filter(|line| line.contains("invalid instruction encoding"))
            .map(|line| line.rsplit(':').nth(3).unwrap().parse().unwrap())
            .collect();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut texts = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('.'));
        // `c.unimp` is the illegal instruction of zeros.
        let mut next = || texts.next().map(canonical).filter(|text| text != "c.unimp");
        (1..=words.len())
            .map(|line| {
                if invalid.contains(&line) {
                    None
                } else {
                    next()
                }
            })
            .collect()
    }
}
