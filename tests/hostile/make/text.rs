//! JSON and CSV that repeat, nest and open what they do not close.

use rand::Rng;
use rand::rngs::StdRng;

use super::few;
use crate::MAX_BYTES;

pub(crate) fn json(random: &mut StdRng) -> Vec<u8> {
    let total = [200, 20_000, MAX_BYTES][random.random_range(0..3)];
    let document = random.random_bool(0.3);
    let mut out = if document { vec![b'['] } else { Vec::new() };
    let repeated = random.random_bool(0.6).then(|| record(random));
    while out.len() < total {
        out.extend(repeated.clone().unwrap_or_else(|| record(random)));
        out.push(if document { b',' } else { b'\n' });
    }
    if document && random.random_bool(0.7) {
        out.pop();
        out.push(b']');
    }
    out
}

fn record(random: &mut StdRng) -> Vec<u8> {
    match random.random_range(0..12) {
        0 => b"{}".to_vec(),
        1 => Vec::new(),
        2 => b"x".to_vec(),
        3 => nested(random).into_bytes(),
        4 => " ".repeat(few(random, 2_000)).into_bytes(),
        _ => {
            let members: Vec<String> =
                (0..few(random, 1_500)).map(|at| format!("{}:{}", name(random, at), value(random))).collect();
            format!("{{{}}}", members.join(",")).into_bytes()
        }
    }
}

fn name(random: &mut StdRng, at: usize) -> String {
    match random.random_range(0..8) {
        0 => "\"n\"".to_owned(),
        1 => "\"\\u006e\"".to_owned(),
        2 => format!("\"c{at}\""),
        3 => format!("\"C{}\"", random.random_range(0..200)),
        4 => format!("\"{}\"", "k".repeat(few(random, 5_000))),
        5 => "\"İ\"".to_owned(),
        _ => format!("\"f{}\"", random.random_range(0..2_000)),
    }
}

fn value(random: &mut StdRng) -> String {
    match random.random_range(0..12) {
        0 => "null".to_owned(),
        1 => "1".repeat(1 + few(random, 50_000)),
        2 => format!("1e{}", "9".repeat(1 + few(random, 5_000))),
        3 => format!("0.{}", "0".repeat(1 + few(random, 50_000))),
        4 => format!("\"{}\"", "\\u0000".repeat(few(random, 5_000))),
        5 => format!("\"{}\"", "\\\"".repeat(few(random, 20_000))),
        6 => "\"\\ud800\"".to_owned(),
        7 => nested(random),
        8 => format!("\"{}", "a".repeat(few(random, 500))),
        9 => format!("\"{}\"", "QUJD".repeat(few(random, 5_000))),
        _ => random.random_range(-9..1_000).to_string(),
    }
}

fn nested(random: &mut StdRng) -> String {
    let depth = few(random, 100_000);
    let (open, close) = [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")][random.random_range(0..3)];
    let closed = if random.random_bool(0.8) { depth } else { few(random, depth) };
    open.repeat(depth) + "1" + &close.repeat(closed)
}

pub(crate) fn csv(random: &mut StdRng) -> Vec<u8> {
    let total = [200, 20_000, MAX_BYTES][random.random_range(0..3)];
    let mut out = match random.random_range(0..5) {
        4 => "x,".repeat(few(random, 500_000)) + "n\n",
        0 => (0..few(random, 100_000)).map(|at| format!("h{at},")).collect::<String>() + "n\n",
        1 => "\"".to_owned(),
        2 => "n,n,N,s,\"s\",x,x\n".to_owned(),
        _ => "n,s,b,d\n".to_owned(),
    }
    .into_bytes();
    let line_end = ["\n", "\r\n", "\r", ""][random.random_range(0..4)];
    let repeated = random.random_bool(0.7).then(|| line(random));
    while out.len() < total {
        out.extend(repeated.clone().unwrap_or_else(|| line(random)));
        out.extend(line_end.as_bytes());
        out.extend(if line_end.is_empty() { &b"\n"[..] } else { b"" });
    }
    out
}

/// Short records behind a header of many fields: what a record costs must not grow with the header. One for each of the
/// contracts, which are chosen by the sum of the bytes.
pub(crate) fn csv_known() -> Vec<(String, Vec<u8>)> {
    let short = |fields: usize, line: &str| {
        let mut out = "x,".repeat(fields) + "n\n";
        out += &line.repeat((MAX_BYTES - out.len()) / line.len());
        (format!("{fields} fields in the header, and records {line:?}"), out.into_bytes())
    };
    (0..3).flat_map(|more| [short(200_000 + more, "1\n"), short(200_000 + more, ",\n")]).collect()
}

fn line(random: &mut StdRng) -> Vec<u8> {
    match random.random_range(0..12) {
        0 => b"x".to_vec(),
        1 => b"\"x".to_vec(),
        2 => b"x,\"".to_vec(),
        3 => b"\"\"".repeat(1 + few(random, 5_000)),
        4 => b",".repeat(1 + few(random, 50_000)),
        5 => b"\"a\nb\",".repeat(1 + few(random, 500)),
        6 => b"\"\n".repeat(1 + few(random, 5_000)),
        7 => vec![0xff; few(random, 500)],
        8 => b"\"a\"b,\"c".to_vec(),
        9 => "1".repeat(1 + few(random, 50_000)).into_bytes(),
        10 => Vec::new(),
        _ => format!("{},text,QUJD,1.5", random.random::<i32>()).into_bytes(),
    }
}
