//! What a supervisor and its workers say to each other.
//!
//! Over a Unix stream socket pair: each message is a length of four bytes and that many bytes of
//! postcard. The first each way is the hello, since two builds of the program may meet when the
//! file of a running host is replaced; all that follows is of one version. Who finds the channel
//! ended knows that the other process has ended.

use std::{io, marker::PhantomData, os::unix::net::UnixStream as StdUnixStream};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::net::{
    UnixStream,
    unix::{OwnedReadHalf, OwnedWriteHalf},
};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

mod begin;
mod message;

pub use begin::{Begin, BeginApp};
pub use message::{Handed, Order, Ready, Report, Served};

/// The version of all messages; another one for any change of theirs.
const VERSION: u32 = 3;
/// The longest message, in bytes: it may carry the state of an app, or the whole registry.
const LONGEST: usize = 256 << 20;
/// The longest state that a message carries, in bytes.
pub const LONGEST_STATE: usize = LONGEST - (64 << 10);

/// The first message each way.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
struct Hello {
    version: u32,
    /// The program's version, for people.
    program: String,
}

/// Why the channel cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other process has ended, or closed it.
    #[error("the other process has closed the channel")]
    Closed,
    /// It cannot be read or written.
    #[error("the channel fails: {0}")]
    Io(#[from] io::Error),
    /// A message means nothing.
    #[error("a message on the channel means nothing: {0}")]
    Meaningless(#[from] postcard::Error),
    /// The two are of different builds.
    #[error(
        "the other process is replug {program}, which speaks version {theirs} of the channel, and \
         this one is replug {}, which speaks version {VERSION}", env!("CARGO_PKG_VERSION")
    )]
    Version {
        /// The other program's version.
        program: String,
        /// Its version of the channel.
        theirs: u32,
    },
}

/// One way of a channel, outwards.
#[derive(Debug)]
pub struct Sender<T> {
    frames: FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>,
    messages: PhantomData<fn(T)>,
}

/// One way of a channel, inwards.
#[derive(Debug)]
pub struct Receiver<T> {
    frames: FramedRead<OwnedReadHalf, LengthDelimitedCodec>,
    messages: PhantomData<fn() -> T>,
}

/// Opens one end of a channel: says hello, and waits for the other's.
///
/// # Errors
/// When it is no socket, the other process has ended, or is of another build.
pub async fn open<O: Serialize, I: DeserializeOwned>(
    end: StdUnixStream,
) -> Result<(Sender<O>, Receiver<I>), ChannelError> {
    end.set_nonblocking(true)?;
    let (read, write) = UnixStream::from_std(end)?.into_split();
    let codec = || {
        let mut codec = LengthDelimitedCodec::builder();
        codec.max_frame_length(LONGEST).new_codec()
    };
    let mut sender = Sender {
        frames: FramedWrite::new(write, codec()),
        messages: PhantomData,
    };
    let mut receiver = Receiver {
        frames: FramedRead::new(read, codec()),
        messages: PhantomData,
    };
    let hello = Hello {
        version: VERSION,
        program: env!("CARGO_PKG_VERSION").to_owned(),
    };
    sender.write(postcard::to_stdvec(&hello)?).await?;
    let frame = receiver.read().await?;
    let Hello { version, program } = postcard::from_bytes(&frame)?;
    if version != VERSION {
        return Err(ChannelError::Version {
            program,
            theirs: version,
        });
    }
    Ok((sender, receiver))
}

impl<T: Serialize> Sender<T> {
    /// Sends a message, and waits until the system has all of it. Not cancel-safe: a message that
    /// was sent in part ends the channel's use.
    ///
    /// # Errors
    /// When the other process has ended, or the message is too long.
    pub async fn send(&mut self, message: &T) -> Result<(), ChannelError> {
        self.write(postcard::to_stdvec(message)?).await
    }
}

impl<T> Sender<T> {
    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), ChannelError> {
        Ok(self.frames.send(Bytes::from(bytes)).await?)
    }
}

impl<T: DeserializeOwned> Receiver<T> {
    /// The next message. Cancel-safe.
    ///
    /// # Errors
    /// When the other process has ended, or what comes is no message.
    pub async fn next(&mut self) -> Result<T, ChannelError> {
        let frame = self.read().await?;
        Ok(postcard::from_bytes(&frame)?)
    }
}

impl<T> Receiver<T> {
    async fn read(&mut self) -> Result<bytes::BytesMut, ChannelError> {
        match self.frames.next().await {
            Some(frame) => Ok(frame?),
            None => Err(ChannelError::Closed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::loader::StopReason;

    type Supervisors = (Sender<Order>, Receiver<Report>);
    type Workers = (Sender<Report>, Receiver<Order>);
    type Both = (
        Result<Supervisors, ChannelError>,
        Result<Workers, ChannelError>,
    );

    #[tokio::test]
    async fn what_one_says_the_other_hears_in_order() {
        let (one, other) = StdUnixStream::pair().unwrap();
        let (ours, theirs): Both = tokio::join!(open(one), open(other));
        let ((mut say, mut hear), (mut reply, mut listen)) = (ours.unwrap(), theirs.unwrap());
        for number in 0..3 {
            say.send(&Order::RunSchedule {
                call: number,
                app: "a".to_owned(),
                name: "b".to_owned(),
            })
            .await
            .unwrap();
        }
        let stop = Order::Stop {
            reason: StopReason::Reload,
            drain_ms: Some(7),
        };
        say.send(&stop).await.unwrap();
        for number in 0..3 {
            let order = listen.next().await.unwrap();
            assert!(matches!(order, Order::RunSchedule { call, .. } if call == number));
        }
        assert_eq!(listen.next().await.unwrap(), stop);
        let left = Report::ReloadAsked {
            app: "a".to_owned(),
        };
        reply.send(&left).await.unwrap();
        drop((reply, listen));
        assert_eq!(hear.next().await.unwrap(), left);
        assert!(matches!(hear.next().await, Err(ChannelError::Closed)));
    }

    #[tokio::test]
    async fn garbage_other_versions_and_an_end_in_the_middle_are_told() {
        let told = async |bytes: &[u8]| {
            let (one, mut other) = StdUnixStream::pair().unwrap();
            other.write_all(bytes).unwrap();
            other.shutdown(std::net::Shutdown::Write).unwrap();
            let opened: Result<Supervisors, _> = open(one).await;
            opened.unwrap_err().to_string()
        };
        assert!(told(b"").await.contains("closed"));
        assert!(told(&[0, 0, 0, 9, 1]).await.contains("fails"));
        assert!(told(&[255; 64]).await.contains("fails"));
        assert!(told(&[0, 0, 0, 1, 255]).await.contains("means nothing"));
        let hello = Hello {
            version: 99,
            program: "9.9.9".to_owned(),
        };
        let hello = postcard::to_stdvec(&hello).unwrap();
        let mut bytes = u32::try_from(hello.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(hello);
        let error = told(&bytes).await;
        assert!(
            error.contains("9.9.9") && error.contains("version 99"),
            "{error}"
        );
    }
}
