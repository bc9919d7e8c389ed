//! Signing in: what a gateway may answer, and how a token gets there.
//!
//! The gateway is a few packets of TDS, written after [MS-TDS]: it answers every sign-in with one token, an error or a
//! redirect, and keeps what it was sent.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use iridium_server::ServerConfig;
use iridium_server::tds::packet::{self, PacketBuilder, TABULAR_RESULT, TDS7_LOGIN, TDS7_PRELOGIN};
use iridium_server::tds::prelogin::{ENCRYPT_NOT_SUP, ENCRYPT_ON, build_prelogin_response};
use iridium_server::tds::tokens;
use iridium_server::tds_tls_io::TdsTlsIo;
use iridium_server::tls;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::{TlsAcceptor, rustls};
use weir_warehouse::{AccessTokens, Error, ErrorKind, Limits, async_trait, tsql};

use super::super::tables::{rows, tick};
use super::engine::{Engine, serve};
use super::faults::site;
use super::loads::{held, target};

/// What every sign-in is answered with.
#[derive(Clone, Copy)]
enum Answer {
    Error(i32),
    /// To this port of this machine.
    Routing(u16),
    /// None: the engine at this port answers, from here on.
    Pass(u16),
}

impl Answer {
    fn bytes(self) -> Vec<u8> {
        let mut packet = PacketBuilder::new();
        match self {
            Answer::Pass(_) => {}
            Answer::Error(number) => {
                tokens::write_error(&mut packet, number, 1, 14, "told by the gateway", "gateway", "", 1);
                tokens::write_done(&mut packet, 2, 0, 0);
            }
            Answer::Routing(port) => {
                tokens::write_loginack(&mut packet, 0x7400_0004);
                let mut value = PacketBuilder::new();
                // Over TCP, to this port, at this host.
                value.put_u8(0).put_u16_le(port).put_us_vchar_utf16("127.0.0.1");
                // ENVCHANGE 20, with an old value of nothing.
                packet
                    .put_u8(0xE3)
                    .put_u16_le(1 + 2 + value.len() as u16 + 2)
                    .put_u8(20)
                    .put_u16_le(value.len() as u16);
                packet.put_bytes(value.as_bytes()).put_u16_le(0);
                tokens::write_done(&mut packet, 0, 0, 0);
            }
        }
        packet.into_vec()
    }
}

type SignIns = Arc<Mutex<Vec<Vec<u8>>>>;

/// Port, and the sign-ins that come. With certificate and key it speaks TLS.
async fn gateway(answer: Answer, certificate: Option<(String, String)>) -> (u16, SignIns) {
    weir_platform::install_crypto_provider();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let kept = SignIns::default();
    let sign_ins = Arc::clone(&kept);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(connection(stream, answer, certificate.clone(), Arc::clone(&sign_ins)));
        }
    });
    (port, kept)
}

async fn connection(mut stream: TcpStream, answer: Answer, certificate: Option<(String, String)>, sign_ins: SignIns) {
    let (header, _) = packet::read_message(&mut stream).await.unwrap();
    assert_eq!(header.packet_type, TDS7_PRELOGIN);
    let encryption = if certificate.is_some() { ENCRYPT_ON } else { ENCRYPT_NOT_SUP };
    packet::write_packet(&mut stream, TDS7_PRELOGIN, &build_prelogin_response(encryption)).await.unwrap();
    let Some((certificate, key)) = certificate else { return sign_in(stream, answer, &sign_ins).await };
    // As pools have it. (1.3 ends its handshake with messages of which one side thinks that they are wrapped.)
    let config = rustls::ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS12]).with_no_client_auth();
    let certificate = CertificateDer::from_pem_file(certificate).unwrap();
    let config = config.with_single_cert(vec![certificate], PrivateKeyDer::from_pem_file(key).unwrap()).unwrap();
    let is_open = Arc::new(AtomicBool::new(false));
    let wrapped = TdsTlsIo::new(stream, Arc::clone(&is_open));
    if let Ok(stream) = TlsAcceptor::from(Arc::new(config)).accept(wrapped).await {
        is_open.store(true, Ordering::SeqCst);
        sign_in(stream, answer, &sign_ins).await;
    }
}

async fn sign_in(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: Answer, sign_ins: &SignIns) {
    if let Answer::Pass(port) = answer {
        let mut engine = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut engine).await;
        return;
    }
    let (header, data) = packet::read_message(&mut stream).await.unwrap();
    assert_eq!(header.packet_type, TDS7_LOGIN);
    sign_ins.lock().unwrap().push(data);
    packet::write_packet(&mut stream, TABULAR_RESULT, &answer.bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

#[derive(Debug)]
struct Token;

const TOKEN: &str = "a.token-of/the_app";

#[async_trait]
impl AccessTokens for Token {
    async fn token(&self) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        Ok(TOKEN.to_owned())
    }
}

async fn refused(port: u16) -> Error {
    let url = format!("synapse://sa:x@127.0.0.1:{port}/pool?encrypt=off");
    tsql::connector(&url, None).unwrap().connect().await.err().unwrap()
}

/// What a pool that cannot just now says at the door, and what somebody has to change.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_is_refused_says_what_to_do() {
    let told = [
        (42_108, true, "resume it"),
        (42_109, true, "resuming or scaling"),
        (42_119, true, "resuming or scaling"),
        (10_928, true, "no room"),
        (40_501, true, "no room"),
        (49_918, true, "no room"),
        (40_197, true, "not available just now"),
        (40_613, true, "not available just now"),
        (18_456, false, "CREATE USER"),
        (40_615, false, "firewall"),
        (47_073, false, "firewall"),
    ];
    for (number, passes, text) in told {
        let (port, _) = gateway(Answer::Error(number), None).await;
        let error = refused(port).await;
        assert!(matches!(error, Error::Server { number: found, .. } if found == number), "{error:?}");
        assert!(error.to_string().contains(text), "{error}");
        let kind = if passes { ErrorKind::Unavailable } else { ErrorKind::Config };
        assert_eq!((error.kind(), error.is_retryable()), (kind, passes), "{error}");
    }
}

/// The gateway of a workspace hands connections on.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_followed() {
    let config = ServerConfig { tls_enabled: false, ..ServerConfig::default() };
    let (port, sign_ins) = gateway(Answer::Routing(serve(config).await), None).await;
    let url = format!("synapse://sa:x@127.0.0.1:{port}/master?encrypt=off");
    let engine = Engine::over(tsql::connector(&url, None).unwrap());
    let (_, table) = site().await;
    engine.reads(&table);
    tick(&table, &engine.pool(), &target(1), Limits::default()).await.unwrap();
    assert_eq!(held(&engine).await, rows(&table).await.1);
    assert!(!sign_ins.lock().unwrap().is_empty());
    // One that leads nowhere says so.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let (around, _) = gateway(Answer::Routing(port), None).await;
    let error = refused(around).await;
    assert!(error.is_retryable() && error.to_string().contains("refused"), "{error}");
}

/// Says in which folder certificate and key are; the child trusts them.
const VARIABLE: &str = "WEIR_TEST_CERTIFICATE";

/// The certificate is made up: the process that runs the tests does not trust it, a child of it does.
#[tokio::test(flavor = "multi_thread")]
async fn over_tls_with_a_token() {
    if let Ok(folder) = std::env::var(VARIABLE) {
        return with_trust(&folder).await;
    }
    let folder = tempfile::TempDir::new().unwrap();
    let (certificate, key) = files(folder.path().to_str().unwrap());
    tls::generate_self_signed_cert(&certificate, &key).unwrap();
    let (port, sign_ins) = gateway(Answer::Error(42_108), Some((certificate.clone(), key))).await;
    let url = format!("synapse://localhost:{port}/pool");
    let error = tsql::connector(&url, Some(Arc::new(Token))).unwrap().connect().await.err().unwrap();
    assert!(sign_ins.lock().unwrap().is_empty(), "a token was sent to a stranger");
    let text = error.to_string();
    assert!(error.kind() == ErrorKind::Config && text.contains("certificate") && !text.contains(TOKEN), "{text}");
    let child = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "warehouse::pool::gateway::over_tls_with_a_token", "--nocapture"]);
        command.env("SSL_CERT_FILE", &certificate).env(VARIABLE, folder.path()).output().unwrap()
    });
    let told = child.await.unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert!(told.status.success() && text.contains("1 passed"), "{text}");
}

fn files(folder: &str) -> (String, String) {
    (format!("{folder}/certificate.pem"), format!("{folder}/key.pem"))
}

async fn with_trust(folder: &str) {
    let (certificate, key) = files(folder);
    let (port, sign_ins) = gateway(Answer::Error(42_108), Some((certificate.clone(), key.clone()))).await;
    let url = format!("synapse://localhost:{port}/pool");
    let error = tsql::connector(&url, Some(Arc::new(Token))).unwrap().connect().await.err().unwrap();
    assert!(matches!(error, Error::Server { number: 42_108, .. }), "{error:?}");
    assert_eq!(token_of(&sign_ins.lock().unwrap()[0]), TOKEN);
    // And a whole load over it.
    let engine = serve(ServerConfig { tls_enabled: false, ..ServerConfig::default() }).await;
    let (port, _) = gateway(Answer::Pass(engine), Some((certificate, key))).await;
    let url = format!("synapse://localhost:{port}/master");
    let engine = Engine::over(tsql::connector(&url, Some(Arc::new(Token))).unwrap());
    let (_, table) = site().await;
    engine.reads(&table);
    tick(&table, &engine.pool(), &target(1), Limits::default()).await.unwrap();
    assert_eq!(held(&engine).await, rows(&table).await.1);
}

/// The token in a LOGIN7 message, by [MS-TDS] 2.2.6.4.
fn token_of(login: &[u8]) -> String {
    let word = |at: usize| u32::from_le_bytes(login[at..at + 4].try_into().unwrap()) as usize;
    let short = |at: usize| u16::from_le_bytes(login[at..at + 2].try_into().unwrap()) as usize;
    assert_eq!(word(0), login.len(), "the message says its own length");
    // OptionFlags3: there are extensions of features, and where they are stands at ibExtension.
    assert_ne!(login[27] & 0x10, 0);
    let mut at = word(short(56));
    while login[at] != 0xFF {
        let (feature, length) = (login[at], word(at + 1));
        let data = &login[at + 5..at + 5 + length];
        at += 5 + length;
        if feature == 0x02 {
            assert_eq!(data[0] >> 1, 0x01, "the library is the one of security tokens");
            let size = u32::from_le_bytes(data[1..5].try_into().unwrap()) as usize;
            let units: Vec<u16> =
                data[5..5 + size].chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
            return String::from_utf16(&units).unwrap();
        }
    }
    panic!("no FEDAUTH among the extensions");
}
