//! Runs one program on both sides and says where they first differ.

use clade_emulate::Tuning;
use clade_riscv::hart::Hart;

use super::clade::{self, Stepping};
use super::deliberate;
use super::layout::{self, BASE};
use super::spike::Spike;

/// Runs `image` under both; the error tells the differences.
pub(crate) fn check(spike: &Spike, image: &[u8]) -> Result<(), String> {
    let expected = spike.run(image)?;
    let difference = clade::tunings()
        .into_iter()
        .find_map(|tuning| check_against(&expected, image, tuning).err());
    let Some(difference) = difference else {
        return Ok(());
    };
    let detail = lockstep(spike, image).unwrap_or_else(|e| e);
    Err(format!("{difference}\n{detail}"))
}

/// Runs `image` under Clade; the error tells how its signature differs from the one that is expected.
pub(crate) fn check_against(expected: &[u64], image: &[u8], tuning: Tuning) -> Result<(), String> {
    let name = format!("{tuning:?}");
    let difference = match clade::run(image, tuning) {
        Ok(found) => differences(expected, &found),
        Err(failure) => Some(failure),
    };
    difference.map_or(Ok(()), |difference| Err(format!("{name}\n{difference}")))
}

/// What differs between two signatures, or `None`.
fn differences(expected: &[u64], found: &[u64]) -> Option<String> {
    const SHOWN: usize = 12;
    if expected.len() != found.len() {
        return Some("the signatures differ in length".into());
    }
    let pairs = expected.iter().zip(found).enumerate();
    let lines: Vec<String> = pairs
        .filter(|(_, (expected, found))| expected != found)
        .filter(|(index, (expected, found))| {
            let is_cause = layout::is_trap_cause(8 * index);
            !(is_cause && deliberate::is_equivalent_cause(**expected, **found))
        })
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
    raw: u64,
    line: &'a str,
}

/// `csrr rd, mcause`.
const CSRR_MCAUSE: u64 = 0x3420_2073;
const CSRR_MCAUSE_MASK: u64 = !(31 << 7);

impl<'a> Retired<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_whitespace().skip(2);
        let mode = words.next()?.parse().ok()?;
        let pc = hexadecimal(words.next()?)?;
        let raw = hexadecimal(words.next()?.trim_matches(['(', ')']))?;
        Some(Self {
            mode,
            pc,
            raw,
            line,
        })
    }

    /// The first register that holds something else than this instruction wrote.
    fn wrong_register(&self, hart: &Hart) -> Option<String> {
        let words: Vec<&str> = self.line.split_whitespace().collect();
        words.windows(2).find_map(|pair| {
            let number: usize = pair[0].get(1..)?.parse().ok()?;
            let value = hexadecimal(pair[1])?;
            let file = match pair[0].as_bytes()[0] {
                b'x' => &hart.x,
                b'f' => &hart.f,
                _ => return None,
            };
            let found = *file.get(number)?;
            let equal = found == value
                || self.raw & CSRR_MCAUSE_MASK == CSRR_MCAUSE
                    && deliberate::is_equivalent_cause(value, found);
            (!equal).then(|| format!("{} is {found:#018x} under Clade", pair[0]))
        })
    }
}

fn hexadecimal(word: &str) -> Option<u64> {
    u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

/// Follows Spike's log with a hart of ours, instruction by instruction, up to the first difference.
fn lockstep(spike: &Spike, image: &[u8]) -> Result<String, String> {
    /// Lines of the log that are shown.
    const BEFORE: usize = 30;
    let log = spike.log(image)?;
    let mut ours = Stepping::new(image)?;
    let mut past: Vec<String> = Vec::new();
    let program = log
        .lines()
        .filter_map(Retired::parse)
        .skip_while(|retired| retired.pc != BASE);
    for expected in program {
        let difference = follow(&mut ours, &expected, &mut past);
        let text = ours.disassemble(expected.pc);
        past.push(format!("  {}  {text}", expected.line));
        if let Some(difference) = difference {
            let recent = past[past.len().saturating_sub(BEFORE)..].join("\n");
            return Ok(format!(
                "The first difference, in Spike's log:\n{recent}\n  here {difference}"
            ));
        }
    }
    Ok("Stepping, every instruction agrees up to the end of Spike's log.".into())
}

/// Goes on to our next instruction that retires; what is different about it. Traps go into `past`.
fn follow(ours: &mut Stepping, expected: &Retired<'_>, past: &mut Vec<String>) -> Option<String> {
    const TRAPS_IN_A_ROW: usize = 8;
    for _ in 0..TRAPS_IN_A_ROW {
        let pc = ours.hart().pc;
        if ours.disassemble(pc) == "wfi" && pc != expected.pc {
            return Some(format!("Clade waits for an interrupt at {pc:#x}"));
        }
        let step = ours.step();
        if step.retired {
            let place = (step.pc, step.mode as u8);
            return if place == (expected.pc, expected.mode) {
                expected.wrong_register(ours.hart())
            } else {
                Some(format!("Clade executes {pc:#x} in mode {}", place.1))
            };
        }
        let to = ours.hart().pc;
        past.push(format!(
            "  a trap at {pc:#x} in {:?} mode, to {to:#x}",
            step.mode
        ));
    }
    Some("Clade takes nothing but traps".into())
}
