//! How a machine's first vCPU begins.

use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment, kvm_sregs};

/// Where a global descriptor table lies in guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gdt {
    /// Its guest physical address.
    pub base: u64,
    /// Its size in bytes less one.
    pub limit: u16,
}

impl Gdt {
    /// What the table has to hold for [`Start::Long`]: flat code at selector 0x10 and flat data at
    /// 0x18, as Linux's 64-bit boot protocol wants them.
    pub const LONG: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

    /// What the table has to hold for [`Start::Protected`]: flat 32-bit code at selector 0x10 and
    /// flat data at 0x18.
    pub const PROTECTED: [u64; 4] = [0, 0, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
}

/// The state in which a machine's first vCPU begins. The others wait for INIT and SIPI, as on every PC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Where x86 processors begin after a reset: real mode at `f000:fff0`, with the code segment's
    /// base at 0xffff0000.
    Reset,
    /// 32-bit protected mode without paging, as PVH has it: interrupts off, flat segments.
    Protected {
        /// Goes into `eip`.
        entry: u32,
        /// Goes into `ebx`: the address of PVH's start information.
        ebx: u32,
        /// Goes into `gdtr`; holds [`Gdt::PROTECTED`].
        gdt: Gdt,
    },
    /// 64-bit mode with paging, as Linux's 64-bit boot protocol has it: interrupts off, flat segments.
    Long {
        /// Goes into `rip`.
        entry: u64,
        /// Goes into `rsi`: the address of Linux's `boot_params`.
        rsi: u64,
        /// Goes into `rsp`.
        rsp: u64,
        /// Goes into `cr3`: the root of page tables that map what the guest needs to begin with.
        page_table: u64,
        /// Goes into `gdtr`; holds [`Gdt::LONG`].
        gdt: Gdt,
    },
}

/// Bits of control registers (Intel SDM volume 3, 2.5).
mod control {
    pub(super) const CR0_PE: u64 = 1;
    pub(super) const CR0_ET: u64 = 1 << 4;
    pub(super) const CR0_NE: u64 = 1 << 5;
    pub(super) const CR0_WP: u64 = 1 << 16;
    pub(super) const CR0_PG: u64 = 1 << 31;
    pub(super) const CR4_PAE: u64 = 1 << 5;
    pub(super) const EFER_LME: u64 = 1 << 8;
    pub(super) const EFER_LMA: u64 = 1 << 10;
}

impl Start {
    /// Changes registers as they are after a reset to what the guest is to begin with.
    pub(crate) fn apply(&self, regs: &mut kvm_regs, sregs: &mut kvm_sregs) {
        use control::*;
        match *self {
            Self::Reset => {}
            Self::Protected { entry, ebx, gdt } => {
                *regs = registers(u64::from(entry));
                regs.rbx = u64::from(ebx);
                flat(sregs, gdt, false);
                sregs.cr0 = CR0_PE | CR0_ET | CR0_NE;
            }
            Self::Long {
                entry,
                rsi,
                rsp,
                page_table,
                gdt,
            } => {
                *regs = registers(entry);
                regs.rsi = rsi;
                regs.rsp = rsp;
                flat(sregs, gdt, true);
                sregs.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
                sregs.cr3 = page_table;
                sregs.cr4 = CR4_PAE;
                sregs.efer = EFER_LME | EFER_LMA;
            }
        }
    }
}

fn registers(rip: u64) -> kvm_regs {
    kvm_regs {
        rip,
        // Bit 1 is always set.
        rflags: 2,
        ..kvm_regs::default()
    }
}

/// Segments as if they had been loaded from the table.
fn flat(sregs: &mut kvm_sregs, gdt: Gdt, long: bool) {
    let segment = |selector, type_| kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_,
        present: 1,
        s: 1,
        g: 1,
        db: 1,
        ..kvm_segment::default()
    };
    let data = segment(0x18, 3);
    sregs.cs = kvm_segment {
        l: u8::from(long),
        db: u8::from(!long),
        ..segment(0x10, 11)
    };
    for register in [
        &mut sregs.ds,
        &mut sregs.es,
        &mut sregs.fs,
        &mut sregs.gs,
        &mut sregs.ss,
    ] {
        *register = data;
    }
    // A busy TSS is loaded on every processor; PVH wants one that is.
    sregs.tr = kvm_segment {
        limit: 0x67,
        type_: 11,
        present: 1,
        ..kvm_segment::default()
    };
    sregs.gdt = kvm_dtable {
        base: gdt.base,
        limit: gdt.limit,
        ..kvm_dtable::default()
    };
    sregs.idt = kvm_dtable::default();
}
