//! The layers, stacked.
