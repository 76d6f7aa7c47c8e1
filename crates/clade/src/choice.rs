//! Options whose values have names.

use clap::builder::{PossibleValuesParser, TypedValueParser};

/// Parses one of `all` by what `name_of` calls it.
pub(crate) fn parser<T: Copy + Send + Sync + 'static, const N: usize>(
    all: [T; N],
    name_of: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.map(name_of)).try_map(move |name| {
        let chosen = all.into_iter().find(|&choice| name_of(choice) == name);
        chosen.ok_or("it is none of these")
    })
}
