//! Debian control data: paragraphs of `Field: value` lines (deb-control(5), Debian Policy 5.1).

/// One paragraph, read in place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paragraph<'a>(&'a str);

impl<'a> Paragraph<'a> {
    /// The package that it is about, where that is said first, as package indices do.
    pub(crate) fn name(&self) -> Option<&'a str> {
        let name = self.0.strip_prefix("Package:")?.lines().next()?.trim();
        (!name.is_empty()).then_some(name)
    }

    /// All of it, as written.
    pub(crate) fn text(&self) -> &'a str {
        self.0
    }

    /// The value of a field, with its continuation lines and without comments, or `None`.
    ///
    /// Field names are compared without regard to case. Of a field that stands twice, the first counts.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let mut lines = self.0.lines().filter(|line| !line.starts_with('#'));
        let first = lines.find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })?;
        let mut value = first.to_owned();
        for line in lines.take_while(|line| line.starts_with([' ', '\t'])) {
            value.push('\n');
            value.push_str(line.trim());
        }
        Some(value)
    }
}

/// The paragraphs of a control file, in order.
pub(crate) fn paragraphs(text: &str) -> impl Iterator<Item = Paragraph<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        // Blank lines before a paragraph belong to none.
        while let Some(line) = rest.split_inclusive('\n').next() {
            if !line.trim().is_empty() {
                break;
            }
            rest = &rest[line.len()..];
        }
        if rest.is_empty() {
            return None;
        }
        let mut length = 0;
        for line in rest.split_inclusive('\n') {
            if line.trim().is_empty() {
                break;
            }
            length += line.len();
        }
        let (paragraph, after) = rest.split_at(length);
        rest = after;
        Some(Paragraph(paragraph))
    })
}

/// Finds the first paragraph of a package index whose `Package` field is `name`.
pub(crate) fn find_package<'a>(index: &'a str, name: &str) -> Option<Paragraph<'a>> {
    let heading = format!("Package: {name}\n");
    let start = if index.starts_with(&heading) {
        0
    } else {
        // Packages files always begin a paragraph with this field (Debian's repository format).
        index.find(&format!("\n\n{heading}"))? + 2
    };
    paragraphs(&index[start..]).next()
}

/// The names in a `Depends` field, of alternatives the first, without versions and architectures.
pub(crate) fn dependency_names(depends: &str) -> impl Iterator<Item = &str> {
    depends.split(',').filter_map(|relation| {
        let first = relation.split('|').next()?;
        let end = first.find(['(', '[', '<']).unwrap_or(first.len());
        let name = first[..end].trim();
        let name = name
            .split_once(':')
            .map_or(name, |(name, _architecture)| name);
        (!name.is_empty()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INDEX: &str = "Package: a\nVersion: 1\nDepends: b (>= 2) | c, d:any [riscv64],\n e\n\n\
                         Package: ab\nVersion: 3\n# said aside\nNote:\n one\n two\n\n\nPackage: z\nVersion: 4";

    #[test]
    fn fields_are_found_with_their_continuation() {
        let all: Vec<_> = paragraphs(INDEX).collect();
        assert_eq!(all.len(), 3);
        assert_eq!(all[1].field("version").as_deref(), Some("3"));
        assert_eq!(all[1].field("Note").as_deref(), Some("\none\ntwo"));
        assert_eq!(all[1].field("Depends"), None);
        assert_eq!(all[2].field("Version").as_deref(), Some("4"));
    }

    #[test]
    fn packages_are_found_by_their_whole_name() {
        let version = |name| find_package(INDEX, name).and_then(|p| p.field("Version"));
        assert_eq!(version("a").as_deref(), Some("1"));
        assert_eq!(version("ab").as_deref(), Some("3"));
        assert_eq!(version("b"), None);
    }

    #[test]
    fn dependencies_lose_versions_architectures_and_alternatives() {
        let depends = find_package(INDEX, "a").unwrap().field("Depends").unwrap();
        assert_eq!(
            dependency_names(&depends).collect::<Vec<_>>(),
            ["b", "d", "e"]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic_and_losing_nothing(text in "[ a:#\n\tPé]{0,60}") {
            let read: String = paragraphs(&text).map(|p| p.0).collect();
            let kept = |s: &str| s.lines().filter(|l| !l.trim().is_empty()).map(str::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(kept(&read), kept(&text));
            for paragraph in paragraphs(&text) {
                if let Some(value) = paragraph.field("P") {
                    let _ = dependency_names(&value).count();
                }
            }
        }
    }
}
