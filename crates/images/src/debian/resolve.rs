//! Choosing packages: what was asked for, with all that it depends on, and nothing in conflict.

use std::collections::{BTreeMap, VecDeque};

use super::relation::{Relation, groups, list};
use crate::Error;
use crate::control::{Paragraph, paragraphs};

/// All packages of a suite and its updates, by name.
pub(crate) struct Universe<'a> {
    suite: &'a str,
    packages: BTreeMap<&'a str, Candidate<'a>>,
    /// Who provides a name, with the version that it is provided in.
    providers: BTreeMap<String, Vec<(&'a str, Option<String>)>>,
}

/// A package that may be chosen.
struct Candidate<'a> {
    paragraph: Paragraph<'a>,
    version: String,
    priority: Priority,
    /// Which of the indices it is from.
    index: usize,
}

/// How much a package belongs to a Debian system (Policy 2.5), most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    Required,
    Important,
    Standard,
    Optional,
}

impl Priority {
    fn of(paragraph: &Paragraph<'_>) -> Self {
        if paragraph.field("Essential").as_deref() == Some("yes") {
            return Self::Required;
        }
        match paragraph.field("Priority").as_deref() {
            Some("required") => Self::Required,
            Some("important") => Self::Important,
            Some("standard") => Self::Standard,
            _ => Self::Optional,
        }
    }
}

/// A chosen package.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice<'a> {
    pub(crate) name: &'a str,
    pub(crate) paragraph: Paragraph<'a>,
    /// Which of the indices it is from.
    pub(crate) index: usize,
}

impl<'a> Universe<'a> {
    /// Reads package indices. Of a package that several have, or one has twice, the newest counts.
    pub(crate) fn new(suite: &'a str, indices: impl IntoIterator<Item = &'a str>) -> Self {
        let mut universe = Self {
            suite,
            packages: BTreeMap::new(),
            providers: BTreeMap::new(),
        };
        let indices = indices.into_iter().enumerate();
        let paragraphs =
            indices.flat_map(|(index, text)| paragraphs(text).map(move |p| (index, p)));
        for (index, paragraph) in paragraphs {
            let (Some(name), Some(version)) = (paragraph.name(), paragraph.field("Version")) else {
                continue;
            };
            let newer =
                |there: &Candidate<'_>| super::version::compare(&there.version, &version).is_lt();
            if universe
                .packages
                .get(name)
                .is_some_and(|there| !newer(there))
            {
                continue;
            }
            let candidate = Candidate {
                paragraph,
                version,
                priority: Priority::of(&paragraph),
                index,
            };
            universe.packages.insert(name, candidate);
        }
        universe.find_providers();
        universe
    }

    fn find_providers(&mut self) {
        for (name, candidate) in &self.packages {
            let provides = candidate.paragraph.field("Provides").unwrap_or_default();
            for relation in list(&provides) {
                let version = relation.provided_version().map(str::to_owned);
                let providers = self.providers.entry(relation.name.to_owned());
                providers.or_default().push((name, version));
            }
        }
    }

    /// The names of the packages that are at least so important.
    pub(crate) fn at_least(&self, priority: Priority) -> impl Iterator<Item = &'a str> {
        let chosen = self
            .packages
            .iter()
            .filter(move |(_, candidate)| candidate.priority <= priority);
        chosen.map(|(name, _)| *name)
    }

    /// Chooses the packages of these names and all that they depend on, in an order in which nearly
    /// all come after what they need.
    ///
    /// # Errors
    /// [`Error::Dependency`], with the chain that leads to what is missing; [`Error::Conflict`].
    pub(crate) fn resolve(&self, names: &[&str]) -> Result<Vec<Choice<'a>>, Error> {
        let mut resolver = Resolver {
            universe: self,
            chosen: BTreeMap::new(),
            open: VecDeque::new(),
        };
        for name in names {
            // Something virtual may be asked for as well.
            let found = groups(name).next();
            let wanted = found.unwrap_or_default();
            resolver.satisfy(&wanted, None)?;
        }
        while let Some(name) = resolver.open.pop_front() {
            for field in ["Pre-Depends", "Depends"] {
                let field = self.packages[name].paragraph.field(field);
                for group in groups(field.as_deref().unwrap_or_default()) {
                    resolver.satisfy(&group, Some(name))?;
                }
            }
        }
        resolver.check_conflicts()?;
        Ok(self.ordered(&resolver.chosen))
    }

    /// What serves a relation, the package of that name first.
    fn servers<'s>(&'s self, relation: &'s Relation<'_>) -> impl Iterator<Item = &'a str> + 's {
        let own = self.packages.get_key_value(relation.name);
        let own = own.filter(|(_, candidate)| relation.is_met_by(Some(&candidate.version)));
        let providers = self.providers.get(relation.name).into_iter().flatten();
        let mut providers: Vec<&'a str> = providers
            .filter(|(_, version)| relation.is_met_by(version.as_deref()))
            .map(|(name, _)| *name)
            .collect();
        providers.sort_by_key(|name| (self.packages[name].priority, *name));
        own.map(|(name, _)| *name).into_iter().chain(providers)
    }

    /// Whether a relation speaks of this package.
    fn means(&self, relation: &Relation<'_>, name: &str) -> bool {
        self.servers(relation).any(|server| server == name)
    }

    /// Chosen packages, each after those that it depends on as far as there is no circle.
    fn ordered(&self, chosen: &Chosen<'a>) -> Vec<Choice<'a>> {
        let mut order = Vec::new();
        let mut seen = BTreeMap::new();
        for name in chosen.keys() {
            self.visit(name, chosen, &mut seen, &mut order);
        }
        let choice = |name: &'a str| Choice {
            name,
            paragraph: self.packages[name].paragraph,
            index: self.packages[name].index,
        };
        order.into_iter().map(choice).collect()
    }

    fn visit(
        &self,
        name: &'a str,
        chosen: &Chosen<'a>,
        seen: &mut BTreeMap<&'a str, ()>,
        order: &mut Vec<&'a str>,
    ) {
        if seen.insert(name, ()).is_some() {
            return;
        }
        for field in ["Pre-Depends", "Depends"] {
            let field = self.packages[name].paragraph.field(field);
            for group in groups(field.as_deref().unwrap_or_default()) {
                let servers = group.iter().flat_map(|relation| self.servers(relation));
                for server in servers.filter(|server| chosen.contains_key(server)) {
                    self.visit(server, chosen, seen, order);
                }
            }
        }
        order.push(name);
    }
}

/// Chosen packages, and on whose behalf.
type Chosen<'a> = BTreeMap<&'a str, Option<&'a str>>;

struct Resolver<'u, 'a> {
    universe: &'u Universe<'a>,
    chosen: Chosen<'a>,
    /// Chosen, but not what they depend on.
    open: VecDeque<&'a str>,
}

impl<'a> Resolver<'_, 'a> {
    /// Chooses the first of the alternatives that there is, unless one is chosen already.
    fn satisfy(
        &mut self,
        alternatives: &[Relation<'_>],
        because: Option<&'a str>,
    ) -> Result<(), Error> {
        let universe = self.universe;
        let servers = || {
            alternatives
                .iter()
                .flat_map(|relation| universe.servers(relation))
        };
        if servers().any(|server| self.chosen.contains_key(server)) {
            return Ok(());
        }
        let fitting = servers().find(|server| self.conflict_of(server).is_none());
        // One in conflict is chosen all the same: the error then names it.
        let Some(server) = fitting.or_else(|| servers().next()) else {
            let wanted: Vec<_> = alternatives.iter().map(ToString::to_string).collect();
            return Err(Error::Dependency {
                wanted: wanted.join(" | "),
                suite: universe.suite.to_owned(),
                chain: because.map_or_else(String::new, |name| self.chain(name)),
            });
        };
        self.chosen.insert(server, because);
        self.open.push_back(server);
        Ok(())
    }

    /// A chosen package that cannot be together with this one.
    fn conflict_of(&self, name: &str) -> Option<&'a str> {
        self.chosen
            .keys()
            .copied()
            .find(|other| self.excludes(name, other) || self.excludes(other, name))
    }

    fn excludes(&self, name: &str, other: &str) -> bool {
        if name == other {
            return false;
        }
        let paragraph = self.universe.packages[name].paragraph;
        ["Conflicts", "Breaks"].iter().any(|field| {
            let field = paragraph.field(field).unwrap_or_default();
            list(&field).any(|relation| self.universe.means(&relation, other))
        })
    }

    fn check_conflicts(&self) -> Result<(), Error> {
        for name in self.chosen.keys() {
            for field in ["Conflicts", "Breaks"] {
                let field = self.universe.packages[name].paragraph.field(field);
                for relation in list(field.as_deref().unwrap_or_default()) {
                    let mut others = self.universe.servers(&relation);
                    if let Some(other) =
                        others.find(|other| other != name && self.chosen.contains_key(other))
                    {
                        return Err(Error::Conflict {
                            one: self.chain(name),
                            other: self.chain(other),
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// `asked for, its dependency, ..., name`.
    fn chain(&self, name: &'a str) -> String {
        let mut chain = vec![name];
        let mut at = name;
        while let Some(Some(because)) = self.chosen.get(at) {
            chain.push(because);
            at = because;
        }
        chain.reverse();
        chain.join(" needs ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A world of packages, one a line: `name version; Field: value; ...`.
    fn resolve(world: &str, names: &[&str]) -> Result<Vec<String>, String> {
        let index = index(world);
        let universe = Universe::new("trixie", [index.as_str()]);
        let chosen = universe.resolve(names).map_err(|error| error.to_string())?;
        Ok(chosen.iter().map(|choice| choice.name.to_owned()).collect())
    }

    fn index(world: &str) -> String {
        let mut index = String::new();
        for line in world.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut parts = line.split(';');
            let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
            index.push_str(&format!("Package: {name}\nVersion: {version}\n"));
            for field in parts {
                index.push_str(field.trim());
                index.push('\n');
            }
            index.push('\n');
        }
        index
    }

    #[test]
    fn dependencies_come_before_what_needs_them() {
        let world = "a 1; Depends: b (>= 2), c\nb 2; Pre-Depends: d\nc 1; Depends: b\nd 1\ne 1";
        assert_eq!(resolve(world, &["a"]).unwrap(), ["d", "b", "c", "a"]);
    }

    #[test]
    fn circles_end() {
        let world = "a 1; Depends: b\nb 1; Depends: a";
        assert_eq!(resolve(world, &["a"]).unwrap(), ["b", "a"]);
    }

    #[test]
    fn the_first_alternative_that_there_is_wins_unless_one_is_chosen() {
        let world = "a 1; Depends: x | b (>= 2) | c\nb 1\nc 1\nd 1; Depends: e | c\ne 1";
        assert_eq!(resolve(world, &["a"]).unwrap(), ["c", "a"]);
        assert_eq!(resolve(world, &["c", "d"]).unwrap(), ["c", "d"]);
        assert_eq!(resolve(world, &["d"]).unwrap(), ["e", "d"]);
    }

    #[test]
    fn what_is_provided_serves_with_its_version_only() {
        let world = "a 1; Depends: virtual\nb 1; Depends: virtual (>= 2)\nc 1; Depends: virtual (>= 4)\n\
                     p 1; Provides: virtual\nq 1; Provides: virtual (= 3)";
        assert_eq!(resolve(world, &["a"]).unwrap(), ["p", "a"]);
        assert_eq!(resolve(world, &["b"]).unwrap(), ["q", "b"]);
        assert_eq!(resolve(world, &["virtual"]).unwrap(), ["p"]);
        assert!(resolve(world, &["c"]).is_err());
    }

    #[test]
    fn among_providers_the_more_important_wins() {
        let world = "a 1; Depends: v\np 1; Provides: v\nq 1; Provides: v; Priority: important";
        assert_eq!(resolve(world, &["a"]).unwrap(), ["q", "a"]);
    }

    #[test]
    fn an_alternative_in_conflict_is_left_out() {
        let world = "a 1; Depends: c | d\nb 1; Conflicts: c\nc 1\nd 1";
        assert_eq!(resolve(world, &["b", "a"]).unwrap(), ["d", "a", "b"]);
    }

    #[test]
    fn conflicts_name_both_chains_and_provided_names_count() {
        let world = "a 1; Depends: c\nb 1; Breaks: v (<< 2)\nc 1; Provides: v (= 1)";
        let error = resolve(world, &["a", "b"]).unwrap_err();
        assert!(error.contains("a needs c"), "{error}");
        assert!(error.contains("b"), "{error}");
        let own = "a 1; Provides: v; Conflicts: v, a";
        assert_eq!(resolve(own, &["a"]).unwrap(), ["a"]);
    }

    #[test]
    fn what_is_missing_is_told_with_the_chain_to_it() {
        let world = "a 1; Depends: b\nb 1; Depends: c (>= 3) | d\nc 2";
        let error = resolve(world, &["a"]).unwrap_err();
        assert!(error.contains("c (>= 3) | d"), "{error}");
        assert!(error.contains("a needs b"), "{error}");
        let error = resolve(world, &["nothing"]).unwrap_err();
        assert!(error.contains("nothing"), "{error}");
    }

    #[test]
    fn an_update_hides_what_the_suite_has_with_all_that_that_provides() {
        let suite = index("a 1; Provides: v (= 1)\nb 1; Depends: v (= 1)\nc 1");
        let updates = index("a 2; Provides: v (= 2)");
        let universe = Universe::new("trixie", [suite.as_str(), updates.as_str()]);
        let chosen = universe.resolve(&["a", "c"]).unwrap();
        let found: Vec<_> = chosen.iter().map(|c| (c.name, c.index)).collect();
        assert_eq!(found, [("a", 1), ("c", 0)]);
        assert!(universe.resolve(&["b"]).is_err());
    }

    #[test]
    fn of_two_versions_the_newer_counts() {
        let world = "a 1; Depends: b\na 2\nb 1";
        assert_eq!(resolve(world, &["a"]).unwrap(), ["a"]);
    }
}
