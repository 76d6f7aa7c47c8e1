//! One life of a machine: boots, and what follows when the guest resets.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::console::ConsoleHub;
use crate::control::StopSwitch;
use crate::machine::Ended;
use crate::outcome::Outcome;

/// A reset within this time of the start counts as one of a loop.
const SOON: Duration = Duration::from_secs(10);

/// So many resets in a row, each soon after the start, are a loop.
const LOOP: u32 = 5;

/// Runs `boot` until the machine's life ends, again after each reset that the guest asked for.
pub(crate) fn run_until_end<E: Display>(
    hub: &ConsoleHub,
    stop: &StopSwitch,
    mut boot: impl FnMut() -> Result<Ended, E>,
) -> Outcome {
    let mut early_resets = 0;
    loop {
        let started = Instant::now();
        match boot() {
            Ok(Ended::PowerOff) => return Outcome::PowerOff,
            Ok(Ended::Failed(code)) => return Outcome::Failed(code),
            Ok(Ended::Stopped) => return Outcome::Stopped,
            Ok(Ended::Reboot) if stop.is_requested() => return Outcome::Stopped,
            Ok(Ended::Reboot) => {}
            Err(error) => return Outcome::Error(error.to_string()),
        }
        if let Some(line) = hub.take_panic() {
            return Outcome::Panicked(line);
        }
        early_resets = if started.elapsed() < SOON {
            early_resets + 1
        } else {
            0
        };
        if early_resets == LOOP {
            return Outcome::ResetLoop(LOOP);
        }
        hub.restart();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clade_devices::ConsoleHost;

    use super::*;

    fn live(script: &mut dyn FnMut(u32, &ConsoleHub) -> Result<Ended, String>) -> (Outcome, u32) {
        let hub = ConsoleHub::new();
        let stop = StopSwitch::new(Arc::clone(&hub));
        let mut boots = 0;
        let outcome = run_until_end(&hub, &stop, || {
            boots += 1;
            script(boots, &hub)
        });
        (outcome, boots)
    }

    #[test]
    fn a_reset_boots_again() {
        let (outcome, boots) = live(&mut |boot, _| {
            Ok(if boot < 3 {
                Ended::Reboot
            } else {
                Ended::Failed(9)
            })
        });
        assert_eq!((outcome, boots), (Outcome::Failed(9), 3));
    }

    #[test]
    fn a_reset_loop_ends() {
        let (outcome, boots) = live(&mut |_, _| Ok(Ended::Reboot));
        assert_eq!((outcome, boots), (Outcome::ResetLoop(5), 5));
    }

    #[test]
    fn a_panic_ends_at_its_reset() {
        let (outcome, boots) = live(&mut |_, hub| {
            hub.output(b"[    1.0] Kernel panic - not syncing: no init\r\n");
            Ok(Ended::Reboot)
        });
        let line = "Kernel panic - not syncing: no init".to_owned();
        assert_eq!((outcome, boots), (Outcome::Panicked(line), 1));
    }

    #[test]
    fn a_failed_boot_is_told() {
        let (outcome, _) = live(&mut |boot, _| match boot {
            1 => Ok(Ended::Reboot),
            _ => Err("the kernel is gone".to_owned()),
        });
        assert_eq!(outcome, Outcome::Error("the kernel is gone".into()));
    }
}
