//! Where the host listens.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde_json::Value;

use super::OptionError;

/// `host:port` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

impl ListenAddress {
    /// Whether the system chooses the port.
    pub(super) fn is_any(&self) -> bool {
        matches!(self, Self::Tcp(address) if address.ends_with(":0"))
    }

    /// A list of addresses, as an option called `key` has it. A socket's relative path begins in
    /// `dir`.
    pub(super) fn list(key: &str, value: &Value, dir: &Path) -> Result<Vec<Self>, OptionError> {
        let expected = "a list of HOST:PORT and unix:PATH";
        let wrong = |more: &str| OptionError::wrong(key, value, format!("{expected}{more}"));
        let list = value.as_array().ok_or_else(|| wrong(""))?;
        let addresses = list.iter().map(|address| {
            let text = address.as_str().ok_or_else(|| wrong(""))?;
            let address = text
                .parse()
                .map_err(|error: ListenAddressError| wrong(&format!(": {error}")))?;
            Ok(match address {
                Self::Unix(path) => Self::Unix(dir.join(path)),
                Self::Tcp(_) => address,
            })
        });
        addresses.collect()
    }
}

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
