//! How fast the engine runs straight code: a loop of integer, memory or floating-point instructions
//! with nothing around it, in M-mode. For profiling.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use clade_emulate::{Boot, Emulator, EmulatorConfig, Tier, Tuning};
use clade_engine::{Clock, Engine, Exit, GuestRam, IoBus, Unmapped, VcpuHandle};
use clade_riscv::isa::{Inst, Op, encode};
use vm_memory::{Bytes, GuestAddress};

use crate::assembler::{Assembler, inst};
use crate::program::{T0, T1, T2, float_before, float_body, integer_body};

const BASE: u64 = 0x8000_0000;
const USAGE: &str = "usage: clade-bench speed [int|mem|fp] [interpreter|translator]";

/// What is executed.
const INSTRUCTIONS: u64 = 1_000_000_000;

/// Where the loop's loads and stores go.
const POINTER: u8 = 8;

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
struct Finisher(OnceLock<Arc<dyn VcpuHandle>>);

impl IoBus for Finisher {
    fn read(&self, address: u64, _: &mut [u8]) -> Result<(), Unmapped> {
        Err(Unmapped { address })
    }

    fn write(&self, address: u64, _: &[u8]) -> Result<(), Unmapped> {
        self.0.get().ok_or(Unmapped { address })?.kick();
        Ok(())
    }
}

/// Runs the loop that the command line names and prints the rate.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let mut tier = Tier::best();
    let mut kind = "int".to_owned();
    for argument in arguments {
        match argument.as_str() {
            "int" | "mem" | "fp" => kind = argument,
            "interpreter" => tier = Tier::Interpreter,
            "translator" => tier = Tier::Translator,
            _ => return Err(USAGE.into()),
        }
    }
    let body = match kind.as_str() {
        "mem" => memory_body(),
        "fp" => float_body(),
        _ => integer_body(),
    };
    let seconds = time(&looping(&body), tier)?;
    println!(
        "{kind}, {tier:?}: {:.0} million instructions/s",
        INSTRUCTIONS as f64 / seconds / 1e6
    );
    Ok(())
}

fn memory_body() -> Vec<Inst> {
    vec![
        inst(Op::Ld, T1, POINTER, 0, 0),
        inst(Op::Sd, 0, POINTER, T1, 8),
        inst(Op::Lw, T2, POINTER, 0, 16),
        inst(Op::Sb, 0, POINTER, T2, 24),
        inst(Op::Addi, T2, T2, 0, 1),
        inst(Op::Sw, 0, POINTER, T2, 16),
    ]
}

/// Enough rounds of `body`, then a store to address 0.
fn looping(body: &[Inst]) -> Vec<Inst> {
    const MSTATUS: i32 = 0x300;
    const MSTATUS_FS: i32 = 0x6000;
    let rounds = INSTRUCTIONS / (body.len() as u64 + 2);
    let mut code = Assembler::default();
    code.set(T1, MSTATUS_FS);
    code.push(Op::Csrrs, 0, T1, 0, MSTATUS);
    code.extend(&float_before());
    code.push(Op::Auipc, POINTER, 0, 0, 0x1_0000);
    code.push(Op::Andi, POINTER, POINTER, 0, -64);
    code.set(T0, rounds as i32);
    let again = code.here();
    code.extend(body);
    code.push(Op::Addi, T0, T0, 0, -1);
    code.to(Op::Bne, 0, T0, 0, again);
    code.push(Op::Sw, 0, 0, 0, 0);
    let end = code.here();
    code.to(Op::Jal, 0, 0, 0, end);
    code.finish()
}

/// Seconds until the code has stored something outside of RAM.
fn time(code: &[Inst], tier: Tier) -> Result<f64, String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let ram = GuestRam::from_ranges(&[(GuestAddress(BASE), 1 << 20)]).map_err(|e| failed(&e))?;
    for (address, inst) in (BASE..).step_by(4).zip(code) {
        let word = encode(inst).expect("operands fit their fields");
        ram.write_obj(word, GuestAddress(address))
            .map_err(|e| failed(&e))?;
    }
    let bus = Arc::new(Finisher(OnceLock::new()));
    let engine = Emulator::new(EmulatorConfig {
        harts: 1,
        ram: Arc::new(ram),
        bus: bus.clone(),
        clock: Arc::new(NoClock),
        boot: Boot::Machine {
            entry: BASE,
            device_tree: 0,
            information: 0,
        },
        imsic: false,
        tuning: Tuning {
            tier,
            ..Tuning::default()
        },
        code_cache: None,
    });
    let mut vcpu = engine.create_vcpu(0).map_err(|e| failed(&e))?;
    let _ = bus.0.set(vcpu.handle());
    let started = Instant::now();
    match vcpu.run().map_err(|e| failed(&e))? {
        Exit::Kicked => Ok(started.elapsed().as_secs_f64()),
        exit => Err(format!("the loop ended by {exit:?}")),
    }
}
