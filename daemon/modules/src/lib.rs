//! One file per XEP, the router, the registry.
