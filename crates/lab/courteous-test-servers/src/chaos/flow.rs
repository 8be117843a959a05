use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::sleep,
};

/// What happens to the bytes in one direction of a connection through a
/// [`ChaosProxy`](crate::ChaosProxy).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    latency: Duration,
    drip: Option<(usize, Duration)>,
    cut: Option<(u64, Cut)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Reset,
    HalfClose,
    BlackHole,
}

impl Flow {
    /// Passes everything on as it comes.
    #[must_use]
    pub const fn smooth() -> Self {
        Self {
            latency: Duration::ZERO,
            drip: None,
            cut: None,
        }
    }

    /// Passes bytes on after `latency`. Bytes that come in the meantime are read after that.
    #[must_use]
    pub const fn with_latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Passes on `chunk` bytes at a time (at least one), with a pause after each chunk.
    #[must_use]
    pub const fn with_drip(mut self, chunk: usize, pause: Duration) -> Self {
        self.drip = Some((chunk, pause));
        self
    }

    /// Passes on this many bytes, and resets the connection on both sides when one more byte comes.
    ///
    /// With 0 on the way down, the server has answered, and the client hears nothing of the answer.
    #[must_use]
    pub const fn reset_after(self, bytes: u64) -> Self {
        self.cut_after(bytes, Cut::Reset)
    }

    /// Passes on this many bytes, and closes this direction in good order when one more byte comes.
    /// The other direction stays open.
    #[must_use]
    pub const fn half_close_after(self, bytes: u64) -> Self {
        self.cut_after(bytes, Cut::HalfClose)
    }

    /// Passes on this many bytes, and then neither a byte nor the stream's end. Neither side is
    /// told.
    ///
    /// The connection lives until the client is gone.
    #[must_use]
    pub const fn black_hole_after(self, bytes: u64) -> Self {
        self.cut_after(bytes, Cut::BlackHole)
    }

    const fn cut_after(mut self, bytes: u64, cut: Cut) -> Self {
        self.cut = Some((bytes, cut));
        self
    }

    /// Carries bytes until the stream ends. Returns true if the end of the stream was passed on.
    /// Returns an error if both sides of the connection must be reset.
    pub(super) async fn carry<R, W>(self, mut from: R, mut to: W) -> io::Result<bool>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut left = self.cut.map(|(bytes, _)| bytes);
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                to.shutdown().await?;
                return Ok(true);
            }
            let whole = usize::try_from(left.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
            let passed = read.min(whole);
            self.hand_on(&buffer[..passed], &mut to).await?;
            if let Some(left) = &mut left {
                *left -= passed as u64;
            }
            if passed < read {
                break;
            }
        }
        match self.cut {
            None | Some((_, Cut::Reset)) => return Err(io::ErrorKind::ConnectionReset.into()),
            Some((_, Cut::HalfClose)) => to.shutdown().await?,
            Some((_, Cut::BlackHole)) => {}
        }
        while from.read(&mut buffer).await? > 0 {}
        Ok(!matches!(self.cut, Some((_, Cut::BlackHole))))
    }

    async fn hand_on<W: AsyncWrite + Unpin>(self, bytes: &[u8], to: &mut W) -> io::Result<()> {
        if !self.latency.is_zero() {
            sleep(self.latency).await;
        }
        let Some((chunk, pause)) = self.drip else {
            return to.write_all(bytes).await;
        };
        for piece in bytes.chunks(chunk.max(1)) {
            to.write_all(piece).await?;
            sleep(pause).await;
        }
        Ok(())
    }
}

const BUFFER: usize = 8 * 1024;
