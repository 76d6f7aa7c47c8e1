//! Loads, stores and fetches of a hart: TLB first, then the page walk, then devices.

use clade_engine::PAGE_SIZE;
use clade_riscv::mmu::{self, Access, Space, Translation};
use clade_riscv::pmp::Verdict;
use clade_riscv::trap::Trap;

use crate::core::Core;
use crate::memory::{HostAddress, Scalar};
use crate::tlb::{Context, Rights};

/// What a virtual address leads to.
enum Target {
    Ram(HostAddress),
    /// Not RAM: a device, or nothing. The physical address.
    Device(u64),
}

impl Core {
    /// Loads a value from virtual address `address`.
    #[inline(always)]
    pub(crate) fn load<T: Scalar>(&mut self, address: u64) -> Result<T, Trap> {
        if let Some(at) = self.tlb.read(self.data_member, address, T::SIZE) {
            // SAFETY: the TLB holds live RAM, and found the address aligned.
            return Ok(unsafe { T::load(at) });
        }
        self.load_slow(address)
    }

    /// Stores a value at virtual address `address`.
    #[inline(always)]
    pub(crate) fn store<T: Scalar>(&mut self, address: u64, value: T) -> Result<(), Trap> {
        if let Some(at) = self.tlb.write(self.data_member, address, T::SIZE) {
            // SAFETY: the TLB holds live RAM, and found the address aligned.
            unsafe { value.store(at) };
            return Ok(());
        }
        self.store_slow(address, value)
    }

    #[cold]
    #[inline(never)]
    fn load_slow<T: Scalar>(&mut self, address: u64) -> Result<T, Trap> {
        if address & (T::SIZE - 1) != 0 {
            let places = self.locate_bytes(address, T::SIZE, Access::Read)?;
            let mut bytes = [0; 8];
            for (byte, at) in bytes.iter_mut().zip(places.iter(T::SIZE)) {
                // SAFETY: a byte of RAM that was just located.
                *byte = unsafe { u8::load(at) };
            }
            return Ok(T::from_bytes(bytes));
        }
        match self.locate(self.data_context, address, T::SIZE, Access::Read)? {
            // SAFETY: RAM that was just located, aligned as `address` is.
            Target::Ram(at) => Ok(unsafe { T::load(at) }),
            Target::Device(physical) => {
                let mut bytes = [0; 8];
                let data = &mut bytes[..T::SIZE as usize];
                self.shared
                    .bus
                    .read(physical, data)
                    .map_err(|_| Access::Read.access_fault(address))?;
                Ok(T::from_bytes(bytes))
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn store_slow<T: Scalar>(&mut self, address: u64, value: T) -> Result<(), Trap> {
        let bytes = value.to_bytes();
        if address & (T::SIZE - 1) != 0 {
            let places = self.locate_bytes(address, T::SIZE, Access::Write)?;
            for (byte, at) in bytes.into_iter().zip(places.iter(T::SIZE)) {
                // SAFETY: a byte of RAM that was just located for writing.
                unsafe { byte.store(at) };
            }
            return Ok(());
        }
        match self.locate(self.data_context, address, T::SIZE, Access::Write)? {
            // SAFETY: RAM that was just located, aligned as `address` is.
            Target::Ram(at) => unsafe { value.store(at) },
            Target::Device(physical) => self
                .shared
                .bus
                .write(physical, &bytes[..T::SIZE as usize])
                .map_err(|_| Access::Write.access_fault(address))?,
        }
        Ok(())
    }

    /// Where an aligned datum of `size` bytes is that an atomic instruction works on. Devices
    /// do not support atomics.
    pub(crate) fn locate_atomic(
        &mut self,
        address: u64,
        size: u64,
        access: Access,
    ) -> Result<HostAddress, Trap> {
        if address & (size - 1) != 0 {
            return Err(access.misaligned(address));
        }
        let cached = match access {
            Access::Write => self.tlb.write(self.data_member, address, size),
            _ => self.tlb.read(self.data_member, address, size),
        };
        if let Some(at) = cached {
            return Ok(at);
        }
        match self.locate(self.data_context, address, size, access)? {
            Target::Ram(at) => Ok(at),
            Target::Device(_) => Err(access.access_fault(address)),
        }
    }

    /// Fills a block of `size` bytes (aligned, a multiple of 8) with zeroes. Devices have none.
    pub(crate) fn zero_block(&mut self, address: u64, size: u64) -> Result<(), Trap> {
        let at = match self.tlb.write(self.data_member, address, size) {
            Some(at) => at,
            None => match self.locate(self.data_context, address, size, Access::Write)? {
                Target::Ram(at) => at,
                Target::Device(_) => return Err(Access::Write.access_fault(address)),
            },
        };
        for offset in (0..size as usize).step_by(8) {
            // SAFETY: `size` bytes of RAM were found at `at`, which is aligned as `address` is.
            unsafe { 0u64.store(HostAddress(at.0 + offset)) };
        }
        Ok(())
    }

    /// The physical address of a block of `size` bytes (aligned) for cache-block instructions.
    pub(crate) fn translate_block(
        &mut self,
        address: u64,
        size: u64,
        access: Access,
    ) -> Result<u64, Trap> {
        let translation = self.translate(self.data_context, address, size, access)?;
        Ok(translation.physical)
    }

    /// Where the 16 bits of code at `address` are. The flag says whether the whole page may be
    /// decoded from there without asking again.
    pub(crate) fn locate_code(&mut self, address: u64) -> Result<(HostAddress, bool), Trap> {
        match self.locate(self.fetch_context, address, 2, Access::Execute)? {
            Target::Ram(at) => Ok((at, self.tlb.execute(self.fetch_member, address).is_some())),
            Target::Device(_) => Err(Access::Execute.access_fault(address)),
        }
    }

    /// Where the bytes of a misaligned datum are; devices do not support misaligned accesses.
    /// Everything is checked before the first byte is touched.
    fn locate_bytes(&mut self, address: u64, size: u64, access: Access) -> Result<Span, Trap> {
        let context = self.data_context;
        let in_first = (PAGE_SIZE - address % PAGE_SIZE).min(size);
        let cached = match access {
            Access::Write => self.tlb.write(self.data_member, address, 1),
            _ => self.tlb.read(self.data_member, address, 1),
        };
        if let Some(first) = cached.filter(|_| in_first == size) {
            return Ok(Span {
                first,
                in_first,
                second: first,
            });
        }
        // The trap names the part of the access that faults (privileged spec 3.1.16).
        let mut locate = |address, size| match self.locate(context, address, size, access)? {
            Target::Ram(at) => Ok(at),
            Target::Device(_) => Err(access.access_fault(address)),
        };
        let first = locate(address, in_first)?;
        let second = if in_first < size {
            let next = address.wrapping_add(in_first);
            locate(next, size - in_first)?
        } else {
            first
        };
        Ok(Span {
            first,
            in_first,
            second,
        })
    }

    /// Translates, caches, and finds the `size` bytes at `address`, which lie within one page.
    fn locate(
        &mut self,
        context: Context,
        address: u64,
        size: u64,
        access: Access,
    ) -> Result<Target, Trap> {
        let translation = self.translate(context, address, size, access)?;
        let memory = &self.shared.memory;
        let host = if access == Access::Write {
            memory.host_for_write(translation.physical, size)
        } else {
            memory.host(translation.physical, size)
        };
        let Some(host) = host else {
            return Ok(Target::Device(translation.physical));
        };
        let page = translation.physical & !(PAGE_SIZE - 1);
        if memory.host(page, PAGE_SIZE).is_some() && self.hart.csrs.pmp.is_uniform(page, PAGE_SIZE)
        {
            let rights = self.rights(context, page, &translation, access);
            let leaf = (translation.page_size, translation.global);
            let member = self.tlb.member(context);
            self.tlb.insert(member, address, host, leaf, rights);
        }
        Ok(Target::Ram(host))
    }

    fn translate(
        &self,
        context: Context,
        address: u64,
        size: u64,
        access: Access,
    ) -> Result<Translation, Trap> {
        let mode = context.mode();
        let csrs = &self.hart.csrs;
        let translation =
            mmu::translate(Space { mode, csrs }, &self.shared.memory, address, access)?;
        match csrs.pmp.check(translation.physical, size, access, mode) {
            Verdict::Allowed => Ok(translation),
            Verdict::Denied => Err(access.access_fault(address)),
        }
    }

    /// What the TLB may remember of a page of RAM. The right to write only once the page is
    /// known to be dirty.
    fn rights(
        &self,
        context: Context,
        page: u64,
        translation: &Translation,
        access: Access,
    ) -> Rights {
        let allows = |access| {
            self.hart
                .csrs
                .pmp
                .check(page, PAGE_SIZE, access, context.mode())
                == Verdict::Allowed
        };
        Rights {
            read: translation.readable && allows(Access::Read),
            write: access == Access::Write && translation.writable && allows(Access::Write),
            execute: translation.executable && allows(Access::Execute),
        }
    }
}

/// The host addresses of bytes that may straddle two pages.
struct Span {
    first: HostAddress,
    in_first: u64,
    second: HostAddress,
}

impl Span {
    fn iter(&self, size: u64) -> impl Iterator<Item = HostAddress> + '_ {
        (0..size).map(|i| match i.checked_sub(self.in_first) {
            None => HostAddress(self.first.0 + i as usize),
            Some(beyond) => HostAddress(self.second.0 + beyond as usize),
        })
    }
}
