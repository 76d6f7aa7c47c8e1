use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use clade_engine::{Doorbells, IoDevice, IrqLine, MsiSink};

use super::doorbells::{Bell, Taken};
use super::intx::{Pin, SharedWire};
use super::ports::{ConfigPorts, PORTS, WRITABLE};
use super::{
    ConfigSpace, Doorbell, FunctionState, Identity, Msix, PciDevice, PciLayout, PciState, SLOTS,
};
use crate::sync::lock;
use crate::syscon::SystemEventSink;
use crate::{BusBuilder, Overlap, StateError};

/// Why a function cannot be plugged in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PciError {
    /// The slot does not exist or is the host bridge's.
    #[error("there is no PCI slot {0}: slots are 1 to 31")]
    NoSlot(u8),
    /// Something is in the slot.
    #[error("PCI slot {0} is taken: choose another")]
    Taken(u8),
}

/// Collects the functions of a [`PciHost`].
pub struct PciHostBuilder {
    wires: [Arc<SharedWire>; 4],
    messages: Arc<dyn MsiSink>,
    doorbells: Option<Arc<dyn Doorbells>>,
    functions: [Option<Function>; SLOTS as usize],
    reset: Option<SystemEventSink>,
}

/// A board without a controller for messages.
struct NobodyListens;

impl MsiSink for NobodyListens {
    fn signal(&self, _address: u64, _data: u32) {}
}

/// The ways in which a function can interrupt.
pub struct PciInterrupts {
    /// Its INTA pin, for as long as the guest does not let it send messages.
    pub pin: Arc<dyn IrqLine>,
    /// Where its messages go, for its [`Msix`].
    pub messages: Arc<dyn MsiSink>,
}

struct Function {
    device: Arc<dyn PciDevice>,
    config: Mutex<ConfigSpace>,
    pin: Arc<Pin>,
    doorbells: Vec<Doorbell>,
}

impl PciHostBuilder {
    /// A bus with the host bridge alone. Interrupt pins lead to `wires`: pin `p` (0 for INTA) of
    /// slot `s` to wire `(s + p) % 4`. Nobody listens to messages.
    #[must_use]
    pub fn new(wires: [Arc<dyn IrqLine>; 4]) -> Self {
        let mut builder = PciHostBuilder {
            wires: wires.map(SharedWire::new),
            messages: Arc::new(NobodyListens),
            doorbells: None,
            functions: [const { None }; SLOTS as usize],
            reset: None,
        };
        let pin = builder.pin(0);
        let bridge = Arc::new(PlainFunction(generic_bridge()));
        builder.functions[0] = Some(Function::new(bridge, pin));
        builder
    }

    /// The same with another host bridge, of which there is this configuration space and nothing else.
    #[must_use]
    pub fn with_bridge(mut self, bridge: ConfigSpace) -> Self {
        let pin = self.pin(0);
        self.functions[0] = Some(Function::new(Arc::new(PlainFunction(bridge)), pin));
        self
    }

    /// The same with a PC's reset register (port 0xcf9) among its ports, which leads to `sink`.
    #[must_use]
    pub fn with_reset_register(mut self, sink: SystemEventSink) -> Self {
        self.reset = Some(sink);
        self
    }

    /// The same, with messages going to `sink`: to be said before anything is plugged in.
    #[must_use]
    pub fn with_messages(mut self, sink: Arc<dyn MsiSink>) -> Self {
        self.messages = sink;
        self
    }

    /// The same, with `engine` taking the functions' doorbells where they decode.
    #[must_use]
    pub fn with_doorbells(mut self, engine: Arc<dyn Doorbells>) -> Self {
        self.doorbells = Some(engine);
        self
    }

    /// Plugs a function into `slot` (1 to 31). `make` is given its ways to interrupt.
    ///
    /// # Errors
    /// When there is no such slot or it is taken.
    pub fn plug<D: PciDevice + 'static>(
        &mut self,
        slot: u8,
        make: impl FnOnce(PciInterrupts) -> Arc<D>,
    ) -> Result<Arc<D>, PciError> {
        if !(1..SLOTS).contains(&slot) {
            return Err(PciError::NoSlot(slot));
        }
        if self.functions[usize::from(slot)].is_some() {
            return Err(PciError::Taken(slot));
        }
        let pin = self.pin(slot);
        let device = make(PciInterrupts {
            pin: pin.clone(),
            messages: self.messages.clone(),
        });
        self.functions[usize::from(slot)] = Some(Function::new(device.clone(), pin));
        Ok(device)
    }

    /// The finished bus.
    #[must_use]
    pub fn build(self) -> Arc<PciHost> {
        Arc::new(PciHost {
            functions: self.functions,
            decoding: RwLock::new(Decoding {
                mappings: Vec::new(),
                doorbells: Taken::by(self.doorbells),
            }),
            windows: OnceLock::new(),
            address: Mutex::default(),
            reset: self.reset,
        })
    }

    fn pin(&self, slot: u8) -> Arc<Pin> {
        Pin::new(slot, self.wires[usize::from(slot) % 4].clone())
    }
}

impl Function {
    fn new(device: Arc<dyn PciDevice>, pin: Arc<Pin>) -> Self {
        Function {
            config: Mutex::new(device.config_space()),
            doorbells: device.doorbells(),
            device,
            pin,
        }
    }

    fn msix(&self) -> Option<&Msix> {
        self.device.msix()
    }

    fn save(&self) -> FunctionState {
        FunctionState {
            config: lock(&self.config).save(),
            msix: self.msix().map(Msix::save),
        }
    }

    /// The configuration space of a saved state, all of which is checked.
    fn restored(&self, saved: &FunctionState) -> Result<ConfigSpace, StateError> {
        match (self.msix(), &saved.msix) {
            (Some(msix), Some(saved)) => msix.check(saved)?,
            (None, None) => {}
            _ => return Err(StateError::new("PCI bus", "MSI-X is not where it was")),
        }
        lock(&self.config).restored(&saved.config)
    }
}

/// A host bridge and its bus.
pub struct PciHost {
    functions: [Option<Function>; SLOTS as usize],
    decoding: RwLock<Decoding>,
    /// Where BARs can be reached: start and size.
    windows: OnceLock<Vec<(u64, u64)>>,
    /// The address register of the ports.
    pub(super) address: Mutex<u32>,
    /// Where the reset register leads, if there is one.
    pub(super) reset: Option<SystemEventSink>,
}

/// What answers where.
struct Decoding {
    /// The BARs that decode now. Where a guest lays two over each other, the lowest slot answers.
    mappings: Vec<Mapping>,
    doorbells: Taken,
}

#[derive(Clone, Copy)]
struct Mapping {
    start: u64,
    size: u64,
    slot: u8,
    bar: u8,
}

impl Mapping {
    fn is_within(&self, (start, size): (u64, u64)) -> bool {
        let offset = self.start.wrapping_sub(start);
        offset < size && self.size <= size - offset
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.start.wrapping_sub(other.start) < other.size
            || other.start.wrapping_sub(self.start) < self.size
    }
}

impl PciHost {
    /// Puts configuration space and windows onto `bus`, where `layout` says.
    ///
    /// # Errors
    /// When something is there already.
    pub fn map(self: &Arc<Self>, bus: &mut BusBuilder, layout: &PciLayout) -> Result<(), Overlap> {
        let window = |base| Window {
            host: self.clone(),
            base,
        };
        let (base, size) = layout.configuration;
        bus.insert("PCI configuration space", base, size, self.clone())?;
        let (base, size) = layout.memory_32;
        bus.insert("PCI memory window", base, size, Arc::new(window(base)))?;
        if let Some((base, size)) = layout.memory_64 {
            bus.insert("PCI 64-bit window", base, size, Arc::new(window(base)))?;
        }
        if let Some((base, size)) = layout.ports {
            bus.insert("PCI port window", base, size, Arc::new(NoPorts))?;
        }
        let windows = [layout.memory_32].into_iter().chain(layout.memory_64);
        // Only the first call counts.
        let _ = self.windows.set(windows.collect());
        Ok(())
    }

    /// Puts the other way to configuration space, by ports, onto `ports`, where PCs have it.
    ///
    /// # Errors
    /// When something is there already.
    pub fn map_ports(self: &Arc<Self>, ports: &mut BusBuilder) -> Result<(), Overlap> {
        let (base, size) = PORTS;
        ports.insert(
            "PCI configuration ports",
            base,
            size,
            Arc::new(ConfigPorts(self.clone())),
        )?;
        Ok(())
    }

    /// Everything that the guest can observe, but for what the functions keep themselves.
    #[must_use]
    pub fn save(&self) -> PciState {
        PciState {
            functions: self
                .plugged()
                .map(|(slot, function)| (slot, function.save()))
                .collect(),
            address: *lock(&self.address),
        }
    }

    /// Continues from a saved state. The functions' own states are restored separately.
    ///
    /// # Errors
    /// When the state is of a bus with other functions.
    pub fn restore(&self, saved: &PciState) -> Result<(), StateError> {
        let here: Vec<u8> = self.plugged().map(|(slot, _)| slot).collect();
        if !saved.functions.keys().eq(&here) {
            return Err(StateError::new(
                "PCI bus",
                format!(
                    "its slots {:?} are in use, here {here:?}",
                    saved.functions.keys()
                ),
            ));
        }
        let restored: Vec<ConfigSpace> = self
            .plugged()
            .map(|(slot, function)| function.restored(&saved.functions[&slot]))
            .collect::<Result<_, _>>()?;
        for ((slot, function), config) in self.plugged().zip(restored) {
            let mut place = lock(&function.config);
            function.pin.enable(config.intx_enabled());
            if let (Some(msix), Some(saved)) = (function.msix(), &saved.functions[&slot].msix) {
                msix.restore(saved, config.msix());
            }
            *place = config;
        }
        *lock(&self.address) = saved.address & WRITABLE;
        self.decode_again();
        Ok(())
    }

    fn plugged(&self) -> impl Iterator<Item = (u8, &Function)> {
        (0..)
            .zip(&self.functions)
            .filter_map(|(slot, function)| Some((slot, function.as_ref()?)))
    }

    fn decode_again(&self) {
        // Computed under the lock: of two concurrent changes, the later one's view must stay.
        let mut decoding = self
            .decoding
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let Decoding {
            mappings,
            doorbells,
        } = &mut *decoding;
        mappings.clear();
        for (slot, function) in self.plugged() {
            mappings.extend(lock(&function.config).bars().map(|bar| Mapping {
                start: bar.address,
                size: bar.size,
                slot,
                bar: bar.index,
            }));
        }
        doorbells.change_to(|| self.doorbells(mappings));
    }

    /// The doorbells that can be reached, but for those of BARs that a guest laid over others.
    fn doorbells(&self, mappings: &[Mapping]) -> Vec<Bell> {
        let windows = self.windows.get().map_or(&[][..], Vec::as_slice);
        let reached = mappings.iter().filter(|mapping| {
            let in_window = windows.iter().any(|&window| mapping.is_within(window));
            // Itself is one.
            let here = mappings.iter().filter(|other| other.overlaps(mapping));
            in_window && here.count() == 1
        });
        let bells = reached.flat_map(|mapping| {
            let function = self.functions[usize::from(mapping.slot)].as_ref();
            let bells = function.map_or(&[][..], |function| &function.doorbells);
            let of_bar = bells.iter().filter(|bell| bell.bar == mapping.bar);
            of_bar.map(|bell| (mapping.start + bell.offset, bell.waker.clone()))
        });
        bells.collect()
    }

    /// The function, BAR and offset that the whole of an access falls into.
    fn find(&self, address: u64, length: usize) -> Option<(&Function, u8, u64)> {
        let decoding = self.decoding.read().unwrap_or_else(PoisonError::into_inner);
        let mapping = decoding.mappings.iter().find(|mapping| {
            let offset = address.wrapping_sub(mapping.start);
            offset < mapping.size && length as u64 <= mapping.size - offset
        })?;
        let function = self.functions[usize::from(mapping.slot)].as_ref()?;
        Some((function, mapping.bar, address.wrapping_sub(mapping.start)))
    }

    /// The function and register that an ECAM offset means: bus in bits 20 to 27, device in 15
    /// to 19, function in 12 to 14 (PCI Express Base Specification, section 7.2.2).
    fn config_at(&self, offset: u64) -> Option<(&Function, usize)> {
        if offset >> 20 != 0 || offset >> 12 & 0b111 != 0 {
            return None;
        }
        let slot = (offset >> 15 & 0b1_1111) as usize;
        let function = self.functions[slot].as_ref()?;
        Some((function, (offset & 0xfff) as usize))
    }
}

/// Configuration space.
impl IoDevice for PciHost {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let Some((function, register)) = self.config_at(offset) else {
            // Nobody answers: a master abort reads as all ones (section 6.1).
            data.fill(0xff);
            return;
        };
        let wanted = function.pin.wanted();
        lock(&function.config).set_interrupt_status(wanted);
        function
            .device
            .config_read(&function.config, register, data);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let Some((function, register)) = self.config_at(offset) else {
            return;
        };
        function
            .device
            .config_write(&function.config, register, data);
        {
            let config = lock(&function.config);
            function.pin.enable(config.intx_enabled());
            if let Some(msix) = function.msix() {
                msix.set_control(config.msix());
            }
        }
        // Only the command register and the BARs say what is where.
        if register < 0x28 {
            self.decode_again();
        }
    }
}

/// A window through which the guest reaches memory BARs at the same address.
struct Window {
    host: Arc<PciHost>,
    base: u64,
}

impl IoDevice for Window {
    fn read(&self, offset: u64, data: &mut [u8]) {
        match self.host.find(self.base + offset, data.len()) {
            Some((function, bar, offset)) => match function.msix().filter(|msix| msix.bar() == bar)
            {
                Some(msix) => msix.read(offset, data),
                None => function.device.bar_read(bar, offset, data),
            },
            None => data.fill(0xff),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if let Some((function, bar, offset)) = self.host.find(self.base + offset, data.len()) {
            match function.msix().filter(|msix| msix.bar() == bar) {
                Some(msix) => msix.write(offset, data),
                None => function.device.bar_write(bar, offset, data),
            }
        }
    }
}

/// The window of I/O ports: no function has any.
struct NoPorts;

impl IoDevice for NoPorts {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn write(&self, _offset: u64, _data: &[u8]) {}
}

/// Device 0 of a bus that is told where everything is, and stands for the bridge itself.
fn generic_bridge() -> ConfigSpace {
    ConfigSpace::new(Identity {
        vendor: 0x1b36,
        device: 0x0008,
        revision: 0,
        class: 0x06_00_00,
        subsystem_vendor: 0x1af4,
        subsystem: 0x1100,
    })
}

/// A function of which there is its configuration space, and nothing else.
pub struct PlainFunction(pub ConfigSpace);

impl PciDevice for PlainFunction {
    fn config_space(&self) -> ConfigSpace {
        self.0.clone()
    }

    fn bar_read(&self, _bar: u8, _offset: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn bar_write(&self, _bar: u8, _offset: u64, _data: &[u8]) {}
}
