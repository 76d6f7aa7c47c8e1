//! Stores that only wake somebody, which an engine may take without leaving the guest.

use std::sync::Arc;

use clade_engine::Doorbells;

use crate::Waker;

/// A place in a function's BAR where whatever the guest stores does no more than wake somebody.
pub struct Doorbell {
    /// The BAR.
    pub bar: u8,
    /// Where in it.
    pub offset: u64,
    /// Who is woken.
    pub waker: Arc<dyn Waker>,
}

/// Who is woken by a store at a bus address.
pub(super) type Bell = (u64, Arc<dyn Waker>);

/// The doorbells that an engine has taken.
pub(super) struct Taken {
    engine: Option<Arc<dyn Doorbells>>,
    bells: Vec<Bell>,
}

impl Taken {
    /// None yet; and none ever without an engine.
    pub(super) fn by(engine: Option<Arc<dyn Doorbells>>) -> Self {
        Self {
            engine,
            bells: Vec::new(),
        }
    }

    /// From now on the engine has `wanted`, and no others. What it refuses goes by the bus.
    pub(super) fn change_to(&mut self, wanted: impl FnOnce() -> Vec<Bell>) {
        let Some(engine) = &self.engine else {
            return;
        };
        let wanted = wanted();
        // First, for another function's may be at the same address.
        self.bells.retain(|bell| {
            let stays = contains(&wanted, bell);
            if !stays && let Some(event) = bell.1.event() {
                engine.disconnect(bell.0, event);
            }
            stays
        });
        for bell in wanted {
            let connects = |event| engine.connect(bell.0, event).is_ok();
            if !contains(&self.bells, &bell) && bell.1.event().is_some_and(connects) {
                self.bells.push(bell);
            }
        }
    }
}

fn contains(bells: &[Bell], (address, waker): &Bell) -> bool {
    let same = |bell: &Bell| bell.0 == *address && Arc::ptr_eq(&bell.1, waker);
    bells.iter().any(same)
}
