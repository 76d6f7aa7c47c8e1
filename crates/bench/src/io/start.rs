//! From nothing to a Debian machine that does what it is told.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clade_images::{DebianImage, DebianRequest, FirstBoot, RunMachine, Silent};

use super::host::free_port;
use crate::Options;
use crate::peer::Peer;

const IMAGE: &str = "debian";

/// Until a machine answers, at the longest.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is started.
pub(super) struct Start {
    image: DebianImage,
    /// The command `clade`.
    clade: PathBuf,
    qemu: String,
}

/// The benchmark makes no image.
struct Refuse;

impl RunMachine for Refuse {
    fn run(&self, _: &FirstBoot, _: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        Err("the benchmark starts only what is there".into())
    }
}

impl Start {
    /// Finds the image and the command, or says why that cannot be.
    pub(super) fn find(options: &Options) -> Result<Self, String> {
        let images = clade_images::list().map_err(|error| error.to_string())?;
        let there = |image: &clade_images::ImageSummary| {
            image.cached && image.name.split(':').next() == Some(IMAGE)
        };
        if !images.iter().any(there) {
            return Err("there is no image `debian` yet: `clade pull debian` makes it".into());
        }
        let request = DebianRequest {
            name: IMAGE.into(),
            ..Default::default()
        };
        let image = clade_images::ensure_debian(&request, &Refuse, &Silent)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            image,
            clade: crate::clade::command()?,
            qemu: options.qemu().to_owned(),
        })
    }

    /// Seconds from the start to the answer.
    pub(super) fn measure(&self, peer: Peer) -> Result<f64, String> {
        match peer {
            Peer::Qemu => self.under_qemu(),
            _ => self.under_clade(),
        }
    }

    /// `clade run`, then `clade exec` as soon as the machine says that it is ready.
    fn under_clade(&self) -> Result<f64, String> {
        let name = format!("bench-{}", std::process::id());
        let started = Instant::now();
        self.clade(&["run", "-d", "--arch", "riscv64", "--name", &name, IMAGE])?;
        let answered = self
            .clade(&["wait", &name, "--for", "ready"])
            .and_then(|()| self.clade(&["exec", &name, "--", "true"]));
        let time = started.elapsed().as_secs_f64();
        self.clade(&["rm", "-f", &name])?;
        answered.map(|()| time)
    }

    fn clade(&self, arguments: &[&str]) -> Result<(), String> {
        let output = Command::new(&self.clade)
            .args(arguments)
            // Both boot.
            .env("CLADE_COLD", "1")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{}: {error}", self.clade.display()))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// The same disk under QEMU, until its SSH server introduces itself: nobody logs in.
    fn under_qemu(&self) -> Result<f64, String> {
        let port = free_port().map_err(|error| error.to_string())?;
        let started = Instant::now();
        let child = self.qemu_command(port).spawn();
        let _machine = Ended(child.map_err(|error| format!("{}: {error}", self.qemu))?);
        while !greets(port) {
            if started.elapsed() > PATIENCE {
                return Err(format!("no SSH server answered within {PATIENCE:?}"));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(started.elapsed().as_secs_f64())
    }

    fn qemu_command(&self, port: u16) -> Command {
        let disk = format!(
            "if=none,id=disk,format=raw,snapshot=on,aio=threads,file={}",
            self.image.disk.display()
        );
        let mut command = Command::new(&self.qemu);
        command
            .args(["-machine", "virt", "-accel", "tcg,thread=multi", "-m", "1G"])
            .args(["-nodefaults", "-nographic"])
            .arg("-kernel")
            .arg(&self.image.kernel)
            .arg("-initrd")
            .arg(&self.image.initrd)
            .args(["-append", &self.image.cmdline])
            .args(["-drive", &disk])
            .args(["-device", "virtio-blk-pci,drive=disk"])
            .arg("-netdev")
            .arg(format!("user,id=network,hostfwd=tcp:127.0.0.1:{port}-:22"))
            .args(["-device", "virtio-net-pci,netdev=network"])
            .args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"])
            .args(["-chardev", "null,id=console"])
            .args(["-device", "virtconsole,chardev=console"])
            .stdin(Stdio::null());
        command
    }
}

/// A process that ends with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether an SSH server answers at a port of this host.
fn greets(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
        return false;
    };
    let mut greeting = [0; 4];
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .is_ok()
        && stream.read_exact(&mut greeting).is_ok()
        && &greeting == b"SSH-"
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_server_is_known_by_its_greeting() {
        let server = TcpListener::bind("127.0.0.1:0").expect("port");
        let port = server.local_addr().expect("address").port();
        let greeter = thread::spawn(move || {
            for greeting in ["HTTP/1.1", "SSH-2.0-x\r\n"] {
                let (mut client, _) = server.accept().expect("client");
                client.write_all(greeting.as_bytes()).expect("greeting");
            }
        });
        assert!(!greets(port));
        assert!(greets(port));
        greeter.join().expect("greeter");
        assert!(!greets(port), "nobody listens");
    }
}
