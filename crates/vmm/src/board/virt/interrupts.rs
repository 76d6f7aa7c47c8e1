//! The board's interrupt controllers: wires and messages from devices on their way to the harts.

use std::sync::Arc;

use clade_devices::{Aplic, BusBuilder, Plic};
use clade_emulate::{Emulator, HartInterrupt, Imsic};
use clade_engine::{IrqLine, MsiSink};

use super::{WiresState, map};
use crate::board::{BoardError, Window};
use crate::spec::Interrupts;

/// What wires lead to.
enum Wires {
    Plic(Arc<Plic>),
    Aplic(Arc<Aplic>),
}

/// The controllers that a board has.
pub(super) struct InterruptControllers {
    wires: Wires,
    /// Where messages go, if anywhere.
    messages: Option<Arc<dyn MsiSink>>,
}

impl InterruptControllers {
    /// Puts the controllers onto `bus` and connects them to the harts of `engine`. What belongs to
    /// M-mode is there only if `machine_mode` is the guest's.
    pub(super) fn plug(
        kind: Interrupts,
        machine_mode: bool,
        engine: &Emulator,
        harts: u32,
        bus: &mut BusBuilder,
    ) -> Result<Self, BoardError> {
        match kind {
            Interrupts::Plic => Self::plug_plic(engine, harts, bus),
            Interrupts::Aia => Self::plug_aia(machine_mode, engine, bus),
        }
    }

    fn plug_plic(engine: &Emulator, harts: u32, bus: &mut BusBuilder) -> Result<Self, BoardError> {
        let plic = Plic::new(interrupt_inputs(engine, harts)?);
        map::PLIC.insert(bus, "PLIC", plic.clone())?;
        Ok(Self {
            wires: Wires::Plic(plic),
            messages: None,
        })
    }

    fn plug_aia(
        machine_mode: bool,
        engine: &Emulator,
        bus: &mut BusBuilder,
    ) -> Result<Self, BoardError> {
        const MACHINE: Level = Level {
            input: HartInterrupt::MachineExternal,
            files: map::IMSIC_MACHINE,
            domain: map::APLIC_MACHINE,
        };
        const SUPERVISOR: Level = Level {
            input: HartInterrupt::SupervisorExternal,
            files: map::IMSIC_SUPERVISOR,
            domain: map::APLIC_SUPERVISOR,
        };
        let levels: &[Level] = if machine_mode {
            &[MACHINE, SUPERVISOR]
        } else {
            &[SUPERVISOR]
        };
        let mut messages = Messages(Vec::new());
        for level in levels {
            let imsic = engine
                .imsic(level.input)
                .ok_or_else(|| BoardError::Wiring("a hart has no IMSIC".into()))?;
            let window = Window {
                size: imsic.size(),
                ..level.files
            };
            window.insert(bus, "IMSIC", imsic.clone())?;
            messages.0.push((window, imsic));
        }
        let messages = Arc::new(messages);
        let files = levels.iter().map(|level| level.files.base).collect();
        let aplic = Aplic::new(messages.clone(), files);
        for (index, level) in levels.iter().enumerate() {
            let domain = aplic
                .domain(index)
                .ok_or_else(|| BoardError::Wiring(format!("the APLIC has no domain {index}")))?;
            level.domain.insert(bus, "APLIC", domain)?;
        }
        Ok(Self {
            wires: Wires::Aplic(aplic),
            messages: Some(messages),
        })
    }

    /// The wire with this source number.
    pub(super) fn wire(&self, source: u32) -> Result<Arc<dyn IrqLine>, BoardError> {
        let line = match &self.wires {
            Wires::Plic(plic) => plic.line(source as usize),
            Wires::Aplic(aplic) => aplic.line(source as usize),
        };
        line.ok_or_else(|| BoardError::Wiring(format!("there is no interrupt source {source}")))
    }

    /// What the guest can observe of what wires lead to; the rest is the engine's.
    pub(super) fn save(&self) -> WiresState {
        match &self.wires {
            Wires::Plic(plic) => WiresState::Plic(plic.save()),
            Wires::Aplic(aplic) => WiresState::Aplic(aplic.save()),
        }
    }

    /// Continues from a saved state.
    pub(super) fn restore(&self, saved: &WiresState) -> Result<(), BoardError> {
        match (&self.wires, saved) {
            (Wires::Plic(plic), WiresState::Plic(saved)) => plic.restore(saved)?,
            (Wires::Aplic(aplic), WiresState::Aplic(saved)) => aplic.restore(saved)?,
            _ => {
                return Err(BoardError::State(
                    "it is of a machine with other interrupt controllers".into(),
                ));
            }
        }
        Ok(())
    }

    /// Where devices write their messages, if anybody listens.
    pub(super) fn messages(&self) -> Option<Arc<dyn MsiSink>> {
        self.messages.clone()
    }
}

/// A privilege level that interrupts go to.
struct Level {
    input: HartInterrupt,
    files: Window,
    domain: Window,
}

/// The interrupt files that messages are for, each level's in its window.
struct Messages(Vec<(Window, Arc<Imsic>)>);

impl MsiSink for Messages {
    fn signal(&self, address: u64, data: u32) {
        let files = self.0.iter();
        let mut files = files.filter(|(window, _)| window.range().contains(&address));
        if let Some((window, imsic)) = files.next() {
            imsic.signal(address - window.base, data);
        }
    }
}

/// The PLIC's outputs: M-mode and S-mode of every hart, in this order.
fn interrupt_inputs(engine: &Emulator, harts: u32) -> Result<Vec<Arc<dyn IrqLine>>, BoardError> {
    (0..harts)
        .flat_map(|hart| {
            [
                HartInterrupt::MachineExternal,
                HartInterrupt::SupervisorExternal,
            ]
            .map(|input| engine.interrupt_line(hart, input))
        })
        .map(|line| line.ok_or_else(|| BoardError::Wiring("a hart has no inputs".into())))
        .collect()
}
