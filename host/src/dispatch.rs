//! A request's way through the host: route → lease → call → response.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Request, Uri, uri::PathAndQuery};
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

mod answer;
mod body;
mod connection;
mod cut;
mod failure;
mod limit;
mod proxied;
mod upgrade;

pub use answer::Answer;
pub use body::DispatchBody;
pub use connection::Connection;

use crate::{
    app::Entry,
    config::Mount,
    generation::{Generation, Lease, Tally},
    loader::{Peer, Plugin, RequestInfo},
    proxy::{Forwarded, wants_upgrade},
    router::Router,
};
use failure::Failure;
use limit::Time;

/// Answers requests; one for all connections.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    router: Arc<Router>,
    /// The host's own pages, for what no app answers.
    pages: axum::Router,
    tunnels: TaskTracker,
    way: Way,
}

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// To a host that nobody supervises, or that supervises others.
    Here,
    /// From a supervisor, which says whose they are.
    Behind,
    /// To a worker itself. Each may take that long; zero: any time.
    Direct { request_timeout: Duration },
}

/// Numbers requests; 0 is kept for "none".
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Has the requests that are numbered here numbered from there on.
pub fn number_from(first: u64) {
    NEXT_ID.fetch_max(first, Ordering::Relaxed);
}

impl Dispatcher {
    /// A dispatcher for the apps of that router.
    #[must_use]
    pub fn new(router: Arc<Router>, pages: axum::Router) -> Self {
        Self {
            router,
            pages,
            tunnels: TaskTracker::new(),
            way: Way::Here,
        }
    }

    /// Every request comes from a supervisor, whose word on where it came from counts.
    #[must_use]
    pub fn behind_a_supervisor(mut self) -> Self {
        self.way = Way::Behind;
        self
    }

    /// One for requests that come straight from clients, beside this one. Each may take that long,
    /// from when its app gets it until its response's body has ended; zero: any time.
    #[must_use]
    pub fn in_front(&self, request_timeout: Duration) -> Self {
        Self {
            way: Way::Direct { request_timeout },
            ..self.clone()
        }
    }

    /// Whether requests come from a supervisor.
    #[must_use]
    pub fn is_behind_a_supervisor(&self) -> bool {
        self.way == Way::Behind
    }

    /// A new connection, on which nothing was asked yet.
    #[must_use]
    pub fn connection(&self, peer: Peer) -> Connection {
        Connection::new(peer, self.tunnels.clone(), Arc::clone(&self.router))
    }

    /// How many connections are upgraded: WebSockets and the like.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        self.tunnels.len()
    }

    /// Waits until none is.
    pub async fn tunnels_gone(&self) {
        self.tunnels.close();
        self.tunnels.wait().await;
    }

    /// Begins to answer a request.
    pub fn handle(&self, mut request: Request<Incoming>, connection: &Connection) -> Answer {
        connection.count_request();
        let forwarded = if self.way == Way::Behind {
            match Forwarded::take(&mut request) {
                Ok(forwarded) => forwarded,
                Err(error) => return Answer::now(failure::not_forwarded(&error)),
            }
        } else {
            Forwarded {
                id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
                peer: connection.peer,
            }
        };
        self.begin(request.map(Some), forwarded, connection)
    }

    /// Begins to answer a request that a supervisor passes on, and that has no body.
    pub fn handle_forwarded(
        &self,
        request: Request<()>,
        forwarded: Forwarded,
        connection: &Connection,
    ) -> Answer {
        connection.count_request();
        self.begin(request.map(|()| None), forwarded, connection)
    }

    fn begin(
        &self,
        request: Request<Option<Incoming>>,
        Forwarded { id, peer }: Forwarded,
        connection: &Connection,
    ) -> Answer {
        let Some((entry, target)) = enter(&self.router, request.uri()) else {
            return self.own_page(request, peer);
        };
        let (is_direct, request_timeout) = match self.way {
            Way::Direct { request_timeout } => (true, request_timeout),
            Way::Here | Way::Behind => (false, Duration::ZERO),
        };
        let asked = Asked {
            target,
            peer,
            mark: Mark { id, is_direct },
            request_timeout,
        };
        match entry {
            Entry::Lease(lease) => asked.answer(request, lease, &connection.state),
            Entry::Wait(wait) => {
                let state = Rc::clone(&connection.state);
                Answer::other(async move {
                    let waiting = state.wait();
                    let admission = wait.lease().await;
                    drop(waiting);
                    match admission {
                        Ok(lease) => {
                            let Ok(response) = asked.answer(request, lease, &state).await;
                            response
                        }
                        Err(refusal) => failure::turned_away(&refusal, id),
                    }
                })
            }
            Entry::Refused(refusal) => Answer::now(failure::turned_away(&refusal, id)),
            Entry::Gone => self.own_page(request, peer),
        }
    }

    fn own_page(&self, request: Request<Option<Incoming>>, peer: Peer) -> Answer {
        let mut request =
            request.map(|body| body.map_or_else(axum::body::Body::empty, axum::body::Body::new));
        request.extensions_mut().insert(peer);
        let answer = self.pages.clone().call(request);
        Answer::other(async move {
            let Ok(response) = answer.await;
            response.map(DispatchBody::own)
        })
    }
}

/// The app for that request, entered, and what the request is to it; `None`: no app is mounted
/// there.
fn enter(router: &Router, uri: &Uri) -> Option<(Entry, Target)> {
    let routed = router.route(uri.path())?;
    let target = Target {
        uri: strip(uri, routed.rest),
        mount: routed.other_mount().cloned(),
    };
    Some((routed.app().enter(), target))
}

/// A request that an app is to answer, beside what is HTTP's.
#[derive(Debug)]
struct Asked {
    target: Target,
    peer: Peer,
    mark: Mark,
    /// Zero: any time.
    request_timeout: Duration,
}

/// A request, to the log and to its generation's counts.
#[derive(Clone, Copy, Debug)]
struct Mark {
    id: u64,
    /// It came to a worker itself.
    is_direct: bool,
}

impl Mark {
    /// One that is counted where it is passed on from.
    fn passed_on(id: u64) -> Self {
        Self {
            id,
            is_direct: false,
        }
    }

    fn tally(self, of: &Generation) -> &Tally {
        if self.is_direct {
            &of.direct
        } else {
            &of.tally
        }
    }

    /// Its answer has ended. Told of those only whose number under way nobody else knows.
    fn ended(self, of: &Generation) {
        if self.is_direct {
            of.direct.ended();
        }
    }
}

/// A request whose end is told when this goes.
#[derive(Debug)]
struct Begun {
    lease: Lease,
    mark: Mark,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.mark.ended(&self.lease);
    }
}

/// What a request is for, within its app.
#[derive(Debug)]
struct Target {
    /// The request target as the app is to see it; `None`: as it came.
    uri: Option<String>,
    /// What was taken off it; `None`: the app's main mount.
    mount: Option<Mount>,
}

impl Target {
    fn info<'a>(&'a self, lease: &'a Lease, uri: &'a Uri, peer: Peer, id: u64) -> RequestInfo<'a> {
        RequestInfo {
            uri: self.uri.as_deref(),
            original_uri: uri,
            mount: self.mount.as_ref().unwrap_or(&lease.mount).as_str(),
            peer,
            id,
        }
    }
}

impl Asked {
    fn answer(
        self,
        request: Request<Option<Incoming>>,
        lease: Lease,
        connection: &Rc<connection::State>,
    ) -> Answer {
        let Self {
            target,
            peer,
            mark,
            request_timeout,
        } = self;
        let id = mark.id;
        mark.tally(&lease).request();
        if lease.seat().is_some() {
            let state = Rc::clone(connection);
            return Answer::other(proxied::answer(request, lease, peer, id, state));
        }
        if lease.is_exhausted() {
            mark.ended(&lease);
            return Answer::now(Failure::Exhausted.into_response(&lease, mark));
        }
        let time = Time::new(request_timeout, &request, connection);
        let is_upgrade = wants_upgrade(&request);
        let (parts, mut body) = request.into_parts();
        if is_upgrade && let Some(body) = body.take() {
            let request = Request::from_parts(parts, body);
            let token = connection.tunnel();
            let begun = Begun {
                lease: lease.clone(),
                mark,
            };
            return Answer::other(async move {
                let answer = upgrade::tunnel(request, begun, &target, peer, token);
                let (answer, time) = limit::within(time, answer).await;
                match answer.unwrap_or(Err(Failure::TimedOut)) {
                    Ok(response) => response.map(|body| body.within(time)),
                    Err(failure) => failure.into_response(&lease, mark),
                }
            });
        }
        let info = target.info(&lease, &parts.uri, peer, id);
        let held = connection.hold(&lease);
        let call = match body {
            Some(body) => Plugin::call(&lease.0, &parts, body, &info, held),
            None => Plugin::call_without_body(&lease.0, &parts, &info, held),
        };
        match call {
            Ok(call) => Answer::app(call, mark, time),
            Err(error) => {
                mark.ended(&lease);
                Answer::now(Failure::Call(error).into_response(&lease, mark))
            }
        }
    }
}

/// The request target as the app is to see it: `rest` in the place of the path. `None`: as it came.
fn strip(uri: &Uri, rest: &str) -> Option<String> {
    if rest.len() == uri.path().len() && uri.scheme().is_none() && uri.authority().is_none() {
        return None;
    }
    let query = uri.query();
    let mut stripped = String::with_capacity(rest.len() + 1 + query.map_or(0, |q| q.len() + 1));
    if !rest.starts_with('/') && rest != "*" {
        stripped.push('/');
    }
    stripped.push_str(rest);
    if let Some(query) = query {
        stripped.push('?');
        stripped.push_str(query);
    }
    Some(stripped)
}

/// The request's target as a plain path, for the tunnel's own request line.
fn origin_form(uri: &str) -> Uri {
    let path = PathAndQuery::try_from(uri).unwrap_or(PathAndQuery::from_static("/"));
    Uri::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_taken_off_and_the_query_stays() {
        let check = |uri: &str, rest: &str, expected: &str| {
            let uri = uri.parse().unwrap();
            assert_eq!(
                strip(&uri, rest).unwrap_or_else(|| uri.to_string()),
                expected
            );
        };
        check("/hello", "", "/");
        check("/hello?x=1", "", "/?x=1");
        check("/hello/a%20b?x=/y", "/a%20b", "/a%20b?x=/y");
        check("http://example.org/hello/a", "/a", "/a");
        check("/", "/", "/");
        check("*", "*", "*");
    }
}
