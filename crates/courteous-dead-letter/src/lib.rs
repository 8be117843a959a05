//! Keeps what could not be delivered, and sends it again safely.
