//! A tap interface of the host.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{IntegerSetter, Setter, ioctl, opcode};

use crate::packet::{HEADER_LENGTH, MAX_PACKET};

/// `struct ifreq` with the flags that a tap is opened with (linux/if.h).
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

/// Requests of linux/if_tun.h.
const TUNSETIFF: u32 = opcode::write::<i32>(b'T', 202);
const TUNSETOFFLOAD: u32 = opcode::write::<u32>(b'T', 208);
const TUNSETVNETHDRSZ: u32 = opcode::write::<i32>(b'T', 216);

const IFF_TAP: i16 = 0x0002;
const IFF_NO_PI: i16 = 0x1000;
const IFF_VNET_HDR: i16 = 0x4000;

/// Checksums, and TCP segments over IPv4 and IPv6, may be left to us.
const OFFLOADS: usize = 0x01 | 0x02 | 0x04;

/// Why a tap interface cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the tap interface {interface}: {reason}")]
pub struct TapError {
    interface: String,
    reason: String,
}

impl TapError {
    fn new(interface: &str, error: Errno) -> Self {
        let reason = match error {
            Errno::PERM | Errno::ACCESS => format!(
                "that needs privileges, or an interface that is yours: \
                 `ip tuntap add {interface} mode tap user $USER` as root makes one"
            ),
            Errno::BUSY => "somebody else uses it".to_owned(),
            Errno::NOENT | Errno::NODEV => {
                "this host has no /dev/net/tun (the kernel's module tun)".to_owned()
            }
            Errno::INVAL => "it is no tap interface, or that is no name for one".to_owned(),
            other => io::Error::from(other).to_string(),
        };
        Self {
            interface: interface.to_owned(),
            reason,
        }
    }
}

/// The process's end of a tap interface.
pub struct Tap {
    interface: OwnedFd,
    buffer: Vec<u8>,
}

impl Tap {
    /// Opens an interface, or makes it, which needs privileges.
    ///
    /// # Errors
    /// When it is not there, not the user's, or in use.
    pub fn open(interface: &str) -> Result<Self, TapError> {
        Self::try_open(interface).map_err(|error| TapError::new(interface, error))
    }

    fn try_open(interface: &str) -> Result<Self, Errno> {
        let mut name = [0; 16];
        // The last byte stays 0.
        let room = name[..15].get_mut(..interface.len()).ok_or(Errno::INVAL)?;
        room.copy_from_slice(interface.as_bytes());
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let tap = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
        let request = InterfaceRequest {
            name,
            flags: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR,
            rest: [0; 22],
        };
        let length = HEADER_LENGTH as i32;
        // SAFETY: each request reads what it is given here: `struct ifreq`, an `int`, and a number
        // in place of a pointer.
        unsafe {
            ioctl(&tap, Setter::<TUNSETIFF, InterfaceRequest>::new(request))?;
            ioctl(&tap, Setter::<TUNSETVNETHDRSZ, i32>::new(length))?;
            ioctl(&tap, IntegerSetter::<TUNSETOFFLOAD>::new_usize(OFFLOADS))?;
        }
        Ok(Tap {
            interface: tap,
            buffer: vec![0; MAX_PACKET],
        })
    }

    /// Can be read when there is a packet for the guest.
    #[must_use]
    pub fn watched(&self) -> BorrowedFd<'_> {
        self.interface.as_fd()
    }

    /// Takes a packet of the guest; it is lost if the host has no room, or does not like it.
    pub fn send(&self, packet: &[u8]) {
        let _ = rustix::io::write(&self.interface, packet);
    }

    /// Puts the next packet for the guest into `packet`; returns whether there is one.
    pub fn receive(&mut self, packet: &mut Vec<u8>) -> bool {
        let length = rustix::io::read(&self.interface, self.buffer.as_mut_slice()).unwrap_or(0);
        packet.clear();
        packet.extend_from_slice(&self.buffer[..length]);
        length >= HEADER_LENGTH
    }
}
