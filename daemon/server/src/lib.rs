//! godwitd and godwitctl.
