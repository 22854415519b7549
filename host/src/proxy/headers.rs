//! The fields that concern one connection only, and what stands in their place on the other side
//! (RFC 9110, 7.6.1). All others pass as they are, in their order.

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, Version, header, request, response,
};
use smallvec::SmallVec;

use super::upload::Upload;

/// Those that concern the connection whether or not `Connection` says so.
const OF_A_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Those that cannot, whatever `Connection` says: without them the request is another one.
const OF_THE_MESSAGE: [HeaderName; 2] = [header::HOST, header::CONTENT_LENGTH];

const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// Makes a client's head one for a worker.
pub(super) fn to_worker(parts: &mut request::Parts, upload: &Upload, is_upgrade: bool) {
    let headers = &mut parts.headers;
    let takes_trailers = headers
        .get_all(header::TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"));
    let protocol = is_upgrade.then(|| headers.get_all(header::UPGRADE).iter().cloned().collect());
    take_off(headers);
    // What a client says there is not to be believed.
    headers.remove(super::FORWARDED);
    let is_http2 = parts.version == Version::HTTP_2;
    let mut options = SmallVec::<[&str; 2]>::new();
    if takes_trailers {
        headers.insert(header::TE, TRAILERS);
        options.push("te");
    }
    let protocol: Vec<HeaderValue> = protocol.unwrap_or_default();
    if !protocol.is_empty() {
        options.push("upgrade");
    }
    for protocol in protocol {
        headers.append(header::UPGRADE, protocol);
    }
    if is_http2 {
        complete(&mut parts.uri, headers);
    } else {
        if let Ok(options) = HeaderValue::try_from(options.join(", "))
            && !options.is_empty()
        {
            headers.insert(header::CONNECTION, options);
        }
        // Said, since hyper would take it that a GET has no body.
        if upload.is_of_unknown_length() {
            headers.insert(
                header::TRANSFER_ENCODING,
                HeaderValue::from_static("chunked"),
            );
        }
    }
}

/// Makes a worker's head one for the client.
pub(super) fn to_client(parts: &mut response::Parts, is_upgraded: bool) {
    let headers = &mut parts.headers;
    // What to ask for instead is for the client, whose upgrades are passed on.
    let names_protocol = is_upgraded || parts.status == StatusCode::UPGRADE_REQUIRED;
    let protocol: Vec<HeaderValue> = match names_protocol {
        true => headers.get_all(header::UPGRADE).iter().cloned().collect(),
        false => Vec::new(),
    };
    take_off(headers);
    if !protocol.is_empty() && parts.version == Version::HTTP_11 {
        let upgrade = HeaderValue::from_static("upgrade");
        headers.insert(header::CONNECTION, upgrade);
        for protocol in protocol {
            headers.append(header::UPGRADE, protocol);
        }
    }
}

/// Whether the client waits to be told to send its body.
pub(super) fn expects_continue(parts: &request::Parts) -> bool {
    parts.version == Version::HTTP_11
        && parts
            .headers
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Takes off what concerns the connection.
fn take_off(headers: &mut HeaderMap) {
    let mut named = SmallVec::<[HeaderName; 4]>::new();
    for value in headers.get_all(header::CONNECTION) {
        for option in value.as_bytes().split(|byte| *byte == b',') {
            if let Ok(name) = HeaderName::from_bytes(option.trim_ascii())
                && !OF_THE_MESSAGE.contains(&name)
            {
                named.push(name);
            }
        }
    }
    let is_taken = |name: &HeaderName| OF_A_CONNECTION.contains(name) || named.contains(name);
    if !headers.keys().any(is_taken) {
        return;
    }
    // Made anew: a removal would put the last field in the place of the one that goes.
    let mut left = HeaderMap::with_capacity(headers.len());
    let mut last = None;
    for (name, value) in std::mem::take(headers) {
        // Further values come without their name.
        if name.is_some() {
            last = name;
        }
        if let Some(name) = last.as_ref().filter(|name| !is_taken(name)) {
            left.append(name.clone(), value);
        }
    }
    *headers = left;
}

/// HTTP/2 has no request without a scheme and an authority; a client may have said the latter in
/// `Host` alone.
fn complete(uri: &mut Uri, headers: &HeaderMap) {
    if uri.scheme().is_some() && uri.authority().is_some() {
        return;
    }
    let mut parts = std::mem::take(uri).into_parts();
    let host = headers.get(header::HOST);
    let host = host.and_then(|host| host.as_bytes().try_into().ok());
    parts.scheme.get_or_insert(http::uri::Scheme::HTTP);
    parts
        .authority
        .get_or_insert_with(|| host.unwrap_or(http::uri::Authority::from_static("localhost")));
    parts
        .path_and_query
        .get_or_insert(http::uri::PathAndQuery::from_static("/"));
    // All three are there, which is all that could be wrong.
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &[(&str, &str)], left: &[(&str, &str)]) {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, value.parse().unwrap());
        }
        take_off(&mut headers);
        let found: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(found, left);
    }

    #[test]
    fn fields_of_the_connection_go_and_others_keep_their_order() {
        check(
            &[
                ("host", "a"),
                ("connection", "keep-alive, X-Hop"),
                ("cookie", "1"),
                ("keep-alive", "timeout=5"),
                ("x-hop", "1"),
                ("cookie", "2"),
                ("connection", "x-other"),
                ("te", "trailers"),
                ("x-other", "1"),
                ("proxy-connection", "keep-alive"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "websocket"),
                ("trailer", "x-sum"),
                ("accept", "*/*"),
            ],
            &[
                ("host", "a"),
                ("cookie", "1"),
                ("cookie", "2"),
                ("trailer", "x-sum"),
                ("accept", "*/*"),
            ],
        );
    }

    #[test]
    fn connection_cannot_name_what_makes_the_message() {
        check(
            &[
                ("connection", "host, content-length, ,@@, close"),
                ("host", "a"),
                ("content-length", "3"),
            ],
            &[("host", "a"), ("content-length", "3")],
        );
    }

    #[test]
    fn a_request_of_http2_has_an_authority() {
        let check = |uri: &'static str, host: Option<&'static str>, expected: &str| {
            let mut headers = HeaderMap::new();
            if let Some(host) = host {
                headers.insert(header::HOST, HeaderValue::from_static(host));
            }
            let mut uri = Uri::from_static(uri);
            complete(&mut uri, &headers);
            assert_eq!(uri.to_string(), expected);
        };
        check("https://a/b?c", None, "https://a/b?c");
        check("/b?c", Some("a:80"), "http://a:80/b?c");
        check("/b", None, "http://localhost/b");
        check("/b", Some("not a host"), "http://localhost/b");
        check("*", Some("a"), "http://a*");
    }
}
