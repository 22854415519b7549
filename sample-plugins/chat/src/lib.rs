//! A chat room: what one says on a WebSocket, all in the room hear.

#![forbid(unsafe_code)]

use std::ops::ControlFlow;

use axum::{
    Router,
    extract::{
        State, WebSocketUpgrade,
        ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code},
    },
    response::{Html, Response},
    routing::get,
};
use replug_plugin::{Setup, ShutdownToken, export_app};
use tokio::sync::broadcast::{self, error::RecvError};

export_app!(app);

#[derive(Clone)]
struct Room {
    said: broadcast::Sender<Utf8Bytes>,
    shutdown: ShutdownToken,
}

fn app(setup: &mut Setup) -> Router {
    let room = Room {
        said: broadcast::Sender::new(64),
        shutdown: setup.shutdown(),
    };
    Router::new()
        .route("/", get(|| async { Html(include_str!("page.html")) }))
        .route("/ws", get(enter))
        .with_state(room)
}

async fn enter(State(room): State<Room>, upgrade: WebSocketUpgrade) -> Response {
    // In the room from now on: nothing that is said after this response is missed.
    let heard = room.said.subscribe();
    upgrade.on_upgrade(|socket| stay(socket, room, heard))
}

/// Until the visitor leaves or draining begins. A room does not outlive its generation: the page
/// connects again, to the next one.
async fn stay(mut socket: WebSocket, mut room: Room, mut heard: broadcast::Receiver<Utf8Bytes>) {
    loop {
        let next = tokio::select! {
            reason = room.shutdown.wait() => {
                let goodbye = CloseFrame {
                    code: close_code::RESTART,
                    reason: reason.to_string().into(),
                };
                // The visitor may have gone by itself.
                let _ = socket.send(Message::Close(Some(goodbye))).await;
                return;
            }
            message = socket.recv() => listen(&room, message),
            said = heard.recv() => tell(&mut socket, said).await,
        };
        if next.is_break() {
            return;
        }
    }
}

fn listen(room: &Room, message: Option<Result<Message, axum::Error>>) -> ControlFlow<()> {
    match message {
        Some(Ok(Message::Text(text))) => {
            // Fails when nobody listens, but the speaker does.
            let _ = room.said.send(text);
            ControlFlow::Continue(())
        }
        Some(Ok(Message::Close(_)) | Err(_)) | None => ControlFlow::Break(()),
        Some(Ok(_)) => ControlFlow::Continue(()),
    }
}

async fn tell(socket: &mut WebSocket, said: Result<Utf8Bytes, RecvError>) -> ControlFlow<()> {
    let text = match said {
        Ok(text) => text,
        Err(RecvError::Lagged(missed)) => format!("({missed} messages missed)").into(),
        Err(RecvError::Closed) => return ControlFlow::Break(()),
    };
    match socket.send(Message::Text(text)).await {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

#[cfg(test)]
mod tests;
