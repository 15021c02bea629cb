//! libpq's connection URLs: one database, its user, and one or several hosts.

use crate::choices::tls_mode;
use crate::clusters::wrong_host;
use crate::model::{Secret, TlsMode};

/// What a URL says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    /// At least one; the port is 5432 unless said.
    pub(crate) hosts: Vec<(String, u16)>,
    pub(crate) dbname: Option<String>,
    pub(crate) sslmode: Option<TlsMode>,
    pub(crate) sslrootcert: Option<String>,
    /// Names of parameters that are left out of account.
    pub(crate) ignored: Vec<String>,
}

/// Parameters of libpq that say nothing to a pooler.
const WITHOUT_EFFECT: [&str; 24] = [
    "application_name",
    "fallback_application_name",
    "connect_timeout",
    "client_encoding",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "load_balance_hosts",
    "channel_binding",
    "gssencmode",
    "krbsrvname",
    "gsslib",
    "sslcompression",
    "sslsni",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "sslcrl",
    "sslcrldir",
    "min_protocol_version",
    "max_protocol_version",
    "hostaddr",
];

/// Reads a URL. Errors are words without any part of it that could be a secret.
pub(crate) fn parse(url: &str) -> Result<Target, String> {
    let rest = url
        .strip_prefix("postgres://")
        .or_else(|| url.strip_prefix("postgresql://"))
        .ok_or("not a URL of Postgres; expected postgres://user@host1,host2/name")?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if path.contains('@') {
        return Err("an `@` after the first `/` of the URL; expected a `/` in a password as %2F, an `@` in a name as %40"
            .into());
    }
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, authority),
    };
    let mut target = Target {
        user: None,
        password: None,
        hosts: if hosts.is_empty() { Vec::new() } else { parse_hosts(hosts)? },
        dbname: some_text(decode(path)?),
        sslmode: None,
        sslrootcert: None,
        ignored: Vec::new(),
    };
    if let Some(login) = login {
        let (user, password) =
            login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
        target.user = some_text(decode(user)?);
        target.password = password.map(decode).transpose()?.and_then(some_text).map(Secret);
    }
    parameters(query, &mut target)?;
    if target.hosts.is_empty() {
        return Err("a URL without a host; expected postgres://user@host1,host2/name".into());
    }
    Ok(target)
}

fn parse_hosts(hosts: &str) -> Result<Vec<(String, u16)>, String> {
    hosts.split(',').map(parse_host).collect()
}

fn parse_host(text: &str) -> Result<(String, u16), String> {
    const EXPECTED: &str = "expected host, host:port or [address]:port";
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or(format!("`[` without its `]`; {EXPECTED}"))?;
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(format!("no IPv6 address in the brackets; {EXPECTED}"));
            }
            let port = after.strip_prefix(':');
            if !after.is_empty() && port.is_none() {
                return Err(format!("something follows the brackets; {EXPECTED}"));
            }
            (address.to_owned(), port)
        }
        None => {
            let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            (decode(host)?, port)
        }
    };
    if host.is_empty() {
        return Err(format!("an empty host; {EXPECTED}"));
    }
    if wrong_host(&host).is_some() {
        return Err(format!("not a host; {EXPECTED}"));
    }
    Ok((host, port.map(parse_port).transpose()?.unwrap_or(5432)))
}

fn parse_port(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("not a port in the URL; expected 1 to 65535".into()),
    }
}

fn parameters(query: &str, target: &mut Target) -> Result<(), String> {
    let mut seen: Vec<String> = Vec::new();
    let mut ports = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) =
            pair.split_once('=').ok_or("a parameter without `=` in the URL; expected name=value")?;
        let (name, value) = (decode(name)?, decode(value)?);
        if seen.contains(&name) {
            return Err(format!("the parameter `{name}` is in the URL twice"));
        }
        match name.as_str() {
            "user" => target.user = some_text(value),
            "password" => target.password = some_text(value).map(Secret),
            "dbname" => target.dbname = some_text(value),
            "host" => {
                target.hosts = value.split(',').map(|host| Ok((checked_host(host)?, 5432))).collect::<Result<
                    _,
                    String,
                >>(
                )?
            }
            "port" => ports = Some(value.split(',').map(parse_port).collect::<Result<Vec<_>, _>>()?),
            "sslmode" => {
                target.sslmode = Some(tls_mode(&value).ok_or(
                    "not an sslmode; expected disable, allow, prefer, require, verify-ca or verify-full",
                )?);
            }
            "sslrootcert" => target.sslrootcert = some_text(value),
            "target_session_attrs"
                if matches!(value.as_str(), "any" | "read-write" | "primary" | "prefer-standby") =>
            {
                target.ignored.push(name.clone());
            }
            "target_session_attrs" => {
                return Err(
                    "target_session_attrs other than any, primary, read-write or prefer-standby is not \
                            supported here; expected `route: {role: replica}` of a database or user"
                        .into(),
                );
            }
            _ if WITHOUT_EFFECT.contains(&name.as_str()) => target.ignored.push(name.clone()),
            _ => return Err(format!("the parameter `{name}` of the URL is not supported")),
        }
        seen.push(name);
    }
    match ports.as_deref() {
        None => {}
        Some([port]) => target.hosts.iter_mut().for_each(|host| host.1 = *port),
        Some(ports) if ports.len() == target.hosts.len() => {
            target.hosts.iter_mut().zip(ports).for_each(|(host, port)| host.1 = *port);
        }
        Some(_) => return Err("as many ports as hosts are needed in the URL, or one for all".into()),
    }
    Ok(())
}

fn checked_host(host: &str) -> Result<String, String> {
    if host.is_empty() || wrong_host(host).is_some() {
        return Err(
            "not a host in the URL's parameter `host`; expected names, addresses or absolute paths".into()
        );
    }
    Ok(host.to_owned())
}

fn some_text(text: String) -> Option<String> {
    if text.is_empty() { None } else { Some(text) }
}

/// `%XX` to what it stands for.
fn decode(text: &str) -> Result<String, String> {
    const WRONG: &str = "a malformed %XX in the URL; expected two hexadecimal digits that make UTF-8";
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or(WRONG);
        let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
        match u8::try_from(high * 16 + low).map_err(|_| WRONG)? {
            0 => return Err(WRONG.into()),
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).map_err(|_| WRONG.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libpq_reads_is_read() {
        let target = parse("postgresql://a%40b:p%3Aw@db1,db2:5433,[::1]:5434,%2Ftmp/my%2Fdb?sslmode=require&connect_timeout=3").unwrap();
        assert_eq!(target.user.as_deref(), Some("a@b"));
        assert_eq!(target.password.unwrap().reveal(), "p:w");
        let hosts: Vec<_> = target.hosts.iter().map(|(host, port)| (host.as_str(), *port)).collect();
        assert_eq!(hosts, [("db1", 5432), ("db2", 5433), ("::1", 5434), ("/tmp", 5432)]);
        assert_eq!(target.dbname.as_deref(), Some("my/db"));
        assert_eq!(
            (target.sslmode, target.ignored),
            (Some(TlsMode::Require), vec!["connect_timeout".to_owned()])
        );
        let target = parse("postgres:///d?host=/run/pg,h&port=1,2&user=u").unwrap();
        assert_eq!(target.hosts, [("/run/pg".to_owned(), 1), ("h".to_owned(), 2)]);
        assert_eq!(target.user.as_deref(), Some("u"));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for url in [
            "mysql://u:hunter2@h/d",
            "postgres://u:hunter2@/d",
            "postgres://u:hunter2@h:0/d",
            "postgres://u:hunter2@h:99999/d",
            "postgres://u:hunter2@[::1/d",
            "postgres://u:hunter2@[x]/d",
            "postgres://u:hunter2%zz@h/d",
            "postgres://u:hunter2@h,/d",
            "postgres://u:hunter2@h/d?sslmode=hunter2",
            "postgres://u:hunter2@h/d?x",
            "postgres://u:hunter2@h/d?nothing=1",
            "postgres://u:hunter2@h/d?user=a&user=b",
            "postgres://u:hunter2%ff@h/d",
            "postgres://u:hunter2@h/d?target_session_attrs=standby",
            "postgres://u:hunter2@a,b,c/d?port=1,2",
            "postgres://u:hunter2%00@h/d",
            "postgres://hunter2/x@h:1:2/d",
        ] {
            let error = parse(url).unwrap_err();
            assert!(!error.contains("hunter2"), "{url}: {error}");
        }
    }
}
