//! What `clade run` leaves to be done behind it. Not for people.

use std::io::{self, Read};
use std::process::ExitCode;

use crate::failure::Failure;
use crate::warm::{self, Wish};

/// The hidden verb's name.
pub(crate) const NAME: &str = "warm-image";

/// How little it is in a hurry, as nice(1) has it.
const NICE: i32 = 19;

/// Make a warm image, as standard input says.
#[derive(Debug, clap::Args)]
pub(crate) struct WarmImage {}

impl WarmImage {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let _ = rustix::process::nice(NICE);
        let mut wish = Vec::new();
        io::stdin().lock().read_to_end(&mut wish)?;
        let wish: Wish = serde_json::from_slice(&wish)?;
        warm::make(&wish)?;
        Ok(ExitCode::SUCCESS)
    }
}
