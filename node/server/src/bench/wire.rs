//! The bytes of one connection: TCP in clear text, or TLS on it. Nothing here waits but for readiness.

use std::{
    io::{self, Read as _, Write as _},
    sync::Arc,
};

use anyhow::Context as _;
use parking_lot::Mutex;
use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};
use tokio::net::TcpStream;

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    /// Boxed: most loads run in clear text.
    tls: Option<Box<Mutex<ClientConnection>>>,
}

impl Wire {
    /// In clear text.
    pub(super) fn clear(stream: TcpStream) -> Self {
        Self { stream, tls: None }
    }

    /// Does the handshake of TLS.
    pub(super) async fn tls(
        stream: TcpStream,
        config: &Arc<ClientConfig>,
        host: &str,
    ) -> anyhow::Result<Self> {
        let name = ServerName::try_from(host.to_owned())
            .with_context(|| format!("{host:?} cannot stand in a certificate"))?;
        let connection = ClientConnection::new(Arc::clone(config), name)?;
        let wire = Self {
            stream,
            tls: Some(Box::new(Mutex::new(connection))),
        };
        while wire.handshaking()? {
            wire.stream.readable().await?;
        }
        Ok(wire)
    }

    /// One step of the handshake; true while more bytes have to come.
    fn handshaking(&self) -> anyhow::Result<bool> {
        let Some(tls) = &self.tls else {
            return Ok(false);
        };
        let mut tls = tls.lock();
        loop {
            // The few bytes of a handshake fit into the socket.
            push(&self.stream, &mut tls)?;
            if !tls.is_handshaking() {
                return Ok(false);
            }
            if !pull(&self.stream, &mut tls)? {
                return Ok(true);
            }
        }
    }

    /// Until something may have come.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    /// Until the socket takes something.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.stream.writable().await
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is.
    pub(super) fn try_read(&self, out: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else {
            return self.stream.try_read(out);
        };
        let mut tls = tls.lock();
        loop {
            match tls.reader().read(out) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            if !pull(&self.stream, &mut tls)? {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            // An answer to a key update; what the socket does not take now goes with the next write.
            push(&self.stream, &mut tls)?;
        }
    }

    /// Writes as much as is taken.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else {
            return self.stream.try_write(bytes);
        };
        let mut tls = tls.lock();
        if !push(&self.stream, &mut tls)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = tls.writer().write(bytes)?;
        push(&self.stream, &mut tls)?;
        Ok(taken)
    }

    /// Whether encrypted bytes are left that the socket has not taken; tries to write them.
    pub(super) fn is_behind(&self) -> bool {
        let Some(tls) = &self.tls else {
            return false;
        };
        // An error shows in the next read or write too.
        matches!(push(&self.stream, &mut tls.lock()), Ok(false))
    }

    /// See [`TcpStream::set_zero_linger`].
    pub(super) fn set_zero_linger(&self) -> io::Result<()> {
        self.stream.set_zero_linger()
    }
}

/// Takes encrypted bytes from the socket; false when none are there.
fn pull(stream: &TcpStream, tls: &mut ClientConnection) -> io::Result<bool> {
    match tls.read_tls(&mut TryIo(stream)) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => tls
            .process_new_packets()
            .map(|_| true)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives encrypted bytes to the socket; false when some are left.
fn push(stream: &TcpStream, tls: &mut ClientConnection) -> io::Result<bool> {
    while tls.wants_write() {
        match tls.write_tls(&mut TryIo(stream)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// The socket as rustls wants it.
struct TryIo<'a>(&'a TcpStream);

impl io::Read for TryIo<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(out)
    }
}

impl io::Write for TryIo<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
