//! Personal columns: test vectors of the pseudonym, masks, and that nothing personal leaks into reasons.

use weir_contract::{DataType, Treatment};
use weir_transform::PseudonymKey;

use super::{clean, column, contract, quarantined, run_csv};

fn personal(treatment: Treatment) -> weir_contract::Contract {
    let mut contract = contract(vec![column("email", DataType::String), column("n", DataType::Long)]);
    contract.columns[0].personal = Some(treatment);
    contract
}

/// Made with Python: `base64.b32encode(hmac.new(b"\xab" * 32, b"email\0" + text, "sha256").digest()[:16])`.
#[test]
fn pseudonyms_are_what_other_tools_compute() {
    for (text, pseudonym) in [
        ("ann@example.org", "p1:pu44osnnve5lapnlpyc4je5ybq"),
        ("  ann@example.org\t", "p1:pu44osnnve5lapnlpyc4je5ybq"),
        // NFKC: full-width letters are their ASCII ones.
        ("\u{ff41}nn@example.org", "p1:pu44osnnve5lapnlpyc4je5ybq"),
        ("Zo\u{eb}", "p1:sz7wbkmus5uaoec4wez3zpajlu"),
        ("Zoe\u{308}", "p1:sz7wbkmus5uaoec4wez3zpajlu"),
    ] {
        let output = run_csv(&personal(Treatment::Pseudonym), format!("email,n\n\"{text}\",1\n,2\n").as_bytes());
        assert_eq!(clean(&output), [format!("1: {pseudonym}|1"), "2: ~|2".to_owned()], "{text}");
    }
}

#[test]
fn other_columns_and_keys_give_other_pseudonyms() {
    let mut two = contract(vec![column("a", DataType::Long), column("b", DataType::Long)]);
    two.columns.iter_mut().for_each(|column| column.personal = Some(Treatment::Pseudonym));
    let rows = clean(&run_csv(&two, b"a,b\n7,7\n7,8\n"));
    let cells: Vec<Vec<&str>> = rows.iter().map(|row| row[3..].split('|').collect()).collect();
    assert_eq!(cells[0][0], cells[1][0]);
    assert_ne!(cells[0][0], cells[0][1]);
    assert_ne!(cells[0][1], cells[1][1]);
    assert!(cells[0][0].starts_with("p1:") && cells[0][0].len() == 3 + 26);
}

/// Neither length nor first character: on more rows than one core takes, nulls among them.
#[test]
fn masks_say_nothing_about_a_value() {
    let mut contract = personal(Treatment::Mask);
    contract.format.null_values = vec!["null".to_owned()];
    let texts = ["x", "ann@example.org", "\u{e9}t\u{e9}", "10.0.0.1", "!!!", ""];
    let mut file = String::from("email,n\n");
    (0..40_000).for_each(|row| match row % 7 {
        6 => file.push_str("null,1\n"),
        at => file.push_str(&format!("\"{}\",1\n", texts[at])),
    });
    let rows = clean(&run_csv(&contract, file.as_bytes()));
    assert_eq!(rows.len(), 40_000);
    for (row, shown) in rows.iter().enumerate() {
        let masked = if row % 7 == 6 { "~" } else { "***" };
        assert_eq!(*shown, format!("{}: {masked}|1", row + 1));
    }
}

#[test]
fn dropped_columns_never_reach_the_table_but_are_still_checked() {
    let mut contract = personal(Treatment::Drop);
    contract.columns[0].nullable = false;
    let output = run_csv(&contract, b"email,n\na,1\n,2\n");
    assert_eq!(clean(&output), ["1: 1"]);
    assert_eq!(quarantined(&output)[0].1, ["column `email`: null"]);
}

const HEX: &str = "5e82da6c304404f260a55a6aac1e4598da7600e700b8f33e7bf5078552c650bf";

#[test]
fn keys_are_read_from_hex_and_base64_and_never_shown() {
    let bytes = data_encoding(HEX);
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD.encode(&bytes);
    let first = bytes[0].to_string();
    for text in [HEX.to_owned(), HEX.to_uppercase(), base64.clone(), format!(" {}\n", base64.trim_end_matches('='))] {
        let key = PseudonymKey::from_text(3, &text).unwrap();
        let shown = format!("{:?}", key.clone());
        assert!(shown.contains('3') && !shown.to_lowercase().contains(&HEX[..4]) && !shown.contains(&first), "{shown}");
        assert_eq!(key.check().unwrap(), PseudonymKey::from_text(1, HEX).unwrap().check().unwrap());
    }
    for text in ["", "abc", "AB", &"zz".repeat(32), "q6urq6s="] {
        let error = PseudonymKey::from_text(1, text).unwrap_err().to_string();
        assert!(text.is_empty() || !error.contains(text), "{error}");
    }
}

fn data_encoding(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Made with Python: `hmac.new(bytes.fromhex(HEX), b"weir:key", "sha256").digest()[:4]`.
#[test]
fn the_check_value_is_what_other_tools_compute() {
    assert_eq!(PseudonymKey::from_text(1, HEX).unwrap().check().unwrap(), 0xb8a58f04);
}

#[test]
fn keys_that_could_be_guessed_are_refused() {
    let hex = |bytes: &dyn Fn(u8) -> u8| (0..32).map(|at| format!("{:02x}", bytes(at))).collect::<String>();
    for weak in [
        hex(&|_| 0),
        hex(&|_| 0xff),
        hex(&|at| b"password"[usize::from(at % 8)]),
        hex(&|at| at),
        hex(&|at| 200_u8.wrapping_add(at.wrapping_mul(7))),
        hex(&|at| (at % 16).wrapping_mul(37)),
        hex(&|at| (at % 15).wrapping_mul(37)),
    ] {
        let error = PseudonymKey::from_text(1, &weak).unwrap_err();
        assert_eq!(error.kind(), weir_transform::ErrorKind::Key);
        assert!(error.to_string().contains("weir key") && !error.to_string().contains(&weak), "{error}");
    }
}

#[test]
fn reasons_never_name_values() {
    let mut contract = personal(Treatment::Pseudonym);
    contract.columns[0].data_type = DataType::Long;
    let output = run_csv(&contract, b"email,n\nann@example.org,secret\n\"a\"nn@example.org,1\nann@example.org\n");
    for (_, reasons, _) in quarantined(&output) {
        assert!(reasons.iter().all(|reason| !reason.contains("nn@") && !reason.contains("secret")), "{reasons:?}");
    }
}
