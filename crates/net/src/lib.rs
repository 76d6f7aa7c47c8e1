//! The network of a machine.
//!
//! A [`Network`] is the far end of the cable in a machine's network card: the user-mode network
//! ([`UserNetwork`]), which needs no privileges, a switch that several machines share, or a tap
//! interface of the host. What goes over the cable are packets as virtio has them (section 5.1.6
//! of the Virtual I/O Device Specification 1.2): a header that tells what checksums and
//! segmentation are left to do, and an Ethernet frame.
//!
//! All of it is one thread's work, which is told by [`Network::watched`] when there is some.

#[macro_use]
mod text;

mod config;
mod network;
mod output;
mod packet;
mod poller;
mod segment;
pub mod switch;
mod tap;
pub mod user;

pub use config::{Forward, ForwardError, Host, HostError, MacAddress, MacError, Protocol};
pub use network::Network;
pub use packet::{HEADER_LENGTH, MAX_PACKET, Offload};
pub use segment::{Accepts, lower};
pub use switch::{Switch, SwitchError};
pub use tap::{Tap, TapError};
pub use user::{UserConfig, UserNetwork};
