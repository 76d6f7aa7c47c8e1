//! The host's side of a machine's network card.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clade_devices::virtio::{NetBackend, NetOffloads, VirtioNet};
use clade_net::user::addresses::GUEST;
use clade_net::{
    Accepts, Forward, MacAddress, Network, Switch, SwitchError, Tap, TapError, UserConfig,
    UserNetwork,
};

use crate::descriptors;
use crate::io_thread::IoWorker;
use crate::spec::{MachineSpec, NetworkSpec, OutsideSpec, SwitchName};

/// Name of the file in a machine's folder that lists the ports that lead to it, as JSON.
pub const FORWARDS_FILE: &str = "forwards.json";

/// Why a machine's network cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The user-mode network.
    #[error(transparent)]
    User(#[from] clade_net::user::UserError),
    /// A switch.
    #[error(transparent)]
    Switch(#[from] SwitchError),
    /// A tap interface.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// Something of the host.
    #[error("the host refuses {what}: {source}")]
    Host {
        /// What was asked of it.
        what: &'static str,
        /// Its answer.
        source: io::Error,
    },
}

/// A network card's far end. It outlives the board, which only works with it.
#[derive(Clone)]
pub struct NetworkLink {
    /// The card's address.
    pub mac: MacAddress,
    network: Arc<Mutex<Network>>,
}

impl fmt::Debug for NetworkLink {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("NetworkLink")
            .field("mac", &self.mac)
            .finish_non_exhaustive()
    }
}

impl NetworkLink {
    /// Connects a machine's card, if it has one, and writes the ports that lead to the machine
    /// into `folder`.
    ///
    /// # Errors
    /// When a port is taken, or the host lacks something.
    pub fn open(spec: &MachineSpec, folder: &Path) -> Result<Option<Self>, NetworkError> {
        let mac = spec.mac();
        let network = match &spec.config.network {
            NetworkSpec::None => return Ok(None),
            NetworkSpec::User(outside) => {
                let user = UserNetwork::open(user_config(spec, mac, outside))?;
                write_forwards(folder, user.forwards())?;
                Network::from(user)
            }
            NetworkSpec::Switch(name, outside) => {
                let config = user_config(spec, mac, outside);
                let switch = Switch::join(&meeting_place(folder, name), config)?;
                write_forwards(folder, switch.user().forwards())?;
                Network::from(switch)
            }
            NetworkSpec::Tap(interface) => Network::from(Tap::open(interface)?),
        };
        // Every connection of the guest is one of this process; where the limit cannot be raised,
        // there are fewer.
        descriptors::raise_limit();
        Ok(Some(NetworkLink {
            mac,
            network: Arc::new(Mutex::new(network)),
        }))
    }

    /// What works for `device`, the card of a board that has just been built.
    ///
    /// # Errors
    /// When the host gives no descriptor.
    pub fn worker(&self, device: Arc<VirtioNet>) -> io::Result<impl IoWorker + 'static> {
        let mut network = self.lock();
        network.reset();
        Ok(NetWorker {
            device,
            link: self.clone(),
            watched: network.watched().try_clone_to_owned()?,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Network> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the machines of a switch meet: beside the folders of machines that run.
fn meeting_place(folder: &Path, name: &SwitchName) -> PathBuf {
    let runtime = folder.ancestors().nth(2).unwrap_or(folder);
    runtime.join("networks").join(name.to_string())
}

fn user_config(spec: &MachineSpec, mac: MacAddress, outside: &OutsideSpec) -> UserConfig {
    UserConfig {
        mac,
        guest: GUEST,
        host_name: spec.name.clone(),
        forwards: outside.forwards.clone(),
        allow: outside.allow.clone(),
        deny: outside.deny.clone(),
    }
}

/// The ports that lead to a machine that runs, as they are open; `folder` is that of its sockets.
#[must_use]
pub fn read_forwards(folder: &Path) -> Vec<Forward> {
    let text = fs::read(folder.join(FORWARDS_FILE)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn write_forwards(
    folder: &Path,
    forwards: impl Iterator<Item = Forward>,
) -> Result<(), NetworkError> {
    let forwards: Vec<_> = forwards.collect();
    let text = serde_json::to_vec(&forwards).map_err(io::Error::from);
    text.and_then(|text| fs::write(folder.join(FORWARDS_FILE), text))
        .map_err(|source| NetworkError::Host {
            what: "to write the list of forwarded ports",
            source,
        })
}

struct NetWorker {
    device: Arc<VirtioNet>,
    link: NetworkLink,
    watched: OwnedFd,
}

/// How often the worker looks for more before it looks whether it is to end.
const ROUNDS: usize = 16;

impl IoWorker for NetWorker {
    fn watched(&self) -> Option<BorrowedFd<'_>> {
        Some(self.watched.as_fd())
    }

    fn work(&mut self) -> Option<Duration> {
        let mut network = self.link.lock();
        for _ in 0..ROUNDS {
            let next = network.poll();
            if !self.device.process(&mut Cable(&mut network)) {
                return next;
            }
        }
        Some(Duration::ZERO)
    }
}

/// The network as the device knows it.
struct Cable<'a>(&'a mut Network);

impl NetBackend for Cable<'_> {
    fn start(&mut self, offloads: NetOffloads) {
        self.0.set_accepts(Accepts {
            checksum: offloads.checksum,
            tcp4: offloads.tcp4,
            tcp6: offloads.tcp6,
        });
    }

    fn send(&mut self, packet: &mut [u8]) {
        self.0.send(packet);
    }

    fn receive(&mut self, packet: &mut Vec<u8>) -> bool {
        self.0.receive(packet)
    }
}
