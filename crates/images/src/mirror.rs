//! Which Debian mirror to use, and how to reach it.

mod apt;

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clade_store::Folders;
use serde::Deserialize;

use crate::Error;

/// A Debian mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Address of the folder that holds `dists` and `pool`, without a slash at the end.
    pub url: String,
    /// Where it was found, for people: `--mirror`, a configuration file, a file of apt.
    pub origin: String,
}

/// Where a mirror and a proxy may be named.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Clade's configuration file.
    pub(crate) config: PathBuf,
    /// apt's folder.
    pub(crate) apt: PathBuf,
}

impl Places {
    pub(crate) fn of_user(folders: &Folders) -> Self {
        Self {
            config: folders.config().join("config.toml"),
            apt: PathBuf::from("/etc/apt"),
        }
    }
}

/// Finds the mirror to use: the one given, else that of the configuration file, else that of apt.
///
/// # Errors
/// None is known, the one found is no address, or the configuration file cannot be read.
pub fn find_mirror(explicit: Option<&str>) -> Result<Mirror, Error> {
    find(explicit, &Places::of_user(&Folders::of_user()?))
}

pub(crate) fn find(explicit: Option<&str>, places: &Places) -> Result<Mirror, Error> {
    let found = match explicit {
        Some(url) => Some((url.to_owned(), "--mirror".to_owned())),
        None => match configured(&places.config)? {
            Some(url) => Some((url, places.config.display().to_string())),
            None => apt::mirror(&places.apt),
        },
    };
    let (url, origin) = found.ok_or_else(|| Error::NoMirror {
        config: places.config.clone(),
    })?;
    let url = url.trim().trim_end_matches('/').to_owned();
    let host = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    match host {
        Some(host) if !host.is_empty() && !host.contains(char::is_whitespace) => {
            Ok(Mirror { url, origin })
        }
        _ => Err(Error::BadMirror { url, origin }),
    }
}

/// The proxy for an address, from the environment as curl(1) reads it, else from apt's configuration.
pub(crate) fn proxy(url: &str, places: &Places) -> Option<String> {
    let host = url.split("://").nth(1)?.split(['/', ':']).next()?;
    let scheme = url.split("://").next()?;
    let variable = |name: &str| {
        let value = env::var(name)
            .or_else(|_| env::var(name.to_ascii_uppercase()))
            .ok()?;
        (!value.is_empty()).then_some(value)
    };
    if variable("no_proxy").is_some_and(|list| is_exempt(host, &list)) {
        return None;
    }
    variable(&format!("{scheme}_proxy"))
        .or_else(|| variable("all_proxy"))
        .or_else(|| apt::proxy(&places.apt, scheme))
}

/// Whether a `no_proxy` list names the host, or a domain that it is in.
fn is_exempt(host: &str, list: &str) -> bool {
    list.split(',')
        .map(|entry| entry.trim().trim_start_matches('.'))
        .any(|entry| {
            entry == "*"
                || host.strip_suffix(entry).is_some_and(|rest| {
                    !entry.is_empty() && (rest.is_empty() || rest.ends_with('.'))
                })
        })
}

/// The part of the configuration file that matters here.
#[derive(Debug, Default, Deserialize)]
struct Config {
    mirror: Option<String>,
}

fn configured(path: &Path) -> Result<Option<String>, Error> {
    let wrong = |reason: String| Error::Config {
        path: path.to_owned(),
        reason,
    };
    match fs::read_to_string(path) {
        Ok(text) => {
            let config: Config = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
            Ok(config.mirror)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Etc(tempfile::TempDir);

    impl Etc {
        fn new(files: &[(&str, &str)]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = folder.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(folder)
        }

        fn places(&self) -> Places {
            Places {
                config: self.0.path().join("config.toml"),
                apt: self.0.path().join("apt"),
            }
        }

        fn find(&self) -> Result<Mirror, Error> {
            find(None, &self.places())
        }

        fn url(&self) -> String {
            self.find().unwrap().url
        }
    }

    const DEB822: &str = "# see sources.list(5)\nTypes: deb deb-src\n# taken on a day\n\
        URIs: http://mirror.example/debian/\nSuites: bookworm bookworm-updates\nComponents: main contrib\n\
        Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
        Types: deb\nURIs: http://security.example/debian-security\nSuites: bookworm-security\nComponents: main\n";

    #[test]
    fn the_option_wins_over_the_file_and_the_file_over_apt() {
        let etc = Etc::new(&[
            (
                "config.toml",
                "mirror = \"https://file.example/debian\"\n[other]\nkey = 1\n",
            ),
            ("apt/sources.list.d/debian.sources", DEB822),
        ]);
        let given = find(Some("http://given.example/debian/"), &etc.places()).unwrap();
        assert_eq!(
            (given.url.as_str(), given.origin.as_str()),
            ("http://given.example/debian", "--mirror")
        );
        let configured = etc.find().unwrap();
        assert_eq!(configured.url, "https://file.example/debian");
        assert!(configured.origin.ends_with("config.toml"));
    }

    #[test]
    fn the_main_archive_is_found_in_both_styles_of_apt() {
        let deb822 = Etc::new(&[("apt/sources.list.d/debian.sources", DEB822)]);
        assert_eq!(deb822.url(), "http://mirror.example/debian");
        let one_line = Etc::new(&[(
            "apt/sources.list",
            "# deb http://old.example/debian buster main\n\
             deb cdrom:[Debian 13]/ trixie main\n\
             deb-src http://source.example/debian trixie main\n\
             deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://line.example/debian trixie main # ours\n\
             deb http://security.example/debian-security trixie-security main\n",
        )]);
        assert_eq!(one_line.url(), "http://line.example/debian");
        assert!(
            one_line
                .find()
                .unwrap()
                .origin
                .ends_with("apt/sources.list")
        );
    }

    #[test]
    fn third_parties_other_distributions_and_disabled_entries_are_passed_over() {
        let etc = Etc::new(&[
            (
                "apt/sources.list.d/a.list",
                "deb [signed-by=/k.gpg] https://third.example bookworm main\n",
            ),
            (
                "apt/sources.list.d/b.list",
                "deb https://docker.example/linux/debian bookworm stable\n",
            ),
            (
                "apt/sources.list.d/c.list",
                "deb http://archive.example/ubuntu noble main\n",
            ),
            (
                "apt/sources.list.d/d.sources",
                &DEB822.replace("Types", "Enabled: no\nTypes"),
            ),
            (
                "apt/sources.list.d/e.list",
                "deb http://real.example/debian stable main\n",
            ),
            (
                "apt/sources.list.d/f.save",
                "deb http://saved.example/debian stable main\n",
            ),
        ]);
        assert_eq!(etc.url(), "http://real.example/debian");
    }

    #[test]
    fn a_list_of_mirrors_gives_its_first() {
        let list = Etc::new(&[(
            "debian.list",
            "http://first.example/debian priority:1\nhttp://second.example/debian\n",
        )]);
        let line = format!(
            "deb mirror+file://{} trixie main\n",
            list.0.path().join("debian.list").display()
        );
        let etc = Etc::new(&[("apt/sources.list", &line)]);
        assert_eq!(etc.url(), "http://first.example/debian");
    }

    #[test]
    fn without_a_mirror_the_error_names_the_option_the_file_and_the_key() {
        let text = Etc::new(&[]).find().unwrap_err().to_string();
        for part in ["--mirror", "config.toml", "mirror = ", "sources.list"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_or_no_toml_is_refused() {
        for url in [
            "",
            "ftp://a.example/debian",
            "debian",
            "http://",
            "http://a b/debian",
        ] {
            let error = find(Some(url), &Etc::new(&[]).places()).unwrap_err();
            assert!(matches!(error, Error::BadMirror { .. }), "{error}");
        }
        for text in ["mirror", "mirror = 1"] {
            let error = Etc::new(&[("config.toml", text)]).find().unwrap_err();
            assert!(matches!(error, Error::Config { .. }), "{error}");
        }
    }

    #[test]
    fn a_proxy_of_apt_is_used_for_its_scheme() {
        let etc = Etc::new(&[
            (
                "apt/apt.conf.d/01off",
                "// Acquire::http::Proxy \"http://off.example\";\n",
            ),
            (
                "apt/apt.conf.d/02proxy",
                "Acquire::http::Proxy \"http://proxy.example:3142\";\n",
            ),
        ]);
        let apt = etc.places().apt;
        assert_eq!(
            apt::proxy(&apt, "http").as_deref(),
            Some("http://proxy.example:3142")
        );
        assert_eq!(apt::proxy(&apt, "https"), None);
        fs::write(apt.join("apt.conf"), "Acquire::HTTP::Proxy \"DIRECT\";\n").unwrap();
        assert_eq!(apt::proxy(&apt, "http"), None);
    }

    #[test]
    fn no_proxy_lists_hosts_and_domains() {
        for (list, exempt) in [
            ("a.example", true),
            ("example", true),
            (".example", true),
            ("*", true),
            ("x, a.example", true),
            ("le", false),
            ("b.example", false),
            ("", false),
        ] {
            assert_eq!(is_exempt("a.example", list), exempt, "{list}");
        }
    }
}
