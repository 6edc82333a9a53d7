//! The memory that one binary leaves to the next: a file without a name that never reaches a disk, sealed so
//! that nobody changes it any more.
use super::VARIABLE;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::RawFd;

const SEALS: SealFlags =
    SealFlags::WRITE.union(SealFlags::GROW).union(SealFlags::SHRINK).union(SealFlags::SEAL);

/// Empty, not inherited.
pub fn create() -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know that it is not to be executed.
    let made = memfd_create("godwit-handover", flags | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| memfd_create("godwit-handover", flags))?;
    Ok(File::from(made))
}

/// Nothing of it changes from here on.
pub fn seal(memory: &File) -> io::Result<()> {
    Ok(fcntl_add_seals(memory, SEALS)?)
}

/// What the binary before this one left, if it did: the file and its length. The variable alone is not
/// believed, since anybody's environment may have it: the memory must be sealed.
pub fn inherited() -> Option<io::Result<(File, u64)>> {
    let number: RawFd = std::env::var(VARIABLE).ok()?.parse().ok()?;
    Some(open(number))
}

fn open(number: RawFd) -> io::Result<(File, u64)> {
    let mut file = File::from(godwit_edge::sys::adopt(number)?);
    if !fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SEALS)) {
        return Err(io::Error::other("descriptor that the environment names is no sealed memory"));
    }
    file.seek(SeekFrom::Start(0))?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::{AsRawFd, IntoRawFd};

    #[test]
    fn sealed_memory_cannot_be_changed() {
        let mut memory = create().expect("memory");
        memory.write_all(b"secret").expect("written");
        seal(&memory).expect("sealed");
        assert!(memory.write_all(b"more").is_err());
        assert!(memory.set_len(0).is_err());
        let (_, length) = open(memory.into_raw_fd()).expect("taken");
        assert_eq!(length, 6);
    }

    #[test]
    fn what_is_not_sealed_is_not_believed() {
        let memory = create().expect("memory");
        assert!(open(memory.as_raw_fd()).is_err());
        std::mem::forget(memory); // closed by what was tried
        let file = File::open("/dev/null").expect("opened");
        assert!(open(file.into_raw_fd()).is_err());
        assert!(open(1_000_000).is_err());
    }
}
