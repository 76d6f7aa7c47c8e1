//! What Clade adds to the packages: settings of a machine that has no screen and one user.

use clade_ext4::{Builder, Metadata};
use clade_store::Sha256;

use super::{suites, system::Plan};
use crate::agent;
use crate::archive::Architecture;

/// Where the first boot finds its script; it removes the folder.
pub(crate) const CONFIGURE: &str = "usr/lib/clade/configure";
const PACKAGES: &str = "usr/lib/clade/packages";

const AGENT_SERVICE: &str = include_str!("../../guest/debian/agent.service");

/// The script of the first boot.
fn script(architecture: Architecture) -> String {
    let script = include_str!("../../guest/debian/configure");
    script.replace("@ARCHITECTURE@", architecture.name())
}

const FILES: [(&str, &str); 16] = [
    ("etc/hostname", "debian\n"),
    (
        "etc/hosts",
        "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n\
         ff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n",
    ),
    (
        "etc/fstab",
        "# The root file system is mounted by the initial RAM disk, which the host provides.\n",
    ),
    ("etc/locale.conf", "LANG=C.UTF-8\n"),
    // The host boots the machine with a kernel and an initial RAM disk of its own.
    (
        "etc/initramfs-tools/update-initramfs.conf",
        "update_initramfs=no\nbackup_initramfs=no\n",
    ),
    // systemd-networkd asks for wireless devices, and the kernel would load nine megabytes for them.
    (
        "etc/modprobe.d/clade.conf",
        "alias net-pf-16-proto-16-family-nl80211 off\n",
    ),
    (
        "etc/ssh/sshd_config.d/clade.conf",
        "PasswordAuthentication no\n",
    ),
    (
        "etc/systemd/network/80-dhcp.network",
        include_str!("../../guest/debian/dhcp.network"),
    ),
    (
        "etc/systemd/system/serial-getty@.service.d/autologin.conf",
        include_str!("../../guest/debian/autologin.conf"),
    ),
    (
        "etc/systemd/system/sshd-keygen.service.d/ed25519.conf",
        include_str!("../../guest/debian/keygen.conf"),
    ),
    (
        "etc/systemd/system/sshd-vsock.socket.d/network.conf",
        include_str!("../../guest/debian/vsock-socket.conf"),
    ),
    (
        "etc/systemd/system/systemd-networkd.service.d/clade.conf",
        include_str!("../../guest/debian/networkd.conf"),
    ),
    (
        "etc/systemd/system/systemd-networkd-wait-online.service.d/any.conf",
        include_str!("../../guest/debian/wait-online.conf"),
    ),
    (
        "etc/systemd/system/sshd-vsock@.service.d/keygen.conf",
        "[Unit]\nWants=sshd-keygen.service\nAfter=sshd-keygen.service\n",
    ),
    ("etc/systemd/system/clade-agent.service", AGENT_SERVICE),
    // What a command leaves in the background goes on when its connection ends, as with any other sshd.
    (
        "etc/systemd/system/sshd-vsock@.service.d/background.conf",
        "[Service]\nKillMode=process\n",
    ),
];

/// Changes with all of it.
pub(crate) fn recipe(architecture: Architecture) -> String {
    let files = FILES.map(|(path, content)| format!("{path} {content}"));
    let agent = Sha256::of(agent::program(architecture));
    format!("{} {} {agent}", files.join("\n"), script(architecture))
}

/// Adds all of it.
pub(crate) fn add(image: &mut Builder, plan: &Plan<'_>) -> Result<(), clade_ext4::Error> {
    let file = Metadata {
        modified: plan.date,
        ..Metadata::file()
    };
    let program = Metadata {
        permissions: 0o755,
        ..file.clone()
    };
    for (path, content) in FILES {
        image.file(path, &file, content.as_bytes())?;
    }
    image.file(agent::PATH, &program, agent::program(plan.architecture))?;
    image.file(
        "etc/apt/sources.list.d/debian.sources",
        &file,
        suites::list(plan.sources).as_bytes(),
    )?;
    image.symlink("etc/default/locale", &file, "../locale.conf")?;
    // Scripts want it before its package has chosen one.
    image.symlink("usr/bin/awk", &file, "mawk")?;

    let script = script(plan.architecture);
    image.file(CONFIGURE, &program, script.as_bytes())?;
    let names: String = plan
        .packages
        .iter()
        .map(|package| format!("{}\n", package.name))
        .collect();
    image.file(PACKAGES, &file, names.as_bytes())?;
    Ok(())
}
