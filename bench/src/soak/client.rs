//! What a client asks an app, and what is a right answer.

use std::{fmt, io, sync::LazyLock, sync::atomic::AtomicU64};

use replug_tests::{
    Connection,
    client::{self, Answer},
    grpc::Greeter,
    load::{Failure, ask_version},
    socket::{End, Socket},
};
use serde_json::{Value, json};

use super::{App, app::REGISTERED};

/// The chat's page, as it is in its sources.
const PAGE: &str = include_str!("../../../sample-plugins/chat/src/page.html");
/// "Come again": how the chat ends when its generation does.
const RESTART: u16 = 1012;

/// Some chunks of the app's, and no round number of them.
const DOWNLOAD: usize = 200_000;
static DOWNLOADED: LazyLock<String> = LazyLock::new(|| {
    let mut lines: String = (0..=DOWNLOAD / 16).map(|n| format!("{n:015}\n")).collect();
    lines.truncate(DOWNLOAD);
    lines
});

/// Someone who asks, on one connection as long as that is good.
#[derive(Debug)]
pub(super) struct Client {
    app: App,
    address: String,
    number: usize,
    asked: u64,
    /// What the last count was that it was told.
    counted: u64,
    line: Option<Line>,
}

#[derive(Debug)]
enum Line {
    Http(Connection),
    Grpc(Greeter),
}

impl Client {
    pub(super) fn new(app: App, address: &str, number: usize) -> Self {
        Self {
            app,
            address: address.to_owned(),
            number,
            asked: 0,
            counted: 0,
            line: None,
        }
    }

    pub(super) async fn connect(&mut self) -> io::Result<()> {
        if self.line.is_none() {
            self.line = Some(match self.app {
                App::Grpc => Line::Grpc(Greeter::try_connect(&self.address).await?),
                _ => Line::Http(Connection::try_http1(&self.address).await?),
            });
        }
        Ok(())
    }

    /// The next request gets a connection of its own.
    pub(super) fn disconnect(&mut self) {
        self.line = None;
    }

    /// Asks what one asks this app, and judges the answers; says how many there were.
    pub(super) async fn ask(&mut self, newest: &AtomicU64) -> Result<u64, Failure> {
        self.asked += 1;
        let name = format!("{}-{}", self.number, self.asked);
        match self.line.as_mut().expect("connected") {
            Line::Grpc(greeter) => greet(greeter, &name).await,
            Line::Http(http) => match self.app {
                App::Probe => ask_version(http, newest).await.map(|_| 1),
                App::Asking => ask_all(http, newest, &mut self.counted).await,
                App::Counter => count(http).await,
                App::Chat => chat(http, &self.address, &name).await,
                App::Todo => keep_an_item(http, &name).await,
                App::Streaming => stream(http).await,
                App::Hello | App::Grpc => {
                    is(&exchange(http, "GET", "/", "").await?, 200, "hello\n")?;
                    Ok(1)
                }
            },
        }
    }
}

async fn greet(greeter: &mut Greeter, name: &str) -> Result<u64, Failure> {
    let greeting = greeter.greet(name).await;
    let greeting = greeting.map_err(|status| failed("greet", &status))?;
    if greeting != format!("Hello, {name}!") {
        return Err(failed("greet", &greeting));
    }
    Ok(1)
}

/// The version, the count, which goes over from one generation to the next and so never comes down,
/// and what is registered.
async fn ask_all(
    http: &mut Connection,
    newest: &AtomicU64,
    counted: &mut u64,
) -> Result<u64, Failure> {
    ask_version(http, newest).await?;
    let answer = exchange(http, "POST", "/count", "").await?;
    let count = answer.text.trim_end().parse().unwrap_or_default();
    if answer.status != 200 || count <= *counted {
        return Err(failed(&format!("no count after {counted}"), &answer));
    }
    *counted = count;
    let answer = exchange(http, "GET", "/registrations?kind=soak", "").await?;
    let entries: Value = serde_json::from_str(&answer.text).unwrap_or_default();
    let right = |number: usize| {
        entries[number]
            == json!({"key": number.to_string(), "value": [number], "owners": ["fixture-probe"]})
    };
    if entries.as_array().is_none_or(|it| it.len() != REGISTERED) || !(0..REGISTERED).all(right) {
        return Err(failed("not what is registered", &answer));
    }
    Ok(3)
}

async fn count(http: &mut Connection) -> Result<u64, Failure> {
    for (method, least) in [("POST", 1), ("GET", 0)] {
        let answer = exchange(http, method, "/", "").await?;
        let count = answer
            .text
            .strip_suffix('\n')
            .and_then(|n| n.parse::<u64>().ok());
        if answer.status != 200 || count.is_none_or(|count| count < least) {
            return Err(failed("count", &answer));
        }
    }
    Ok(2)
}

async fn stream(http: &mut Connection) -> Result<u64, Failure> {
    let download = exchange(http, "GET", &format!("/download?bytes={DOWNLOAD}"), "").await?;
    is(&download, 200, &DOWNLOADED)?;
    let echo = exchange(http, "POST", "/echo", &DOWNLOADED).await?;
    is(&echo, 200, &DOWNLOADED)?;
    Ok(2)
}

/// Whichever generations take the three requests, they have one list.
async fn keep_an_item(http: &mut Connection, text: &str) -> Result<u64, Failure> {
    let new = json!({ "text": text }).to_string();
    let added = exchange(http, "POST", "/", &new).await?;
    let item: Value = serde_json::from_str(&added.text).unwrap_or_default();
    let Some(id) = item["id"].as_u64().filter(|_| added.status == 201) else {
        return Err(failed("add", &added));
    };
    let list = exchange(http, "GET", "/", "").await?;
    let items: Value = serde_json::from_str(&list.text).unwrap_or_default();
    let listed = items.as_array().is_some_and(|items| items.contains(&item));
    if list.status != 200 || item["text"] != text || !listed {
        return Err(failed(&format!("list with {item}"), &list));
    }
    is(
        &exchange(http, "DELETE", &format!("/{id}"), "").await?,
        204,
        "",
    )?;
    Ok(3)
}

/// Reads the page, then enters, says something, hears it and leaves; or hears that the room is to
/// be replaced.
async fn chat(http: &mut Connection, address: &str, words: &str) -> Result<u64, Failure> {
    is(&exchange(http, "GET", "/", "").await?, 200, PAGE)?;
    let socket = Socket::try_open(address, "/ws").await;
    let mut socket = socket.map_err(|error| failed("no WebSocket", &error))?;
    // If the room has closed already, we shall hear it.
    let _ = socket.try_say(words).await;
    loop {
        match socket.try_hear().await {
            Ok(heard) if heard == words => break,
            // Others speak too.
            Ok(_) => {}
            Err(End::Closed(Some(frame))) if u16::from(frame.code) == RESTART => return Ok(2),
            Err(end) => return Err(failed("words not heard", &end)),
        }
    }
    // The room does not say goodbye to those who leave: it hangs up.
    socket.leave().await;
    Ok(2)
}

/// One request and its whole response.
async fn exchange(
    http: &mut Connection,
    method: &str,
    path: &str,
    body: &str,
) -> Result<Answer, Failure> {
    let what = |error: &dyn fmt::Debug| failed(&format!("{method} {path}"), error);
    let mut request = http.request(method, path);
    if body.starts_with('{') {
        request = request.header("content-type", "application/json");
    }
    let body = if body.is_empty() {
        client::empty()
    } else {
        client::full(body.to_owned())
    };
    let request = request.body(body).map_err(|error| what(&error))?;
    let response = http.try_send(request).await.map_err(|error| what(&error))?;
    client::read(response).await.map_err(|error| what(&error))
}

fn is(answer: &Answer, status: u16, text: &str) -> Result<(), Failure> {
    if answer.status == status && answer.text == text {
        return Ok(());
    }
    Err(failed(&format!("not the {status} it should be"), answer))
}

/// With what there was instead, as far as a line takes it.
fn failed(what: &str, instead: &dyn fmt::Debug) -> Failure {
    Failure::Failed(format!("{what}: {:.400}", format!("{instead:?}")))
}
