//! What guests are told of their processor, and kept from.

use std::sync::Arc;

use clade_engine::Engine;
use clade_kvm::{CPUS_MAX, CpuModel, Kvm, KvmConfig};
use iced_x86::code_asm::*;

use crate::machine::{Machine, RESULTS, Recorder, assemble, finish, long, ram, real_device};
use vm_memory::{Bytes, GuestAddress};

/// Stores the words of these leaves of CPUID.
fn program(leaves: &[(u32, u32)]) -> Vec<u8> {
    assemble(|a| {
        for (index, (leaf, subleaf)) in (0..).zip(leaves) {
            a.mov(eax, *leaf)?;
            a.mov(ecx, *subleaf)?;
            a.cpuid()?;
            let at = RESULTS + index * 16;
            a.mov(dword_ptr(at), eax)?;
            a.mov(dword_ptr(at + 4), ebx)?;
            a.mov(dword_ptr(at + 8), ecx)?;
            a.mov(dword_ptr(at + 12), edx)?;
        }
        finish(a)
    })
}

/// The words that a vCPU of a model is told.
fn told(
    device: &clade_kvm::Device,
    model: CpuModel,
    (index, cpus): (u32, u32),
    leaves: &[(u32, u32)],
) -> Vec<[u32; 4]> {
    let program = program(leaves);
    let machine = Machine::new(device, 1, long(), &program);
    let devices = [(); 2].map(|()| Arc::new(Recorder::default()));
    let machine = Machine::over(device, cpus, model, long(), machine.ram.clone(), devices);
    // The others, so that there is one of this index.
    let _others: Vec<_> = (0..index).map(|index| machine.vcpu(index)).collect();
    machine.run_to_end(machine.vcpu(index));
    (0..leaves.len() as u64)
        .map(|leaf| {
            let at = |word: u64| {
                let address = GuestAddress(RESULTS + leaf * 16 + word * 4);
                machine.ram.read_obj::<u32>(address).expect("RAM")
            };
            [at(0), at(1), at(2), at(3)]
        })
        .collect()
}

const SSE42: u32 = 1 << 20;
const AVX: u32 = 1 << 28;
const HYPERVISOR: u32 = 1 << 31;
const VMX: u32 = 1 << 5;
const SVM: u32 = 1 << 2;
const AVX2: u32 = 1 << 5;

#[test]
fn models_are_what_they_say() {
    let Some(device) = real_device() else { return };
    let leaves = [(1, 0), (7, 0), (0x8000_0001, 0), (0x4000_0000, 0), (0xd, 0)];
    let host = told(&device, CpuModel::Host, (0, 1), &leaves);
    assert_eq!(host[0][2] & (HYPERVISOR | VMX), HYPERVISOR);
    assert_eq!(host[2][2] & SVM, 0);
    let signature: Vec<u8> = host[3][1..]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    assert_eq!(signature, b"KVMKVMKVM\0\0\0");

    if let Some(second) = told_if_possible(&device, CpuModel::V2, &leaves) {
        assert_eq!(
            second[0][2] & (SSE42 | AVX | HYPERVISOR),
            SSE42 | HYPERVISOR
        );
        assert_eq!(second[1][1] & AVX2, 0);
        assert_eq!(second[4][0], 0, "no state that XSAVE would save");
        for leaf in 0..3 {
            for word in 2..4 {
                let more = second[leaf][word] & !host[leaf][word];
                assert_eq!(more, 0, "leaf {leaf}, word {word}");
            }
        }
    }
    if let Some(third) = told_if_possible(&device, CpuModel::V3, &leaves) {
        assert_eq!(third[0][2] & (SSE42 | AVX), SSE42 | AVX);
        assert_ne!(third[1][1] & AVX2, 0);
        assert_eq!(third[4][0], 7, "x87, SSE and AVX");
        assert_eq!(third[4][2], 0x340);
    }
}

/// As [`told`], unless this host lacks the model; then it must say what it lacks.
fn told_if_possible(
    device: &clade_kvm::Device,
    cpu: CpuModel,
    leaves: &[(u32, u32)],
) -> Option<Vec<[u32; 4]>> {
    let config = KvmConfig {
        cpus: 1,
        ram: ram(),
        memory: Arc::new(Recorder::default()),
        ports: Arc::new(Recorder::default()),
        cpu,
        start: long(),
    };
    let Err(error) = Kvm::new(device, config) else {
        return Some(told(device, cpu, (0, 1), leaves));
    };
    eprintln!("SKIPPED: {error}");
    let error = error.to_string();
    let says = error.contains("lacks ") && error.contains("--cpu-model host");
    assert!(says, "{error}");
    None
}

#[test]
fn vcpus_know_their_place() {
    let Some(device) = real_device() else { return };
    let leaves = [(1, 0), (0xb, 0), (0xb, 1), (0xb, 2), (0x1f, 0)];
    let told = told(&device, CpuModel::Host, (0, 3), &leaves);
    assert_eq!(told[0][1] >> 16, 3, "three, and this is the first");
    assert_eq!(told[1], [0, 1, 0x100, 0]);
    assert_eq!(told[2], [2, 3, 0x201, 0]);
    assert_eq!(told[3][..3], [0, 0, 2]);
    assert_eq!(told[4], [0; 4]);
}

#[test]
fn a_machine_has_as_many_vcpus_as_there_are_ids() {
    let Some(device) = crate::machine::device() else {
        return;
    };
    let machine = |cpus| {
        let config = KvmConfig {
            cpus,
            ram: ram(),
            memory: Arc::new(Recorder::default()),
            ports: Arc::new(Recorder::default()),
            cpu: CpuModel::Host,
            start: long(),
        };
        Kvm::new(&device, config)
    };
    for cpus in [0, CPUS_MAX + 1, 100_000] {
        let error = machine(cpus).err().expect("it is refused");
        assert!(error.to_string().contains("vCPU"), "{error}");
    }
    let most = CPUS_MAX.min(device.vcpus_max());
    let engine = machine(most).expect("so many");
    engine.create_vcpu(most - 1).expect("the last one");
}

#[test]
fn registers_that_are_not_offered_fault() {
    let Some(device) = real_device() else { return };
    // Hyper-V's: the guest's identity. There is no gate for the fault.
    let program = assemble(|a| {
        a.mov(ecx, 0x4000_0000)?;
        a.rdmsr()?;
        finish(a)
    });
    let machine = Machine::new(&device, 1, long(), &program);
    let (_, exit) = crate::machine::run(machine.vcpu(0)).wait();
    assert_eq!(
        exit,
        clade_engine::Exit::System(clade_engine::SystemEvent::Reboot)
    );
    assert!(!machine.is_done());
}
