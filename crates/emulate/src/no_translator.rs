//! What stands in for the translator on hosts that it does not know: nothing.

use std::fs::File;
use std::io;
use std::sync::Arc;

use clade_engine::{Exit, PAGE_SIZE};
use clade_riscv::isa::Op;

use crate::core::Core;
use crate::memory::{GuestMemory, HostAddress};
use crate::port::Port;
use crate::translation::Translation;
use crate::tuning::Tuning;

pub(crate) enum Translator {}

#[derive(Clone, Copy)]
pub(crate) enum Link {}

#[derive(Clone, Copy)]
pub(crate) enum Code {}

#[allow(dead_code)]
pub(crate) enum Left {
    Continue,
    Budget,
    Interpret,
    Unlinked(Link),
    Exit(Exit),
}

/// What the host lacks for a translator.
pub(crate) fn lacks() -> Vec<&'static str> {
    vec!["an x86-64 processor under Linux"]
}

pub(crate) fn for_reading(_: &[u8; PAGE_SIZE as usize], _: u16) -> Option<Translation> {
    None
}

pub(crate) fn is_translatable(_: Op) -> bool {
    false
}

impl Link {
    pub(crate) fn pc(&self) -> u64 {
        match *self {}
    }
}

impl Translator {
    pub(crate) fn new(
        _: &Tuning,
        _: &GuestMemory,
        _: &[Arc<Port>],
        _: Option<&File>,
    ) -> Option<Self> {
        None
    }

    pub(crate) fn save(&self, _: &File, _: bool) -> io::Result<bool> {
        match *self {}
    }

    pub(crate) fn pages_inherited(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn fence(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn pages_changed(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn find(&self, _: &Core, _: HostAddress) -> Option<Code> {
        match *self {}
    }

    pub(crate) fn link(&self, _: &mut Core, _: Link, _: Code, _: HostAddress) {
        match *self {}
    }

    pub(crate) fn run(&self, _: &mut Core, _: Code) -> Left {
        match *self {}
    }

    pub(crate) fn translate(&self, _: &mut Core, _: HostAddress) -> Option<Code> {
        match *self {}
    }
}
