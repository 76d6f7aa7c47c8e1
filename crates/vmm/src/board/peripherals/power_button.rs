use super::{Plugging, slot};
use crate::board::BoardError;

pub(super) fn plug(plugging: &mut Plugging<'_>) -> Result<(), BoardError> {
    plugging.plug(slot::POWER_BUTTON, plugging.parts.power_button.clone())
}
