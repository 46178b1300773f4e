//! The URL that tells whether a proxy is ready: plain HTTP on the workload's own loopback.
//!
//! Knows nothing of how it is asked. What parses here leads nowhere but to the workload itself.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
    str::FromStr,
};

use http::uri::{PathAndQuery, Scheme, Uri};

/// A value that is not such a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{value}`: {fault}; allowed is http://HOST[:PORT][/PATH] with HOST 127.x.x.x, [::1] or localhost, PORT 1-65535"
)]
pub struct ReadyUrlError {
    value: String,
    fault: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    V4(Ipv4Addr),
    V6,
    Localhost,
}

/// An HTTP URL on loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyUrl {
    host: Host,
    port: NonZeroU16,
    path: PathAndQuery,
}

/// The port of an HTTP URL without one (RFC 9110, 4.2.1).
const HTTP: NonZeroU16 = NonZeroU16::new(80).unwrap();

impl ReadyUrl {
    /// Where to ask, in this order: `localhost` is both addresses, whatever the workload's own files say.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let hosts: &[IpAddr] = match self.host {
            Host::V4(ip) => &[IpAddr::V4(ip)],
            Host::V6 => &[IpAddr::V6(Ipv6Addr::LOCALHOST)],
            Host::Localhost => &[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
        };
        hosts.iter().map(|ip| SocketAddr::new(*ip, self.port.get())).collect()
    }

    /// What to ask for.
    #[must_use]
    pub fn path(&self) -> &PathAndQuery {
        &self.path
    }

    /// The value of the Host header.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl FromStr for ReadyUrl {
    type Err = ReadyUrlError;

    fn from_str(value: &str) -> Result<Self, ReadyUrlError> {
        let fault = |fault| ReadyUrlError { value: value.to_owned(), fault };
        let uri: Uri = value.parse().map_err(|_| fault("not a URL"))?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(fault("not an http URL"));
        }
        let name = uri.host().unwrap_or_default();
        let host = match name.parse::<Ipv4Addr>() {
            Ok(ip) if ip.is_loopback() => Host::V4(ip),
            _ if name == "[::1]" => Host::V6,
            _ if name.eq_ignore_ascii_case("localhost") => Host::Localhost,
            _ => return Err(fault("not a loopback host")),
        };
        // Authority::port() is silent about a port that is no number of 16 bits: look at what follows the host.
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let port = match authority.strip_prefix(name) {
            Some("") => HTTP,
            Some(rest) => rest
                .strip_prefix(':')
                .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|port| port.parse().ok())
                .ok_or_else(|| fault("not a port"))?,
            None => return Err(fault("a user name")),
        };
        // Displayed once and parsed again: a query without a path gets its slash.
        let path = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        let path = path.parse().map_err(|_| fault("not a path"))?;
        Ok(Self { host, port, path })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(ip) => ip.fmt(f),
            Self::V6 => f.write_str("[::1]"),
            Self::Localhost => f.write_str("localhost"),
        }
    }
}

impl fmt::Display for ReadyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}{}", self.host, self.port, self.path)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn url_on_loopback_is_kept_as_given() {
        for (value, shown, first) in [
            ("http://127.0.0.1:15000/ready", "http://127.0.0.1:15000/ready", "127.0.0.1:15000"),
            ("http://127.9.8.7", "http://127.9.8.7:80/", "127.9.8.7:80"),
            ("http://[::1]:15021/healthz/ready?x=1", "http://[::1]:15021/healthz/ready?x=1", "[::1]:15021"),
            ("HTTP://LOCALHOST:1/", "http://localhost:1/", "127.0.0.1:1"),
            ("http://localhost:65535?all", "http://localhost:65535/?all", "127.0.0.1:65535"),
        ] {
            let url: ReadyUrl = value.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.addresses()[0], first.parse().unwrap());
            assert_eq!(shown.parse(), Ok(url));
        }
    }

    #[test]
    fn url_off_loopback_or_of_another_form_is_refused_with_its_value() {
        for value in [
            "https://127.0.0.1/ready",
            "ftp://127.0.0.1/",
            "127.0.0.1:15000/ready",
            "/ready",
            "none",
            "",
            "http://",
            "http://10.0.0.1/",
            "http://128.0.0.1/",
            "http://0.0.0.0/",
            "http://127.1/",
            "http://2130706433/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[0:0:0:0:0:0:0:1]/",
            "http://localhost.example/",
            "http://127.0.0.1.example/",
            "http://169.254.169.254/latest",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:/",
            "http://127.0.0.1:70000/",
            "http://127.0.0.1:+80/",
            "http://127.0.0.1:80:81/",
            "http://user@127.0.0.1/",
            "http://127.0.0.1@127.0.0.1/",
            "http://127.0.0.1@10.0.0.1/",
            "http://127.0.0.1:80@10.0.0.1/",
            "http://127.0.0.1 /",
            "http://127.0.0.1/\r\nX: y",
        ] {
            let error = value.parse::<ReadyUrl>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{value}`")), "{value:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_url_that_parses_leads_to_loopback(value in "(?i)(http://)?[0-9a-z.:@\\[\\]]{0,24}[/?]?[ -~]{0,8}") {
            if let Ok(url) = value.parse::<ReadyUrl>() {
                prop_assert!(url.addresses().iter().all(|address| address.ip().is_loopback() && address.port() != 0));
                prop_assert_eq!(url.to_string().parse(), Ok(url));
            }
        }
    }
}
