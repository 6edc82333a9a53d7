//! The system calls that the standard library has no safe form for: the only file with `unsafe`.
//!
//! It is for the in-place upgrade: descriptors that come from the binary before this one, `execve`,
//! and signals that are held back, so that none is lost between two binaries. One more asks what the kernel
//! knows of its clock.
#![allow(unsafe_code)]
use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The signals that the daemon listens to.
const HELD_BACK: [libc::c_int; 3] = [libc::SIGHUP, libc::SIGTERM, libc::SIGINT];

fn done(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Takes a descriptor over that the binary before this one left open, by its number. Fails if there is none.
/// From here on it is closed when it is dropped, and by `execve`.
pub fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    close_on_exec(fd, true)?;
    // SAFETY: it is open, as `fcntl` has just found. That nobody else in this process owns it is the
    // hand-over's promise: each number is in it once, and was opened before this program began.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The same for what has to be a socket.
pub fn adopt_socket(fd: RawFd) -> io::Result<OwnedFd> {
    let mut kind: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of_val(&kind)).unwrap_or(0);
    let place = std::ptr::from_mut(&mut kind).cast();
    // SAFETY: `place` is valid for `length` bytes of writing, and both live through the call.
    done(unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, place, &raw mut length) })?;
    adopt(fd)
}

/// Whether a descriptor is closed when this process becomes another program.
pub fn close_on_exec(fd: RawFd, close: bool) -> io::Result<()> {
    let flags = if close { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: changes a flag of the descriptor, which is not memory; a wrong number is an error.
    done(unsafe { libc::fcntl(fd, libc::F_SETFD, flags) }).map(|_| ())
}

/// Holds the signals back that the daemon listens to, from this thread and all that it starts later: each
/// would end the process between two binaries, since handlers do not survive `execve`. They are read from the
/// descriptor, which does not block; one that is not read is there for the next binary.
pub fn hold_signals_back() -> io::Result<OwnedFd> {
    // SAFETY: a signal set is plain data, of which all zeros are a value; the calls write to it alone, then
    // read it, and it lives through them. The old mask is not asked for.
    let made = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        HELD_BACK.iter().for_each(|signal| {
            libc::sigaddset(&raw mut set, *signal);
        });
        match libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) {
            0 => libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC),
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    };
    let fd = done(made)?;
    // SAFETY: it was opened just now, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes this process another program: the same number, the same open descriptors but those that are closed
/// on exec, nothing else. Signals that are held back stay so. Returns only with the reason why that failed;
/// all is as before then.
pub fn become_program(program: &CString, arguments: &[CString], environment: &[CString]) -> io::Error {
    fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
        texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    }
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: the strings end in NUL, both lists end in a null pointer, and all of them live through the
    // call, which returns only if it failed.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// What the kernel knows of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelClock {
    /// Somebody keeps it at the time of a reference (NTP, PTP).
    pub synchronised: bool,
    /// How far it may be off, in microseconds; means nothing while it is not synchronised.
    pub error_us: u64,
}

/// Asks for that; needs no privilege.
pub fn kernel_clock() -> io::Result<KernelClock> {
    // SAFETY: plain data of integers, of which all zeros are a value; `modes` of zero changes nothing.
    let mut found: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: writes to `found`, which lives through the call.
    let state = done(unsafe { libc::adjtimex(&raw mut found) })?;
    Ok(KernelClock {
        synchronised: state != libc::TIME_ERROR && found.status & libc::STA_UNSYNC == 0,
        error_us: u64::try_from(found.maxerror).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::{AsRawFd, IntoRawFd};

    #[test]
    fn a_descriptor_that_is_not_open_or_no_socket_is_refused() {
        assert!(adopt(1_000_000).is_err());
        let file = File::open("/dev/null").expect("opened");
        assert!(adopt_socket(file.as_raw_fd()).is_err());
        let adopted = adopt(file.into_raw_fd()).expect("open");
        assert!(adopted.as_raw_fd() > 2);
    }

    #[test]
    fn a_program_that_is_not_there_leaves_all_as_it_was() {
        let program = CString::new("/nowhere/at/all").expect("text");
        let error = become_program(&program, &[], &[]);
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
