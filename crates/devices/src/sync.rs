//! Locking that does not spread a panic from one vCPU thread to the others.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex` whether or not a thread panicked while holding it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
