//! A guest that is told that it has become a machine of its own, as Debian's own kernel reports it.
//!
//! Needs the image `mini`: without it and without a network this test cannot run; it says so, and
//! passes.

mod common;

use clade_images::{Architecture, Image};
use clade_vmm::backends::Backends;
use clade_vmm::spec::{Interrupts, MachineConfig};
use common::images::{alone, architecture, engine, mini};
use common::in_process::Guest;

#[test]
fn a_guest_that_becomes_another_draws_new_random_numbers() {
    let _alone = alone();
    let Some(image) = mini("a_guest_that_becomes_another_draws_new_random_numbers") else {
        return;
    };
    match architecture() {
        Architecture::Riscv64 => {
            for interrupts in [Interrupts::Aia, Interrupts::Plic] {
                renew(&image, interrupts, "102000.rng", "vmgenid");
            }
        }
        // ACPI's event device tells of it, and of nothing else here.
        Architecture::Amd64 => renew(&image, Interrupts::default(), "CLAD0001:00", "ACPI:Ged"),
    }
}

/// Linux calls the device `device`, and what it interrupts by `wire`.
fn renew(image: &Image, interrupts: Interrupts, device: &str, wire: &str) {
    const FORKED: &str = "crng reseeded due to virtual machine fork";
    let config = MachineConfig {
        interrupts,
        ..MachineConfig::default()
    };
    let backends = Backends::of_engine(engine()).expect("the engine");
    let (machine, start) = Guest::build(image, config, &backends);
    // Nobody listens yet: the driver finds no interrupt when it comes, which would be too early.
    machine.handle().renew_generation([1; 16]);
    let guest = start(machine);

    let drivers = guest.ask("ls /sys/bus/platform/drivers/vmgenid");
    assert!(drivers.contains(device), "{drivers}");
    let forks = || guest.ask("dmesg").matches(FORKED).count();
    assert_eq!(forks(), 0);
    for number in 1..=3 {
        guest.machine.renew_generation([10 + number as u8; 16]);
        assert_eq!(forks(), number, "{interrupts:?}");
    }
    // The same again is no other.
    guest.machine.renew_generation([13; 16]);
    assert_eq!(forks(), 3);
    let counts = guest.ask(&format!("grep {wire} /proc/interrupts"));
    let count = counts.split_whitespace().nth(1);
    assert_eq!(count, Some("4"), "{counts}");
    guest.stop();
}
