//! How fast the interpreter runs straight code: a loop of integer or floating-point instructions
//! with nothing around it, in M-mode. For profiling: `speed [int|fp|mem] [MILLIONS]`.

use std::sync::Arc;
use std::time::Instant;

use clade_emulate::{Boot, Emulator, EmulatorConfig};
use clade_engine::{Clock, Engine, Exit, GuestRam, IoBus, Unmapped};
use clade_riscv::isa::{Inst, Op, encode};
use vm_memory::{Bytes, GuestAddress};

const BASE: u64 = 0x8000_0000;

struct NoClock;
impl Clock for NoClock {
    fn monotonic_ns(&self) -> u64 {
        0
    }
    fn wall_ns(&self) -> u64 {
        0
    }
}

/// Any store outside of RAM ends the run.
struct Finisher(std::sync::OnceLock<Arc<dyn clade_engine::VcpuHandle>>);
impl IoBus for Finisher {
    fn read(&self, address: u64, _: &mut [u8]) -> Result<(), Unmapped> {
        Err(Unmapped { address })
    }
    fn write(&self, _: u64, _: &[u8]) -> Result<(), Unmapped> {
        self.0.get().expect("set").kick();
        Ok(())
    }
}

fn inst(op: Op, rd: u8, rs1: u8, rs2: u8, imm: i32) -> Inst {
    Inst {
        op,
        rd,
        rs1,
        rs2,
        rs3: 0,
        rm: 0,
        len: 4,
        imm,
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next().unwrap_or_else(|| "int".into());
    let millions: u64 = arguments
        .next()
        .map_or(500, |text| text.parse().expect("a number"));
    let double = |op, rd, rs1, rs2, rs3| Inst {
        rs3,
        rm: 7,
        ..inst(op, rd, rs1, rs2, 0)
    };
    let body = match kind.as_str() {
        "fp" => vec![
            double(Op::FaddD, 4, 3, 1, 0),
            double(Op::FmulD, 5, 4, 3, 0),
            double(Op::FmaddD, 6, 5, 3, 1),
            double(Op::FsubD, 7, 6, 4, 0),
            double(Op::FmulD, 8, 7, 5, 0),
            double(Op::FaddD, 9, 8, 6, 0),
            double(Op::FmulD, 10, 9, 3, 0),
            double(Op::FdivD, 3, 1, 2, 0),
        ],
        "mem" => vec![
            inst(Op::Ld, 6, 8, 0, 0),
            inst(Op::Sd, 0, 8, 6, 8),
            inst(Op::Lw, 7, 8, 0, 16),
            inst(Op::Sb, 0, 8, 7, 24),
            inst(Op::Addi, 7, 7, 0, 1),
            inst(Op::Sw, 0, 8, 7, 16),
        ],
        _ => [
            inst(Op::Add, 6, 6, 5, 0),
            inst(Op::Xor, 7, 6, 5, 0),
            inst(Op::Slli, 7, 7, 0, 3),
            inst(Op::Sub, 6, 7, 6, 0),
            inst(Op::Andi, 7, 6, 0, 0xff),
            inst(Op::Or, 6, 6, 7, 0),
            inst(Op::Srli, 6, 6, 0, 1),
        ]
        .repeat(2),
    };
    let mut code = vec![
        // mstatus.FS, then small doubles in f1 to f3, a data pointer in x8.
        inst(Op::Lui, 6, 0, 0, 0x6000),
        inst(Op::Csrrs, 0, 6, 0, 0x300),
        inst(Op::Addi, 6, 0, 0, 1),
        inst(Op::FcvtDW, 1, 6, 0, 0),
        inst(Op::Addi, 6, 0, 0, 3),
        inst(Op::FcvtDW, 2, 6, 0, 0),
        double(Op::FdivD, 3, 1, 2, 0),
        inst(Op::Auipc, 8, 0, 0, 0x10000),
        inst(Op::Andi, 8, 8, 0, -64),
    ];
    let rounds = millions * 1_000_000 / (body.len() as u64 + 2);
    code.push(inst(Op::Lui, 5, 0, 0, (rounds >> 12 << 12) as i32));
    code.extend(&body);
    code.push(inst(Op::Addi, 5, 5, 0, -1));
    code.push(inst(Op::Bne, 0, 5, 0, -4 * (body.len() as i32 + 1)));
    code.push(inst(Op::Sw, 0, 0, 0, 0));
    code.push(inst(Op::Jal, 0, 0, 0, 0));

    let ram = Arc::new(GuestRam::from_ranges(&[(GuestAddress(BASE), 1 << 20)]).expect("memory"));
    for (address, inst) in (BASE..).step_by(4).zip(&code) {
        ram.write_obj(encode(inst).expect("encodes"), GuestAddress(address))
            .expect("in RAM");
    }
    let bus = Arc::new(Finisher(std::sync::OnceLock::new()));
    let engine = Emulator::new(EmulatorConfig {
        harts: 1,
        ram,
        bus: bus.clone(),
        clock: Arc::new(NoClock),
        boot: Boot::Machine {
            entry: BASE,
            device_tree: 0,
            information: 0,
        },
        tuning: clade_emulate::Tuning::default(),
    });
    let mut vcpu = engine.create_vcpu(0).expect("a vCPU");
    let _ = bus.0.set(vcpu.handle());
    let started = Instant::now();
    assert_eq!(vcpu.run().expect("runs"), Exit::Kicked);
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{kind}: {:.0} million instructions/s",
        millions as f64 / seconds
    );
}
