//! Texts and bytes that nobody but their user may see: a secret's value, what it was filled into.

use std::fmt;

use zeroize::Zeroize;

/// Something whose contents no log line, error or assertion shows, and of which nothing is left in memory once it is
/// dropped.
///
/// It can't be serialized, printed or turned into its contents by accident: whoever wants them says [`Self::expose`].
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Hidden<T: Zeroize>(T);

impl<T: Zeroize> Hidden<T> {
    /// Hides it.
    pub const fn new(contents: T) -> Self {
        Self(contents)
    }

    /// What is hidden. Not to be kept beyond the call that needs it.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// Changes what is hidden. What grows leaves a copy behind: it should have its room from the beginning.
    pub fn with<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R {
        change(&mut self.0)
    }
}

impl<T: Zeroize> From<T> for Hidden<T> {
    fn from(contents: T) -> Self {
        Self(contents)
    }
}

impl<T: Zeroize> fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl<T: Zeroize> Drop for Hidden<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_not_shown() {
        let hidden = Hidden::new(vec![("PASSWORD".to_owned(), "hunter2".to_owned())]);
        assert_eq!(format!("{hidden:?} {:?}", Some(&hidden)), "(hidden) Some((hidden))");
        assert_eq!(hidden.expose()[0].1, "hunter2");
    }
}
