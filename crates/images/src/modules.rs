//! Kernel modules: what each needs, and the tables by which modprobe(8) finds them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use object::Endianness;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, SectionHeader};

use crate::archive::Architecture;
use crate::{Error, deb};

/// Largest module that is unpacked, in bytes. Debian's largest has 40 MB.
const MAX_MODULE: u64 = 256 << 20;

/// The modules of one kernel, as its package holds them.
#[derive(Debug, Default)]
pub(crate) struct ModuleTree {
    /// File content, perhaps compressed, by module name.
    files: BTreeMap<String, (String, Vec<u8>)>,
}

/// A module, unpacked.
#[derive(Debug)]
pub(crate) struct Module {
    /// Below `/lib/modules/VERSION`: `kernel/fs/ext4/ext4.ko`.
    pub(crate) path: String,
    pub(crate) content: Vec<u8>,
    info: ModInfo,
}

/// The parts of a module's `.modinfo` section that matter here.
#[derive(Debug, Default, PartialEq, Eq)]
struct ModInfo {
    /// Names of the modules that must be loaded before it.
    depends: Vec<String>,
    /// Names or aliases of those that it asks for when it is loaded.
    soft_depends: Vec<String>,
    aliases: Vec<String>,
}

impl ModuleTree {
    /// Adds a module by its path below `/lib/modules/VERSION`, with the ending that tells its
    /// compression; other files are ignored.
    pub(crate) fn add(
        &mut self,
        path: &str,
        read: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> io::Result<()> {
        let plain = [".xz", ".zst", ".gz"]
            .iter()
            .find_map(|ending| path.strip_suffix(ending));
        let plain = plain.unwrap_or(path);
        let file = plain.rsplit('/').next().unwrap_or(plain);
        if let Some(name) = file.strip_suffix(".ko") {
            self.files
                .insert(canonical(name), (plain.to_owned(), read()?));
        }
        Ok(())
    }

    /// The modules of these names with all that they need, unpacked, by name. Names that the kernel
    /// has no module for are left out: it may have them built in.
    pub(crate) fn closure(
        &self,
        names: &[&str],
        architecture: Architecture,
    ) -> Result<BTreeMap<String, Module>, Error> {
        let mut chosen = BTreeMap::new();
        let mut wanted: Vec<String> = names.iter().map(|name| canonical(name)).collect();
        while let Some(name) = wanted.pop() {
            let Some((path, packed)) = self.files.get(&name) else {
                continue;
            };
            if chosen.contains_key(&name) {
                continue;
            }
            let module = Module::unpack(path, packed, architecture)?;
            wanted.extend(module.info.depends.iter().cloned());
            wanted.extend(module.info.soft_depends.iter().map(|soft| canonical(soft)));
            chosen.insert(name, module);
        }
        Ok(chosen)
    }
}

impl Module {
    fn unpack(path: &str, packed: &[u8], architecture: Architecture) -> Result<Self, Error> {
        let malformed =
            |reason: String| Error::malformed(format!("the kernel module {path}"), reason);
        let mut content = Vec::new();
        deb::decompress(packed)
            .and_then(|reader| reader.take(MAX_MODULE).read_to_end(&mut content))
            .map_err(|error| malformed(error.to_string()))?;
        let info = ModInfo::read(&content, architecture).map_err(malformed)?;
        Ok(Self {
            path: path.to_owned(),
            content,
            info,
        })
    }
}

impl ModInfo {
    fn read(module: &[u8], architecture: Architecture) -> Result<Self, String> {
        let wrong = |error: object::Error| error.to_string();
        let header = FileHeader64::<Endianness>::parse(module).map_err(wrong)?;
        let endian = header.endian().map_err(wrong)?;
        if header.e_machine(endian) != architecture.elf_machine() {
            return Err(format!("it is not for {}", architecture.name()));
        }
        let sections = header.sections(endian, module).map_err(wrong)?;
        let (_, section) = sections
            .section_by_name(endian, b".modinfo")
            .ok_or("it has no .modinfo section")?;
        Ok(Self::parse(section.data(endian, module).map_err(wrong)?))
    }

    /// `key=value` pairs, each ended by a zero byte.
    fn parse(section: &[u8]) -> Self {
        let mut info = Self::default();
        for pair in section.split(|&byte| byte == 0) {
            let pair = String::from_utf8_lossy(pair);
            match pair.split_once('=') {
                Some(("depends", names)) => {
                    info.depends.extend(
                        names
                            .split(',')
                            .filter(|name| !name.is_empty())
                            .map(canonical),
                    );
                }
                Some(("softdep", list)) => {
                    let names = list.split_whitespace().filter(|word| !word.ends_with(':'));
                    info.soft_depends.extend(names.map(str::to_owned));
                }
                Some(("alias", alias)) => info.aliases.push(alias.to_owned()),
                _ => {}
            }
        }
        info
    }
}

/// `modules.dep`: each module's path, then those of all that it needs. modprobe loads from the end
/// of the line, so what is needed most stands last.
pub(crate) fn dep_table(modules: &BTreeMap<String, Module>) -> String {
    let mut table = String::new();
    for (name, module) in modules {
        let mut order = Vec::new();
        load_order(modules, name, &mut BTreeSet::new(), &mut order);
        table.push_str(&module.path);
        table.push(':');
        for needed in order.iter().rev().filter(|path| **path != module.path) {
            table.push(' ');
            table.push_str(needed);
        }
        table.push('\n');
    }
    table
}

/// Appends the paths of all that `name` needs, and then its own; `seen` guards against a circle.
fn load_order<'a>(
    modules: &'a BTreeMap<String, Module>,
    name: &'a str,
    seen: &mut BTreeSet<&'a str>,
    order: &mut Vec<&'a str>,
) {
    let Some(module) = modules.get(name) else {
        return;
    };
    if !seen.insert(name) {
        return;
    }
    for needed in &module.info.depends {
        load_order(modules, needed, seen, order);
    }
    order.push(&module.path);
}

/// `modules.alias`: which module serves a device or a name that the kernel asks for.
pub(crate) fn alias_table(modules: &BTreeMap<String, Module>) -> String {
    let mut table = String::new();
    for (name, module) in modules {
        for alias in &module.info.aliases {
            table.push_str(&format!("alias {alias} {name}\n"));
        }
    }
    table
}

/// The name by which the kernel knows a module: `-` and `_` are the same in file names.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::world::{module, xz};
    use proptest::prelude::*;

    const RISCV: Architecture = Architecture::Riscv64;

    fn tree(modules: &[(&str, &str)]) -> ModuleTree {
        let mut tree = ModuleTree::default();
        for (path, info) in modules {
            tree.add(path, || Ok(xz(&module(info)))).unwrap();
        }
        tree
    }

    #[test]
    fn a_module_brings_what_it_needs_and_asks_for() {
        let tree = tree(&[
            (
                "kernel/fs/ext4/ext4.ko.xz",
                "depends=jbd2,mbcache\0softdep=pre: crc32c-generic\0alias=fs-ext4",
            ),
            ("kernel/fs/jbd2/jbd2.ko.xz", "depends=mbcache"),
            ("kernel/fs/mbcache.ko.xz", "depends="),
            (
                "kernel/crypto/crc32c_generic.ko.xz",
                "depends=\0alias=crypto-crc32c",
            ),
            ("kernel/sound/noise.ko.xz", "depends=ext4"),
        ]);
        let modules = tree.closure(&["ext4", "built-in"], RISCV).unwrap();
        assert_eq!(
            modules.keys().collect::<Vec<_>>(),
            ["crc32c_generic", "ext4", "jbd2", "mbcache"]
        );
        assert_eq!(
            dep_table(&modules),
            "kernel/crypto/crc32c_generic.ko:\n\
             kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/fs/mbcache.ko\n\
             kernel/fs/jbd2/jbd2.ko: kernel/fs/mbcache.ko\n\
             kernel/fs/mbcache.ko:\n"
        );
        assert_eq!(
            alias_table(&modules),
            "alias crypto-crc32c crc32c_generic\nalias fs-ext4 ext4\n"
        );
    }

    #[test]
    fn a_circle_of_modules_ends() {
        let tree = tree(&[("kernel/a.ko", "depends=b"), ("kernel/b.ko", "depends=a")]);
        let modules = tree.closure(&["a"], RISCV).unwrap();
        assert_eq!(
            dep_table(&modules),
            "kernel/a.ko: kernel/b.ko\nkernel/b.ko: kernel/a.ko\n"
        );
    }

    #[test]
    fn a_module_for_another_machine_is_refused() {
        let mut foreign = module("depends=");
        foreign[18] = 62; // EM_X86_64
        let mut tree = ModuleTree::default();
        tree.add("kernel/a.ko", || Ok(foreign)).unwrap();
        assert!(tree.closure(&["a"], Architecture::Amd64).is_ok());
        let error = tree.closure(&["a"], RISCV).unwrap_err().to_string();
        assert!(
            error.contains("kernel/a.ko") && error.contains("not for riscv64"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn every_module_loads_after_what_it_needs(needs in proptest::collection::vec(proptest::collection::vec(0usize..12, 0..4), 12)) {
            // Module n may need only modules with a smaller number, so that there is no circle.
            let info = |n: usize| {
                let names: Vec<_> = needs[n].iter().filter(|m| **m < n).map(|m| format!("m{m}")).collect();
                format!("depends={}", names.join(","))
            };
            let mut tree = ModuleTree::default();
            for n in 0..needs.len() {
                tree.add(&format!("m{n}.ko"), || Ok(module(&info(n)))).unwrap();
            }
            for line in dep_table(&tree.closure(&["m11"], RISCV).unwrap()).lines() {
                let (module, needed) = line.split_once(':').unwrap();
                let load: Vec<_> = needed.split_whitespace().rev().chain([module]).collect();
                for (at, path) in load.iter().enumerate() {
                    let n: usize = path.trim_start_matches('m').trim_end_matches(".ko").parse().unwrap();
                    for needed in needs[n].iter().filter(|m| **m < n) {
                        let path = format!("m{needed}.ko");
                        prop_assert!(load[..at].contains(&path.as_str()), "{line}");
                    }
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, at: prop::sample::Index, byte: u8) {
            let _ = ModInfo::read(&bytes, RISCV);
            let _ = ModInfo::parse(&bytes);
            let mut damaged = module("depends=a,b\0alias=x");
            let at = at.index(damaged.len());
            damaged[at] = byte;
            let _ = ModInfo::read(&damaged, RISCV);
        }
    }
}
