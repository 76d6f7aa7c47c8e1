//! Programs that probe the privileged architecture.
//!
//! A program is a list of records and a driver that goes through them in M-mode. For each record it
//! sets a number of CSRs, enters some mode, and executes a probe there: one instruction, and then
//! `ecall`. The trap that ends the probe writes a log entry. What S-mode is delegated comes by
//! way of a handler there, which is an `ecall` and nothing else.

mod csrs;
mod driver;
mod paging;
mod protection;
mod system;

use clade_emulate::CACHE_BLOCK;
use clade_riscv::csr::address::*;
use clade_riscv::csr::{envcfg, stateen, status};
use clade_riscv::hart::Mode;
use clade_riscv::isa::{Class, Inst, Op, Spec};

use super::assembler::{Assembler, blank, word};
use super::deliberate;
use super::layout::{BASE, privileged::*};
use super::random::Random;
use driver::Field;
use paging::Paging;

/// Records in a program, at most.
const RECORDS: usize = 120;

/// The program that `seed` names, as the bytes from [`BASE`] on.
pub(crate) fn program(seed: u64) -> Vec<u8> {
    let mut generator = Generator::new(seed);
    while generator.records.len() + 3 < RECORDS {
        generator.probe();
    }
    generator.finish()
}

/// What the driver does before and in a probe, by [`Field`].
type Record = [u64; driver::FIELDS.len()];

struct Generator {
    random: Random,
    paging: Paging,
    /// Some PMP entries get locked.
    locks: bool,
    records: Vec<Record>,
    /// The code of the probes, [`SLOT`] bytes each; the same for all modes.
    slots: Vec<u8>,
}

impl Generator {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let paging = Paging::new(&mut random);
        let locks = random.chance(1, 4);
        Self {
            random,
            paging,
            locks,
            records: Vec::new(),
            slots: Vec::new(),
        }
    }

    /// Adds one probe, and sometimes others that look at what it did.
    fn probe(&mut self) {
        let mut record = self.surroundings();
        let mode = self.random.pick(&[
            Mode::User,
            Mode::User,
            Mode::Supervisor,
            Mode::Supervisor,
            Mode::Machine,
        ]);
        match self.random.below(10) {
            0..6 => self.access(record, mode),
            6 => self.fetch(record, mode),
            7..9 => self.csr(record, mode),
            _ => {
                self.disturb_with_interrupts(&mut record);
                self.system(record, mode);
            }
        }
    }

    /// Random values of all that a probe depends on.
    fn surroundings(&mut self) -> Record {
        let mut record = [0; driver::FIELDS.len()];
        let random = &mut self.random;
        let mut set = |field: Field, value: u64| record[field as usize] = value;
        set(
            Field::Satp,
            if random.chance(1, 5) {
                0
            } else {
                self.paging.satp
            },
        );
        let bits = random.bits();
        let changing = status::SUM
            | status::MXR
            | status::SPP
            | status::SPIE
            | status::MPIE
            | status::TVM
            | status::TW
            | status::TSR
            | status::FS;
        let floating_point = if random.chance(3, 4) { status::FS } else { 0 };
        set(Field::Mstatus, bits & changing | floating_point);
        const ENVIRONMENT: u64 = envcfg::FIOM | envcfg::CBIE | envcfg::CBCFE | envcfg::CBZE;
        const MACHINE: u64 = ENVIRONMENT | envcfg::ADUE | envcfg::PBMTE | envcfg::STCE;
        // What `cbo.inval` does: anything but the reserved value.
        let invalidation = random.pick(&[0, 1, 3]) << envcfg::CBIE.trailing_zeros();
        let menvcfg = random.bits() & MACHINE & !deliberate::different_bits(MENVCFG);
        set(Field::Menvcfg, menvcfg | invalidation);
        let senvcfg = random.bits() & ENVIRONMENT & !deliberate::different_bits(SENVCFG);
        set(Field::Senvcfg, senvcfg | invalidation);
        set(
            Field::Mstateen0,
            random.bits() & (stateen::SE0 | stateen::ENVCFG),
        );
        // The call that ends a probe of S-mode must come to M-mode.
        let delegable = !(1 << 9) & !deliberate::different_bits(MEDELEG);
        let medeleg = match random.below(3) {
            0 => 0,
            1 => u64::MAX,
            _ => random.bits(),
        };
        set(Field::Medeleg, medeleg & delegable);
        set(Field::Mideleg, random.bits());
        set(Field::Mcounteren, random.bits() & u64::from(u32::MAX));
        set(Field::Scounteren, random.bits() & u64::from(u32::MAX));
        // Returns lead to an `ecall`, in either page.
        set(Field::Sepc, random.pick(&[SUPERVISOR_CODE, USER_CODE]));
        set(Field::Mepc, random.pick(&[SUPERVISOR_CODE, USER_CODE]));
        self.protect(&mut record);
        record
    }

    /// Lets a probe be entered in `mode`, at `address`.
    fn enter(record: &mut Record, mode: Mode, address: u64) {
        record[Field::Entry as usize] = address;
        record[Field::Jump as usize] = u64::from(mode == Mode::Machine);
        record[Field::Mstatus as usize] |= (mode as u64) << status::MPP_SHIFT;
    }

    /// Adds a probe that executes `words` in `mode`.
    fn execute(&mut self, mut record: Record, mode: Mode, words: &[u32]) {
        const NOP: u32 = 0x13;
        let offset = self.slots.len() as u64;
        for index in 0..2 {
            let word = words.get(index).copied().unwrap_or(NOP);
            self.slots.extend(word.to_le_bytes());
        }
        self.slots.extend(word(blank(Op::Ecall)).to_le_bytes());
        self.slots.extend(word(blank(Op::Ebreak)).to_le_bytes());
        let page = if mode == Mode::User {
            USER_CODE
        } else {
            SUPERVISOR_CODE
        };
        if record[Field::Jump as usize] != MPRV_JUMP {
            Self::enter(&mut record, mode, page + SLOT + offset);
        } else {
            record[Field::Entry as usize] = page + SLOT + offset;
        }
        self.records.push(record);
    }

    /// Adds a probe that loads from a physical address in M-mode.
    fn look(&mut self, address: u64) {
        let mut record = self.surroundings();
        record[Field::A0 as usize] = address;
        let load = Inst {
            rd: A1,
            rs1: A0,
            ..blank(Op::Ld)
        };
        self.execute(record, Mode::Machine, &[word(load)]);
    }

    /// A load, store, atomic or cache-block instruction in `mode`, or in M-mode as if in some mode.
    fn access(&mut self, mut record: Record, mode: Mode) {
        let spec = self.any_access();
        if spec.class == Class::Cache {
            // Entries that part a block, or let it be executed only, have unspecified effects on it.
            if self.locks {
                return;
            }
            Self::protect_nothing(&mut record);
        }
        let mut as_if = mode;
        if mode == Mode::Machine {
            // With MPRV the mode of the access is that in MPP, and there is no return to it.
            let modes = [Mode::User, Mode::Supervisor, Mode::Machine];
            as_if = self.random.pick(&modes);
            record[Field::Jump as usize] = MPRV_JUMP;
            record[Field::Mstatus as usize] |= status::MPRV | (as_if as u64) << status::MPP_SHIFT;
        }
        let place = self.paging.place(&mut self.random);
        let alignment = match spec.op {
            // The exception of a misaligned atomic is the implementation's choice.
            _ if spec.class == Class::Amo => 16,
            // Spike reports the block's address, the specification asks for the operand.
            Op::CboZero => CACHE_BLOCK,
            // A store that faults on its second page has changed the first one under Spike.
            _ if spec.class == Class::Store && place.address % 4096 > 4096 - 8 => 8,
            _ => 1,
        };
        let address = place.address & !(alignment - 1);
        record[Field::A0 as usize] = reachable(&record, as_if, address);
        record[Field::A1 as usize] = self.random.bits();
        self.execute(record, mode, &[access_word(spec)]);
        if self.random.chance(1, 3) {
            self.look(place.entry);
        }
        if self.random.chance(1, 3) {
            self.look(place.physical);
        }
    }

    /// An instruction that accesses memory.
    fn any_access(&mut self) -> &'static Spec {
        loop {
            let spec = self.random.pick(Op::ALL).spec();
            let classes = [Class::Load, Class::Store, Class::Amo, Class::Cache];
            if classes.contains(&spec.class) {
                return spec;
            }
        }
    }

    /// A jump to somewhere.
    fn fetch(&mut self, mut record: Record, mode: Mode) {
        let place = self.paging.place(&mut self.random);
        let mode = if mode == Mode::Machine {
            Mode::Supervisor
        } else {
            mode
        };
        let address = reachable(&record, mode, place.address & !1);
        Self::enter(&mut record, mode, address);
        self.records.push(record);
        if self.random.chance(1, 2) {
            self.look(place.entry);
        }
    }

    /// The program's memory.
    fn finish(self) -> Vec<u8> {
        let mut memory = Assembler::new(BASE);
        let first_record = RECORDS_AT;
        let end = first_record + 8 * (driver::FIELDS.len() * self.records.len()) as u64;
        driver::code(&mut memory);
        memory.skip_to(SUPERVISOR_CODE);
        for page in [SUPERVISOR_CODE, USER_CODE] {
            memory.skip_to(page);
            for _ in 0..SLOT / 4 {
                memory.plain(Op::Ecall);
            }
            memory.bytes.extend(&self.slots);
        }
        assert!(memory.here() <= USER_CODE + 4096, "too many probes");
        driver::frame(&mut memory, first_record, end);
        memory.skip_to(first_record);
        for value in self.records.iter().flatten() {
            memory.double(*value);
        }
        self.paging.write(&mut memory);
        memory.bytes
    }
}

/// The instruction that accesses memory at `a0`, with `a1` as its other operand.
fn access_word(spec: &Spec) -> u32 {
    let rd = match spec.class {
        Class::Load | Class::Amo => u32::from(A1) << 7,
        _ => 0,
    };
    let rs2 = match spec.class {
        Class::Store | Class::Amo => u32::from(A1) << 20 & !spec.mask,
        _ => 0,
    };
    spec.value | rd | u32::from(A0) << 15 | rs2
}

/// `address`, or if it is not translated in `mode`, its 56 bits that a physical address has: beyond
/// them Spike finds memory that is elsewhere.
fn reachable(record: &Record, mode: Mode, address: u64) -> u64 {
    if mode == Mode::Machine || record[Field::Satp as usize] == 0 {
        address & ((1 << 56) - 1)
    } else {
        address
    }
}

/// In [`Field::Jump`]: a jump in M-mode that keeps `MPP` and `MPRV` as they are in the record.
const MPRV_JUMP: u64 = 2;

/// The registers that probes use.
const A0: u8 = 10;
const A1: u8 = 11;
