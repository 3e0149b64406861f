//! A short list that costs no allocation.

use std::ops::{Deref, DerefMut};

/// So many elements stand in place; more are allocated.
pub(super) const FEW: usize = 8;

/// A list of a length that is known when it is made.
#[derive(Clone, Debug)]
pub(super) struct Few<T> {
    few: [T; FEW],
    many: Vec<T>,
    len: usize,
}

impl<T: Copy> Few<T> {
    /// Returns `len` times `value`.
    #[inline]
    pub(super) fn filled(value: T, len: usize) -> Self {
        Self { few: [value; FEW], many: if len > FEW { vec![value; len] } else { Vec::new() }, len }
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        if self.len <= FEW { &self.few[..self.len] } else { &self.many }
    }
}

impl<T> DerefMut for Few<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        if self.len <= FEW { &mut self.few[..self.len] } else { &mut self.many }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_its_length_however_long_it_is() {
        for len in [0, 1, FEW, FEW + 1, 100] {
            let mut list = Few::filled(7, len);
            assert_eq!(list.len(), len);
            list.iter_mut().enumerate().for_each(|(at, each)| *each = at);
            assert!(list.iter().copied().eq(0..len));
        }
    }
}
