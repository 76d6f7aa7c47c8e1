//! The suites that a Debian release is made of: the one it is named by, and what has changed since.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::archive::{Architecture, Archive, PackageRecord, Setup};
use crate::mirror::Mirror;
use crate::{Error, Progress};

/// Debian's own addresses, which the system's apt is told. Both are served from near by.
const DEBIAN: &str = "http://deb.debian.org/debian";
const SECURITY: &str = "http://deb.debian.org/debian-security";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An entry of apt's list of sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AptSource {
    url: String,
    suite: String,
    /// Whether apt uses it. A suite whose index contradicts its signed Release file would make every
    /// `apt-get update` fail.
    enabled: bool,
}

/// The suites of a release, opened, as far as the mirror serves them rightly.
pub(crate) struct Suites<'a> {
    /// The suite that it is named by, then those with what is newer.
    archives: Vec<Archive<'a>>,
    pub(crate) sources: Vec<AptSource>,
}

impl<'a> Suites<'a> {
    /// Opens the release called `suite`. Its updates may be missing: that is told, and the release goes
    /// without them.
    ///
    /// # Errors
    /// The suite itself cannot be opened, or the signature of any is wrong.
    pub(crate) fn open(
        setup: &'a Setup,
        mirror: Option<&str>,
        suite: &str,
        architecture: Architecture,
        progress: &'a dyn Progress,
    ) -> Result<Self, Error> {
        let found = crate::mirror::find(mirror, &setup.places)?;
        let find =
            |url: &str, suite: &str| Archive::find(setup, Some(url), suite, architecture, progress);
        let open = |url: &str, suite: &str| find(url, suite)?.now();
        let mut suites = Self {
            archives: vec![find(&found.url, suite)?.now_or_before()?],
            sources: Vec::new(),
        };
        if let Some(url) = mirror {
            suites.add_source(url, suite, true);
        }
        suites.add_source(DEBIAN, suite, true);
        for update in updates(suite, &found) {
            let mut opened = open(&update.url, &update.suite);
            if let (Err(Error::Status { .. }), Some(url)) = (&opened, update.otherwise) {
                opened = open(url, &update.suite);
            }
            let enabled = match opened {
                Ok(archive) => {
                    suites.archives.push(archive);
                    true
                }
                Err(error @ Error::Signature { .. }) => return Err(error),
                Err(error) => {
                    let away = matches!(error, Error::Network { .. });
                    progress.message(&update.warning(&error, away));
                    away
                }
            };
            suites.add_source(update.source, &update.suite, enabled);
        }
        Ok(suites)
    }

    fn add_source(&mut self, url: &str, suite: &str, enabled: bool) {
        self.sources.push(AptSource {
            url: url.to_owned(),
            suite: suite.to_owned(),
            enabled,
        });
    }

    /// The suite that the release is named by.
    pub(crate) fn main(&self) -> &Archive<'a> {
        &self.archives[0]
    }

    /// When the newest of the suites was published.
    pub(crate) fn date(&self) -> Timestamp {
        let dates = self.archives.iter().map(Archive::date);
        dates.fold(self.main().date(), Ord::max)
    }

    /// The package indices of the suites.
    pub(crate) fn indices(&self) -> impl Iterator<Item = &str> {
        self.archives.iter().map(Archive::index)
    }

    /// Brings packages into the cache, each from the suite whose index describes it.
    pub(crate) fn fetch_all(&self, packages: &[(usize, PackageRecord)]) -> Result<(), Error> {
        for (number, archive) in self.archives.iter().enumerate() {
            let own = packages.iter().filter(|(suite, _)| *suite == number);
            let own = own.map(|(_, package)| package);
            if own.clone().next().is_some() {
                archive.fetch_all(own)?;
            }
        }
        Ok(())
    }
}

/// A suite with what has changed in a release since it was published.
struct Update {
    suite: String,
    url: String,
    /// Where to look for it if it is not there.
    otherwise: Option<&'static str>,
    /// Where the system's apt looks for it.
    source: &'static str,
}

impl Update {
    fn warning(&self, error: &Error, enabled: bool) -> String {
        let left_out = if enabled {
            ""
        } else {
            " and is switched off in its /etc/apt/sources.list.d/debian.sources"
        };
        format!(
            "warning: {} is not in the image{left_out}: {error}. Run `clade pull` for the image again \
             when the mirror is in order",
            self.suite
        )
    }
}

/// What there is besides a stable or testing suite. A rolling one has everything in itself.
fn updates(suite: &str, mirror: &Mirror) -> Vec<Update> {
    if ["sid", "unstable", "experimental"].contains(&suite) {
        return Vec::new();
    }
    // Security updates are an archive of their own; few mirrors have it, beside the other.
    let folder = mirror.url.strip_suffix("/debian");
    let beside = folder.map(|folder| format!("{folder}/debian-security"));
    vec![
        Update {
            suite: format!("{suite}-updates"),
            url: mirror.url.clone(),
            otherwise: None,
            source: DEBIAN,
        },
        Update {
            suite: format!("{suite}-security"),
            url: beside.unwrap_or_else(|| SECURITY.to_owned()),
            otherwise: Some(SECURITY),
            source: SECURITY,
        },
    ]
}

/// The text of apt's list of sources (sources.list(5)).
pub(crate) fn list(sources: &[AptSource]) -> String {
    let entries = sources.iter().map(|source| {
        let AptSource { url, suite, .. } = source;
        let state = if source.enabled {
            ""
        } else {
            "# Its index contradicted its signed Release file when this image was made.\nEnabled: no\n"
        };
        format!(
            "{state}Types: deb\nURIs: {url}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYS}\n"
        )
    });
    entries.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::world::World;

    /// A mirror with all suites of trixie; `a` is newer in the updates, `b` in the security updates.
    fn world() -> World {
        let world = World::new();
        world.publish_suite("debian", "trixie", &[("a", "1"), ("b", "1"), ("c", "1")]);
        world.publish_suite("debian", "trixie-updates", &[("a", "2")]);
        world.publish_suite("debian-security", "trixie-security", &[("b", "3")]);
        world
    }

    fn packages(world: &World) -> Result<(Vec<String>, String), Error> {
        let (setup, url) = (world.setup(), world.server.url());
        let suites = Suites::open(
            &setup,
            Some(&url),
            "trixie",
            Architecture::Riscv64,
            &world.said,
        )?;
        let universe = super::super::resolve::Universe::new("trixie", suites.indices());
        let mut chosen = Vec::new();
        for choice in universe.resolve(&["a", "b", "c"])? {
            let record = PackageRecord::read(choice.name, &choice.paragraph)?;
            chosen.push((choice.index, record));
        }
        suites.fetch_all(&chosen)?;
        let named =
            |(_, record): &(usize, PackageRecord)| format!("{} {}", record.name, record.version);
        Ok((chosen.iter().map(named).collect(), list(&suites.sources)))
    }

    #[test]
    fn packages_come_from_the_suite_that_has_the_newest() {
        let world = world();
        let (packages, sources) = packages(&world).unwrap();
        assert_eq!(packages, ["a 2", "b 3", "c 1"]);
        assert!(!sources.contains("Enabled: no"), "{sources}");
        assert_eq!(world.said.all(), "");
    }

    #[test]
    fn apt_is_told_of_all_suites_and_the_users_mirror_comes_first() {
        let world = world();
        let (_, sources) = packages(&world).unwrap();
        let told = |field: &str| -> Vec<String> {
            let lines = sources.lines().filter_map(|line| line.strip_prefix(field));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(
            told("URIs: "),
            [&world.server.url(), DEBIAN, DEBIAN, SECURITY]
        );
        assert_eq!(
            told("Suites: "),
            ["trixie", "trixie", "trixie-updates", "trixie-security"]
        );
    }

    #[test]
    fn an_update_whose_index_contradicts_its_release_file_is_told_and_switched_off() {
        let world = world();
        let index = "debian-security/dists/trixie-security/main/binary-riscv64/Packages.xz";
        world.server.put_at(&format!("/{index}"), "another index");
        let (packages, sources) = packages(&world).unwrap();
        assert_eq!(packages, ["a 2", "b 1", "c 1"]);
        let off: Vec<_> = sources
            .split("\n\n")
            .filter(|entry| entry.contains("Enabled: no"))
            .collect();
        assert_eq!(off.len(), 1, "{sources}");
        assert!(off[0].contains("Suites: trixie-security"), "{sources}");
        let said = world.said.all();
        assert!(
            said.contains("trixie-security is not in the image"),
            "{said}"
        );
    }

    #[test]
    fn an_update_that_cannot_be_reached_stays_switched_on() {
        let world = world();
        world.server.refuse(
            "/debian/dists/trixie-updates/InRelease",
            "503 Service Unavailable",
        );
        let (packages, sources) = packages(&world).unwrap();
        assert_eq!(packages, ["a 1", "b 3", "c 1"]);
        assert!(!sources.contains("Enabled: no"), "{sources}");
        assert!(world.said.all().contains("trixie-updates"));
    }

    #[test]
    fn an_update_by_another_key_is_refused() {
        let world = world();
        let forged = crate::openpgp::tests::Signer::new().sign("Suite: trixie-updates\n");
        world.server.put("dists/trixie-updates/InRelease", forged);
        let error = packages(&world).unwrap_err();
        assert!(matches!(error, Error::Signature { .. }), "{error}");
    }

    #[test]
    fn a_rolling_suite_has_no_updates() {
        let mirror = Mirror {
            url: DEBIAN.to_owned(),
            origin: String::new(),
        };
        assert!(updates("sid", &mirror).is_empty());
        assert_eq!(updates("trixie", &mirror)[1].url, SECURITY);
    }
}
