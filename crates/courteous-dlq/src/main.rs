//! A command that lists, replays and discards dead letters.

fn main() {}
