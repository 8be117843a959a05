/// How far a timeout reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Coverage {
    /// To the response's header section: what its body takes is not counted.
    Headers,
    /// To the end of the response's body, trailers included.
    Body,
}
