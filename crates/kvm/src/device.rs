//! `/dev/kvm`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kvm_bindings::KVM_CAP_IOEVENTFD_ANY_LENGTH;
use kvm_ioctls::Cap;

use crate::dirty::PageMap;

/// Why this host's KVM cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is no device.
    #[error(
        "this host has no {0}: its processor's virtualization is switched off, its kernel has no KVM, \
         or it is a virtual machine without nested virtualization\n\
         Load the module (`modprobe kvm_intel` or `kvm_amd`), or run with `--engine emulate`."
    )]
    Missing(PathBuf),
    /// It belongs to others.
    #[error(
        "{0} may not be opened by this user\n\
         Join its group (`sudo usermod -aG kvm $USER`, then log in again), or run with `--engine emulate`."
    )]
    Forbidden(PathBuf),
    /// It does not open.
    #[error("{path} cannot be opened: {source}")]
    Open {
        /// Its path.
        path: PathBuf,
        /// The host's answer.
        source: io::Error,
    },
    /// It is another interface than the one that has been stable since 2007.
    #[error("{path} speaks version {version} of KVM's interface, and Clade speaks version 12")]
    Version {
        /// Its path.
        path: PathBuf,
        /// Its version.
        version: i32,
    },
    /// It lacks what a machine needs.
    #[error(
        "this host's KVM lacks {}; Linux 5.10 and later have all that is needed\n\
         Run with `--engine emulate`.",
        .0.join(", ")
    )]
    Lacks(Vec<&'static str>),
}

/// This host's KVM, opened and found to have what machines need.
#[derive(Debug)]
pub struct Device {
    pub(crate) kvm: kvm_ioctls::Kvm,
    /// `None` where there is no `/proc`.
    pub(crate) page_map: Option<Arc<PageMap>>,
}

const PATH: &str = "/dev/kvm";

/// `KVM_API_VERSION`.
const VERSION: i32 = 12;

/// What every machine needs, with the names that the interface's documentation gives them.
const NEEDED: &[(Cap, &str)] = &[
    (Cap::Irqchip, "KVM_CAP_IRQCHIP"),
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::SetTssAddr, "KVM_CAP_SET_TSS_ADDR"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
    (Cap::MpState, "KVM_CAP_MP_STATE"),
    (Cap::VcpuEvents, "KVM_CAP_VCPU_EVENTS"),
    (Cap::Debugregs, "KVM_CAP_DEBUGREGS"),
    (Cap::Xsave, "KVM_CAP_XSAVE"),
    (Cap::Xcrs, "KVM_CAP_XCRS"),
    (Cap::AdjustClock, "KVM_CAP_ADJUST_CLOCK"),
    (Cap::GetTscKhz, "KVM_CAP_GET_TSC_KHZ"),
    (Cap::SignalMsi, "KVM_CAP_SIGNAL_MSI"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
    (Cap::X86MsrFilter, "KVM_CAP_X86_MSR_FILTER"),
];

impl Device {
    /// Opens `/dev/kvm`. Nothing else of the file system is needed later.
    ///
    /// # Errors
    /// When it is not there, may not be opened, or lacks what machines need.
    pub fn open() -> Result<Self, DeviceError> {
        let kvm = kvm_ioctls::Kvm::new().map_err(|error| cannot_open(error.into()))?;
        let version = kvm.get_api_version();
        if version != VERSION {
            let path = PATH.into();
            return Err(DeviceError::Version { path, version });
        }
        let lacks: Vec<_> = (NEEDED.iter())
            .filter(|(capability, _)| !kvm.check_extension(*capability))
            .map(|(_, name)| *name)
            .collect();
        match lacks.is_empty() {
            true => Ok(Self {
                kvm,
                page_map: PageMap::open().ok().map(Arc::new),
            }),
            false => Err(DeviceError::Lacks(lacks)),
        }
    }

    /// Whether stores of any width can be answered by an eventfd (Linux 4.2).
    pub(crate) fn has_doorbells(&self) -> bool {
        let any_length = KVM_CAP_IOEVENTFD_ANY_LENGTH.into();
        self.kvm.check_extension(Cap::Ioeventfd) && self.kvm.check_extension_raw(any_length) > 0
    }

    /// How many vCPUs a machine can have.
    pub fn vcpus_max(&self) -> u32 {
        u32::try_from(self.kvm.get_max_vcpus()).unwrap_or(u32::MAX)
    }
}

fn cannot_open(source: io::Error) -> DeviceError {
    let path = PathBuf::from(PATH);
    match source.kind() {
        io::ErrorKind::NotFound => DeviceError::Missing(path),
        io::ErrorKind::PermissionDenied => DeviceError::Forbidden(path),
        // The device node is there, and no driver behind it.
        _ if source.raw_os_error() == Some(libc::ENODEV) => DeviceError::Missing(path),
        _ => DeviceError::Open { path, source },
    }
}
