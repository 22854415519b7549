use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version};

use super::*;
use crate::loader::Peer;

const UNIX: Peer = Peer::Unix;

/// A request as the worker gets it is the one that was sent.
fn check(request: Request<()>, id: u64, peer: Peer) {
    let (parts, ()) = request.into_parts();
    let mut outbox = Outbox::default();
    outbox.request(7, &parts, id, peer).unwrap();
    let (7, Ask::Request(head)) = ask(&mut outbox) else {
        panic!("not that request");
    };
    let (got, ()) = head.request.into_parts();
    assert_eq!((head.id, head.peer), (id, peer));
    assert_eq!((&got.method, got.version), (&parts.method, parts.version));
    assert_eq!(got.uri, parts.uri);
    assert_eq!(got.uri.to_string(), parts.uri.to_string());
    assert_eq!(got.uri.path(), parts.uri.path());
    // Also in their order.
    assert!(got.headers.iter().eq(&parts.headers));
}

fn get(uri: &str) -> Request<()> {
    Request::get(uri).body(()).unwrap()
}

#[test]
fn a_request_comes_from_whoever_it_came_from() {
    for address in [
        "127.0.0.1:80",
        "255.255.255.255:65535",
        "[::1]:0",
        "[2001:db8::1]:443",
        "[fe80::1%3]:1",
        "[::ffff:1.2.3.4]:5",
    ] {
        check(get("/"), u64::MAX, Peer::Inet(address.parse().unwrap()));
    }
    check(get("/"), 0, UNIX);
}

#[test]
fn a_request_is_of_the_version_and_the_method_that_it_was_of() {
    for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
        let mut request = get("/");
        *request.version_mut() = version;
        check(request, 1, UNIX);
    }
    let own = Method::from_bytes(b"A-METHOD-OF-ONES-OWN").unwrap();
    for method in [Method::OPTIONS, Method::DELETE, own] {
        let mut request = get("/");
        *request.method_mut() = method;
        check(request, 1, UNIX);
    }
}

#[test]
fn a_target_is_what_it_was() {
    for uri in [
        "/",
        "/a/b%20c?d=e&f=/g?h",
        "/?",
        "/\u{e9}?\u{fc}",
        "*",
        "a",
        "a:80",
        "[::1]:80",
        "http://a",
        "http://a?b",
        "https://user:word@a:8080/b?c",
        "http://[::1]:80/b",
        "other+scheme://a/b",
    ] {
        check(get(uri), 1, UNIX);
    }
    let star = Uri::builder().scheme("http").authority("a");
    let mut request = get("/");
    *request.uri_mut() = star.path_and_query("*").build().unwrap();
    check(request, 1, UNIX);
    let longest = format!("/{}", "x".repeat(65533));
    check(get(&longest), 1, UNIX);
}

#[test]
fn whatever_can_be_a_target_is_what_it_was() {
    const LETTERS: &[u8] = b"/?#*:@a.[]1%+-=";
    let mut targets = 0;
    for _ in 0..20_000 {
        let length = fastrand::usize(1..12);
        let text: String = (0..length)
            .map(|_| char::from(LETTERS[fastrand::usize(..LETTERS.len())]))
            .collect();
        for text in [format!("http://{text}"), text] {
            // Those of another scheme are not passed on so.
            if let Ok(uri) = text.parse::<Uri>()
                && matches!(uri.scheme_str(), None | Some("http" | "https"))
            {
                targets += 1;
                let mut request = get("/");
                *request.uri_mut() = uri;
                check(request, 1, UNIX);
            }
        }
    }
    assert!(targets > 0);
}

#[test]
fn fields_keep_their_order_and_whatever_bytes_they_have() {
    let mut request = get("/");
    let headers = request.headers_mut();
    let bytes = HeaderValue::from_bytes(b"\xff\xfe\x80 \t\xc3").unwrap();
    headers.append("x-bytes", bytes);
    headers.append("cookie", HeaderValue::from_static("1"));
    headers.append("x-empty", HeaderValue::from_static(""));
    headers.append("cookie", HeaderValue::from_static("2"));
    headers.append("x-long", "x".repeat(100_000).parse().unwrap());
    check(request, 1, UNIX);
}

#[test]
fn a_request_may_have_many_fields() {
    for number in [24, 25, 512, 1000, 24_000] {
        let mut request = get("/");
        for n in 0..number {
            let name: HeaderName = format!("x-{n}").parse().unwrap();
            request.headers_mut().append(name, n.into());
        }
        check(request, 1, UNIX);
    }
    let mut request = get("/");
    for n in 0..50_000 {
        request.headers_mut().append("a", n.into());
    }
    check(request, 1, UNIX);
}

#[test]
fn an_answer_is_what_it_was() {
    for (status, length) in [(200, None), (204, Some(0)), (999, Some(u64::MAX))] {
        for data in [0, 1, 4096, 4097, MOST_DATA] {
            for is_whole in [false, true] {
                let head = ResponseHead {
                    status: StatusCode::from_u16(status).unwrap(),
                    headers: (0..512).map(|n| (format!("x-{n}"), n)).fold(
                        HeaderMap::new(),
                        |mut all, (name, n)| {
                            all.append(name.parse::<HeaderName>().unwrap(), n.into());
                            all
                        },
                    ),
                    length,
                };
                let data = Bytes::from(vec![7; data]);
                let mut outbox = Outbox::default();
                outbox.response(3, &head, data.clone(), is_whole).unwrap();
                let (stream, answer) = answer(&mut outbox);
                assert_eq!((stream, answer.is_last()), (3, is_whole));
                let (Answer::Response(got, with) | Answer::WholeResponse(got, with)) = answer
                else {
                    panic!("not an answer, but {answer:?}");
                };
                assert_eq!((got.status, got.length), (head.status, length));
                assert!(got.headers.iter().eq(&head.headers));
                assert_eq!(with, data);
            }
        }
    }
}

#[test]
fn trailers_are_what_they_were() {
    for number in [0, 1, 600] {
        let mut trailers = HeaderMap::new();
        for n in 0..number {
            trailers.append("x-sum", n.into());
        }
        let mut outbox = Outbox::default();
        outbox.trailers(1, &trailers).unwrap();
        let (1, Answer::Trailers(got)) = answer(&mut outbox) else {
            panic!("not those");
        };
        assert!(got.iter().eq(&trailers));
    }
}

#[test]
fn of_a_head_that_is_too_long_nothing_is_said() {
    let mut outbox = Outbox::default();
    outbox.credit(1, 2);
    let mut request = get("/");
    let long: HeaderValue = "x".repeat(1 << 20).parse().unwrap();
    request.headers_mut().insert("x", long.clone());
    let (parts, ()) = request.into_parts();
    assert_eq!(outbox.request(1, &parts, 1, UNIX), Err(TooLong));
    assert_eq!(outbox.trailers(1, &parts.headers), Err(TooLong));
    let mut head = ResponseHead {
        status: StatusCode::OK,
        headers: parts.headers,
        length: None,
    };
    let data = Bytes::from(vec![0; 5000]);
    assert_eq!(outbox.response(1, &head, data.clone(), true), Err(TooLong));
    // Nor when only both together are.
    let most: HeaderValue = "x".repeat((1 << 20) - 3000).parse().unwrap();
    head.headers.insert("x", most);
    assert_eq!(outbox.response(1, &head, data, true), Err(TooLong));
    outbox.response(1, &head, Bytes::new(), true).unwrap();
    let said = frames(&mut outbox);
    assert_eq!(said.len(), 2);
}
