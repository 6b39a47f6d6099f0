//! Where a host is, as one types it.

use std::{fmt, str::FromStr};

/// The longest name of a host, in bytes, as the domain name system has it.
const HOST_MAX: usize = 253;

/// The longest name of a user, in bytes, as Linux has it.
const USER_MAX: usize = 32;

/// A host: `[USER@]HOST[:PORT]`, where `HOST` may be a name that only the configuration of `ssh` knows. What is left out is
/// as that says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostAddress {
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

/// Why a text names no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no name in it.
    #[error("it names no host")]
    Empty,
    /// The host.
    #[error(
        "`{host}` is no name of a host: letters, digits, `.`, `_` and `-`, or an address, that of IPv6 in brackets"
    )]
    Host {
        /// What was meant.
        host: String,
    },
    /// The user.
    #[error("`{user}` is no name of a user: letters, digits, `.`, `_` and `-`, at most {USER_MAX}")]
    User {
        /// What was meant.
        user: String,
    },
    /// The port.
    #[error("`{port}` is no port: a number from 1 to 65535")]
    Port {
        /// What was meant.
        port: String,
    },
}

impl HostAddress {
    /// As whom, if it says.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Its name, or its address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if it says.
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

impl FromStr for HostAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.strip_prefix("ssh://").unwrap_or(text);
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, text),
        };
        let (host, port) = if let Some(rest) = rest.strip_prefix('[') {
            let (host, after) = rest.split_once(']').unwrap_or((rest, "]"));
            if !is_ipv6(host) || !(after.is_empty() || after.starts_with(':')) {
                return Err(AddressError::Host { host: format!("[{rest}") });
            }
            (host, after.strip_prefix(':'))
        } else {
            let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
            if host.is_empty() && port.is_none() && user.is_none() {
                return Err(AddressError::Empty);
            }
            // A name that began with a dash would be an option of whoever is given it.
            if !is_word(host, HOST_MAX) {
                return Err(AddressError::Host { host: host.to_owned() });
            }
            (host, port)
        };
        if let Some(user) = user.filter(|user| !is_word(user, USER_MAX)) {
            return Err(AddressError::User { user: user.to_owned() });
        }
        let parse = |port: &str| match port.parse() {
            Ok(number) if number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
            _ => Err(AddressError::Port { port: port.to_owned() }),
        };
        let port = port.map(parse).transpose()?;
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port })
    }
}

fn is_word(text: &str, longest: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !text.is_empty() && text.len() <= longest && !text.starts_with('-') && text.bytes().all(allowed)
}

/// Whether it is an address of IPv6, with or without the interface that it is of.
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    address.parse::<std::net::Ipv6Addr>().is_ok() && zone.is_none_or(|zone| is_word(zone, USER_MAX))
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_as_it_is_written() {
        for text in
            ["web1", "deploy@web1", "web1:2222", "deploy@10.0.0.1:22", "root@[fe80::1%eth0]:22", "[::1]"]
        {
            let address: HostAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        let address: HostAddress = "ssh://deploy@web-1.example.org:2222".parse().unwrap();
        assert_eq!(
            (address.user(), address.host(), address.port()),
            (Some("deploy"), "web-1.example.org", Some(2222))
        );
    }

    #[test]
    fn what_would_be_something_else_to_a_program_is_refused() {
        use AddressError::*;
        let refused = |text: &str| text.parse::<HostAddress>().unwrap_err();
        assert_eq!(refused(""), Empty);
        for text in [
            "-oProxyCommand=touch /tmp/x",
            "web 1",
            "web1;id",
            "$(id)",
            "`id`",
            "web1\nHost *",
            "[::1",
            "[web1]",
            "[::1]22",
            "::1",
            "wéb",
            "web1/x",
            "a'b",
            "x@",
            "@",
            ":22",
        ] {
            assert!(matches!(refused(text), Host { .. } | Port { .. }), "{text}: {:?}", refused(text));
        }
        for text in ["-l@web1", "a b@web1", "@web1", "$(id)@web1", "a@b@web1"] {
            assert!(matches!(refused(text), User { .. }), "{text}");
        }
        for text in ["web1:", "web1:0", "web1:65536", "web1:+22", "web1:ssh", "web1:22:22"] {
            assert!(matches!(refused(text), Port { .. }), "{text}");
        }
    }
}
