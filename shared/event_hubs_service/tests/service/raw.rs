//! What no SDK shows, on the bare connection.

use std::time::Duration;

use event_hubs_service::{HubLog, MemoryLog, SharedAccessKey};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    hostile::{frame, opening, producing, throw},
    support::Site,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_shows_no_token_gets_nowhere_when_there_is_a_key() {
    let talk = [opening(), producing().concat()].concat();
    let open = Site::start().await;
    throw(&open, &talk).await;
    // A client that leaves without waiting for the settlement: what came whole is stored all the same.
    let key = SharedAccessKey { name: "local".to_owned(), key: "secret".to_owned() };
    let guarded = Site::with(MemoryLog::new(4), |config| config.key = Some(key)).await;
    throw(&guarded, &talk).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let stored = |site: &Site| (0..4).map(|partition| site.log.state(partition).unwrap().next_sequence).sum::<u64>();
    assert_eq!((stored(&open), stored(&guarded)), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_wants_signs_of_life_gets_them() {
    let site = Site::start().await;
    // An open whose fifth field asks for something every 400 ms.
    let fields = [0xa1, 1, b'x', 0x40, 0x40, 0x40, 0x70, 0, 0, 1, 0x90];
    let mut open = vec![0x00, 0x53, 0x10, 0xc0, fields.len() as u8 + 1, 5];
    open.extend_from_slice(&fields);
    let mut socket = TcpStream::connect(site.service.address()).await.unwrap();
    socket.write_all(&[&b"AMQP\x00\x01\x00\x00"[..], &frame(0, &open)].concat()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    let mut answer = vec![0; 4096];
    let length = socket.read(&mut answer).await.unwrap();
    let heartbeat = [0, 0, 0, 8, 2, 0, 0, 0];
    let beats = answer[..length].windows(8).filter(|window| *window == heartbeat).count();
    assert!((3..=5).contains(&beats), "{beats} in 900 ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_cut_off_in_the_middle_is_not_stored() {
    let site = Site::start().await;
    let [begin, attach, transfer] = <[Vec<u8>; 3]>::try_from(producing()).unwrap();
    // The sixth field, `more`, which the transfer does not have: the message is not whole.
    let mut body = vec![0x00, 0x53, 0x14, 0xc0, 9, 6, 0x43, 0x43, 0xa0, 1, 1, 0x43, 0x42, 0x41];
    body.extend_from_slice(&[0x00, 0x53, 0x75, 0xa0, 2, b'h', b'i']);
    throw(&site, &[opening(), begin.clone(), attach.clone(), frame(0, &body)].concat()).await;
    let torn = transfer[..transfer.len() - 1].to_vec();
    throw(&site, &[opening(), begin, attach, torn].concat()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!((0..4).all(|partition| site.log.state(partition).unwrap().is_empty()));
}
