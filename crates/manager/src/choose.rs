//! Which machine is meant.

use crate::{Error, Machine};

/// The machine that has this name or id, or else the only one whose name or id starts so.
pub(crate) fn choose(machines: Vec<Machine>, text: &str) -> Result<Machine, Error> {
    let names = |machines: &[&Machine]| -> Vec<String> {
        machines
            .iter()
            .map(|machine| machine.spec.name.clone())
            .collect()
    };
    let exact = |machine: &&Machine| machine.spec.name == text || machine.spec.id == text;
    if let Some(machine) = machines.iter().find(exact) {
        return Ok(machine.clone());
    }
    let starts = |machine: &&Machine| {
        !text.is_empty()
            && (machine.spec.name.starts_with(text) || machine.spec.id.starts_with(text))
    };
    let matches: Vec<&Machine> = machines.iter().filter(starts).collect();
    match matches.as_slice() {
        [machine] => Ok((*machine).clone()),
        [] => {
            let known = names(&machines.iter().collect::<Vec<_>>());
            Err(Error::NotFound {
                text: text.to_owned(),
                known,
            })
        }
        _ => Err(Error::Ambiguous {
            text: text.to_owned(),
            matches: names(&matches),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::machine;

    #[test]
    fn found_by_name_id_and_unique_prefix() {
        let machines = vec![
            machine("web", "aaaa00000000"),
            machine("web-2", "aabb00000000"),
            machine("db", "cccc00000000"),
        ];
        let find = |text| choose(machines.clone(), text).map(|machine| machine.spec.name);
        for (text, name) in [
            ("web", "web"),
            ("web-", "web-2"),
            ("d", "db"),
            ("aabb00000000", "web-2"),
            ("aab", "web-2"),
            ("ccc", "db"),
        ] {
            assert_eq!(find(text).expect(text), name);
        }
        assert!(matches!(find("we"), Err(Error::Ambiguous { matches, .. }) if matches.len() == 2));
        assert!(matches!(find("aa"), Err(Error::Ambiguous { .. })));
        assert!(matches!(find("x"), Err(Error::NotFound { known, .. }) if known.len() == 3));
        assert!(matches!(find(""), Err(Error::NotFound { .. })));
    }
}
