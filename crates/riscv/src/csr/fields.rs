//! Fields of the CSRs that have some.

/// `mstatus` and `sstatus` (privileged spec 3.1.6, 12.1.1).
pub mod status {
    #![allow(missing_docs)]
    pub const SIE: u64 = 1 << 1;
    pub const MIE: u64 = 1 << 3;
    pub const SPIE: u64 = 1 << 5;
    pub const MPIE: u64 = 1 << 7;
    pub const SPP: u64 = 1 << 8;
    pub const MPP_SHIFT: u32 = 11;
    pub const MPP: u64 = 3 << MPP_SHIFT;
    pub const FS_SHIFT: u32 = 13;
    /// Floating-point unit status: 0 off, 1 initial, 2 clean, 3 dirty.
    pub const FS: u64 = 3 << FS_SHIFT;
    pub const MPRV: u64 = 1 << 17;
    pub const SUM: u64 = 1 << 18;
    pub const MXR: u64 = 1 << 19;
    pub const TVM: u64 = 1 << 20;
    pub const TW: u64 = 1 << 21;
    pub const TSR: u64 = 1 << 22;
    /// UXL = SXL = 64 bits, read-only.
    pub const XLEN_64: u64 = 2 << 32 | 2 << 34;
    pub const UXL_64: u64 = 2 << 32;
    /// Set when FS is dirty; computed on reading.
    pub const SD: u64 = 1 << 63;

    pub(crate) const SUPERVISOR_WRITABLE: u64 = SIE | SPIE | SPP | FS | SUM | MXR;
    pub(crate) const MACHINE_WRITABLE: u64 =
        SUPERVISOR_WRITABLE | MIE | MPIE | MPP | MPRV | TVM | TW | TSR;
}

/// `menvcfg` and `senvcfg` (privileged spec 3.1.18, 12.1.10).
pub mod envcfg {
    /// Fences of device I/O order memory too.
    pub const FIOM: u64 = 1 << 0;
    /// What `cbo.inval` does in less privileged modes: 0 illegal, 1 flush, 3 invalidate.
    pub const CBIE: u64 = 3 << 4;
    /// `cbo.clean` and `cbo.flush` are allowed in less privileged modes.
    pub const CBCFE: u64 = 1 << 6;
    /// `cbo.zero` is allowed in less privileged modes.
    pub const CBZE: u64 = 1 << 7;
    /// The hardware updates A and D bits (Svadu).
    pub const ADUE: u64 = 1 << 61;
    /// Page-based memory types are enabled (Svpbmt).
    pub const PBMTE: u64 = 1 << 62;
    /// `stimecmp` is enabled (Sstc).
    pub const STCE: u64 = 1 << 63;

    pub(crate) const SUPERVISOR_WRITABLE: u64 = FIOM | CBIE | CBCFE | CBZE;
    pub(crate) const MACHINE_WRITABLE: u64 = SUPERVISOR_WRITABLE | ADUE | PBMTE | STCE;
}

/// `mstateen0` (Smstateen): which state less privileged modes may reach.
pub mod stateen {
    /// The state of the IMSIC (AIA 2.5).
    pub const IMSIC: u64 = 1 << 58;
    /// What else of the AIA is not named here.
    pub const AIA: u64 = 1 << 59;
    /// `siselect` and `sireg`.
    pub const INDIRECT: u64 = 1 << 60;
    /// `senvcfg`.
    pub const ENVCFG: u64 = 1 << 62;
    /// `sstateen0`.
    pub const SE0: u64 = 1 << 63;
}

/// `satp` (privileged spec 12.1.11).
pub mod satp {
    /// The mode field's position.
    pub const MODE_SHIFT: u32 = 60;
    /// The address-space identifier's position; it has 16 bits.
    pub const ASID_SHIFT: u32 = 44;
    /// The root page table's page number.
    pub const PPN: u64 = (1 << 44) - 1;
    /// No translation.
    pub const BARE: u64 = 0;
    /// 39-bit addresses, three levels.
    pub const SV39: u64 = 8;
    /// 48-bit addresses, four levels.
    pub const SV48: u64 = 9;
    /// 57-bit addresses, five levels.
    pub const SV57: u64 = 10;

    /// The address-space identifier in a `satp` value.
    pub const fn asid(value: u64) -> u64 {
        value >> ASID_SHIFT & 0xffff
    }
}
