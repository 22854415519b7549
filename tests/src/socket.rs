//! WebSocket clients.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, protocol::CloseFrame},
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
        let stream = TcpStream::connect(&host.address).await.unwrap();
        let open = client_async(format!("ws://{}{path}", host.address), stream);
        Self(in_time("an upgrade", open).await.unwrap().0)
    }

    /// Says something.
    ///
    /// # Panics
    /// When the socket is closed.
    pub async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next text.
    ///
    /// # Panics
    /// When something else comes.
    pub async fn hear(&mut self) -> String {
        let message = in_time("a message", self.0.next())
            .await
            .expect("not the end");
        message.unwrap().into_text().unwrap().to_string()
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
                match self.0.next().await {
                    Some(Ok(Message::Close(frame))) => return End::Closed(frame),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return End::Cut,
                }
            }
        })
        .await
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
