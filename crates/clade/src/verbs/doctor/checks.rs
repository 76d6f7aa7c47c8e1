//! What is looked at.

use std::env;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use clade_manager::{Host, MIN_MEMORY, Machines};
use clade_store::{Folders, free_space};

use super::{Check, kvm, translator};
use crate::size;

/// Below this a folder cannot take an image with its packages, or what a machine makes of one, in bytes.
const SPACE_FOR_AN_IMAGE: u64 = 1 << 30;

/// Longer than this, nobody waits for a mirror.
const REACH_TIME: Duration = Duration::from_secs(5);

/// Every check, in the order in which they are shown.
pub(super) fn all() -> Vec<Check> {
    let mut checks = host();
    checks.push(translator::check());
    checks.push(kvm::check());
    checks.push(runtime());
    checks.push(folder("cache", "XDG_CACHE_HOME", Folders::cache));
    checks.push(folder("machines", "XDG_DATA_HOME", Folders::data));
    checks.push(mirror());
    checks.push(Check::good(
        "rights",
        "neither root nor user namespaces are needed",
    ));
    checks
}

fn host() -> Vec<Check> {
    match Host::of_this_machine() {
        Ok(host) => vec![processor(&host), memory(&host)],
        Err(error) => vec![Check::bad(
            "host",
            format!("its CPUs and memory are unknown: {error}"),
            "sudo mount -t proc proc /proc",
        )],
    }
}

fn processor(host: &Host) -> Check {
    let most = host.most_cpus();
    Check::good(
        "processor",
        format!(
            "{} × {} (a machine may have up to {most} harts)",
            host.cpus, host.cpu_model
        ),
    )
}

fn memory(host: &Host) -> Check {
    let finding = format!(
        "{}, of which {} are free",
        size::show(host.memory),
        size::show(host.memory_available)
    );
    if host.memory_available < MIN_MEMORY {
        Check::bad(
            "memory",
            finding,
            "end other programs, or add memory or swap",
        )
    } else {
        Check::good("memory", finding)
    }
}

fn runtime() -> Check {
    match Machines::of_user() {
        Ok(machines) => Check::good("runtime", machines.folder().display().to_string()),
        Err(error) => Check::bad(
            "runtime",
            error.to_string(),
            "export XDG_RUNTIME_DIR=FOLDER",
        ),
    }
}

/// The folder that `XDG_CACHE_HOME` or `XDG_DATA_HOME` decides.
fn folder(what: &'static str, variable: &str, path: fn(&Folders) -> &Path) -> Check {
    let folders = match Folders::of_user() {
        Ok(folders) => folders,
        Err(error) => return Check::bad(what, error.to_string(), "export HOME=FOLDER"),
    };
    let path = path(&folders);
    match free_space(path) {
        Ok(free) => space(what, path, free, variable),
        Err(error) => Check::bad(what, error.to_string(), format!("export {variable}=FOLDER")),
    }
}

fn mirror() -> Check {
    let what = "mirror";
    let mirror = match clade_images::find_mirror(None) {
        Ok(mirror) => mirror,
        Err(error) => {
            return Check::lacking(what, "no Debian mirror is known", error.to_string());
        }
    };
    let finding = format!("{} (from {})", mirror.url, mirror.origin);
    match reach(&mirror.url) {
        Ok(via) => Check::good(what, format!("{finding} answers{via}")),
        Err(problem) => Check::lacking(
            what,
            format!("{finding} cannot be reached: {problem}"),
            "check the network, or name another mirror with `--mirror URL`\n\
             images that are fetched already run without it",
        ),
    }
}

/// Whether somebody listens at the mirror, or at the proxy on the way to it.
fn reach(mirror: &str) -> Result<&'static str, String> {
    let scheme = mirror.split("://").next().unwrap_or_default();
    let names = [format!("{scheme}_proxy"), "all_proxy".to_owned()];
    let proxy = names
        .iter()
        .flat_map(|name| [name.clone(), name.to_uppercase()])
        .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
    let (url, via) = match &proxy {
        Some(proxy) => (proxy.as_str(), ", as far as the proxy can tell"),
        None => (mirror, ""),
    };
    let (host, port) = host_and_port(url).ok_or("its address is odd")?;
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|error| error.to_string())?;
    let mut problem = "its name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, REACH_TIME) {
            Ok(_) => return Ok(via),
            Err(error) => problem = error.to_string(),
        }
    }
    Err(problem)
}

/// `scheme://user@host:port/path`, with the scheme's own port if there is none.
fn host_and_port(url: &str) -> Option<(&str, u16)> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let authority = rest.split('/').next()?;
    let authority = authority.rsplit('@').next()?;
    let default = if scheme == "https" { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (authority, default),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then_some((host, port))
}

fn space(what: &'static str, path: &Path, free: u64, variable: &str) -> Check {
    let finding = format!("{}, {} free", path.display(), size::show(free));
    if free < SPACE_FOR_AN_IMAGE {
        Check::lacking(
            what,
            format!("{finding}: too little for an image"),
            format!("free some space there, or export {variable}=FOLDER on a larger disk"),
        )
    } else {
        Check::good(what, finding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirrors_host_is_found_in_its_address() {
        for (url, expected) in [
            ("http://example.org/debian", Some(("example.org", 80))),
            ("https://example.org", Some(("example.org", 443))),
            (
                "http://me:secret@example.org:3128/",
                Some(("example.org", 3128)),
            ),
            ("example.org:8080", Some(("example.org", 8080))),
            ("http://[::1]:9/x", Some(("::1", 9))),
            ("http://[::1]/x", Some(("::1", 80))),
            ("http:///x", None),
            ("http://example.org:port/", None),
        ] {
            assert_eq!(host_and_port(url), expected, "{url}");
        }
    }
}
