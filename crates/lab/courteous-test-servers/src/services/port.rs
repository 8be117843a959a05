use std::{io, net::SocketAddr};

use tokio::net::TcpSocket;

/// A port of the loopback interface that is ours, whether or not one of our servers listens at it.
///
/// The port is bound, and this socket never listens. It is bound without the permission to share,
/// so among all tests that pick a port like this, only one gets it. It is shared from then on, so
/// that a server can listen at it: all servers ask for that permission, for their restarts. No
/// outgoing connection gets a bound port, so a client that keeps trying cannot connect to itself.
#[derive(Debug)]
pub(super) struct Port {
    address: SocketAddr,
    _socket: TcpSocket,
}

impl Port {
    /// Takes a free port.
    pub(super) fn free() -> io::Result<Self> {
        Self::bind(0)
    }

    /// Takes two free ports; the second is `distance` above the first.
    pub(super) fn pair(distance: u16) -> io::Result<(Self, Self)> {
        let mut failed = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..1000 {
            let first = Self::free()?;
            let second = first.address.port().checked_add(distance).map(Self::bind);
            match second {
                Some(Ok(second)) => return Ok((first, second)),
                Some(Err(error)) => failed = error,
                None => {}
            }
        }
        Err(failed)
    }

    fn bind(port: u16) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(false)?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
        socket.set_reuseaddr(true)?;
        Ok(Self {
            address: socket.local_addr()?,
            _socket: socket,
        })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_port_is_ours_alone_until_we_listen_at_it() {
        let port = Port::free().unwrap();
        assert!(Port::bind(port.address().port()).is_err());
        assert!(TcpStream::connect(port.address()).is_err());
        for _ in 0..2 {
            let listener = TcpListener::bind(port.address()).unwrap();
            let client = TcpStream::connect(port.address()).unwrap();
            drop((listener, client));
        }
    }

    #[test]
    fn a_pair_is_two_ports_at_their_distance() {
        let (first, second) = Port::pair(10_000).unwrap();
        assert_eq!(
            first.address().port() + 10_000,
            second.address().port(),
            "{first:?} {second:?}"
        );
    }
}
