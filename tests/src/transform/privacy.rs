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

#[test]
fn masks_keep_the_shape() {
    for (text, masked) in [
        ("ann@example.org", "a**@*******.***"),
        ("+49 30 1234-5", "+** ** ****-*"),
        ("x", "*"),
        ("\u{e9}t\u{e9}", "\u{e9}**"),
        ("e\u{301}a", "e**"),
        ("", ""),
    ] {
        let output = run_csv(&personal(Treatment::Mask), format!("email,n\n\"{text}\",1\n").as_bytes());
        assert_eq!(clean(&output), [format!("1: {masked}|1")]);
    }
}

/// As the rule says, character by character; on more rows than one core takes.
#[test]
fn masks_follow_their_rule_for_every_character() {
    let shape = |text: &str| -> String {
        let lone = text.chars().count() == 1;
        let kept = |at: usize, c: char| (at == 0 && !lone) || c.is_whitespace() || c.is_ascii_punctuation();
        text.chars().enumerate().map(|(at, c)| if kept(at, c) { c } else { '*' }).collect()
    };
    let letters = (1_u8..128).map(char::from).chain("\u{e9}\u{85}\u{a0}\u{2003}\u{65e5}\u{1f680}".chars());
    let letters: Vec<char> = letters.filter(|letter| !"\"\n\r".contains(*letter)).collect();
    let texts: Vec<String> = (0..40_000)
        .map(|row| (0..row % 5 + 1).map(|at| letters[(row * 7 + at * row) % letters.len()]).collect())
        .collect();
    let mut file = String::from("email,n\n");
    texts.iter().for_each(|text| file.push_str(&format!("\"{text}\",1\n")));
    let rows = clean(&run_csv(&personal(Treatment::Mask), file.as_bytes()));
    assert_eq!(rows.len(), texts.len());
    for (row, (shown, text)) in rows.iter().zip(&texts).enumerate() {
        assert_eq!(*shown, format!("{}: {}|1", row + 1, shape(text)), "{text:?}");
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

#[test]
fn keys_are_read_from_hex_and_base64_and_never_shown() {
    let hex = "AB".repeat(32);
    for text in
        [hex.as_str(), "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=", " q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s\n"]
    {
        let shown = format!("{:?}", PseudonymKey::from_text(3, text).unwrap());
        assert!(shown.contains('3') && !shown.to_lowercase().contains("ab") && !shown.contains("171"), "{shown}");
    }
    for text in ["", "abc", "AB", &"zz".repeat(32), "q6urq6s="] {
        let error = PseudonymKey::from_text(1, text).unwrap_err().to_string();
        assert!(text.is_empty() || !error.contains(text), "{error}");
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
