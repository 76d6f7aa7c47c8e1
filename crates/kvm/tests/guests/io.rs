//! Accesses that devices answer.

use iced_x86::code_asm::*;

use crate::machine::{Access, MMIO, Machine, NOBODY, RESULTS, assemble, device, finish, long};

fn read(address: u64, size: usize) -> Access {
    Access::Read(address, size)
}

fn write(address: u64, bytes: &[u8]) -> Access {
    Access::Write(address, bytes.to_vec())
}

#[test]
fn memory_mapped_accesses_of_all_sizes() {
    let Some(device) = device() else { return };
    let program = assemble(|a| {
        a.mov(rbx, MMIO)?;
        a.mov(rcx, 0x1122_3344_5566_7788u64)?;
        a.mov(byte_ptr(rbx), cl)?;
        a.mov(word_ptr(rbx + 2), cx)?;
        a.mov(dword_ptr(rbx + 4), ecx)?;
        a.mov(qword_ptr(rbx + 8), rcx)?;
        a.xor(eax, eax)?;
        a.mov(al, byte_ptr(rbx + 0x10))?;
        a.mov(qword_ptr(RESULTS), rax)?;
        a.xor(eax, eax)?;
        a.mov(ax, word_ptr(rbx + 0x12))?;
        a.mov(qword_ptr(RESULTS + 8), rax)?;
        a.mov(eax, dword_ptr(rbx + 0x14))?;
        a.mov(qword_ptr(RESULTS + 16), rax)?;
        a.mov(rax, qword_ptr(rbx + 0x18))?;
        a.mov(qword_ptr(RESULTS + 24), rax)?;
        a.movzx(eax, byte_ptr(rbx + 0x20))?;
        a.mov(qword_ptr(RESULTS + 32), rax)?;
        finish(a)
    });
    let machine = Machine::new(&device, 1, long(), &program);
    machine.run_to_end(machine.vcpu(0));
    assert_eq!(
        machine.memory.accesses(),
        [
            write(MMIO, &[0x88]),
            write(MMIO + 2, &[0x88, 0x77]),
            write(MMIO + 4, &[0x88, 0x77, 0x66, 0x55]),
            write(MMIO + 8, &[0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]),
            read(MMIO + 0x10, 1),
            read(MMIO + 0x12, 2),
            read(MMIO + 0x14, 4),
            read(MMIO + 0x18, 8),
            read(MMIO + 0x20, 1),
        ]
    );
    assert_eq!(
        machine.results(5),
        [0x01, 0x0302, 0x0706_0504, 0x0f0e_0d0c_0b0a_0908, 0x10]
    );
}

#[test]
fn ports_of_all_sizes() {
    let Some(device) = device() else { return };
    let program = assemble(|a| {
        a.mov(dx, 0x510u32)?;
        a.mov(eax, 0x1122_3344)?;
        a.out(dx, al)?;
        a.out(dx, ax)?;
        a.out(dx, eax)?;
        a.out(0x80, al)?;
        a.xor(eax, eax)?;
        a.in_(al, dx)?;
        a.mov(qword_ptr(RESULTS), rax)?;
        a.xor(eax, eax)?;
        a.in_(ax, dx)?;
        a.mov(qword_ptr(RESULTS + 8), rax)?;
        a.in_(eax, dx)?;
        a.mov(qword_ptr(RESULTS + 16), rax)?;
        finish(a)
    });
    let machine = Machine::new(&device, 1, long(), &program);
    machine.run_to_end(machine.vcpu(0));
    assert_eq!(
        machine.ports.accesses(),
        [
            write(0x510, &[0x44]),
            write(0x510, &[0x44, 0x33]),
            write(0x510, &[0x44, 0x33, 0x22, 0x11]),
            write(0x80, &[0x44]),
            read(0x510, 1),
            read(0x510, 2),
            read(0x510, 4),
        ]
    );
    assert_eq!(machine.results(3), [1, 0x0302, 0x0706_0504]);
}

#[test]
fn strings_to_and_from_ports() {
    let Some(device) = device() else { return };
    let program = assemble(|a| {
        a.mov(dx, 0x510u32)?;
        a.cld()?;
        a.mov(rdi, RESULTS)?;
        a.mov(ecx, 8)?;
        a.rep().insb()?;
        a.mov(ecx, 4)?;
        a.rep().insw()?;
        a.mov(ecx, 2)?;
        a.rep().insd()?;
        a.mov(rsi, RESULTS)?;
        a.mov(ecx, 3)?;
        a.rep().outsb()?;
        a.mov(ecx, 2)?;
        a.rep().outsw()?;
        a.mov(ecx, 1)?;
        a.rep().outsd()?;
        finish(a)
    });
    let machine = Machine::new(&device, 1, long(), &program);
    machine.run_to_end(machine.vcpu(0));
    assert_eq!(
        machine.results(3),
        [
            0x0807_0605_0403_0201,
            0x100f_0e0d_0c0b_0a09,
            0x1817_1615_1413_1211
        ]
    );
    let mut expected = vec![read(0x510, 1); 8];
    expected.extend(vec![read(0x510, 2); 4]);
    expected.extend(vec![read(0x510, 4); 2]);
    for byte in 1..=3 {
        expected.push(write(0x510, &[byte]));
    }
    expected.push(write(0x510, &[4, 5]));
    expected.push(write(0x510, &[6, 7]));
    expected.push(write(0x510, &[8, 9, 10, 11]));
    assert_eq!(machine.ports.accesses(), expected);
}

#[test]
fn where_nothing_answers_there_are_ones() {
    let Some(device) = device() else { return };
    let program = assemble(|a| {
        a.mov(rbx, MMIO + NOBODY)?;
        a.mov(rax, qword_ptr(rbx))?;
        a.mov(qword_ptr(RESULTS), rax)?;
        a.mov(dx, NOBODY as u32)?;
        a.xor(eax, eax)?;
        a.in_(ax, dx)?;
        a.mov(qword_ptr(RESULTS + 8), rax)?;
        finish(a)
    });
    let machine = Machine::new(&device, 1, long(), &program);
    machine.run_to_end(machine.vcpu(0));
    assert_eq!(machine.results(2), [u64::MAX, 0xffff]);
    assert_eq!(machine.memory.accesses(), []);
}
