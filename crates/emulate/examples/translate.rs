//! Prints what the translator makes of guest code, guest and host side by side.
//!
//! `cargo run -p clade-emulate --example translate -- FILE.elf [ADDRESS]`, or `-- WORD...` for
//! instructions in hexadecimal. What is translated is one unit: the blocks of one page that are
//! reached from its first instruction. Nothing is run.

use std::error::Error;
use std::fs;

use clade_emulate::{Part, Translation};
use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter};
use object::{Object, ObjectSegment};

const PAGE: usize = 4096;
const USAGE: &str = "usage: translate FILE.elf [ADDRESS] | WORD...";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (page, entry) = match fs::read(arguments.first().ok_or(USAGE)?) {
        Ok(file) => page_of_elf(&file, arguments.get(1))?,
        Err(_) => (page_of_words(&arguments)?, 0),
    };
    let translation = Translation::of(&page, entry)
        .ok_or("the first instruction is for the interpreter, or this host has no translator")?;
    print(&translation);
    Ok(())
}

/// The page that the address (the entry point if there is none) is in, and the offset in it.
fn page_of_elf(file: &[u8], address: Option<&String>) -> Result<([u8; PAGE], u16), Box<dyn Error>> {
    let elf = object::File::parse(file)?;
    let address = match address {
        Some(text) => u64::from_str_radix(text.trim_start_matches("0x"), 16)?,
        None => elf.entry(),
    };
    let start = address & !(PAGE as u64 - 1);
    let mut page = [0; PAGE];
    let mut segments = elf.segments();
    if !segments.any(|s| (s.address()..s.address() + s.size()).contains(&address)) {
        return Err(format!("{address:#x} is in no segment of the file").into());
    }
    for segment in elf.segments() {
        for (&byte, at) in segment.data()?.iter().zip(segment.address()..) {
            if let Some(byte_of_page) = at
                .checked_sub(start)
                .and_then(|offset| page.get_mut(offset as usize))
            {
                *byte_of_page = byte;
            }
        }
    }
    Ok((page, (address - start) as u16))
}

/// Instructions of two or four bytes, one after the other from the page's beginning on.
fn page_of_words(words: &[String]) -> Result<[u8; PAGE], Box<dyn Error>> {
    let mut page = [0; PAGE];
    let mut end = 0;
    for text in words {
        let digits = text.trim_start_matches("0x");
        let word = u32::from_str_radix(digits, 16)
            .map_err(|error| format!("{text:?} is no file and no word: {error}; {USAGE}"))?;
        let length = if word & 3 == 3 { 4 } else { 2 };
        page.get_mut(end..end + length)
            .ok_or("more than a page")?
            .copy_from_slice(&word.to_le_bytes()[..length]);
        end += length;
    }
    Ok(page)
}

fn print(translation: &Translation) {
    let ends = translation.parts.iter().skip(1).map(|&(at, _)| at);
    let end = translation.base + translation.code.len() as u64;
    for ((start, part), end) in translation.parts.iter().zip(ends.chain([end])) {
        let bytes = (start - translation.base) as usize..(end - translation.base) as usize;
        let mut left = part.to_string();
        if *part == Part::Stubs {
            println!();
        }
        for line in host_lines(translation, *start, &translation.code[bytes]) {
            println!("{left:<40}{line}");
            left.clear();
        }
        if !left.is_empty() {
            println!("{left}");
        }
    }
    let guest = translation.parts.iter();
    let guest = guest.filter(|(_, part)| matches!(part, Part::Instruction { .. }));
    println!(
        "\n{} guest instructions, {} bytes of host code; between them there is no other form",
        guest.count(),
        translation.code.len()
    );
}

/// The text of host code, an instruction a line.
fn host_lines(translation: &Translation, start: u64, code: &[u8]) -> Vec<String> {
    let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_branch_leading_zeros(false);
    let mut lines = Vec::new();
    while decoder.can_decode() {
        let instruction = decoder.decode();
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        let thunk = thunk_of(translation, &instruction);
        let note = thunk.map_or(String::new(), |name| format!("  ; {name}"));
        lines.push(format!("{:5x}  {text}{note}", instruction.ip()));
        if thunk == Some("unlinked") {
            // The link's site and page stand behind the call.
            let at = decoder.position();
            lines.push(format!("{:5x}  {:02x?}", decoder.ip(), &code[at..at + 8]));
            decoder.set_ip(decoder.ip() + 8);
            let _ = decoder.set_position(at + 8);
        }
    }
    lines
}

fn thunk_of(translation: &Translation, instruction: &Instruction) -> Option<&'static str> {
    let target = instruction.near_branch_target();
    let thunk = translation.thunks.iter().find(|thunk| thunk.0 == target)?;
    Some(thunk.1)
}
