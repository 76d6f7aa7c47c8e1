//! What dpkg knows of packages: `/var/lib/dpkg`, as dpkg itself would have left it after unpacking them
//! and before configuring any (dpkg(1), deb-triggers(5)).

use std::collections::BTreeMap;

use clade_ext4::{Builder, Metadata};
use md5::{Digest, Md5};

use crate::Error;
use crate::control::{Paragraph, paragraphs};

const FOLDER: &str = "var/lib/dpkg";

/// Collects what is known of packages that are being unpacked.
#[derive(Default)]
pub(crate) struct Database {
    status: String,
    /// Paths that packages want to hear of, a line each.
    file_triggers: String,
    /// Packages that want to hear of a named trigger, a line each.
    named_triggers: BTreeMap<String, String>,
}

/// A package that is being unpacked.
pub(crate) struct Unpacked<'a> {
    pub(crate) name: &'a str,
    /// Its control files.
    pub(crate) control: &'a BTreeMap<String, Vec<u8>>,
    /// All its paths, from the root, without a slash at either end.
    pub(crate) paths: &'a [String],
}

impl Unpacked<'_> {
    fn text(&self, file: &str) -> String {
        let content = self.control.get(file).map(Vec::as_slice);
        String::from_utf8_lossy(content.unwrap_or_default()).into_owned()
    }

    /// Its configuration files: kept where the administrator changed them.
    pub(crate) fn configuration_files(&self) -> Vec<String> {
        let list = self.text("conffiles");
        // A word in front, like "remove-on-upgrade", is about files that the package no longer has.
        let paths = list.lines().filter_map(|line| line.strip_prefix('/'));
        paths.map(|path| path.trim_end().to_owned()).collect()
    }
}

impl Database {
    /// Notes a package, whose configuration files are in the image already.
    pub(crate) fn add(&mut self, image: &mut Builder, package: &Unpacked<'_>) -> Result<(), Error> {
        let text = package.text("control");
        let paragraph = paragraphs(&text).next().ok_or_else(|| {
            Error::malformed(
                format!("the package {}", package.name),
                "it has no control file",
            )
        })?;
        // Several architectures of one package may be installed together if it says so.
        let architecture = paragraph.field("Architecture").unwrap_or_default();
        let owner = match paragraph.field("Multi-Arch").as_deref() {
            Some("same") => format!("{}:{architecture}", package.name),
            _ => package.name.to_owned(),
        };
        self.add_status(image, package, &paragraph)?;
        self.add_triggers(package, &owner);
        add_info(image, package, &owner)
    }

    fn add_status(
        &mut self,
        image: &mut Builder,
        package: &Unpacked<'_>,
        paragraph: &Paragraph<'_>,
    ) -> Result<(), Error> {
        let (first, rest) = paragraph
            .text()
            .split_once('\n')
            .unwrap_or((paragraph.text(), ""));
        self.status.push_str(first);
        self.status.push_str("\nStatus: install ok unpacked\n");
        self.status.push_str(rest.trim_end());
        self.status.push('\n');
        let configuration = package.configuration_files();
        if !configuration.is_empty() {
            self.status.push_str("Conffiles:\n");
        }
        for path in configuration {
            // They are in place, so that dpkg has nothing to ask; it needs to know what they were.
            let content = image.read(&path, usize::MAX)?.unwrap_or_default();
            let sum = Md5::digest(&content);
            self.status.push_str(&format!(" /{path} {sum:x}\n"));
        }
        self.status.push('\n');
        Ok(())
    }

    fn add_triggers(&mut self, package: &Unpacked<'_>, owner: &str) {
        for line in package.text("triggers").lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(directive), Some(trigger)) = (words.next(), words.next()) else {
                continue;
            };
            let waits = match directive {
                "interest" | "interest-await" => "",
                "interest-noawait" => "/noawait",
                _ => continue,
            };
            if trigger.starts_with('/') {
                self.file_triggers
                    .push_str(&format!("{trigger} {owner}{waits}\n"));
            } else {
                let list = self.named_triggers.entry(trigger.to_owned());
                list.or_default().push_str(&format!("{owner}{waits}\n"));
            }
        }
    }

    /// Writes what belongs to no single package.
    pub(crate) fn finish(self, image: &mut Builder) -> Result<(), Error> {
        for folder in ["alternatives", "info", "parts", "triggers", "updates"] {
            image.folder(format!("{FOLDER}/{folder}"), &Metadata::folder())?;
        }
        let mut file = |path: &str, content: &str| {
            image.file(
                format!("{FOLDER}/{path}"),
                &Metadata::file(),
                content.as_bytes(),
            )
        };
        for empty in [
            "available",
            "diversions",
            "statoverride",
            "triggers/Unincorp",
        ] {
            file(empty, "")?;
        }
        file("status", &self.status)?;
        file("info/format", "1\n")?;
        file("triggers/File", &self.file_triggers)?;
        for (trigger, packages) in &self.named_triggers {
            file(&format!("triggers/{trigger}"), packages)?;
        }
        Ok(())
    }
}

/// The files of one package below `info`.
fn add_info(image: &mut Builder, package: &Unpacked<'_>, owner: &str) -> Result<(), Error> {
    let mut list = String::from("/.\n");
    for path in package.paths.iter().filter(|path| !path.is_empty()) {
        list.push_str(&format!("/{path}\n"));
    }
    let prefix = format!("{FOLDER}/info/{owner}");
    image.file(format!("{prefix}.list"), &Metadata::file(), list.as_bytes())?;
    for (name, content) in package.control {
        let is_script = ["preinst", "postinst", "prerm", "postrm", "config"].contains(&&**name);
        let metadata = if is_script {
            Metadata::program()
        } else {
            Metadata::file()
        };
        if name != "control" {
            image.file(format!("{prefix}.{name}"), &metadata, content.as_slice())?;
        }
    }
    Ok(())
}
