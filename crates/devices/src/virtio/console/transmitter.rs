/// Who prints: one thread at a time, without the device's lock. Notifications that come meanwhile
/// make that thread look once more, for it may just have found the queue empty. So output stays
/// in order, none is forgotten, and the lock is free.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Transmitter {
    #[default]
    Idle,
    Busy,
    BusyAgain,
}

impl Transmitter {
    /// A notification: returns whether the caller is to print until [`Transmitter::finish`].
    pub(super) fn begin(&mut self) -> bool {
        let idle = *self == Transmitter::Idle;
        *self = if idle {
            Transmitter::Busy
        } else {
            Transmitter::BusyAgain
        };
        idle
    }

    /// The queue was empty: returns whether the caller is done, or has to look once more.
    pub(super) fn finish(&mut self) -> bool {
        let done = *self != Transmitter::BusyAgain;
        *self = if done {
            Transmitter::Idle
        } else {
            Transmitter::Busy
        };
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_while_busy_makes_it_look_again() {
        let mut transmitter = Transmitter::default();
        for _ in 0..2 {
            assert!(transmitter.begin());
            assert!(!transmitter.begin());
            assert!(!transmitter.begin());
            assert!(!transmitter.finish());
            assert!(!transmitter.begin());
            assert!(!transmitter.finish());
            assert!(transmitter.finish());
        }
    }
}
