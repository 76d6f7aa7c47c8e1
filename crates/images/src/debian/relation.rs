//! Relations between packages, as in `Depends: a (>= 1) | b, c:any` (deb-control(5), Policy 7.1).

use std::cmp::Ordering;
use std::fmt;

use super::version::compare;

/// One package that a relation names, and which versions of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Relation<'a> {
    pub(crate) name: &'a str,
    /// An operator and a version.
    version: Option<(&'a str, &'a str)>,
}

impl<'a> Relation<'a> {
    fn new(name: &'a str, version: Option<(&'a str, &'a str)>) -> Option<Self> {
        // "name:any": any architecture will do, and there is only one.
        let name = name.split(':').next().unwrap_or(name).trim();
        (!name.is_empty()).then_some(Self { name, version })
    }

    /// Whether a package of this name and version, or something that provides the two, is meant.
    /// What is provided without a version serves only relations without one.
    pub(crate) fn is_met_by(&self, version: Option<&str>) -> bool {
        let Some((operator, wanted)) = self.version else {
            return true;
        };
        let Some(version) = version else {
            return false;
        };
        let order = compare(version, wanted);
        match operator {
            "<<" => order == Ordering::Less,
            "<=" | "<" => order != Ordering::Greater,
            "=" => order == Ordering::Equal,
            ">=" | ">" => order != Ordering::Less,
            ">>" => order == Ordering::Greater,
            _ => false,
        }
    }

    /// The version that a `Provides` names.
    pub(crate) fn provided_version(&self) -> Option<&'a str> {
        self.version.map(|(_, version)| version)
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some((operator, version)) => {
                write!(formatter, "{} ({operator} {version})", self.name)
            }
            None => formatter.write_str(self.name),
        }
    }
}

/// The relations of a field, each a list of alternatives.
pub(crate) fn groups(field: &str) -> impl Iterator<Item = Vec<Relation<'_>>> {
    field.split(',').filter_map(|group| {
        let alternatives: Vec<_> = group.split('|').filter_map(parse).collect();
        (!alternatives.is_empty()).then_some(alternatives)
    })
}

/// The relations of a field that has no alternatives.
pub(crate) fn list(field: &str) -> impl Iterator<Item = Relation<'_>> {
    groups(field).flatten()
}

fn parse(text: &str) -> Option<Relation<'_>> {
    let Some((name, rest)) = text.split_once('(') else {
        // What follows in [] and <> is for source packages.
        return Relation::new(text.split(['[', '<']).next().unwrap_or(text), None);
    };
    let inside = rest.split(')').next().unwrap_or(rest).trim();
    let end = inside
        .find(|c: char| !"<>=".contains(c))
        .unwrap_or(inside.len());
    let (operator, version) = inside.split_at(end);
    Relation::new(name, Some((operator, version.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn alternatives_versions_and_qualifiers_are_read() {
        let read: Vec<Vec<String>> =
            groups("a (>= 1:2~) | b:any,\n c [riscv64] <!nocheck>,, d(=1)")
                .map(|group| group.iter().map(ToString::to_string).collect())
                .collect();
        assert_eq!(
            read,
            [
                vec!["a (>= 1:2~)".to_owned(), "b".to_owned()],
                vec!["c".to_owned()],
                vec!["d (= 1)".to_owned()]
            ]
        );
    }

    #[test]
    fn versions_are_compared_by_every_operator() {
        for (operator, met) in [
            ("<<", [true, false, false]),
            ("<=", [true, true, false]),
            ("=", [false, true, false]),
            (">=", [false, true, true]),
            (">>", [false, false, true]),
            ("~~", [false, false, false]),
        ] {
            let field = format!("a ({operator} 2)");
            let relation = list(&field).next().unwrap();
            assert_eq!(
                ["1", "2", "3"].map(|v| relation.is_met_by(Some(v))),
                met,
                "{operator}"
            );
            assert!(!relation.is_met_by(None));
        }
        assert!(list("a").next().unwrap().is_met_by(None));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[ab:|,()<>=\\[\\] 1~]{0,40}") {
            for relation in list(&text) {
                prop_assert!(!relation.name.is_empty());
                relation.is_met_by(Some("1"));
            }
        }
    }
}
