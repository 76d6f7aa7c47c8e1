//! Machines that are moved in the middle of what they do.

use std::thread;
use std::time::{Duration, Instant};

use clade_engine::{Arch, Engine, EngineError, Exit, Vcpu, VcpuState};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use vm_memory::{Bytes, GuestAddress};

use crate::interrupts;
use crate::machine::{
    Access, DONE, MMIO, Machine, RESULTS, assemble, assemble_for, device, finish, long,
    real_device, run, until,
};

/// A kick comes while an access is answered; the machine is moved, and goes on from there.
fn move_in_access(number: usize, program: &[u8]) -> Option<Machine> {
    let device = device()?;
    let machine = Machine::new(&device, 1, long(), program);
    let mut vcpu = machine.vcpu(0);
    machine.memory.kick_in_access(number, &*vcpu);
    machine.ports.kick_in_access(number, &*vcpu);
    assert_eq!(vcpu.run().expect("it runs"), Exit::Kicked);
    let done = machine.memory.accesses().len() + machine.ports.accesses().len();
    assert!(done > number, "{done}");
    let (moved, vcpus) = machine.moved(&device, &[vcpu]);
    for vcpu in vcpus {
        moved.run_to_end(vcpu);
    }
    Some(moved)
}

#[test]
fn a_read_that_was_answered_is_not_asked_again() {
    let program = assemble(|a| {
        let mut again = a.create_label();
        a.mov(rbx, MMIO)?;
        a.mov(ecx, 8)?;
        a.xor(edi, edi)?;
        a.set_label(&mut again)?;
        a.movzx(eax, byte_ptr(rbx))?;
        a.imul_3(rdi, rdi, 31)?;
        a.add(rdi, rax)?;
        a.loop_(again)?;
        a.mov(qword_ptr(RESULTS), rdi)?;
        finish(a)
    });
    let sum = (1..=8).fold(0u64, |sum, byte| sum * 31 + byte);
    for number in 0..8 {
        let Some(machine) = move_in_access(number, &program) else {
            return;
        };
        assert_eq!(machine.results(1), [sum], "moved in read {number}");
        assert_eq!(machine.memory.accesses(), vec![Access::Read(MMIO, 1); 8]);
    }
}

#[test]
fn strings_from_ports_lose_nothing() {
    let program = assemble(|a| {
        a.cld()?;
        a.mov(dx, 0x510u32)?;
        a.mov(rdi, RESULTS)?;
        a.mov(ecx, 16)?;
        a.rep().insw()?;
        finish(a)
    });
    for number in [0, 1, 7, 15] {
        let Some(machine) = move_in_access(number, &program) else {
            return;
        };
        assert_eq!(machine.ports.accesses(), vec![Access::Read(0x510, 2); 16]);
        let bytes = machine.results(4).into_iter().flat_map(u64::to_le_bytes);
        assert!(bytes.eq(1..=32), "moved in read {number}");
    }
}

#[test]
fn a_write_is_done_once() {
    let program = assemble(|a| {
        a.mov(rbx, MMIO)?;
        a.mov(rdx, 0x1122_3344_5566_7788u64)?;
        a.mov(qword_ptr(rbx), rdx)?;
        a.mov(qword_ptr(rbx + 8), rdx)?;
        finish(a)
    });
    for number in 0..2 {
        let Some(machine) = move_in_access(number, &program) else {
            return;
        };
        let bytes = 0x1122_3344_5566_7788u64.to_le_bytes().to_vec();
        let write = |offset| Access::Write(MMIO + offset, bytes.clone());
        assert_eq!(machine.memory.accesses(), [write(0), write(8)]);
    }
}

/// Computes from a pseudo-random sequence, all of it in registers.
fn computation(a: &mut CodeAssembler, steps: u32) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.mov(rax, 1u64)?;
    a.mov(rdx, 6_364_136_223_846_793_005u64)?;
    a.mov(rsi, 1_442_695_040_888_963_407u64)?;
    a.mov(ecx, steps)?;
    a.set_label(&mut again)?;
    a.imul_2(rax, rdx)?;
    a.add(rax, rsi)?;
    a.mov(qword_ptr(RESULTS + 8), rcx)?;
    a.dec(ecx)?;
    a.jnz(again)?;
    a.mov(qword_ptr(RESULTS), rax)
}

fn computed(steps: u32) -> u64 {
    (0..steps).fold(1u64, |value, _| {
        (value.wrapping_mul(6_364_136_223_846_793_005)).wrapping_add(1_442_695_040_888_963_407)
    })
}

#[test]
fn a_busy_guest_goes_on_elsewhere_time_and_again() {
    let Some(device) = device() else { return };
    const STEPS: u32 = 200_000;
    let program = assemble(|a| {
        computation(a, STEPS)?;
        finish(a)
    });
    let mut machine = Machine::new(&device, 1, long(), &program);
    let mut vcpu = machine.vcpu(0);
    let mut moves = 0;
    while !machine.is_done() && moves < 20 {
        let running = run(vcpu);
        thread::sleep(Duration::from_millis(2));
        let (stopped, exit) = running.kick();
        assert_eq!(exit, Exit::Kicked);
        let (moved, mut vcpus) = machine.moved(&device, &[stopped]);
        machine = moved;
        vcpu = vcpus.remove(0);
        moves += 1;
    }
    machine.run_to_end(vcpu);
    assert_eq!(machine.word(RESULTS), computed(STEPS));
}

#[test]
fn vector_registers_go_along() {
    let Some(device) = real_device() else { return };
    let program = assemble(|a| {
        let mut wait = a.create_label();
        a.mov(rax, cr4)?;
        a.or(eax, 0x600)?;
        a.mov(cr4, rax)?;
        a.mov(rax, 0x1122_3344_5566_7788u64)?;
        a.movq(xmm0, rax)?;
        a.movq(xmm15, rax)?;
        a.paddq(xmm15, xmm0)?;
        a.fldpi()?;
        a.mov(dword_ptr(DONE + 8), 1)?;
        a.set_label(&mut wait)?;
        a.pause()?;
        a.cmp(dword_ptr(DONE + 12), 1)?;
        a.jne(wait)?;
        a.movq(qword_ptr(RESULTS), xmm0)?;
        a.movq(qword_ptr(RESULTS + 8), xmm15)?;
        a.fstp(qword_ptr(RESULTS + 16))?;
        finish(a)
    });
    let machine = Machine::new(&device, 1, long(), &program);
    let running = run(machine.vcpu(0));
    until("the program's wait", || machine.word(DONE + 8) == 1);
    let (vcpu, _) = running.kick();
    let (moved, mut vcpus) = machine.moved(&device, &[vcpu]);
    let go = moved.ram.write_obj(1u32, GuestAddress(DONE + 12));
    go.expect("RAM");
    moved.run_to_end(vcpus.remove(0));
    let value = 0x1122_3344_5566_7788;
    let pi = std::f64::consts::PI.to_bits();
    assert_eq!(moved.results(3), [value, value * 2, pi]);
}

#[test]
fn vcpus_that_wait_to_be_started_and_such_that_sleep() {
    let Some(device) = device() else { return };
    const STARTED: u64 = RESULTS + 16;
    let other = assemble_for(16, 0x8000, |a| {
        a.xor(ax, ax)?;
        a.mov(ds, ax)?;
        a.inc(word_ptr(STARTED as u32))?;
        a.hlt()
    });
    let program = assemble(|a| {
        let mut interrupt = a.create_label();
        let mut again = a.create_label();
        interrupts::set_up(a, interrupt)?;
        a.mov(dword_ptr(DONE + 8), 1)?;
        interrupts::wait_for(a, 1)?;
        a.mov(dword_ptr(rbx + 0x300), 0xc_4500)?;
        a.mov(dword_ptr(rbx + 0x300), 0xc_4608)?;
        a.set_label(&mut again)?;
        a.pause()?;
        a.cmp(word_ptr(STARTED), 1)?;
        a.jne(again)?;
        finish(a)?;
        interrupts::handler(a, &mut interrupt)
    });
    let machine = Machine::new(&device, 2, long(), &program);
    interrupts::with_idt(&machine);
    (machine.ram)
        .write_slice(&other, GuestAddress(0x8000))
        .expect("RAM");
    let running = [run(machine.vcpu(0)), run(machine.vcpu(1))];
    until("the program's sleep", || machine.word(DONE + 8) == 1);
    thread::sleep(Duration::from_millis(30));
    let vcpus = running.map(|vcpu| vcpu.kick().0);
    let (moved, mut vcpus) = machine.moved(&device, &vcpus);
    let other = run(vcpus.remove(1));
    let first = run(vcpus.remove(0));
    thread::sleep(Duration::from_millis(50));
    assert_eq!(moved.results(3), [0, 0, 0], "they sleep on");
    let wake = moved.engine.msi();
    wake.signal(interrupts::LOCAL_APIC, interrupts::VECTOR);
    until("the program's end", || moved.is_done());
    assert_eq!(moved.results(3), [1, 0, 1]);
    assert_eq!(first.kick().1, Exit::Kicked);
    assert_eq!(other.kick().1, Exit::Kicked);
}

/// Two vCPUs interrupt each other in turn, of which one sleeps in between, and are moved meanwhile.
#[test]
fn interrupts_between_vcpus_go_on_elsewhere() {
    let Some(device) = device() else { return };
    const ROUNDS: i32 = 2000;
    const HANDLER: u64 = 0x8200;
    // In real mode: its vector's entry is in the table at 0.
    let other = assemble_for(16, 0x8000, |a| {
        let mut again = a.create_label();
        a.xor(ax, ax)?;
        a.mov(ds, ax)?;
        a.mov(ss, ax)?;
        a.mov(sp, 0x7000)?;
        a.mov(word_ptr(interrupts::VECTOR * 4), HANDLER as u32)?;
        a.mov(word_ptr(interrupts::VECTOR * 4 + 2), 0)?;
        // The local APIC, in x2APIC mode, by registers: real mode does not reach its memory.
        a.mov(ecx, 0x1b)?;
        a.rdmsr()?;
        a.or(ax, 0xc00)?;
        a.wrmsr()?;
        a.mov(ecx, 0x80f)?;
        a.mov(eax, 0x1ff)?;
        a.xor(edx, edx)?;
        a.wrmsr()?;
        a.mov(dword_ptr((DONE + 8) as u32), 1)?;
        a.set_label(&mut again)?;
        a.sti()?;
        a.hlt()?;
        a.jmp(again)
    });
    let handler = assemble_for(16, HANDLER, |a| {
        a.mov(ecx, 0x80b)?;
        a.xor(eax, eax)?;
        a.xor(edx, edx)?;
        a.wrmsr()?;
        a.inc(dword_ptr((RESULTS + 16) as u32))?;
        a.mov(ecx, 0x830)?;
        a.mov(eax, interrupts::VECTOR)?;
        a.xor(edx, edx)?;
        a.wrmsr()?;
        a.iret()
    });
    let program = assemble(|a| {
        let mut interrupt = a.create_label();
        let mut again = a.create_label();
        let mut round = a.create_label();
        interrupts::set_up(a, interrupt)?;
        a.mov(dword_ptr(rbx + 0x300), 0xc_4500)?;
        a.mov(dword_ptr(rbx + 0x300), 0xc_4608)?;
        a.set_label(&mut again)?;
        a.pause()?;
        a.cmp(dword_ptr(DONE + 8), 1)?;
        a.jne(again)?;
        a.mov(ecx, 0)?;
        a.set_label(&mut round)?;
        a.mov(dword_ptr(rbx + 0x310), 1 << 24)?;
        a.mov(dword_ptr(rbx + 0x300), 0x4000 | interrupts::VECTOR)?;
        a.inc(ecx)?;
        wait_for_count_in_ecx(a)?;
        a.cmp(ecx, ROUNDS)?;
        a.jb(round)?;
        finish(a)?;
        interrupts::handler(a, &mut interrupt)
    });
    let mut machine = Machine::new(&device, 2, long(), &program);
    interrupts::with_idt(&machine);
    for (code, address) in [(other, 0x8000), (handler, HANDLER)] {
        (machine.ram)
            .write_slice(&code, GuestAddress(address))
            .expect("RAM");
    }
    let mut vcpus = vec![machine.vcpu(0), machine.vcpu(1)];
    let mut seen = 0;
    for _ in 0..20 {
        let running: Vec<_> = vcpus.into_iter().map(run).collect();
        until("progress", || {
            machine.word(RESULTS) > seen || machine.is_done()
        });
        seen = machine.word(RESULTS);
        vcpus = running.into_iter().map(|vcpu| vcpu.kick().0).collect();
        machine.engine.stop_clock().expect("it stops");
        (machine, vcpus) = machine.moved(&device, &vcpus);
    }
    let running: Vec<_> = vcpus.into_iter().map(run).collect();
    until("the program's end", || machine.is_done());
    assert_eq!(machine.results(3), [ROUNDS as u64, 0, ROUNDS as u64]);
    running
        .into_iter()
        .for_each(|vcpu| assert_eq!(vcpu.kick().1, Exit::Kicked));
}

/// Waits until as many interrupts have come as `ecx` says.
fn wait_for_count_in_ecx(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.pause()?;
    a.cmp(dword_ptr(RESULTS), ecx)?;
    a.jb(again)
}

#[test]
fn timers_go_on_elsewhere() {
    let Some(device) = device() else { return };
    let program = assemble(|a| {
        let mut interrupt = a.create_label();
        interrupts::set_up(a, interrupt)?;
        // A deadline of the time-stamp counter, far away.
        a.mov(dword_ptr(rbx + 0x320), 0x4_0000 | interrupts::VECTOR)?;
        a.rdtsc()?;
        a.add(eax, 1_000_000_000)?;
        a.adc(edx, 0)?;
        a.mov(ecx, 0x6e0)?;
        a.wrmsr()?;
        a.mov(dword_ptr(DONE + 8), 1)?;
        interrupts::wait_for(a, 1)?;
        finish(a)?;
        interrupts::handler(a, &mut interrupt)
    });
    let machine = Machine::new(&device, 1, long(), &program);
    interrupts::with_idt(&machine);
    let running = run(machine.vcpu(0));
    until("the program's sleep", || machine.word(DONE + 8) == 1);
    let (vcpu, _) = running.kick();
    assert_eq!(machine.word(RESULTS), 0);
    let (moved, mut vcpus) = machine.moved(&device, &[vcpu]);
    moved.run_to_end(vcpus.remove(0));
    assert_eq!(moved.results(1), [1]);
}

/// Reads the time-stamp counter that the guest stores all the time.
fn counter(machine: &Machine) -> u64 {
    machine.word(RESULTS)
}

#[test]
fn time_stands_still_while_the_machine_does() {
    let Some(device) = real_device() else { return };
    let program = assemble(|a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.rdtsc()?;
        a.shl(rdx, 32)?;
        a.or(rax, rdx)?;
        a.mov(qword_ptr(RESULTS), rax)?;
        a.jmp(again)
    });
    let machine = Machine::new(&device, 1, long(), &program);
    let mut vcpu = machine.vcpu(0);
    let rate = {
        let running = run(vcpu);
        until("time", || counter(&machine) != 0);
        let (first, began) = (counter(&machine), Instant::now());
        thread::sleep(Duration::from_millis(200));
        let rate = (counter(&machine) - first) as f64 / began.elapsed().as_secs_f64();
        vcpu = running.kick().0;
        rate
    };
    // KVM treats times that differ by less than a second in a way of its own.
    for pause in [400, 1500] {
        machine.engine.stop_clock().expect("it stops");
        let (stopped, clock) = (counter(&machine), self::clock(&machine));
        thread::sleep(Duration::from_millis(pause));
        machine.engine.start_clock().expect("it starts");
        let running = run(vcpu);
        until("progress", || counter(&machine) != stopped);
        let passed = counter(&machine).wrapping_sub(stopped) as f64 / rate;
        assert!((0.0..0.2).contains(&passed), "{passed} s passed");
        vcpu = running.kick().0;
        let passed = self::clock(&machine).wrapping_sub(clock) as f64 / 1e9;
        assert!((0.0..0.2).contains(&passed), "{passed} s passed");
    }
}

/// What KVM's clock shows.
fn clock(machine: &Machine) -> u64 {
    let state = machine.engine.save_chips().expect("state");
    let state = serde_json::to_value(state).expect("JSON");
    state["clock_ns"].as_u64().expect("a number")
}

/// A vCPU's state, changed.
fn changed(state: &VcpuState, change: impl FnOnce(&mut serde_json::Value)) -> VcpuState {
    let mut registers = serde_json::from_slice(&state.registers).expect("JSON");
    change(&mut registers);
    VcpuState {
        registers: serde_json::to_vec(&registers).expect("JSON"),
        ..state.clone()
    }
}

#[test]
fn states_that_are_none_are_refused() {
    let Some(device) = device() else { return };
    let machine = Machine::new(&device, 2, long(), &assemble(finish));
    let mut vcpu = machine.vcpu(0);
    let state = vcpu.save().expect("state");
    let other = machine.vcpu(1).save().expect("state");
    let wrong = [
        (
            VcpuState {
                arch: Arch::Riscv64,
                ..state.clone()
            },
            "Riscv64",
        ),
        (
            VcpuState {
                version: 99,
                ..state.clone()
            },
            "version 99",
        ),
        (
            VcpuState {
                registers: b"{}".to_vec(),
                ..state.clone()
            },
            "missing field",
        ),
        (other, "vCPU 1"),
        // VMX, which guests are not offered.
        (
            changed(&state, |all| feature(all, 1, 8, 1 << 5)),
            "CPUID 0x1.0:ecx bit 5",
        ),
        (changed(&state, vendor), "of "),
        (
            changed(&state, |all| {
                let leaf = all["cpuid"][0].clone();
                all["cpuid"] = vec![leaf; 1000].into();
            }),
            "more registers",
        ),
        // A register that no processor has.
        (
            changed(&state, |all| {
                let msrs = all["msrs"].as_array_mut().expect("registers");
                msrs.push(serde_json::json!([0x1234_5678, 9]));
            }),
            "model-specific register 0x12345678",
        ),
    ];
    for (wrong, reason) in wrong {
        match vcpu.restore(&wrong) {
            Err(EngineError::State(told)) => assert!(told.contains(reason), "{told}"),
            other => panic!("{reason}: {other:?}"),
        }
    }
    vcpu.restore(&state).expect("its own");
    machine.run_to_end(vcpu);
}

/// Sets bits in a word of a saved CPUID: `at` is the word's place in `kvm_cpuid_entry2`, from its
/// fourth word on, eax first.
fn feature(all: &mut serde_json::Value, leaf: u64, at: usize, bits: u64) {
    let leaves = all["cpuid"].as_array_mut().expect("leaves");
    let entry = (leaves.iter_mut())
        .find(|entry| entry[0] == leaf && entry[1] == 0)
        .expect("the leaf");
    let byte = &mut entry[12 + at];
    *byte = (byte.as_u64().expect("a byte") | bits).into();
}

fn vendor(all: &mut serde_json::Value) {
    let leaves = all["cpuid"].as_array_mut().expect("leaves");
    let entry = leaves
        .iter_mut()
        .find(|entry| (0..4).all(|byte| entry[byte] == 0));
    let entry = entry.expect("the first leaf");
    for byte in 16..28 {
        entry[byte] = b'x'.into();
    }
}

#[test]
fn a_stopped_machine_shows_one_time() {
    let Some(device) = device() else { return };
    let machine = Machine::new(&device, 1, long(), &assemble(finish));
    let vcpu = machine.run_to_end(machine.vcpu(0));
    machine.engine.stop_clock().expect("it stops");
    let save = |vcpu: &dyn Vcpu| {
        (
            vcpu.save().expect("state"),
            machine.engine.save_chips().expect("state"),
        )
    };
    let first = save(&*vcpu);
    thread::sleep(Duration::from_millis(20));
    assert_eq!(save(&*vcpu), first);
    assert_eq!(machine.engine.name(), "kvm");
}
