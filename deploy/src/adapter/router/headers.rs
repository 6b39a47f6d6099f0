//! What a router changes in the head of a message, and nothing else does.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, Version,
    header::{CONNECTION, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE},
    request::Parts,
    uri::PathAndQuery,
};
use std::net::SocketAddr;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Fields that speak of one connection, so that no proxy passes them on (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 6] =
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE];

/// The protocol that a request wants to change to, if the router carries it: any but HTTP/2, which negotiates with
/// the next hop and so cannot be passed on.
pub(super) fn wanted_upgrade(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let asked = version == Version::HTTP_11
        && tokens(headers, &CONNECTION).any(|t| t.eq_ignore_ascii_case("upgrade"));
    let carried = !protocol.as_bytes().eq_ignore_ascii_case(b"h2c");
    (asked && carried).then(|| protocol.clone())
}

/// Makes the head of a client's request the head of the router's own request to a unit. `has_body` with no
/// `sized` length goes out in chunks.
pub(super) fn to_unit(head: &mut Parts, client: SocketAddr, local: SocketAddr, has_body: bool, sized: bool) {
    let upgrade = wanted_upgrade(head.version, &head.headers);
    let trailers = tokens(&head.headers, &TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    to_origin_form(head, local);
    remove_hop_by_hop(&mut head.headers);
    // The router has met the expectation itself by reading the body.
    head.headers.remove(EXPECT);
    head.version = Version::HTTP_11;
    if trailers {
        head.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if has_body && !sized {
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if let Some(protocol) = upgrade {
        keep_upgrade(&mut head.headers, protocol);
    }
    add_forwarded(&mut head.headers, client);
}

/// Makes the head of a unit's response the head of the router's own.
pub(super) fn to_client(head: &mut http::response::Parts) {
    remove_hop_by_hop(&mut head.headers);
    // hyper writes what the client understands; the unit's own version says nothing about that.
    head.version = Version::HTTP_11;
}

/// Says again, to the next hop, that the connection changes to another protocol.
pub(super) fn keep_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// Whether a request may be sent twice with the effect of once (RFC 9110, 9.2.2), of those without a body.
pub(super) fn may_repeat(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method)
}

/// Whether the body is coded in a way that the router would have to undo: anything but plain chunks.
pub(super) fn has_strange_coding(headers: &HeaderMap) -> bool {
    tokens(headers, &TRANSFER_ENCODING).any(|coding| !coding.eq_ignore_ascii_case("chunked"))
}

/// A unit is asked for a path; the authority of an absolute target goes before any `Host` (RFC 9112, 3.2.2), and a
/// client of HTTP/1.0 that names no host gets the address it came to.
fn to_origin_form(head: &mut Parts, local: SocketAddr) {
    let authority = head.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = authority {
        head.headers.insert(HOST, host);
    } else if !head.headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(&local.to_string())
    {
        head.headers.insert(HOST, host);
    }
    if head.uri.authority().is_some() {
        let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        head.uri = Uri::from(path);
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        // `Host` is not the client's to remove: the router would send a request that no server accepts.
        let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
            .filter_map(|token| token.parse().ok())
            .filter(|n| *n != HOST)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The client's address is added to those before it; host and scheme are kept if a proxy in front has named them.
fn add_forwarded(headers: &mut HeaderMap, client: SocketAddr) {
    let client = client.ip().to_canonical().to_string();
    let before = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let all = before.chain([client.as_str()]).collect::<Vec<_>>().join(", ");
    if let Ok(value) = HeaderValue::try_from(all) {
        headers.insert(X_FORWARDED_FOR, value);
    }
    if !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if !headers.contains_key(X_FORWARDED_HOST)
        && let Some(host) = headers.get(HOST).cloned()
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
}

fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> + use<'h> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    const CLIENT: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3)), 4711);
    const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8000);

    fn sent(request: http::request::Builder) -> Parts {
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        to_unit(&mut head, CLIENT, LOCAL, false, true);
        head
    }

    #[test]
    fn what_speaks_of_one_connection_is_not_passed_on() {
        let head = sent(
            Request::get("/a?b")
                .header("host", "shop")
                .header("connection", "close, X-Mine, host")
                .header("x-mine", "1")
                .header("keep-alive", "timeout=5")
                .header("proxy-connection", "keep-alive")
                .header("te", "trailers, deflate")
                .header("expect", "100-continue")
                .header("x-yours", "2"),
        );
        let names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        for gone in ["connection", "x-mine", "keep-alive", "proxy-connection", "expect", "upgrade"] {
            assert!(!names.contains(&gone), "{gone} was passed on");
        }
        assert_eq!(head.headers["te"], "trailers");
        assert_eq!(head.headers["host"], "shop");
        assert_eq!(head.headers["x-yours"], "2");
    }

    #[test]
    fn the_clients_address_joins_those_before_it_and_host_and_scheme_are_named_once() {
        let head =
            sent(Request::get("/").header("host", "shop").header("x-forwarded-for", "1.1.1.1, 2.2.2.2"));
        assert_eq!(head.headers["x-forwarded-for"], "1.1.1.1, 2.2.2.2, 10.1.2.3");
        assert_eq!(head.headers["x-forwarded-proto"], "http");
        assert_eq!(head.headers["x-forwarded-host"], "shop");
        let head = sent(Request::get("/").header("host", "a").header("x-forwarded-proto", "https"));
        assert_eq!(head.headers["x-forwarded-proto"], "https");
    }

    #[test]
    fn an_absolute_target_names_the_host_and_a_missing_host_is_the_address_it_came_to() {
        let head = sent(Request::get("http://shop:81/a?b").header("host", "other"));
        assert_eq!(
            (head.uri.to_string().as_str(), &head.headers["host"]),
            ("/a?b", &HeaderValue::from_static("shop:81"))
        );
        let head = sent(Request::get("/").version(Version::HTTP_10));
        assert_eq!(
            (head.version, &head.headers["host"]),
            (Version::HTTP_11, &HeaderValue::from_static("127.0.0.1:8000"))
        );
        let head = sent(Request::options("*").header("host", "shop"));
        assert_eq!(head.uri, "*");
    }

    #[test]
    fn an_upgrade_is_passed_on_unless_it_is_to_http_2_or_not_asked_for() {
        let ask = |protocol: &str| {
            sent(Request::get("/").header("connection", "Upgrade").header("upgrade", protocol))
        };
        assert_eq!(ask("websocket").headers["upgrade"], "websocket");
        assert_eq!(ask("websocket").headers["connection"], "upgrade");
        assert!(!ask("h2c").headers.contains_key("upgrade"));
        assert!(!sent(Request::get("/").header("upgrade", "websocket")).headers.contains_key("upgrade"));
    }

    #[test]
    fn a_body_of_unknown_length_goes_out_in_chunks_whatever_the_method() {
        let (mut head, ()) = Request::get("/").body(()).unwrap().into_parts();
        to_unit(&mut head, CLIENT, LOCAL, true, false);
        assert_eq!(head.headers["transfer-encoding"], "chunked");
    }
}
