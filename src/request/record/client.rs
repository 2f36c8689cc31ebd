//! The address of whoever sent a request, as far as it can be believed.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address at the other end of the connection; where that is `trusted`, the last one of `X-Forwarded-For` that is
/// not. Each proxy adds the address that it was reached from at the end, so what stands before the last untrusted one
/// is whatever its sender wrote. Nothing is believed past an entry that is not an address.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let mut client = peer.to_canonical();
    for value in headers.get_all(FORWARDED_FOR).iter().rev() {
        for entry in value.as_bytes().rsplit(|byte| *byte == b',') {
            if !is_trusted(client) {
                return client;
            }
            match address(entry) {
                Some(address) => client = address,
                None => return client,
            }
        }
    }
    client
}

/// An entry: some proxies add the port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let with_port = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    let address = text.parse().ok().or_else(with_port)?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const PEER: &str = "10.0.0.1";

    /// The client of a request from [`PEER`] with these headers.
    fn client_of(forwarded: &[&[u8]], trusted: &[&str]) -> IpAddr {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(FORWARDED_FOR, value);
            }
        }
        let trusted = trusted.iter().map(|text| text.parse().expect(text));
        let trusted: Vec<_> = trusted.collect();
        client(PEER.parse().expect("an address"), &headers, &trusted)
    }

    #[test]
    fn t26_a_forwarded_address_counts_from_a_trusted_proxy_only() {
        for (forwarded, trusted, expected) in [
            (&["192.0.2.7"][..], &[][..], PEER),
            (&["192.0.2.7"], &["10.0.0.2/32"], PEER),
            (&[], &["10.0.0.0/8"], PEER),
            (&["192.0.2.7"], &["10.0.0.0/8"], "192.0.2.7"),
            // What the client wrote itself stands before what the proxy added.
            (&["203.0.113.1, 192.0.2.7"], &["10.0.0.0/8"], "192.0.2.7"),
            (&["203.0.113.1", "192.0.2.7"], &["10.0.0.0/8"], "192.0.2.7"),
            // Through two proxies.
            (&["192.0.2.7,10.1.1.1"], &["10.0.0.0/8"], "192.0.2.7"),
            (&["10.2.2.2, 10.1.1.1"], &["10.0.0.0/8"], "10.2.2.2"),
            (&["unknown, 10.1.1.1"], &["10.0.0.0/8"], "10.1.1.1"),
            (&["192.0.2.7:4711"], &["10.0.0.0/8"], "192.0.2.7"),
            (&["[2001:db8::1]:4711"], &["10.0.0.0/8"], "2001:db8::1"),
            (&["2001:db8::1"], &["10.0.0.0/8"], "2001:db8::1"),
            (&["::ffff:192.0.2.7"], &["10.0.0.0/8"], "192.0.2.7"),
        ] {
            let values: Vec<_> = forwarded.iter().map(|value| value.as_bytes()).collect();
            let expected: IpAddr = expected.parse().expect(expected);
            assert_eq!(client_of(&values, trusted), expected, "{forwarded:?}");
        }
    }

    proptest! {
        #[test]
        fn t26_whatever_is_sent_an_untrusted_peer_is_the_client(value: Vec<u8>) {
            let peer: IpAddr = PEER.parse().expect("an address");
            prop_assert_eq!(client_of(&[&value], &["192.0.2.0/24"]), peer);
        }

        #[test]
        fn t26_what_stands_before_the_last_untrusted_address_changes_nothing(value: Vec<u8>) {
            let added = [&value[..], b", 192.0.2.7"].concat();
            let expected: IpAddr = "192.0.2.7".parse().expect("an address");
            if HeaderValue::from_bytes(&added).is_ok() {
                prop_assert_eq!(client_of(&[&added], &["10.0.0.0/8"]), expected);
            }
        }
    }
}
