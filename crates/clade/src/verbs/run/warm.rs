//! A machine of an image that does not boot: it goes on from the warm image of its shape.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Instant;

use clade_manager::{CloneOrder, Machines, Snapshot, Started};
use clade_store::FileName;
use clade_vmm::control::{Connection, Request};
use clade_vmm::spec::{NetworkSpec, OnFullDisk, Tier};

use super::plan::Plan;
use super::{Run, attach, first_screen, leave_settling, shell, tell_ports, template};
use crate::errand::{self, Errand};
use crate::failure::Failure;
use crate::stdin::Input;
use crate::warm::{self, Shape};
use crate::{settle, style};

/// What a machine is wanted for.
#[derive(Debug)]
pub(super) enum Purpose {
    Command(Box<Errand>),
    /// A shell for whoever sits at the terminal.
    Shell,
    /// The script on standard input, for the shell at the console.
    Script,
    /// To be left alone.
    Detached,
}

/// A machine that may go on from memory.
#[derive(Debug)]
pub(super) struct Warm {
    shape: Shape,
    key: FileName,
    purpose: Purpose,
    tells_ports: bool,
    began: Instant,
    /// Why no machine went on from the warm image that there is.
    fault: Option<String>,
}

/// A machine that went on from a warm image.
struct Woken {
    started: Started,
    connection: Connection,
    /// What leads into its guest, if somebody was there.
    entered: Option<clade_guest::Connection>,
}

impl Run {
    /// For what a machine is wanted that is of an image of Clade's own, and nothing out of the common.
    pub(super) fn warm_purpose(&self) -> Result<Option<Purpose>, Failure> {
        let image = self.image.as_deref().unwrap_or(super::DEFAULT_IMAGE);
        let uncommon = [
            self.cold,
            self.kernel.is_some(),
            clade_images::is_oci(image),
            self.firmware.is_some(),
            self.cmdline.is_some(),
            !self.volume.is_empty(),
            !self.serial.is_empty(),
            self.disks.has_any(),
            self.disks.on_full_disk != OnFullDisk::default(),
            self.tier != Tier::default(),
            self.interrupts.is_some(),
            self.stats.is_some(),
        ];
        if uncommon.contains(&true) {
            return Ok(None);
        }
        Ok(match self.command()? {
            Some(command) => {
                let errand = Errand::command(command, self.interactive);
                Some(Purpose::Command(Box::new(errand)))
            }
            None if self.detach => Some(Purpose::Detached),
            None if io::stdin().is_terminal() => Some(Purpose::Shell),
            None if clade_images::is_mini(image) => Some(Purpose::Script),
            // It would have the login of a console.
            None => None,
        })
    }
}

impl Warm {
    /// `None` where machines cannot share what a warm image has.
    pub(super) fn of(
        plan: &Plan,
        purpose: Purpose,
        tells_ports: bool,
        began: Instant,
    ) -> Option<Self> {
        if !matches!(
            plan.order.config.network,
            NetworkSpec::User(_) | NetworkSpec::None
        ) {
            return None;
        }
        let shape = Shape::of(&plan.order, plan.root.clone())?;
        // Without it, a machine boots.
        let key = shape.key().ok()?;
        Some(Self {
            shape,
            key,
            purpose,
            tells_ports,
            began,
            fault: None,
        })
    }

    /// Has a warm image made for the next, as there was none that works. `first` is the id of the machine that
    /// boots: as that could be started, it was the warm image's fault.
    pub(super) fn make_behind(self, first: &str) {
        if let Some(reason) = &self.fault {
            warm::drop_damaged(&self.key, reason);
        }
        self.shape.make_behind(first);
    }

    /// Lets a machine go on from the warm image and uses it; `None` if there is none, or none that works:
    /// then it boots.
    pub(super) fn go_on(&mut self, plan: &Plan) -> Result<Option<ExitCode>, Failure> {
        let Some(image) = warm::find(&self.key) else {
            return Ok(None);
        };
        match self.wake(&image, plan) {
            Ok(woken) => self.serve(woken, plan).map(Some),
            Err(Failure::Told(reason)) => {
                self.fault = Some(reason);
                Ok(None)
            }
            Err(closed) => Err(closed),
        }
    }

    /// The machine, whose guest has been told who it is, unless it is to be left alone.
    fn wake(&self, image: &Snapshot, plan: &Plan) -> Result<Woken, Failure> {
        let order = CloneOrder {
            names: vec![plan.order.name.clone()],
            temporary: plan.order.temporary,
            outside: plan.order.config.network.outside().cloned(),
            keep_identity: false,
            of_image: true,
        };
        let machines = Machines::of_user()?;
        let (started, connection) = template::make(&machines, image, &order)?;
        let _ = warm::images().map(|images| images.used(image));
        if matches!(self.purpose, Purpose::Detached) {
            return Ok(Woken {
                started,
                connection,
                entered: None,
            });
        }
        let machine = machines.find(&started.spec.id)?;
        let settled = connection
            .sender
            .request(&Request::Attach { size: None })
            .map_err(Failure::from)
            .and_then(|()| settle::settle(&machine));
        match settled {
            Ok(entered) => Ok(Woken {
                started,
                connection,
                entered,
            }),
            Err(failure) => {
                machine.kill()?;
                machines.remove(&machine)?;
                Err(failure)
            }
        }
    }

    fn serve(&self, woken: Woken, plan: &Plan) -> Result<ExitCode, Failure> {
        let Woken {
            started,
            connection,
            entered,
        } = woken;
        if self.tells_ports {
            tell_ports(&started);
        }
        let name = started.spec.name.clone();
        let image = started.spec.image.clone().unwrap_or_default();
        match &self.purpose {
            Purpose::Command(errand) => {
                errand::run(started, connection, (**errand).clone(), entered)
            }
            Purpose::Shell => {
                if io::stderr().is_terminal() {
                    style::note(&first_screen(&started.spec, &plan.title));
                    let time = self.began.elapsed().as_millis();
                    style::note(&format!(
                        "{name}: went on from the warm image in {time} ms (--cold boots). Leave with: exit"
                    ));
                }
                errand::run(started, connection, shell::at_terminal(&image)?, entered)
            }
            Purpose::Script => {
                let input = Input::ReadyScript;
                attach(started, connection, input, &plan.title, None, false)
            }
            Purpose::Detached => leave_settling(started, connection),
        }
    }
}
