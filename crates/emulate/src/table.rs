//! Tables that take up memory only where they are used.

use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::slice;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use zerocopy::FromZeros;

/// A fixed number of entries, of which unused ones are all zeros: the host gives memory for a page
/// of them when one is written to. A hart has many tables, and a machine that is idle needs little
/// of them; an allocator might make them of memory that was used before, and clear it.
pub(crate) struct Table<T> {
    start: NonNull<T>,
    entries: usize,
}

impl<T: FromZeros> Table<T> {
    /// A table of so many unused entries.
    ///
    /// # Panics
    /// When the host has no room for it in the address space.
    pub(crate) fn new(entries: usize) -> Self {
        const { assert!(align_of::<T>() <= 4096) };
        let start = match entries * size_of::<T>() {
            0 => NonNull::dangling(),
            size => {
                let protection = ProtFlags::READ | ProtFlags::WRITE;
                // SAFETY: a new mapping at an address of the kernel's choice.
                let mapped =
                    unsafe { mmap_anonymous(ptr::null_mut(), size, protection, MapFlags::PRIVATE) };
                let mapped = mapped.expect("there is room for a hart's tables");
                NonNull::new(mapped.cast()).expect("nothing is mapped at address 0")
            }
        };
        Self { start, entries }
    }
}

impl<T> Deref for Table<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: mapped by `new` for so many entries, aligned as pages are, and all zeros, which is
        // a value of `T`, or what was written since. The table owns them.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.entries) }
    }
}

impl<T> DerefMut for Table<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.entries) }
    }
}

impl<T> Drop for Table<T> {
    fn drop(&mut self) {
        let size = self.entries * size_of::<T>();
        // SAFETY: the entries are valid, and nobody uses them any more.
        unsafe { ptr::drop_in_place(&raw mut **self) };
        if size != 0 {
            // SAFETY: the whole of the mapping that `new` made.
            let _ = unsafe { munmap(self.start.as_ptr().cast(), size) };
        }
    }
}

// SAFETY: a table owns its entries as a box does.
unsafe impl<T: Send> Send for Table<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Table<T> {}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn entries_are_zeros_until_written() {
        let mut table = Table::<u64>::new(5000);
        assert_eq!(table.len(), 5000);
        assert!(table.iter().all(|&entry| entry == 0));
        table[4999] = 7;
        assert_eq!(table.last(), Some(&7));
        assert!(Table::<u64>::new(0).is_empty());
    }

    #[test]
    fn entries_are_dropped_with_their_table() {
        let counted = Rc::new(());
        let mut table = Table::<Option<Box<Rc<()>>>>::new(100);
        assert!(table.iter().all(Option::is_none));
        table[50] = Some(Box::new(counted.clone()));
        table[51] = Some(Box::new(counted.clone()));
        assert_eq!(Rc::strong_count(&counted), 3);
        table[51] = None;
        drop(table);
        assert_eq!(Rc::strong_count(&counted), 1);
    }
}
