//! The answers, byte by byte where the host is particular.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::*;

fn encoded(answer: impl Answer) -> Value {
    serde_json::from_slice(&answer.encode().unwrap()).unwrap()
}

#[test]
fn the_smallest_reply_is_complete() {
    assert_eq!(&Reply::ok().encode().unwrap()[..], br#"{"Outputs":{},"Logs":[],"ReturnValue":null}"#);
}

#[test]
fn queue_outputs_are_arrays_of_strings_and_add_up() {
    let reply = Reply::ok().output("tasks", vec!["test".into()]).output("tasks", vec!["{\"a\":1}".into()]);
    assert_eq!(
        encoded(reply.log("done").return_value(json!(7))),
        json!({"Outputs": {"tasks": ["test", "{\"a\":1}"]}, "Logs": ["done"], "ReturnValue": 7})
    );
    assert_eq!(encoded(Reply::ok().output("tasks", vec![]))["Outputs"], json!({"tasks": []}));
}

#[test]
fn http_replies_go_into_their_binding() {
    let reply = HttpReply::json(StatusCode::ACCEPTED, &json!({"queued": 2})).output("tasks", vec!["t".into()]).log("l");
    assert_eq!(
        encoded(reply.clone())["Outputs"],
        json!({
            "res": {"statusCode": 202, "headers": {"content-type": "application/json"}, "body": "{\"queued\":2}"},
            "tasks": ["t"],
        })
    );
    let returned = encoded(reply.binding("$return"));
    assert_eq!((&returned["ReturnValue"]["statusCode"], &returned["Logs"]), (&json!(202), &json!(["l"])));
    assert!(returned["Outputs"].get("res").is_none());
}

#[test]
fn what_the_envelope_cannot_carry_is_an_error() {
    let binary = HttpReply::new(Response::new(Bytes::from_static(b"\xff")));
    assert_eq!(binary.encode().unwrap_err().kind(), ErrorKind::Handler);
    let header = Response::builder().header("x", &b"\xff"[..]).body(Bytes::new()).unwrap();
    assert!(HttpReply::from(header).encode().unwrap_err().to_string().contains("header x"));
}

#[test]
fn errors_carry_their_causes_once() {
    let io = || std::io::Error::other("disk full");
    let error = HandlerError::with_source("commit failed", io());
    assert_eq!(crate::error::chain(&Error::from(error)), "commit failed: disk full");
    assert_eq!(HandlerError::from_error(Error::Serve { source: io() }).to_string(), "the server stopped: disk full");
}
