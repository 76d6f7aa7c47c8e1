//! What apt's configuration says: sources.list(5) in both styles, and apt.conf(5)'s proxy.

use std::fs;
use std::path::{Path, PathBuf};

use crate::control::paragraphs;

/// Names that Debian's suites have or will have. Other distributions' and third parties' entries
/// have others, or give a component that is not `main`.
const SUITES: [&str; 12] = [
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "sid",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "buster",
];

/// An address that apt takes packages from.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    url: String,
    suites: Vec<String>,
    components: Vec<String>,
    /// The keyring that the entry names, if any.
    signed_by: String,
}

/// The address of Debian's main archive in apt's configuration folder, and the file that names it.
pub(super) fn mirror(apt: &Path) -> Option<(String, String)> {
    let mut best: Option<(u32, String, String)> = None;
    for file in source_files(apt) {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        let sources = match file.extension() {
            Some(extension) if extension == "sources" => deb822_sources(&text),
            _ => one_line_sources(&text),
        };
        for source in sources {
            let likelihood = source.likelihood();
            let better = best
                .as_ref()
                .is_none_or(|(so_far, ..)| likelihood > *so_far);
            if likelihood > 0
                && better
                && let Some(url) = resolve(&source.url)
            {
                best = Some((likelihood, url, file.display().to_string()));
            }
        }
    }
    best.map(|(_, url, file)| (url, file))
}

impl Source {
    /// How likely this is Debian's main archive: 0 if it is not. A wrong guess does no harm but an
    /// error, as nothing is used without Debian's signature.
    fn likelihood(&self) -> u32 {
        let debian_suite = self
            .suites
            .iter()
            .any(|suite| SUITES.contains(&suite.as_str()));
        if !debian_suite || !self.components.iter().any(|component| component == "main") {
            return 0;
        }
        let folder = self
            .url
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default();
        1 + u32::from(self.signed_by.is_empty())
            + 2 * u32::from(self.signed_by.contains("debian-archive"))
            + 2 * u32::from(folder == "debian")
    }
}

fn source_files(apt: &Path) -> Vec<PathBuf> {
    let mut files = vec![apt.join("sources.list")];
    files.extend(files_in(&apt.join("sources.list.d"), &["list", "sources"]));
    files
}

/// The files in a folder with one of these extensions, in the order of their names, as apt reads them.
fn files_in(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let extension = path.extension().unwrap_or_default();
            extensions.iter().any(|wanted| extension == *wanted)
        })
        .collect();
    files.sort();
    files
}

/// `deb [signed-by=KEYRING] URL SUITE COMPONENT...`
fn one_line_sources(text: &str) -> Vec<Source> {
    let parse = |line: &str| {
        let line = line.split('#').next()?.trim();
        let mut rest = line
            .strip_prefix("deb")?
            .strip_prefix([' ', '\t'])?
            .trim_start();
        let mut signed_by = String::new();
        if let Some(options) = rest.strip_prefix('[') {
            let (options, after) = options.split_once(']')?;
            let mut words = options.split_whitespace();
            signed_by = words
                .find_map(|word| word.strip_prefix("signed-by="))
                .unwrap_or("")
                .to_owned();
            rest = after;
        }
        let mut words = rest.split_whitespace().map(str::to_owned);
        let (url, suite) = (words.next()?, words.next()?);
        Some(Source {
            url,
            suites: vec![suite],
            components: words.collect(),
            signed_by,
        })
    };
    text.lines().filter_map(parse).collect()
}

/// Paragraphs with the fields Types, URIs, Suites, Components and perhaps Signed-By.
fn deb822_sources(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for paragraph in paragraphs(text) {
        let words = |name| {
            let value = paragraph.field(name).unwrap_or_default();
            value
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let enabled = paragraph.field("Enabled").is_none_or(|value| {
            !["no", "false", "off", "0"].contains(&value.to_ascii_lowercase().as_str())
        });
        if !enabled || !words("Types").iter().any(|kind| kind == "deb") {
            continue;
        }
        sources.extend(words("URIs").into_iter().map(|url| Source {
            url,
            suites: words("Suites"),
            components: words("Components"),
            signed_by: paragraph.field("Signed-By").unwrap_or_default(),
        }));
    }
    sources
}

/// An address that can be fetched from: `mirror+file:` lists (as Debian's cloud images use) give
/// their first entry, and media that are no network are left out.
fn resolve(url: &str) -> Option<String> {
    if let Some(list) = url.strip_prefix("mirror+file:") {
        let text = fs::read_to_string(list.strip_prefix("//").unwrap_or(list)).ok()?;
        let mut lines = text
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        return lines.find(|url| is_http(url)).map(str::to_owned);
    }
    is_http(url).then(|| url.to_owned())
}

fn is_http(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}

/// `Acquire::http::Proxy "URL";` for the scheme, where it is written in one line.
pub(super) fn proxy(apt: &Path, scheme: &str) -> Option<String> {
    let mut files = files_in(&apt.join("apt.conf.d"), &["conf", ""]);
    files.push(apt.join("apt.conf"));
    let key = format!("acquire::{scheme}::proxy");
    let mut found = None;
    for text in files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
    {
        for line in text.lines().map(str::trim) {
            let (name, value) = line.split_at(line.find(char::is_whitespace).unwrap_or(line.len()));
            if name.eq_ignore_ascii_case(&key) {
                let value = value.trim().trim_end_matches(';').trim_matches('"');
                found = is_http(value).then(|| value.to_owned());
            }
        }
    }
    found
}
