//! The requests that this crate makes of KVM, for whoever confines the process: all that a machine
//! needs which runs, is saved and restored, and starts anew, once `/dev/kvm` is open.

use kvm_bindings as kvm;

/// The numbers of all requests.
pub const IOCTLS: &[u32] = &[
    // Of the device: making a virtual machine.
    none(0x01),                      // KVM_CREATE_VM
    both::<kvm::kvm_msr_list>(0x02), // KVM_GET_MSR_INDEX_LIST
    none(0x03),                      // KVM_CHECK_EXTENSION
    none(0x04),                      // KVM_GET_VCPU_MMAP_SIZE
    both::<kvm::kvm_cpuid2>(0x05),   // KVM_GET_SUPPORTED_CPUID
    // Of a virtual machine.
    none(0x41),                                      // KVM_CREATE_VCPU
    write::<kvm::kvm_dirty_log>(0x42),               // KVM_GET_DIRTY_LOG
    write::<kvm::kvm_userspace_memory_region>(0x46), // KVM_SET_USER_MEMORY_REGION
    none(0x47),                                      // KVM_SET_TSS_ADDR
    write::<u64>(0x48),                              // KVM_SET_IDENTITY_MAP_ADDR
    none(0x60),                                      // KVM_CREATE_IRQCHIP
    write::<kvm::kvm_irq_level>(0x61),               // KVM_IRQ_LINE
    both::<kvm::kvm_irqchip>(0x62),                  // KVM_GET_IRQCHIP
    read::<kvm::kvm_irqchip>(0x63),                  // KVM_SET_IRQCHIP
    write::<kvm::kvm_ioeventfd>(0x79),               // KVM_IOEVENTFD
    write::<kvm::kvm_clock_data>(0x7b),              // KVM_SET_CLOCK
    read::<kvm::kvm_clock_data>(0x7c),               // KVM_GET_CLOCK
    write::<kvm::kvm_enable_cap>(0xa3),              // KVM_ENABLE_CAP
    write::<kvm::kvm_msi>(0xa5),                     // KVM_SIGNAL_MSI
    write::<kvm::kvm_msr_filter>(0xc6),              // KVM_X86_SET_MSR_FILTER
    // Of a vCPU.
    none(0x80),                          // KVM_RUN
    read::<kvm::kvm_regs>(0x81),         // KVM_GET_REGS
    write::<kvm::kvm_regs>(0x82),        // KVM_SET_REGS
    read::<kvm::kvm_sregs>(0x83),        // KVM_GET_SREGS
    write::<kvm::kvm_sregs>(0x84),       // KVM_SET_SREGS
    both::<kvm::kvm_msrs>(0x88),         // KVM_GET_MSRS
    write::<kvm::kvm_msrs>(0x89),        // KVM_SET_MSRS
    read::<kvm::kvm_lapic_state>(0x8e),  // KVM_GET_LAPIC
    write::<kvm::kvm_lapic_state>(0x8f), // KVM_SET_LAPIC
    write::<kvm::kvm_cpuid2>(0x90),      // KVM_SET_CPUID2
    read::<kvm::kvm_mp_state>(0x98),     // KVM_GET_MP_STATE
    write::<kvm::kvm_mp_state>(0x99),    // KVM_SET_MP_STATE
    read::<kvm::kvm_vcpu_events>(0x9f),  // KVM_GET_VCPU_EVENTS
    write::<kvm::kvm_vcpu_events>(0xa0), // KVM_SET_VCPU_EVENTS
    read::<kvm::kvm_debugregs>(0xa1),    // KVM_GET_DEBUGREGS
    write::<kvm::kvm_debugregs>(0xa2),   // KVM_SET_DEBUGREGS
    none(0xa2),                          // KVM_SET_TSC_KHZ
    none(0xa3),                          // KVM_GET_TSC_KHZ
    read::<[u8; 4096]>(0xa4),            // KVM_GET_XSAVE
    write::<[u8; 4096]>(0xa5),           // KVM_SET_XSAVE
    read::<kvm::kvm_xcrs>(0xa6),         // KVM_GET_XCRS
    write::<kvm::kvm_xcrs>(0xa7),        // KVM_SET_XCRS
    none(0xad),                          // KVM_KVMCLOCK_CTRL
];

/// `KVMIO`.
const KIND: u32 = 0xae;

/// A request as Linux numbers them: two bits for the direction, fourteen for the size of what is passed,
/// eight each for the kind and the number (`asm-generic/ioctl.h`).
const fn request(direction: u32, size: usize, number: u32) -> u32 {
    direction << 30 | (size as u32) << 16 | KIND << 8 | number
}

const fn none(number: u32) -> u32 {
    request(0, 0, number)
}

const fn write<T>(number: u32) -> u32 {
    request(1, size_of::<T>(), number)
}

const fn read<T>(number: u32) -> u32 {
    request(2, size_of::<T>(), number)
}

const fn both<T>(number: u32) -> u32 {
    request(3, size_of::<T>(), number)
}
