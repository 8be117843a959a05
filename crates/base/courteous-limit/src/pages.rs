use std::ops::{Index, IndexMut};

/// How many values to a page.
const PAGE: usize = 512;

/// A list that grows and shrinks by pages, so that no step moves more than one page's values.
///
/// An index is a `u32`. One that is out of bounds panics, as with a slice.
pub(crate) struct Pages<T> {
    /// All are full, but the last one, which has at least one value.
    pages: Vec<Vec<T>>,
}

impl<T> Pages<T> {
    pub(crate) const fn new() -> Self {
        Self { pages: Vec::new() }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self.pages.last() {
            Some(last) => (self.pages.len() - 1) * PAGE + last.len(),
            None => 0,
        }
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.pages
            .get(index as usize / PAGE)?
            .get(index as usize % PAGE)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten()
    }

    pub(crate) fn push(&mut self, value: T) {
        match self.pages.last_mut() {
            Some(last) if last.len() < PAGE => last.push(value),
            last => {
                // Few values have a small page; of many, none is moved as a page grows.
                let room = if last.is_some() { PAGE } else { 1 };
                let mut page = Vec::with_capacity(room);
                page.push(value);
                self.pages.push(page);
            }
        }
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let last = self.pages.last_mut()?;
        let value = last.pop();
        if last.is_empty() {
            self.pages.pop();
        }
        value
    }

    /// Takes a value out, and puts the last one in its place.
    pub(crate) fn swap_remove(&mut self, index: u32) -> Option<T> {
        let last = self.pop()?;
        match index as usize == self.len() {
            true => Some(last),
            false => Some(std::mem::replace(&mut self[index], last)),
        }
    }
}

impl<T> Index<u32> for Pages<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        &self.pages[index as usize / PAGE][index as usize % PAGE]
    }
}

impl<T> IndexMut<u32> for Pages<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.pages[index as usize / PAGE][index as usize % PAGE]
    }
}
