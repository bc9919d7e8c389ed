//! `synapse://host/pool` and `fabric://host/warehouse`.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::Flavor;
use crate::Error;

const PORT: u16 = 1433;

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) flavor: Flavor,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) database: String,
    pub(crate) login: Login,
    /// Without TLS: on this machine alone.
    pub(crate) plain: bool,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Login {
    /// An Entra token of the app's identity.
    Token,
    Password {
        user: String,
        password: String,
    },
}

/// Without user and password.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}:{}/{}", self.flavor, self.host, self.port, self.database)
    }
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let bad = |why: &str| Error::Url(format!("{why}; use synapse://workspace.sql.azuresynapse.net/pool"));
        let url = Url::parse(text).map_err(|_| bad("not an address"))?;
        let flavor = match url.scheme() {
            "synapse" => Flavor::Dedicated,
            "fabric" => Flavor::Fabric,
            _ => return Err(bad("unknown scheme")),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| bad("no host"))?.to_owned();
        if host.contains("-ondemand.") {
            return Err(bad("this is the serverless endpoint, which holds no tables; name the dedicated pool's"));
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned);
        let database = decoded(url.path().trim_matches('/')).map_err(|_| bad("the database is not UTF-8"))?;
        if database.is_empty() || database.contains('/') {
            return Err(bad("no database"));
        }
        let mut plain = false;
        for (key, value) in url.query_pairs() {
            match (key.as_ref(), value.as_ref()) {
                ("encrypt", "off") => plain = true,
                ("encrypt", "on") => plain = false,
                _ => return Err(bad("unknown parameter; `encrypt` is `on` or `off`")),
            }
        }
        if plain && !is_here(&url) {
            return Err(bad("`encrypt=off` is for this machine (127.0.0.1) alone"));
        }
        let login = match (url.username(), url.password()) {
            ("", None) => Login::Token,
            (user, Some(password)) if !user.is_empty() => {
                let wrong = |_| bad("user or password is not UTF-8");
                Login::Password { user: decoded(user).map_err(wrong)?, password: decoded(password).map_err(wrong)? }
            }
            _ => return Err(bad("a user needs a password; without both the app's identity is used")),
        };
        Ok(Self { flavor, host, port: url.port().unwrap_or(PORT), database, login, plain })
    }
}

/// A scheme that the standard does not know has hosts as text.
fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        None => false,
    }
}
