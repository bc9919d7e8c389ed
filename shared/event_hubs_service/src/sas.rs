//! Shared access signatures: `SharedAccessSignature sr=<audience>&sig=<…>&se=<seconds since 1970>&skn=<key name>`.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::percent_decode_str;
use sha2::Sha256;

/// A key that clients must know. Without one the service takes any token.
#[derive(Clone)]
pub struct SharedAccessKey {
    /// `SharedAccessKeyName` of the connection string.
    pub name: String,
    /// `SharedAccessKey` of the connection string.
    pub key: String,
}

impl fmt::Debug for SharedAccessKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SharedAccessKey").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SharedAccessKey {
    /// Whether the token is this key's, still valid, and for what `audience` is part of.
    pub(crate) fn admits(&self, token: &str, audience: &str, now_s: u64) -> bool {
        self.check(token, audience, now_s).is_some()
    }

    fn check(&self, token: &str, audience: &str, now_s: u64) -> Option<()> {
        let fields = token.strip_prefix("SharedAccessSignature ")?;
        let field = |name: &str| {
            fields.split('&').find_map(|field| field.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')))
        };
        let decoded = |name: &str| percent_decode_str(field(name)?).decode_utf8().ok();
        let expires: u64 = field("se")?.parse().ok()?;
        if expires <= now_s || decoded("skn")? != self.name.as_str() {
            return None;
        }
        if !is_part_of(audience, &decoded("sr")?) {
            return None;
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_bytes()).ok()?;
        mac.update(format!("{}\n{expires}", field("sr")?).as_bytes());
        mac.verify_slice(&STANDARD.decode(decoded("sig")?.as_bytes()).ok()?).ok()
    }
}

/// Whether an address is the scope itself or below it. Schemes and the case of letters do not count.
pub(crate) fn is_part_of(address: &str, scope: &str) -> bool {
    let path = |text: &str| {
        let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
        bare.trim_matches('/').to_ascii_lowercase()
    };
    let (address, scope) = (path(address), path(scope));
    address.strip_prefix(&scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SharedAccessKey {
        SharedAccessKey { name: "local".to_owned(), key: "secret".to_owned() }
    }

    fn token(resource: &str, expires: u64, name: &str, key: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(format!("{resource}\n{expires}").as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        format!("SharedAccessSignature sr={resource}&sig={signature}&se={expires}&skn={name}")
    }

    #[test]
    fn a_token_must_be_of_this_key_and_scope_and_not_over() {
        let audience = "amqps://ns/hub/Partitions/0";
        let good = token("amqps%3A%2F%2Fns%2Fhub", 1000, "local", "secret");
        assert!(key().admits(&good, audience, 999));
        assert!(!key().admits(&good, audience, 1000), "over");
        assert!(!key().admits(&good, "amqps://ns/hub2", 999), "another hub");
        assert!(!key().admits(&token("amqps%3A%2F%2Fns%2Fhub", 1000, "local", "guess"), audience, 1));
        assert!(!key().admits(&token("amqps%3A%2F%2Fns%2Fhub", 1000, "other", "secret"), audience, 1));
        assert!(!key().admits(&good.replace("se=1000", "se=2000"), audience, 1), "a changed date");
        for nonsense in ["", "jwt", "SharedAccessSignature ", "SharedAccessSignature sr=&sig=&se=&skn="] {
            assert!(!key().admits(nonsense, audience, 1), "{nonsense}");
        }
        assert!(!format!("{:?}", key()).contains("secret"));
    }
}
