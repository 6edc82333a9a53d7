//! Connection state machines, sans-IO.
