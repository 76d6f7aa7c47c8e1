//! Memory for generated code: mapped twice, once to write and once to execute, never both at one
//! address. It is sparse: only what is written takes up host memory.

use std::io;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::assembler::CodeOffset;

/// The two mappings.
pub(super) struct CodeMemory {
    writable: NonNull<u8>,
    executable: NonNull<u8>,
    size: usize,
}

// SAFETY: the mappings belong to the process, not to a thread; new code has one writer, patches are atomic.
unsafe impl Send for CodeMemory {}
// SAFETY: as above.
unsafe impl Sync for CodeMemory {}

impl CodeMemory {
    /// Maps `size` bytes, less than 2 GiB so that every jump in it reaches.
    pub(super) fn new(size: usize) -> io::Result<(Arc<Self>, CodeWriter)> {
        assert!(i32::try_from(size).is_ok(), "jumps reach 2 GiB");
        let file = memfd_create("clade-translations", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size as u64)?;
        let map = |protection| -> io::Result<NonNull<u8>> {
            // SAFETY: a new mapping at an address of the kernel's choice.
            let at = unsafe {
                mmap(
                    ptr::null_mut(),
                    size,
                    protection,
                    MapFlags::SHARED,
                    &file,
                    0,
                )?
            };
            NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))
        };
        let writable = map(ProtFlags::READ | ProtFlags::WRITE)?;
        let executable = match map(ProtFlags::READ | ProtFlags::EXEC) {
            Ok(executable) => executable,
            Err(error) => {
                // SAFETY: mapped just now, and nothing points into it.
                let _ = unsafe { munmap(writable.as_ptr().cast(), size) };
                return Err(error);
            }
        };
        let memory = Arc::new(Self {
            writable,
            executable,
            size,
        });
        Ok((memory.clone(), CodeWriter(memory)))
    }

    /// Replaces four aligned bytes in one piece, under the feet of harts that execute them: they
    /// see the old displacement or the new one (AMD APM volume 2, 7.6.1).
    pub(super) fn patch(&self, at: CodeOffset, value: u32) {
        let at = at as usize;
        assert!(at.is_multiple_of(4) && at + 4 <= self.size);
        // SAFETY: aligned and within the mapping, by the checks above.
        let word = unsafe { AtomicU32::from_ptr(self.writable.as_ptr().add(at).cast()) };
        word.store(value, Ordering::Release);
    }

    /// Where code is executed.
    pub(super) fn address(&self, at: CodeOffset) -> usize {
        self.executable.as_ptr() as usize + at as usize
    }
}

/// The one who may write new code.
pub(super) struct CodeWriter(Arc<CodeMemory>);

impl CodeWriter {
    /// Copies code to where it was assembled for: memory that no hart executes, because nobody was
    /// told of it yet, or because every hart has forgotten it.
    pub(super) fn write(&mut self, at: CodeOffset, code: &[u8]) {
        let at = at as usize;
        assert!(at <= self.0.size && code.len() <= self.0.size - at);
        // SAFETY: within the mapping, by the check above; there is one writer, and links are
        // patched in published code only.
        unsafe {
            let to = self.0.writable.as_ptr().add(at);
            ptr::copy_nonoverlapping(code.as_ptr(), to, code.len());
        }
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        for mapping in [self.writable, self.executable] {
            // SAFETY: mapped in `new`; nobody executes it any more, as every hart holds the
            // translator that owns this.
            let _ = unsafe { munmap(mapping.as_ptr().cast(), self.size) };
        }
    }
}
