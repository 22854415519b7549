//! What a process image leaves to the next.
//!
//! The descriptors stay open under their numbers, and a variable says what each of them is; much
//! as `LISTEN_FDS` does, but by address, since the configuration may have changed meanwhile.

use std::{
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, RawFd},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{
    config::ListenAddress,
    id::GroupName,
    process,
    server::{Heirloom, Lane, Unheard},
};

/// The variable.
pub(super) const VARIABLE: &str = "REPLUG_INHERITANCE";

/// Its form. A program that does not know it cannot take the place of one that does, and is found
/// out before anything is given up ([`Program::check`](super::program::Program::check)).
pub(in crate::cli) const FORM: u32 = 1;

/// Connections on which nothing was asked yet: more are not handed on, since a variable has a
/// greatest size (128 KiB on Linux).
const MOST_CONNECTIONS: usize = 4096;

/// What a host goes on with.
#[derive(Debug, Default)]
pub(in crate::cli) struct Estate {
    /// What was listened on.
    pub(super) sockets: Vec<Heirloom>,
    /// Where commands come in.
    pub(super) control: Option<Heirloom>,
    /// How workers of groups that listen themselves pass connections on, with those on their way.
    pub(super) lanes: Vec<(GroupName, Lane)>,
    /// Connections on which nothing was asked yet.
    pub(super) connections: Vec<Unheard>,
    /// Where apps' state is, of a host that keeps none else.
    pub(super) state: Option<PathBuf>,
    /// How many images there were before in this process.
    pub(super) restarts: u64,
    /// Why there is no new image, but the old one goes on.
    pub(super) failed: Option<String>,
}

/// An [`Estate`], as the variable has it.
#[derive(Debug, Deserialize, Serialize)]
struct Will {
    form: u32,
    sockets: Vec<Socket>,
    control: Option<Socket>,
    /// By group; not of every version.
    #[serde(default)]
    lanes: Vec<(String, [RawFd; 2])>,
    tcp_connections: Vec<RawFd>,
    unix_connections: Vec<RawFd>,
    state: Option<PathBuf>,
    restarts: u64,
}

#[derive(Debug, Deserialize, Serialize)]
struct Socket {
    number: RawFd,
    address: String,
}

impl From<&Heirloom> for Socket {
    fn from(heirloom: &Heirloom) -> Self {
        Self {
            number: heirloom.socket.as_raw_fd(),
            address: heirloom.address.to_string(),
        }
    }
}

impl Estate {
    /// Takes what the image before left, if one did. To be called first of all: before there is
    /// another thread, and before anything is opened.
    pub(in crate::cli) fn take() -> Self {
        let Some(text) = process::take_variable(VARIABLE) else {
            return Self::default();
        };
        let will = text
            .to_str()
            .and_then(|text| serde_json::from_str(text).ok());
        match will {
            Some(will @ Will { form: FORM, .. }) => will.into(),
            // Somebody else's; the sockets are bound anew.
            _ => Self::default(),
        }
    }

    /// Whether there was an image before, which served.
    pub(super) fn is_of_another(&self) -> bool {
        self.restarts > 0
    }

    /// What the variable says to the next image.
    pub(super) fn text(&self) -> serde_json::Result<String> {
        let lane = |(group, lane): &(GroupName, Lane)| {
            let numbers = lane.ends().map(|end| end.as_raw_fd());
            (group.to_string(), numbers)
        };
        let numbers = |unix: bool| {
            let those = self.connections.iter().filter(|it| it.is_unix() == unix);
            those.map(|it| it.descriptor().as_raw_fd()).collect()
        };
        serde_json::to_string(&Will {
            form: FORM,
            sockets: self.sockets.iter().map(Socket::from).collect(),
            control: self.control.as_ref().map(Socket::from),
            lanes: self.lanes.iter().map(lane).collect(),
            tcp_connections: numbers(false),
            unix_connections: numbers(true),
            state: self.state.clone(),
            restarts: self.restarts,
        })
    }

    /// All that is to stay open.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let sockets = self.sockets.iter().chain(&self.control);
        let sockets = sockets.map(|heirloom| heirloom.socket.as_fd());
        let lanes = self.lanes.iter().flat_map(|(_, lane)| lane.ends());
        let connections = self.connections.iter().map(|it| it.descriptor().as_fd());
        sockets.chain(lanes).chain(connections).collect()
    }

    /// Lets connections go that are too many to be told of.
    pub(super) fn limit(&mut self) {
        let all = self.connections.len();
        if all > MOST_CONNECTIONS {
            tracing::warn!(
                event = "connections-cut",
                connections = all - MOST_CONNECTIONS,
                "closing connections on which nothing was asked yet",
            );
            self.connections.truncate(MOST_CONNECTIONS);
        }
    }
}

impl From<Will> for Estate {
    fn from(will: Will) -> Self {
        let socket = |Socket { number, address }: Socket| {
            // One that is not there, or not understood, is bound anew.
            let address: ListenAddress = address.parse().ok()?;
            let socket = process::adopt(number).ok()?;
            Some(Heirloom { address, socket })
        };
        let adopted = |numbers: Vec<RawFd>| {
            let numbers = numbers.into_iter();
            numbers.filter_map(|number| process::adopt(number).ok())
        };
        let lane = |(group, [near, far]): (String, [RawFd; 2])| {
            let ends = process::adopt(near).and_then(|near| Ok((near, process::adopt(far)?)));
            let (near, far) = ends.ok()?;
            Some((
                GroupName::try_from(group.as_str()).ok()?,
                Lane::of(near, far),
            ))
        };
        let tcp = adopted(will.tcp_connections).filter_map(Unheard::tcp);
        let unix = adopted(will.unix_connections).map(Unheard::unix);
        Self {
            connections: tcp.chain(unix).collect(),
            sockets: will.sockets.into_iter().filter_map(socket).collect(),
            control: will.control.and_then(socket),
            lanes: will.lanes.into_iter().filter_map(lane).collect(),
            state: will.state,
            restarts: will.restarts,
            failed: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        os::{fd::OwnedFd, unix::net::UnixStream},
    };

    use super::*;

    #[test]
    fn what_is_left_is_found_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (one, _other) = UnixStream::pair().unwrap();
        let estate = Estate {
            sockets: vec![Heirloom {
                address: "127.0.0.1:0".parse().unwrap(),
                socket: listener.try_clone().unwrap().into(),
            }],
            connections: vec![Unheard::unix(one.into())],
            state: Some("/tmp/x".into()),
            restarts: 7,
            ..Estate::default()
        };
        let will: Will = serde_json::from_str(&estate.text().unwrap()).unwrap();
        let numbers: Vec<RawFd> = estate
            .descriptors()
            .iter()
            .map(|it| it.as_raw_fd())
            .collect();
        assert_eq!(numbers.len(), 2);
        assert_eq!(will.sockets[0].number, numbers[0]);
        assert_eq!(will.unix_connections, numbers[1..]);
        // Taken once, as the next image does: not closed here as well.
        for socket in estate.sockets {
            let _ = std::os::fd::IntoRawFd::into_raw_fd(socket.socket);
        }
        for connection in estate.connections {
            let _ = std::os::fd::IntoRawFd::into_raw_fd(OwnedFd::from(connection));
        }
        let found = Estate::from(will);
        assert_eq!(found.sockets[0].address.to_string(), "127.0.0.1:0");
        let socket: TcpListener = found.sockets.into_iter().next().unwrap().socket.into();
        assert_eq!(socket.local_addr().unwrap(), listener.local_addr().unwrap());
        assert_eq!(found.connections.len(), 1);
        assert_eq!((found.restarts, found.state), (7, Some("/tmp/x".into())));
    }
}
