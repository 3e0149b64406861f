//! What wakes Python's event loop: a byte in a pipe of a kind.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

/// A bell, which is readable from when it is rung until it is hushed.
pub struct Bell {
    bell: UnixStream,
    ear: UnixStream,
}

impl Bell {
    pub fn new() -> io::Result<Self> {
        let (bell, ear) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        Ok(Self { bell, ear })
    }

    pub fn ring(&self) {
        let _ = (&self.bell).write(&[1]); // where it is full, it has been rung
    }

    pub fn hush(&self) {
        let mut rung = [0; 64];
        let _ = (&self.ear).read(&mut rung);
    }

    /// Says whether it can be heard.
    #[cfg(test)]
    pub fn is_rung(&self) -> bool {
        let mut one = [std::mem::MaybeUninit::uninit(); 1];
        socket2::SockRef::from(&self.ear).peek(&mut one).is_ok()
    }

    pub fn fileno(&self) -> RawFd {
        self.ear.as_raw_fd()
    }
}
