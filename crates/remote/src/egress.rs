//! Which hosts may be reached: none, unless the configuration says so.
//!
//! Checked by name before a client is built and by address before each request, so that a name
//! that is allowed cannot lead to an address that is not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base::{Error, Result, error, fail};

use crate::s3::S3Options;

/// The hosts, ports and address ranges that may be reached. The default allows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressPolicy {
    hosts: Vec<Allowed>,
    /// Loopback and private addresses may be reached under any allowed name.
    private: bool,
    /// Every public host may be reached.
    public: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Allowed {
    /// Lower case; `*.` at the beginning stands for one or more labels.
    host: String,
    /// `None` is every port.
    port: Option<u16>,
}

impl EgressPolicy {
    /// Allows nothing.
    pub fn deny_all() -> Self {
        Self::default()
    }

    /// Reads a comma-separated list of `host`, `host:port`, `*.domain`, `*.domain:port`,
    /// `private` and `public`.
    ///
    /// # Errors
    /// 22023 naming the entry that is none of these.
    pub fn parse(list: &str) -> Result<EgressPolicy> {
        let mut policy = EgressPolicy::default();
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            match entry {
                "private" => policy.private = true,
                "public" => policy.public = true,
                _ => policy.hosts.push(Allowed::parse(entry)?),
            }
        }
        Ok(policy)
    }

    /// Allows a host, at one port or, with `None`, at every port.
    #[must_use]
    pub fn allow(mut self, host: &str, port: Option<u16>) -> Self {
        self.hosts.push(Allowed { host: plain(host), port });
        self
    }

    /// Allows loopback and private addresses under any allowed name.
    #[must_use]
    pub fn allow_private(mut self) -> Self {
        self.private = true;
        self
    }

    /// Allows every public host.
    #[must_use]
    pub fn allow_public(mut self) -> Self {
        self.public = true;
        self
    }

    /// Allows the endpoint at which `options` reach a bucket: what an operator who configures a
    /// store there means.
    ///
    /// # Errors
    /// 22023 when the endpoint is no URL.
    pub fn allow_endpoint(self, bucket: &str, options: &S3Options) -> Result<Self> {
        let (host, port) = options.host(bucket)?;
        Ok(self.allow(&host, Some(port)))
    }

    /// Checks a host by its name alone.
    ///
    /// # Errors
    /// 42501 naming the host.
    pub fn check(&self, host: &str, port: u16) -> Result<()> {
        let host = plain(host);
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.check_address(&host, port, address);
        }
        if self.listed(&host, port) || (self.public && !is_local_name(&host)) {
            return Ok(());
        }
        Err(denied(&host, port))
    }

    /// Checks a host that resolved to `address`.
    ///
    /// # Errors
    /// 42501 naming the host and the address.
    pub fn check_address(&self, host: &str, port: u16, address: IpAddr) -> Result<()> {
        let host = plain(host);
        let address = canonical(address);
        let by_address = self.hosts.iter().any(|allowed| allowed.is_address(address, port));
        if by_address {
            return Ok(());
        }
        let by_name = self.hosts.iter().any(|allowed| allowed.is_exactly(&host, port));
        let fine = match Range::of(address) {
            Range::Never => false,
            Range::Private => by_name || (self.private && self.named(&host, port, address)),
            Range::Public => self.named(&host, port, address),
        };
        if fine { Ok(()) } else { Err(denied_address(&host, port, address)) }
    }

    /// Resolves a name and checks the name and every address behind it.
    ///
    /// # Errors
    /// 42501 when one is denied, 08006 when the name does not resolve.
    pub async fn check_resolved(&self, host: &str, port: u16) -> Result<()> {
        self.check(host, port)?;
        let host = plain(host);
        if host.parse::<IpAddr>().is_ok() {
            return Ok(());
        }
        let mut any = false;
        let addresses = tokio::net::lookup_host((host.as_str(), port)).await.map_err(|error| {
            error!(ConnectionFailure, "could not resolve host \"{host}\"")
                .detail(format!("{error}."))
        })?;
        for address in addresses {
            any = true;
            self.check_address(&host, port, address.ip())?;
        }
        if !any {
            fail!(ConnectionFailure, "host \"{host}\" has no address");
        }
        Ok(())
    }

    fn named(&self, host: &str, port: u16, address: IpAddr) -> bool {
        if host.parse::<IpAddr>().is_ok() {
            return match Range::of(address) {
                Range::Never => false,
                Range::Private => self.private,
                Range::Public => self.public,
            };
        }
        self.listed(host, port) || (self.public && !is_local_name(host))
    }

    fn listed(&self, host: &str, port: u16) -> bool {
        self.hosts.iter().any(|allowed| allowed.covers(host, port))
    }
}

impl Allowed {
    fn parse(entry: &str) -> Result<Allowed> {
        let bad = || {
            error!(InvalidParameterValue, "\"{entry}\" is not a host to allow")
                .hint("Entries are host, host:port, *.domain, [address]:port, private or public.")
        };
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, Some(port.parse().map_err(|_| bad())?))
            }
            _ => (entry, None),
        };
        let host = plain(host);
        let domain = host.strip_prefix("*.").unwrap_or(&host);
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if domain.is_empty() || !domain.chars().all(fine) {
            return Err(bad());
        }
        Ok(Allowed { host, port })
    }

    fn covers(&self, host: &str, port: u16) -> bool {
        if self.port.is_some_and(|allowed| allowed != port) {
            return false;
        }
        match self.host.strip_prefix('*') {
            Some(tail) => host.len() > tail.len() && host.ends_with(tail),
            None => self.host == host,
        }
    }

    fn is_exactly(&self, host: &str, port: u16) -> bool {
        !self.host.starts_with('*') && self.covers(host, port)
    }

    fn is_address(&self, address: IpAddr, port: u16) -> bool {
        self.port.is_none_or(|allowed| allowed == port)
            && self.host.parse::<IpAddr>().is_ok_and(|host| canonical(host) == address)
    }
}

/// Kinds of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    /// Link-local (where clouds serve credentials), unspecified, multicast: only when the
    /// address itself is listed.
    Never,
    /// Loopback and private networks.
    Private,
    Public,
}

impl Range {
    fn of(address: IpAddr) -> Range {
        match address {
            IpAddr::V4(v4) => Range::of_v4(v4),
            IpAddr::V6(v6) => Range::of_v6(v6),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Range {
        let [a, b, ..] = address.octets();
        if address.is_link_local()
            || address.is_multicast()
            || address.is_broadcast()
            || a == 0
            // Metadata services of some clouds.
            || address == Ipv4Addr::new(100, 100, 100, 200)
            || address == Ipv4Addr::new(168, 63, 129, 16)
        {
            return Range::Never;
        }
        let shared = a == 100 && (64..128).contains(&b);
        if address.is_loopback() || address.is_private() || shared {
            return Range::Private;
        }
        Range::Public
    }

    fn of_v6(address: Ipv6Addr) -> Range {
        // The IPv6 address of EC2's metadata service lies in a private range.
        let metadata = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
        if address.is_unicast_link_local()
            || address.is_multicast()
            || address.is_unspecified()
            || address == metadata
        {
            return Range::Never;
        }
        if address.is_loopback() || address.is_unique_local() {
            return Range::Private;
        }
        Range::Public
    }
}

/// An IPv4 address written as an IPv6 one (mapped, or behind NAT64) counts as what it is.
fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return IpAddr::V4(v4);
    }
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let nat64 = [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0];
    let compatible = [a, b, c, d, e, f] == [0; 6] && (g, h) != (0, 1) && (g, h) != (0, 0);
    if nat64 || compatible {
        let [g1, g2] = g.to_be_bytes();
        let [h1, h2] = h.to_be_bytes();
        return IpAddr::V4(Ipv4Addr::new(g1, g2, h1, h2));
    }
    address
}

/// Lower case, without brackets, without the root dot.
fn plain(host: &str) -> String {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    host.to_ascii_lowercase()
}

fn is_local_name(host: &str) -> bool {
    !host.contains('.')
        || ["localhost", ".localhost", ".local", ".internal", ".localdomain"]
            .iter()
            .any(|tail| host.ends_with(tail))
}

fn denied(host: &str, port: u16) -> Error {
    error!(InsufficientPrivilege, "connections to \"{host}:{port}\" are not allowed")
        .detail("The server's egress policy does not list this host.")
        .hint("An administrator can allow it with --allow-host.")
}

fn denied_address(host: &str, port: u16, address: IpAddr) -> Error {
    let error = denied(host, port);
    if host == address.to_string() {
        return error;
    }
    error.detail(format!("\"{host}\" is at {address}, which the server's egress policy forbids."))
}
