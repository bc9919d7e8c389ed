//! Azure Storage's "Shared Key" signature: an HMAC over method, headers, path and query.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What is signed of a request. Every other header that could be signed is not sent.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// Bytes of the body.
    pub(super) length: usize,
    pub(super) content_type: &'a str,
    /// `x-ms-…`, in order of their names.
    pub(super) ms_headers: [(&'a str, &'a str); 2],
    /// Of the URL; an emulator's begins with the account's name.
    pub(super) path: &'a str,
    /// Not percent-encoded, in order of their names.
    pub(super) query: &'a [(&'a str, &'a str)],
}

/// The value of the `Authorization` header.
pub(super) fn authorization(request: &Request<'_>, account: &str, key: &[u8]) -> String {
    // A key of any length will do; the error is there for other algorithms.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(text(request, account).as_bytes());
    format!("SharedKey {account}:{}", BASE64.encode(mac.finalize().into_bytes()))
}

fn text(request: &Request<'_>, account: &str) -> String {
    let length = if request.length == 0 { String::new() } else { request.length.to_string() };
    let Request { method, content_type, path, .. } = request;
    // Content-Encoding, -Language, -Length, -MD5, -Type, Date, If-Modified-Since, If-Match, If-None-Match,
    // If-Unmodified-Since, Range.
    let mut text = format!("{method}\n\n\n{length}\n\n{content_type}\n\n\n\n\n\n\n");
    for (name, value) in request.ms_headers {
        text += &format!("{name}:{value}\n");
    }
    text += &format!("/{account}{path}");
    for (name, value) in request.query {
        text += &format!("\n{name}:{value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the layout that the documentation gives; Azurite checks the signature itself.
    #[test]
    fn the_text_that_is_signed() {
        let request = Request {
            method: "GET",
            length: 0,
            content_type: "",
            ms_headers: [("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"), ("x-ms-version", "2015-02-21")],
            path: "/myaccount/mycontainer",
            query: &[("comp", "metadata"), ("timeout", "20")],
        };
        let expected = "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\n\
            x-ms-version:2015-02-21\n/myaccount/myaccount/mycontainer\ncomp:metadata\ntimeout:20";
        assert_eq!(text(&request, "myaccount"), expected);
        let put = Request { method: "POST", length: 65, content_type: "application/xml", ..request };
        assert!(text(&put, "myaccount").starts_with("POST\n\n\n65\n\napplication/xml\n\n\n\n\n\n\nx-ms-date:"));
    }
}
