//! Code at addresses that mean something else in every address space, and not for long.

use clade_riscv::csr::address::*;
use clade_riscv::isa::Op;

use super::super::common::paging::entry;
use super::*;

/// Entry points into a page are that far apart.
const STEP: u64 = 0x100;
/// The last entry point, from which code goes on to the next page.
const LAST: u64 = 0x1000 - 16;

impl Generator {
    /// Calls code in a window, sometimes after another page was mapped there.
    pub(super) fn enter_window(&mut self) {
        if !self.has_spaces() {
            return self.flow(self.items);
        }
        let over = self.over_in_user_mode();
        let space = self.random.below(SPACES);
        let window = self.random.below(WINDOW_PAGES);
        if self.random.chance(1, 2) {
            self.remap(space, window);
        }
        if self.random.chance(1, 2) {
            self.asm.li(A0, tables::satp(space)).csrw(SATP, A0);
        }
        // Into the page, or from the page before into it.
        let offset = match self.random.below(4) {
            0 => 2,
            1 => LAST,
            _ => STEP * (1 + self.random.below(14)),
        };
        let before = u64::from(offset == LAST && window > 0 && self.random.chance(3, 4));
        let address = WINDOWS + (window - before) * 0x1000 + offset;
        self.asm.li(A0, address).i(Op::Jalr, RA, A0, 0).label(&over);
    }

    /// Maps some page of code, and makes that known in one of the ways that there are.
    fn remap(&mut self, space: u64, window: u64) {
        let page = WINDOW_CODE + self.random.below(WINDOW_PAGES) * 0x1000;
        self.asm
            .li(A0, tables::window(space, window) + LARGE_ALIAS)
            .li(A1, entry(page, tables::WINDOW_FLAGS))
            .s(Op::Sd, A1, A0, 0)
            .li(A0, WINDOWS + window * 0x1000)
            .li(A1, space + 1);
        let address = self.random.pick(&[ZERO, A0]);
        let number = self.random.pick(&[ZERO, A1]);
        if self.random.chance(1, 3) {
            self.asm
                .op(Op::SfenceWInval)
                .r(Op::SinvalVma, ZERO, address, number)
                .op(Op::SfenceInvalIr);
        } else {
            self.asm.r(Op::SfenceVma, ZERO, address, number);
        }
    }

    /// The pages: each begins with the second half of the instruction that ends the page before.
    pub(super) fn windows(&mut self, image: &mut [u8]) {
        for page in 0..WINDOW_PAGES {
            let base = WINDOW_CODE + page * 0x1000;
            let main = std::mem::replace(&mut self.asm, Asm::new(base));
            let immediate = self.random.bits() as u16;
            self.asm.half(immediate);
            for offset in std::iter::once(2).chain((STEP..LAST).step_by(STEP as usize)) {
                self.asm.pad_to(base + offset);
                self.window_body();
            }
            self.asm.pad_to(base + LAST);
            for _ in 0..7 {
                let half = self.compressed_alu();
                self.asm.half(half);
            }
            const ADDI: u16 = 0x13;
            let register = u16::from(self.free());
            self.asm.half(ADDI | register << 7);
            let code = std::mem::replace(&mut self.asm, main).bytes();
            let at = (base - BASE) as usize;
            image[at..at + code.len()].copy_from_slice(&code);
        }
    }

    fn window_body(&mut self) {
        let register = self.free();
        self.asm.i(Op::Auipc, register, ZERO, 0);
        self.integers();
        self.asm.ret();
    }
}
