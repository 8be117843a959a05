//! courteous and its peers, measured side by side.

fn main() {}
