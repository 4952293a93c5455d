//! The DNS of the operating system, or of the configured name servers. The only module that names the resolver.
//!
//! A resolver is made for every question: so it follows `/etc/resolv.conf`, and no cache stands between a question and
//! its answer. At one question per interval that costs nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData};

use crate::DnsConfig;

/// A name server that says nothing for this long is asked once more, or the next one is.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a question is sent to a name server.
const ATTEMPTS: usize = 2;
/// Hosts of SRV records whose addresses are looked up at one time.
const HOSTS_AT_ONCE: usize = 8;

/// Every address that the DNS has for the name.
pub(super) async fn discover(dns: &DnsConfig) -> io::Result<Vec<SocketAddr>> {
    let resolver = resolver(&dns.servers).map_err(io::Error::other)?;
    let name = dns.absolute_name();
    if dns.is_service() {
        let records = resolver.srv_lookup(name).await.map_err(io::Error::other)?;
        return Ok(service(&resolver, &records).await);
    }
    let found = resolver.lookup_ip(name).await.map_err(io::Error::other)?;
    Ok(found.iter().map(|ip| (ip, dns.port).into()).collect())
}

fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let mut config = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        for server in servers {
            let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
            for connection in &mut connections {
                connection.port = server.port();
            }
            config.add_name_server(NameServerConfig::new(server.ip(), true, connections));
        }
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.timeout = ATTEMPT_TIMEOUT;
    options.attempts = ATTEMPTS;
    builder.build()
}

/// The addresses behind SRV records. Priorities and weights are nothing to a node: it wants to reach every sibling.
async fn service(resolver: &TokioResolver, records: &Lookup) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    let mut lookups = Vec::new();
    for record in records.answers() {
        let RData::SRV(srv) = &record.data else {
            continue;
        };
        let ips = along(records, &srv.target);
        if ips.is_empty() && !srv.target.is_root() {
            lookups.push(host(resolver, srv.target.clone(), srv.port));
        }
        found.extend(ips.into_iter().map(|ip| SocketAddr::new(ip, srv.port)));
    }
    let mut lookups = stream::iter(lookups).buffer_unordered(HOSTS_AT_ONCE);
    while let Some(addresses) = lookups.next().await {
        found.extend(addresses);
    }
    found
}

/// The addresses of one host. One that cannot be resolved does not hide the others.
async fn host(resolver: &TokioResolver, host: Name, port: u16) -> Vec<SocketAddr> {
    match resolver.lookup_ip(host.clone()).await {
        Ok(found) => found.iter().map(|ip| (ip, port).into()).collect(),
        Err(error) => {
            tracing::debug!(%host, %error, "the host of an SRV record has no address");
            Vec::new()
        }
    }
}

/// The addresses of a host that came along with the SRV records.
fn along(records: &Lookup, host: &Name) -> Vec<IpAddr> {
    let of_host = records
        .additionals()
        .iter()
        .filter(|record| record.name == *host);
    of_host.filter_map(|record| record.data.ip_addr()).collect()
}
