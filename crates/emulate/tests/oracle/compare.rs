//! Runs one program on both sides and says where they first differ.

use std::fmt::Write;

use clade_riscv::hart::Hart;

use super::clade::{self, Stepping};
use super::layout::{self, BASE};
use super::spike::Spike;

/// Runs `image` under both; the error tells the differences.
pub fn check(spike: &Spike, image: &[u8]) -> Result<(), String> {
    let expected = spike.run(image)?;
    let difference = match clade::run(image) {
        Ok(found) => match differences(&expected, &found) {
            None => return Ok(()),
            Some(difference) => difference,
        },
        Err(failure) => failure,
    };
    let detail = lockstep(spike, image).unwrap_or_else(|e| e);
    Err(format!("{difference}\n{detail}"))
}

/// What differs between two signatures, or `None`.
pub fn differences(expected: &[u64], found: &[u64]) -> Option<String> {
    const SHOWN: usize = 12;
    if expected.len() != found.len() {
        return Some("the signatures differ in length".into());
    }
    let pairs = expected.iter().zip(found).enumerate();
    let lines: Vec<String> = pairs
        .filter(|(_, (expected, found))| expected != found)
        .map(|(index, (expected, found))| {
            let what = layout::describe(8 * index);
            format!("  {what}: Spike has {expected:#018x}, Clade {found:#018x}")
        })
        .collect();
    (!lines.is_empty()).then(|| lines[..lines.len().min(SHOWN)].join("\n"))
}

/// An instruction that Spike retired, from a line of its log such as
/// `core   0: 3 0x0000000080000004 (0x00a28293) x5  0x000000000000000a mem 0x0000000080001000`.
struct Retired<'a> {
    mode: u8,
    pc: u64,
    line: &'a str,
}

impl<'a> Retired<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_whitespace().skip(2);
        let mode = words.next()?.parse().ok()?;
        let pc = hexadecimal(words.next()?)?;
        Some(Self { mode, pc, line })
    }

    /// The first register that holds something else than this instruction wrote.
    fn wrong_register(&self, hart: &Hart) -> Option<String> {
        let words: Vec<&str> = self.line.split_whitespace().collect();
        words.windows(2).find_map(|pair| {
            let number: usize = pair[0].get(1..)?.parse().ok()?;
            let value = hexadecimal(pair[1])?;
            let (file, mask) = match pair[0].as_bytes()[0] {
                b'x' => (&hart.x, u64::MAX),
                b'f' => (&hart.f, u64::MAX),
                _ => return None,
            };
            let found = file.get(number)? & mask;
            (found != value).then(|| format!("{} is {found:#018x} under Clade", pair[0]))
        })
    }
}

fn hexadecimal(word: &str) -> Option<u64> {
    u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

/// Follows Spike's log with a hart of ours, instruction by instruction, up to the first difference.
fn lockstep(spike: &Spike, image: &[u8]) -> Result<String, String> {
    const BEFORE: usize = 12;
    const TRAPS_IN_A_ROW: usize = 8;
    let log = spike.log(image)?;
    let mut ours = Stepping::new(image)?;
    let mut past: Vec<String> = Vec::new();
    let program = log
        .lines()
        .filter_map(Retired::parse)
        .skip_while(|retired| retired.pc != BASE);
    for expected in program {
        let mut traps = 0;
        let difference = loop {
            let hart = ours.stepper.hart();
            let (pc, mode, retired) = (hart.pc, hart.mode as u8, hart.retired);
            let running = ours.step();
            let hart = ours.stepper.hart();
            if hart.retired == retired && running {
                past.push(format!("  a trap at {pc:#x} in mode {mode}, to {:#x}", hart.pc));
                traps += 1;
                if traps > TRAPS_IN_A_ROW {
                    break Some("Clade only takes traps".into());
                }
                continue;
            }
            if !running {
                return Ok("Stepping shows no difference: is it the blocks?".into());
            }
            if (pc, mode) != (expected.pc, expected.mode) {
                break Some(format!("Clade executes {pc:#x} in mode {mode}"));
            }
            break expected.wrong_register(hart);
        };
        let text = ours.disassemble(expected.pc);
        past.push(format!("  {}  {text}", expected.line));
        if let Some(difference) = difference {
            let recent = &past[past.len().saturating_sub(BEFORE)..];
            let mut report = String::from("The first difference, in Spike's log:\n");
            let _ = write!(report, "{}\n  here {difference}", recent.join("\n"));
            return Ok(report);
        }
    }
    Ok("Every instruction agrees up to the end of Spike's log.".into())
}
