//! Memory for generated code: mapped twice, once to write and once to execute, never both at one
//! address. It is sparse: only what is written takes up host memory.

use std::ffi::c_void;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::mm::{
    Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags, madvise, mmap_anonymous, mprotect,
    mremap, munmap,
};

use super::assembler::CodeOffset;

/// The mappings of a translator that is gone. A confined process may make no other memory to
/// execute, and builds its machine anew when the guest resets it.
static SPARE: Mutex<Option<Mappings>> = Mutex::new(None);

/// The same memory at two addresses.
#[derive(Clone, Copy)]
struct Mappings {
    writable: NonNull<u8>,
    executable: NonNull<u8>,
    size: usize,
}

// SAFETY: the mappings belong to the process, not to a thread; new code has one writer, patches are atomic.
unsafe impl Send for Mappings {}
// SAFETY: as above.
unsafe impl Sync for Mappings {}

impl Mappings {
    /// The spare ones if they are of this size, else new ones.
    fn take(size: usize) -> io::Result<Self> {
        let spare = lock_spare().take_if(|spare| spare.size == size);
        spare.map_or_else(|| Self::new(size), Ok)
    }

    /// Maps shared memory that has no name: only in such does `perf` look for names of its own.
    fn new(size: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let writable = unsafe { mmap_anonymous(ptr::null_mut(), size, protection, flags)? };
        let executable = map_again_to_execute(writable, size).inspect_err(|_| {
            // SAFETY: mapped just now, and nothing points into it.
            let _ = unsafe { munmap(writable, size) };
        })?;
        let checked = |at: *mut c_void| {
            NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))
        };
        Ok(Self {
            writable: checked(writable)?,
            executable: checked(executable)?,
            size,
        })
    }

    /// Keeps them for the next translator, empty, in place of others.
    fn give_back(self) {
        // SAFETY: the whole of a mapping that nobody uses any more. Where the host does not take
        // its memory back, the next translator writes over it.
        let _ = unsafe {
            madvise(
                self.writable.as_ptr().cast(),
                self.size,
                Advice::LinuxRemove,
            )
        };
        if let Some(older) = lock_spare().replace(self) {
            older.unmap();
        }
    }

    fn unmap(self) {
        for mapping in [self.writable, self.executable] {
            // SAFETY: mapped in `new`, and nobody uses it any more.
            let _ = unsafe { munmap(mapping.as_ptr().cast(), self.size) };
        }
    }
}

/// Maps the shared memory at `at` a second time.
fn map_again_to_execute(at: *mut c_void, size: usize) -> io::Result<*mut c_void> {
    // SAFETY: an old size of 0 makes a new mapping of the same shared memory, at an address of the
    // kernel's choice, and leaves the old one alone (mremap(2)).
    let again = unsafe { mremap(at, 0, size, MremapFlags::MAYMOVE)? };
    // SAFETY: the mapping was made just now, and nothing points into it.
    let protected = unsafe { mprotect(again, size, MprotectFlags::READ | MprotectFlags::EXEC) };
    if let Err(error) = protected {
        // SAFETY: as above.
        let _ = unsafe { munmap(again, size) };
        return Err(error.into());
    }
    Ok(again)
}

fn lock_spare() -> MutexGuard<'static, Option<Mappings>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The memory of one translator.
pub(super) struct CodeMemory {
    mappings: Mappings,
}

impl CodeMemory {
    /// Maps `size` bytes, less than 2 GiB so that every jump in it reaches.
    pub(super) fn new(size: usize) -> io::Result<(Arc<Self>, CodeWriter)> {
        assert!(i32::try_from(size).is_ok(), "jumps reach 2 GiB");
        let mappings = Mappings::take(size)?;
        let memory = Arc::new(Self { mappings });
        Ok((memory.clone(), CodeWriter(memory)))
    }

    /// Replaces four aligned bytes in one piece, under the feet of harts that execute them: they
    /// see the old displacement or the new one (AMD APM volume 2, 7.6.1).
    pub(super) fn patch(&self, at: CodeOffset, value: u32) {
        let at = at as usize;
        assert!(at.is_multiple_of(4) && at + 4 <= self.mappings.size);
        // SAFETY: aligned and within the mapping, by the checks above.
        let word = unsafe { AtomicU32::from_ptr(self.mappings.writable.as_ptr().add(at).cast()) };
        word.store(value, Ordering::Release);
    }

    /// Where code is executed.
    pub(super) fn address(&self, at: CodeOffset) -> usize {
        self.mappings.executable.as_ptr() as usize + at as usize
    }
}

/// The one who may write new code.
pub(super) struct CodeWriter(Arc<CodeMemory>);

impl CodeWriter {
    /// Copies code to where it was assembled for: memory that no hart executes, because nobody was
    /// told of it yet, or because every hart has forgotten it.
    pub(super) fn write(&mut self, at: CodeOffset, code: &[u8]) {
        let at = at as usize;
        let mappings = &self.0.mappings;
        assert!(at <= mappings.size && code.len() <= mappings.size - at);
        // SAFETY: within the mapping, by the check above; there is one writer, and links are
        // patched in published code only.
        unsafe {
            let to = mappings.writable.as_ptr().add(at);
            ptr::copy_nonoverlapping(code.as_ptr(), to, code.len());
        }
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        // Nobody executes it any more, as every hart holds the translator that owns this.
        self.mappings.give_back();
    }
}
