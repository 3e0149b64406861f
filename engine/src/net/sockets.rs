//! Sockets: those that Python listens on, and what those that clients open have of them.

use std::io;
use std::net::TcpListener;
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Clients that vanish without a word are found out, in two minutes. So are those that read nothing for so long: HTTP/2
/// has windows for a client that wants less, and what it does not read, it leaves with us.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_COUNT: u32 = 3;
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(120);

/// Returns a listener of our own on the socket that `fd` is, which stays its owner's. What is set on it, its connections
/// have from the beginning.
#[allow(unsafe_code)]
pub fn listener(fd: RawFd) -> io::Result<TcpListener> {
    if fd < 0 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: the number is not -1, and it is used for one `dup` before this function returns, while the caller holds
    // the socket open. A number that is not open makes `dup` fail.
    let theirs = unsafe { BorrowedFd::borrow_raw(fd) };
    let ours = TcpListener::from(theirs.try_clone_to_owned()?);
    ours.set_nonblocking(true)?;
    let socket = SockRef::from(&ours);
    // A system that does not know one of them serves all the same.
    let _ = socket.set_tcp_nodelay(true);
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_COUNT);
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
    Ok(ours)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn clients_that_vanish_without_a_word_are_found_out() {
        let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = listener(theirs.as_raw_fd()).unwrap();
        let _client = TcpStream::connect(theirs.local_addr().unwrap()).unwrap();
        let stream = loop {
            match ours.accept() {
                Ok((stream, _)) => break stream,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        let socket = SockRef::from(&stream);
        assert!(stream.nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_COUNT);
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }

    #[test]
    fn what_is_no_socket_is_an_error() {
        assert!(listener(-1).is_err());
        assert!(listener(1_000_000).is_err());
    }

    #[test]
    fn a_listener_outlives_the_one_that_it_was_made_of() {
        let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = theirs.local_addr().unwrap();
        let ours = listener(theirs.as_raw_fd()).unwrap();
        drop(theirs);
        assert_eq!(ours.local_addr().unwrap(), address);
        assert!(TcpStream::connect(address).is_ok());
    }
}
