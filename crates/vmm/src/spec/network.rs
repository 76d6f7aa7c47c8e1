use serde::{Deserialize, Serialize};

/// What a machine's network card is connected to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkSpec {
    /// There is no card.
    #[default]
    None,
}
