//! How devices interrupt, as Debian's own kernel reports it: by messages to the harts, or by wires.
//!
//! Needs the image `mini`: without it and without a network these tests cannot run; they say so, and
//! pass.

mod common;

use std::io::Write as _;

use common::images::{alone, clade, is_emulated, mini, opensbi};

/// What `mini` prints when it is given `script`.
fn run(options: &[&str], script: &str) -> String {
    let mut child = clade(&[&["run"], options].concat())
        .spawn()
        .expect("clade starts");
    let mut stdin = child.stdin.take().expect("piped");
    write!(stdin, "{script}\npoweroff -f\n").expect("clade takes its input");
    drop(stdin);
    let output = child.wait_with_output().expect("clade ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{options:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The lines of `/proc/interrupts` about a device: counts by hart, then words.
fn counts(interrupts: &str, device: &str, harts: usize) -> Vec<u64> {
    let line = interrupts.lines().find(|line| line.ends_with(device));
    let line = line.unwrap_or_else(|| panic!("nothing about {device} in {interrupts}"));
    let numbers = line.split_whitespace().skip(1).take(harts);
    numbers
        .map(|number| number.parse().expect("a count"))
        .collect()
}

#[test]
fn images_get_messages_and_other_controllers_when_they_are_asked_for() {
    let _alone = alone();
    let test = "images_get_messages_and_other_controllers_when_they_are_asked_for";
    if !is_emulated(test) || mini(test).is_none() {
        return;
    }
    // The UART has a wire.
    let script = "head -c 64 /dev/hwrng | wc -c; exec 3>/dev/ttyS0; echo wired >&3; sleep 1
                  cat /proc/interrupts";
    for (harts, options) in [
        (1, &["--cpus", "1"][..]),
        (4, &["--cpus", "4", "--interrupts", "aia"]),
        (2, &["--cpus", "2", "--tier", "interpreter"]),
    ] {
        let printed = run(options, script);
        assert!(printed.starts_with("64\n"), "{printed}");
        assert!(!printed.contains("SiFive"), "{printed}");
        assert!(printed.contains("PCI-MSIX-0000:00:02.0   0 Edge      virtio1-config"));
        assert!(
            printed.contains("APLIC-MSI-d000000.aplic  10 Level"),
            "{printed}"
        );
        let wired: u64 = counts(&printed, "ttyS0", harts).iter().sum();
        assert!(wired > 0, "{printed}");
        let entropy: u64 = counts(&printed, "virtio1-input", harts).iter().sum();
        assert!(entropy > 0, "{printed}");
    }
    let printed = run(&["--interrupts", "plic", "--cpus", "2"], script);
    assert!(printed.starts_with("64\n"), "{printed}");
    assert!(printed.contains("SiFive PLIC  34"), "{printed}");
    assert!(!printed.contains("MSI"), "{printed}");
}

/// Each hart can be the one, and none is needed for long. Linux is busy until a move before is done.
#[test]
fn messages_go_to_the_hart_that_the_guest_chooses() {
    let _alone = alone();
    if mini("messages_go_to_the_hart_that_the_guest_chooses").is_none() {
        return;
    }
    let printed = run(
        &["--cpus", "4"],
        "N=$(awk '/virtio1-input/ { sub(\":\", \"\", $1); print $1 }' /proc/interrupts)
         for hart in 0 1 2 3; do
             until echo $((1 << hart)) >/proc/irq/$N/smp_affinity; do sleep 0.1; done 2>/dev/null
             head -c 64 /dev/hwrng >/dev/null
         done
         cat /proc/interrupts
         for hart in 1 2 3; do echo 0 >/sys/devices/system/cpu/cpu$hart/online; done
         nproc; head -c 64 /dev/hwrng | wc -c
         for hart in 1 2 3; do echo 1 >/sys/devices/system/cpu/cpu$hart/online; done
         nproc; head -c 64 /dev/hwrng | wc -c",
    );
    let each = counts(&printed, "virtio1-input", 4);
    assert!(each.iter().all(|&count| count > 0), "{printed}");
    assert!(printed.ends_with("\n1\n64\n4\n64\n"), "{printed}");
}

/// A driver that leaves resets its device and gives its vectors back; the next one gets new ones.
#[test]
fn a_driver_that_comes_back_gets_its_messages() {
    let _alone = alone();
    if mini("a_driver_that_comes_back_gets_its_messages").is_none() {
        return;
    }
    let printed = run(
        &["--cpus", "2"],
        "cd /sys/bus/virtio/drivers/virtio_rng
         for turn in 1 2 3; do
             echo virtio1 >unbind; grep -c virtio1 /proc/interrupts
             echo virtio1 >bind; head -c 64 /dev/hwrng | wc -c
         done
         cat /proc/interrupts",
    );
    assert!(printed.starts_with("0\n64\n0\n64\n0\n64\n"), "{printed}");
    assert!(
        counts(&printed, "virtio1-input", 2)
            .iter()
            .any(|&count| count > 0)
    );
}

/// Firmware in M-mode has interrupt files and a domain of its own, and passes the rest on.
#[test]
fn firmware_and_kernel_share_the_controllers() {
    let _alone = alone();
    let test = "firmware_and_kernel_share_the_controllers";
    if !is_emulated(test) {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let (Some(_), Some(firmware)) = (mini(test), opensbi(test, folder.path())) else {
        return;
    };
    let script = "head -c 64 /dev/hwrng | wc -c; cat /proc/interrupts";
    let options = ["--firmware", &firmware, "--cpus", "2"];

    let printed = run(&[&options[..], &["--interrupts", "aia"]].concat(), script);
    assert!(printed.contains("aia-imsic"), "{printed}");
    assert!(printed.contains("\n64\n"), "{printed}");
    assert!(printed.contains("PCI-MSIX-0000:00:02.0"), "{printed}");
    let entropy: u64 = counts(&printed, "virtio1-input", 2).iter().sum();
    assert!(entropy > 0, "{printed}");

    let printed = run(&options, script);
    assert!(
        printed.contains("SiFive PLIC"),
        "what all firmware knows: {printed}"
    );
}
