//! WebSocket clients.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, protocol::CloseFrame},
};

use crate::{Host, in_time};

/// An open WebSocket.
#[derive(Debug)]
pub struct Socket(WebSocketStream<TcpStream>);

/// How a WebSocket ended.
#[derive(Debug)]
pub enum End {
    /// The app said so, as the protocol has it.
    Closed(Option<CloseFrame>),
    /// The connection is gone.
    Cut,
}

impl Socket {
    /// Opens one.
    ///
    /// # Panics
    /// When the host does not upgrade.
    pub async fn open(host: &Host, path: &str) -> Self {
        let open = Self::try_open(&host.address, path);
        in_time("an upgrade", open).await.unwrap()
    }

    /// The same where it may fail.
    ///
    /// # Errors
    /// When nobody listens there or the host does not upgrade.
    pub async fn try_open(address: &str, path: &str) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (socket, _) = client_async(format!("ws://{address}{path}"), stream).await?;
        Ok(Self(socket))
    }

    /// Says something.
    ///
    /// # Panics
    /// When the socket is closed.
    pub async fn say(&mut self, text: &str) {
        self.try_say(text).await.unwrap();
    }

    /// The same where it may fail.
    ///
    /// # Errors
    /// When the socket is closed.
    pub async fn try_say(&mut self, text: &str) -> Result<(), Error> {
        self.0.send(Message::text(text)).await
    }

    /// The next text.
    ///
    /// # Panics
    /// When something else comes.
    pub async fn hear(&mut self) -> String {
        let text = in_time("a message", self.try_hear()).await;
        text.unwrap_or_else(|end| panic!("a text, not {end:?}"))
    }

    /// The same where it may end.
    ///
    /// # Errors
    /// The end.
    pub async fn try_hear(&mut self) -> Result<String, End> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(Message::Close(frame))) => return Err(End::Closed(frame)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(End::Cut),
            }
        }
    }

    /// Says something and awaits the next text.
    pub async fn ask(&mut self, text: &str) -> String {
        self.say(text).await;
        self.hear().await
    }

    /// Awaits the end, whatever comes before it.
    pub async fn end(mut self) -> End {
        in_time("a WebSocket's end", async {
            loop {
                if let Err(end) = self.try_hear().await {
                    return end;
                }
            }
        })
        .await
    }

    /// Closes it, whether or not it is still open, and says how it ended.
    pub async fn leave(mut self) -> End {
        match self.0.close(None).await {
            Ok(()) => self.end().await,
            Err(_) => End::Cut,
        }
    }

    /// Closes it, and awaits the app's assent.
    ///
    /// # Panics
    /// When it is closed already.
    pub async fn close(mut self) {
        self.0.close(None).await.unwrap();
        let _ = self.end().await;
    }
}
