//! For tests: a configuration, and a directory of its own for each, removed afterwards.
use std::path::{Path, PathBuf};

/// A configuration that says nothing but its domain.
pub(crate) fn config() -> crate::config::Config {
    crate::config::Config::parse("[server]\ndomains = [\"example.org\"]").expect("a configuration")
}

/// A temporary directory.
pub(crate) struct TestDir(PathBuf);

impl TestDir {
    /// Makes one; `name` is the test's.
    pub(crate) fn new(name: &str) -> TestDir {
        let path = std::env::temp_dir().join(format!("godwit-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).expect("temporary directory");
        TestDir(path)
    }
    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
