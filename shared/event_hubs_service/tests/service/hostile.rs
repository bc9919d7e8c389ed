//! Bytes that no client would send. The service may close the connection; it may not fall over, hang, or forget others.

use std::time::Duration;

use azure_messaging_eventhubs::StartLocation;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Site, at, bodies, to_partition};

const ROUNDS: usize = 400;

/// `AMQP` 0 1 0 0, then an open with a container id.
pub(crate) fn opening() -> Vec<u8> {
    let mut bytes = b"AMQP\x00\x01\x00\x00".to_vec();
    bytes.extend_from_slice(&frame(0, &described(0x10, &[0xa1, 1, b'x'])));
    bytes
}

pub(crate) fn frame(channel: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32 + 8).to_be_bytes().to_vec();
    bytes.extend_from_slice(&[2, 0]);
    bytes.extend_from_slice(&channel.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A performative with one encoded field.
fn described(code: u8, field: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x00, 0x53, code, 0xd0];
    bytes.extend_from_slice(&(field.len() as u32 + 4).to_be_bytes());
    bytes.extend_from_slice(&1_u32.to_be_bytes());
    bytes.extend_from_slice(field);
    bytes
}

/// What a good client says at the start of a producer's life: begin, attach, and a transfer.
pub(crate) fn producing() -> Vec<Vec<u8>> {
    let list = |code: u8, count: u32, fields: &[u8]| {
        let mut bytes = vec![0x00, 0x53, code, 0xd0];
        bytes.extend_from_slice(&(fields.len() as u32 + 4).to_be_bytes());
        bytes.extend_from_slice(&count.to_be_bytes());
        bytes.extend_from_slice(fields);
        bytes
    };
    let begin = list(0x11, 4, &[0x40, 0x43, 0x52, 100, 0x52, 100]);
    let target = list(0x29, 1, &[0xa1, 7, b's', b'e', b'n', b's', b'o', b'r', b's']);
    let mut attach = vec![0xa1, 1, b'l', 0x43, 0x42, 0x40, 0x40, 0x40];
    attach.extend_from_slice(&target);
    attach.extend_from_slice(&[0x40, 0x40, 0x43]);
    let attach = list(0x12, 10, &attach);
    let mut transfer = list(0x14, 5, &[0x43, 0x43, 0xa0, 1, 1, 0x43, 0x42]);
    transfer.extend_from_slice(&[0x00, 0x53, 0x75, 0xa0, 2, b'h', b'i']);
    [begin, attach, transfer].iter().map(|body| frame(0, body)).collect()
}

/// Sends, then reads until the service closes or has nothing to say.
pub(crate) async fn throw(site: &Site, bytes: &[u8]) {
    let mut socket = TcpStream::connect(site.service.address()).await.unwrap();
    // The service may close before all is written.
    let _ = socket.write_all(bytes).await;
    let _ = socket.shutdown().await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut answer)).await.expect("it hangs");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_comes_the_service_goes_on() {
    let site = Site::start().await;
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let good: Vec<u8> = opening().into_iter().chain(producing().concat()).collect();
    throw(&site, &good).await;
    for _ in 0..ROUNDS {
        let mut bytes = match random.random_range(0..4) {
            // Noise from the first byte on, or after a good beginning.
            0 => Vec::new(),
            1 => opening(),
            2 => [opening(), producing()[0].clone()].concat(),
            _ => good.clone(),
        };
        match random.random_range(0..3) {
            0 => bytes.extend((0..random.random_range(1..300)).map(|_| random.random::<u8>())),
            1 => {
                let noise: Vec<u8> = (0..random.random_range(0..200)).map(|_| random.random()).collect();
                let code = random.random_range(0x10..0x19);
                bytes.extend_from_slice(&frame(random.random_range(0..3), &described(code, &noise)));
            }
            _ => {
                for _ in 0..random.random_range(1..6) {
                    if let Some(place) = bytes.len().checked_sub(1).map(|last| random.random_range(0..=last)) {
                        bytes[place] = random.random();
                    }
                }
            }
        }
        throw(&site, &bytes).await;
    }
    site.send(to_partition("1"), &["still here"]).await;
    let events = site.receive("1", at(StartLocation::Earliest, false), 1).await;
    assert!(!bodies(&events).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn values_nested_as_deep_as_a_message_is_long_are_no_danger() {
    let site = Site::start().await;
    let [begin, attach, _] = <[Vec<u8>; 3]>::try_from(producing()).unwrap();
    // A list in a list in a list … : each level takes nine bytes.
    let mut nested = vec![0x45];
    while nested.len() < 60_000 {
        let mut outer = vec![0xd0];
        outer.extend_from_slice(&(nested.len() as u32 + 4).to_be_bytes());
        outer.extend_from_slice(&1_u32.to_be_bytes());
        outer.extend_from_slice(&nested);
        nested = outer;
    }
    let mut body = vec![0x00, 0x53, 0x14, 0xc0, 8, 5, 0x43, 0x43, 0xa0, 1, 1, 0x43, 0x42];
    body.extend_from_slice(&[0x00, 0x53, 0x77]);
    body.extend_from_slice(&nested);
    throw(&site, &[opening(), begin, attach, frame(0, &body)].concat()).await;
    // A message is one of the few things that are never opened as a whole, so it is simply stored.
    site.send(to_partition("1"), &["still here"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_handles_have_an_end() {
    let site = Site::start().await;
    let begin = |channel| frame(channel, &[0x00, 0x53, 0x11, 0xc0, 7, 4, 0x40, 0x43, 0x52, 9, 0x52, 9]);
    let mut socket = TcpStream::connect(site.service.address()).await.unwrap();
    socket.write_all(&[opening(), (0..=256).flat_map(begin).collect()].concat()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut answer)).await.unwrap().unwrap();
    let begins = answer.windows(3).filter(|window| *window == [0x00, 0x53, 0x11]).count();
    assert_eq!(begins, 256, "channels 0 to 255");
    assert!(answer.windows(3).any(|window| window == [0x00, 0x53, 0x18]), "and a close that says why");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_for_tls_is_told_what_is_spoken_here() {
    let site = Site::start().await;
    let mut socket = TcpStream::connect(site.service.address()).await.unwrap();
    socket.write_all(b"AMQP\x02\x01\x00\x00").await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"AMQP\x00\x01\x00\x00");
}
