//! Who came from whom, as a tree drawn with lines.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// What stands in the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// Different for every node.
    pub(crate) id: String,
    /// The id of what it came from. That may be gone, or may never have been there.
    pub(crate) parent: Option<String>,
    /// The ids of those that it hangs at otherwise, the best first.
    pub(crate) others: Vec<String>,
    /// Where it stands among those that hang at the same.
    pub(crate) order: (u64, String),
}

/// A node's place, in the order in which they are drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which node it is.
    pub(crate) node: usize,
    /// At which it hangs.
    pub(crate) parent: Option<usize>,
    /// The lines in front of it.
    pub(crate) lines: String,
}

/// What lines are drawn with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pens {
    branch: &'static str,
    last: &'static str,
    past: &'static str,
}

/// For terminals that know Unicode's box drawing.
pub(crate) const BOXES: Pens = Pens {
    branch: "├─ ",
    last: "└─ ",
    past: "│  ",
};

/// For all others.
pub(crate) const ASCII: Pens = Pens {
    branch: "|- ",
    last: "`- ",
    past: "|  ",
};

const NOTHING: &str = "   ";

/// The places of all nodes. What says that it came from itself, by whatever way round, stands at the
/// root.
pub(crate) fn arrange(nodes: &[Node], pens: Pens) -> Vec<Place> {
    let parents = parents(nodes);
    let mut children: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
    for (node, parent) in parents.iter().enumerate() {
        children.entry(*parent).or_default().push(node);
    }
    // The first is to be on top of a stack.
    for list in children.values_mut() {
        list.sort_by_key(|&node| Reverse(&nodes[node].order));
    }
    let mut places = Vec::new();
    let roots = children.remove(&None).unwrap_or_default();
    let mut to_do: Vec<_> = roots
        .iter()
        .map(|&root| (root, String::new(), String::new()))
        .collect();
    while let Some((node, lines, below)) = to_do.pop() {
        places.push(Place {
            node,
            parent: parents[node],
            lines,
        });
        let children = children.remove(&Some(node)).unwrap_or_default();
        for (number, child) in children.into_iter().enumerate() {
            let (pen, past) = match number {
                0 => (pens.last, NOTHING),
                _ => (pens.branch, pens.past),
            };
            to_do.push((child, format!("{below}{pen}"), format!("{below}{past}")));
        }
    }
    places
}

/// Of the places of a forest, those of the tree that has this node in it.
pub(crate) fn tree_of(node: usize, places: &[Place]) -> Vec<Place> {
    let starts = |place: &Place| place.parent.is_none();
    let at = places.iter().position(|place| place.node == node);
    let root = at.and_then(|at| places[..=at].iter().rposition(starts));
    let Some(root) = root else { return Vec::new() };
    let tree = places[root + 1..].iter().take_while(|place| !starts(place));
    places[root..=root].iter().chain(tree).cloned().collect()
}

/// At which node each hangs.
fn parents(nodes: &[Node]) -> Vec<Option<usize>> {
    let by_id: BTreeMap<&str, usize> = (0..).zip(nodes).map(|(at, one)| (&*one.id, at)).collect();
    let mut parents = vec![None; nodes.len()];
    let mut hang = |node: usize, at: &String| {
        let place = by_id.get(at.as_str()).copied();
        let free = parents[node].is_none();
        if let Some(place) = place.filter(|&place| free && !is_below(place, node, &parents)) {
            parents[node] = Some(place);
        }
    };
    // What came from what is certain; where it hangs otherwise must not be in the way of that.
    for (node, one) in nodes.iter().enumerate() {
        one.parent.iter().for_each(|parent| hang(node, parent));
    }
    for (node, one) in nodes.iter().enumerate() {
        one.others.iter().for_each(|other| hang(node, other));
    }
    parents
}

/// Whether `node` is `above`, or hangs below it.
fn is_below(node: usize, above: usize, parents: &[Option<usize>]) -> bool {
    let mut up = Some(node);
    while let Some(at) = up {
        if at == above {
            return true;
        }
        up = parents[at];
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(id: &str, parent: &str, others: &[&str]) -> Node {
        Node {
            id: id.to_owned(),
            parent: Some(parent.to_owned()).filter(|parent| !parent.is_empty()),
            others: others.iter().map(|&other| other.to_owned()).collect(),
            order: (0, id.to_owned()),
        }
    }

    fn drawn(nodes: &[Node], pens: Pens) -> Vec<String> {
        let places = arrange(nodes, pens);
        let line = |place: &Place| format!("{}{}", place.lines, nodes[place.node].id);
        places.iter().map(line).collect()
    }

    #[test]
    fn children_hang_below_what_they_came_from() {
        let nodes = [
            node("b", "a", &[]),
            node("e", "b", &[]),
            node("d", "a", &[]),
            node("a", "", &[]),
            node("c", "b", &[]),
            node("z", "", &[]),
            node("f", "d", &[]),
        ];
        let expected = ["a", "├─ b", "│  ├─ c", "│  └─ e", "└─ d", "   └─ f", "z"];
        assert_eq!(drawn(&nodes, BOXES), expected);
        let expected = ["a", "|- b", "|  |- c", "|  `- e", "`- d", "   `- f", "z"];
        assert_eq!(drawn(&nodes, ASCII), expected);
        let places = arrange(&nodes, ASCII);
        for (id, tree) in [("c", 6), ("a", 6), ("z", 1)] {
            let at = nodes.iter().position(|node| node.id == id).expect("there");
            assert_eq!(tree_of(at, &places).len(), tree, "{id}");
        }
        assert_eq!(tree_of(7, &places), []);
    }

    #[test]
    fn siblings_stand_in_their_order() {
        let at = |id, order| Node {
            order: (order, String::new()),
            ..node(id, "", &[])
        };
        let nodes = [at("late", 9), at("first", 1), at("then", 2)];
        assert_eq!(drawn(&nodes, ASCII), ["first", "then", "late"]);
    }

    #[test]
    fn what_came_from_something_gone_hangs_at_the_next_best() {
        let nodes = [
            node("machine", "", &[]),
            node("orphan", "gone", &["gone too", "machine"]),
            node("stray", "gone", &[]),
        ];
        assert_eq!(drawn(&nodes, BOXES), ["machine", "└─ orphan", "stray"]);
    }

    #[test]
    fn what_is_certain_comes_before_what_is_next_best() {
        // The machine is the same as the second snapshot; the first one's parent was removed.
        let nodes = [
            node("first", "gone", &["machine"]),
            node("second", "first", &["machine"]),
            node("machine", "second", &[]),
        ];
        assert_eq!(
            drawn(&nodes, BOXES),
            ["first", "└─ second", "   └─ machine"]
        );
    }

    #[test]
    fn circles_are_cut() {
        let nodes = [
            node("a", "b", &[]),
            node("b", "c", &["a"]),
            node("c", "a", &["c"]),
            node("self", "self", &["self"]),
        ];
        assert_eq!(drawn(&nodes, BOXES), ["c", "└─ b", "   └─ a", "self"]);
    }

    #[test]
    fn a_long_history_is_no_trouble() {
        let mut nodes = vec![node("0", "", &[])];
        nodes.extend((1..500).map(|n| node(&n.to_string(), &(n - 1).to_string(), &[])));
        assert_eq!(arrange(&nodes, BOXES).len(), 500);
    }

    proptest! {
        #[test]
        fn every_node_has_one_place_behind_its_parents(
            links in prop::collection::vec((0usize..12, 0usize..12, 0u64..3), 0..12)
        ) {
            let nodes: Vec<Node> = links
                .iter()
                .enumerate()
                .map(|(id, &(parent, other, order))| Node {
                    order: (order, id.to_string()),
                    ..node(&id.to_string(), &parent.to_string(), &[&other.to_string()])
                })
                .collect();
            let places = arrange(&nodes, ASCII);
            let mut seen = Vec::new();
            for place in &places {
                prop_assert!(place.parent.is_none_or(|parent| seen.contains(&parent)));
                prop_assert!(!seen.contains(&place.node));
                seen.push(place.node);
            }
            prop_assert_eq!(seen.len(), nodes.len());
            let trees = places.iter().filter(|place| place.parent.is_none());
            let together: usize = trees.map(|root| tree_of(root.node, &places).len()).sum();
            prop_assert_eq!(together, nodes.len());
        }
    }
}
