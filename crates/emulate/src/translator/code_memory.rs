//! Memory for generated code: mapped twice, once to write and once to execute, never both at one
//! address. It is sparse: only what is written takes up host memory.

use std::ffi::c_void;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clade_engine::PAGE_SIZE;
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags, madvise, mmap, mmap_anonymous,
    mprotect, mremap, munmap,
};

use super::assembler::CodeOffset;
use super::persisted::{CODE_START, Persisted};

const PAGE: usize = PAGE_SIZE as usize;

/// The mappings of a translator that is gone. A confined process may make no other memory to
/// execute, and builds its machine anew when the guest resets it.
static SPARE: Mutex<Option<Mappings>> = Mutex::new(None);

/// The same memory at two addresses.
#[derive(Clone, Copy)]
struct Mappings {
    writable: NonNull<u8>,
    executable: NonNull<u8>,
    size: usize,
    /// What is mapped to be executed, and never written to, behind the thunks.
    inherited: Option<&'static Persisted>,
}

// SAFETY: the mappings belong to the process, not to a thread; new code has one writer, patches are atomic.
unsafe impl Send for Mappings {}
// SAFETY: as above.
unsafe impl Sync for Mappings {}

impl Mappings {
    /// The spare ones if nothing is to be inherited and they have this `room`; else new ones.
    fn take(room: usize, inherited: Option<&'static Persisted>) -> io::Result<Self> {
        let fits = |spare: &mut Self| inherited.is_none() && spare.room() == room;
        let spare = lock_spare().take_if(fits);
        spare.map_or_else(|| Self::new_with(room, inherited), Ok)
    }

    /// With what is inherited, unless the host does not let it be executed.
    fn new_with(room: usize, inherited: Option<&'static Persisted>) -> io::Result<Self> {
        let Some(persisted) = inherited else {
            return Self::new(room);
        };
        let mut mappings = Self::new(room + persisted.code_bytes())?;
        if mappings.inherit(persisted).is_err() {
            mappings.unmap();
            return Self::new(room);
        }
        mappings.inherited = inherited;
        Ok(mappings)
    }

    /// Maps what is inherited over the memory to execute.
    fn inherit(&self, persisted: &Persisted) -> io::Result<()> {
        let (file, start) = persisted.code();
        // SAFETY: within the mapping of this process's own, which is larger by as many bytes and
        // a page, and into which nothing points yet.
        unsafe {
            mmap(
                self.executable.as_ptr().add(CODE_START).cast(),
                persisted.code_bytes(),
                ProtFlags::READ | ProtFlags::EXEC,
                MapFlags::PRIVATE | MapFlags::FIXED,
                file,
                start,
            )?;
        }
        Ok(())
    }

    /// Bytes that can be written to.
    fn room(&self) -> usize {
        self.size - self.inherited.map_or(0, Persisted::code_bytes)
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
            inherited: None,
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
    /// Maps `room` bytes to write to, the thunks' page among them, less than 1 GiB: with what is
    /// inherited, every jump reaches.
    pub(super) fn new(
        room: usize,
        inherited: Option<&'static Persisted>,
    ) -> io::Result<(Arc<Self>, CodeWriter)> {
        assert!(room < 1 << 30, "jumps reach 2 GiB");
        let mappings = Mappings::take(room, inherited)?;
        let memory = Arc::new(Self { mappings });
        Ok((memory.clone(), CodeWriter(memory)))
    }

    /// What is inherited code, by this translator or one before it in this process.
    pub(super) fn inherited(&self) -> Option<&'static Persisted> {
        self.mappings.inherited
    }

    /// Whether code there is inherited, and so never changes.
    pub(super) fn is_inherited(&self, at: CodeOffset) -> bool {
        let bytes = self.inherited().map_or(0, Persisted::code_bytes);
        (at as usize)
            .checked_sub(CODE_START)
            .is_some_and(|offset| offset < bytes)
    }

    /// Copies a page of code, word by word, as links are patched meanwhile.
    pub(super) fn read_page(&self, at: CodeOffset) -> [u64; PAGE / 8] {
        let start = at as usize;
        assert!(start.is_multiple_of(PAGE) && start + PAGE <= self.mappings.size);
        if let Some(inherited) = self.inherited().filter(|_| self.is_inherited(at)) {
            return inherited.code_page(start - CODE_START);
        }
        std::array::from_fn(|index| {
            // SAFETY: aligned and within the mapping, by the checks above.
            let word = unsafe {
                let from = self.mappings.writable.as_ptr().add(start + 8 * index);
                AtomicU64::from_ptr(from.cast())
            };
            word.load(Ordering::Relaxed)
        })
    }

    /// Replaces four aligned bytes in one piece, under the feet of harts that execute them: they
    /// see the old displacement or the new one (AMD APM volume 2, 7.6.1).
    pub(super) fn patch(&self, at: CodeOffset, value: u32) {
        assert!(!self.is_inherited(at), "inherited code never changes");
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
        assert!(!self.0.is_inherited(at), "inherited code never changes");
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
