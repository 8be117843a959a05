use std::collections::{BTreeMap, btree_map};

/// Tags by which the caller can find the record: a request extension, and a part of a
/// [`Letter`](crate::Letter).
///
/// The layer removes the tags from the request, so that no inner service sees or copies them. Do
/// not put secrets here: a value that has a secret's name or form, or holds a secret of the
/// request, is written as `withheld`.
///
/// ```
/// use courteous_dead_letter::Tags;
/// use http::Request;
///
/// let tags = Tags::new().with("order", "42").with("shop", "berlin");
/// assert_eq!(tags.get("order"), Some("42"));
/// let request = Request::post("https://api.example.com/charges").extension(tags).body(())?;
/// # let _ = request;
/// # Ok::<_, http::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(BTreeMap<String, String>);

impl Tags {
    /// No tags.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a tag, or replaces the value of the tag with this name. A NUL character is left out, as
    /// not every store can hold it.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0
            .insert(without_nul(name.into()), without_nul(value.into()));
        self
    }

    /// The value of the tag with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether there are no tags.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All tags, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.into_iter()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Tags {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(tags: I) -> Self {
        let tags = tags.into_iter();
        tags.fold(Self::new(), |tags, (name, value)| tags.with(name, value))
    }
}

/// The text without NUL characters, which Postgres cannot hold.
#[must_use]
pub fn without_nul(mut text: String) -> String {
    text.retain(|char| char != '\0');
    text
}

impl<'a> IntoIterator for &'a Tags {
    type Item = (&'a str, &'a str);
    type IntoIter = TagsIter<'a>;

    fn into_iter(self) -> TagsIter<'a> {
        TagsIter(self.0.iter())
    }
}

/// The tags of [`Tags`], sorted by name.
#[derive(Clone, Debug)]
pub struct TagsIter<'a>(btree_map::Iter<'a, String, String>);

impl<'a> Iterator for TagsIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.0.next()?;
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_sorted_unique_and_without_nul() {
        let tags: Tags = [("b", "1"), ("a\0", "\0\0"), ("b", "2")]
            .into_iter()
            .collect();
        let all: Vec<_> = tags.iter().collect();
        assert_eq!(all, [("a", ""), ("b", "2")]);
        assert_eq!((tags.get("b"), tags.get("c")), (Some("2"), None));
        assert!(!tags.is_empty() && Tags::new().is_empty());
    }
}
