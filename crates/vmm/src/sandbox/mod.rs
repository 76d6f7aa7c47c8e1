//! What the machine's process gives up before the first guest instruction.
//!
//! A guest that breaks out of its machine finds a process that can gain no privileges, run no other
//! program, open no connection, map no code, and see nothing of the file system but the machine's
//! own folder and boot files. Two kernel features do it, each where the host has it: Landlock for
//! the file system, seccomp for system calls.

mod file_access;
mod permissions;
mod system_calls;

pub(crate) use permissions::Permissions;

/// Confines this process for good: the calling thread and all that it will start, and for system
/// calls every other thread too.
///
/// Returns what the host could not do, for the log.
pub(crate) fn enter(permissions: &Permissions) -> Vec<String> {
    let mut lacks = Vec::new();
    // Landlock first: its own system calls are not needed afterwards. Both set no_new_privs.
    if let Err(lack) = file_access::restrict(permissions) {
        lacks.push(format!("the file system stays visible: {lack}"));
    }
    if let Err(lack) = system_calls::restrict(permissions) {
        lacks.push(format!("system calls stay allowed: {lack}"));
    }
    lacks
}

#[cfg(test)]
mod tests;
