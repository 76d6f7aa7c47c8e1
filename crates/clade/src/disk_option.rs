//! The options about disks.

use std::path::PathBuf;
use std::str::FromStr;

use clade_vmm::spec::{DiskFormat, DiskSpec, OnFullDisk};

use crate::choice;
use crate::failure::Failure;

/// A machine's disks.
#[derive(Debug, clap::Args)]
pub(crate) struct DiskOptions {
    /// Give the machine this disk, raw or qcow2: a file or block device. Can be repeated.
    #[arg(long, value_name = "FILE[,ro][,format=F][,serial=S]")]
    disk: Vec<DiskOption>,
    /// What a write does when this host has no space left for the machine's disks: `error` in the
    /// guest, or `wait` until there is space.
    #[arg(
        long,
        value_name = "WHAT",
        default_value = OnFullDisk::default().name(),
        value_parser = choice::parser(OnFullDisk::ALL, OnFullDisk::name)
    )]
    pub(crate) on_full_disk: OnFullDisk,
}

impl DiskOptions {
    /// Whether any disk was named.
    pub(crate) fn has_any(&self) -> bool {
        !self.disk.is_empty()
    }

    /// What the machine is to be told of the disks that were named.
    pub(crate) fn specs(self) -> Result<Vec<DiskSpec>, Failure> {
        self.disk.into_iter().map(DiskOption::into_spec).collect()
    }
}

/// `FILE[,ro][,format=raw|qcow2][,serial=TEXT]`. Only what stands at the end and is an option is
/// taken for one, so that a file's name may have commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiskOption {
    path: PathBuf,
    format: Option<DiskFormat>,
    read_only: bool,
    serial: String,
}

impl FromStr for DiskOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut disk = Self {
            path: PathBuf::new(),
            format: None,
            read_only: false,
            serial: String::new(),
        };
        let mut rest = text;
        while let Some((before, option)) = rest.rsplit_once(',') {
            if !disk.take(option)? {
                break;
            }
            rest = before;
        }
        if rest.is_empty() {
            return Err("it names no file; write it like disk.img or disk.qcow2,ro".to_owned());
        }
        disk.path = rest.into();
        Ok(disk)
    }
}

impl DiskOption {
    /// Applies an option; false if it is none.
    fn take(&mut self, option: &str) -> Result<bool, String> {
        match option.split_once('=') {
            None if option == "ro" => self.read_only = true,
            Some(("format", name)) => self.format = Some(name.parse()?),
            Some(("serial", serial)) if serial.len() > 20 => {
                return Err(format!(
                    "the serial number '{serial}' is longer than 20 bytes"
                ));
            }
            Some(("serial", serial)) => serial.clone_into(&mut self.serial),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What the machine is to be told, with the format that the file looks like if none was said.
    pub(crate) fn into_spec(self) -> Result<DiskSpec, Failure> {
        let format = match self.format {
            Some(format) => format,
            None => {
                DiskFormat::detect(&self.path).map_err(|error| Failure::new(error.to_string()))?
            }
        };
        Ok(DiskSpec {
            path: self.path,
            format,
            read_only: self.read_only,
            serial: self.serial,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, Option<DiskFormat>, bool, String) {
        let disk: DiskOption = text.parse().expect(text);
        let path = disk.path.display().to_string();
        (path, disk.format, disk.read_only, disk.serial)
    }

    #[test]
    fn options_follow_the_file() {
        let none = String::new;
        assert_eq!(parsed("a.img"), ("a.img".into(), None, false, none()));
        assert_eq!(parsed("a.img,ro"), ("a.img".into(), None, true, none()));
        assert_eq!(
            parsed("a,b,format=qcow2,ro,serial=x=y"),
            ("a,b".into(), Some(DiskFormat::Qcow2), true, "x=y".into())
        );
        assert_eq!(parsed("a,rw"), ("a,rw".into(), None, false, none()));
        for wrong in ["", ",ro", "a,format=vmdk", "a,serial=123456789012345678901"] {
            assert!(wrong.parse::<DiskOption>().is_err(), "{wrong}");
        }
    }
}
