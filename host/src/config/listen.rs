//! Where the host listens.

use std::{fmt, path::PathBuf, str::FromStr};

/// `host:port` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A host name or IP address, and a port; port 0 lets the system choose.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Why a text is no address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot listen on `{0}`; write HOST:PORT, as in 127.0.0.1:8000 or [::1]:8000, or unix:PATH"
)]
pub struct ListenAddressError(String);

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, ListenAddressError> {
        let bad = || ListenAddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(bad())
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let bare_ipv6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        if host.is_empty() || bare_ipv6 || port.parse::<u16>().is_err() {
            return Err(bad());
        }
        Ok(Self::Tcp(text.to_owned()))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_nonsense_is_refused() {
        assert_eq!(
            "unix:/run/x".parse(),
            Ok(ListenAddress::Unix("/run/x".into()))
        );
        for text in ["127.0.0.1:8000", "[::1]:80", "localhost:0"] {
            assert_eq!(text.parse(), Ok(ListenAddress::Tcp(text.to_owned())));
        }
        for text in ["", "unix:", "8000", ":80", "::1:80", "x:99999", "x:http"] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }
}
