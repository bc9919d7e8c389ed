//! Names of datasets and columns, made of what files call them.

use std::collections::HashSet;

/// Longest name of a dataset.
const MAX_DATASET: usize = 63;
/// Longest name of a column.
const MAX_COLUMN: usize = 128;

/// A name for a dataset: lower-case letters, digits and `_`, beginning with a letter.
pub fn dataset_name(text: &str) -> String {
    let mut name = snake_case(text);
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        name.insert_str(0, "data_");
    }
    name.truncate(MAX_DATASET);
    name.trim_end_matches('_').to_owned()
}

/// Names for the columns of one table, in the order of their fields. A field's own name is kept where it is one, unless
/// another field of the table needs a new name: then all of them are written alike.
pub(crate) fn column_names<'f>(fields: impl Iterator<Item = &'f str> + Clone) -> Vec<String> {
    let all_sound = fields.clone().all(is_sound);
    let mut taken = HashSet::new();
    let own = |field: &str| if all_sound { field.to_owned() } else { of_field(field) };
    fields.map(|field| unique(own(field), &mut taken)).collect()
}

fn is_sound(field: &str) -> bool {
    weir_contract::is_column_name(field) && !field.starts_with('_')
}

fn of_field(field: &str) -> String {
    let mut name = snake_case(field);
    if name.is_empty() {
        name.push_str("column");
    }
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        name.insert_str(0, "c_");
    }
    name.truncate(MAX_COLUMN - 4); // room for a number behind it
    name
}

fn unique(name: String, taken: &mut HashSet<String>) -> String {
    let mut own = name.clone();
    let mut number = 1;
    while !taken.insert(own.to_lowercase()) {
        number += 1;
        own = format!("{name}_{number}");
    }
    own
}

/// `Ship Mode`, `shipMode`, `Größe (m²)` → `ship_mode`, `ship_mode`, `groesse_m`.
pub(crate) fn snake_case(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    let mut before = None::<char>;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        // `shipMode` and `HTTPStatus` have a new word at the capital.
        let after_small = before.is_some_and(|before| before.is_lowercase() || before.is_ascii_digit());
        let before_small =
            before.is_some_and(char::is_uppercase) && characters.peek().is_some_and(|c| c.is_lowercase());
        if character.is_uppercase() && (after_small || before_small) && !name.ends_with('_') {
            name.push('_');
        }
        match character {
            'a'..='z' | '0'..='9' => name.push(character),
            'A'..='Z' => name.push(character.to_ascii_lowercase()),
            _ => match transliterated(character) {
                Some(letters) => name.push_str(letters),
                None if !name.is_empty() && !name.ends_with('_') => name.push('_'),
                None => {}
            },
        }
        before = Some(character);
    }
    name.trim_matches('_').to_owned()
}

/// Letters of European languages that ASCII lacks.
fn transliterated(character: char) -> Option<&'static str> {
    Some(match character {
        'ä' | 'Ä' | 'æ' | 'Æ' => "ae",
        'ö' | 'Ö' | 'ø' | 'Ø' | 'œ' | 'Œ' => "oe",
        'ü' | 'Ü' => "ue",
        'ß' | 'ẞ' => "ss",
        'à' | 'á' | 'â' | 'ã' | 'å' | 'ā' | 'ą' | 'À' | 'Á' | 'Â' | 'Ã' | 'Å' | 'Ā' | 'Ą' => "a",
        'ç' | 'ć' | 'č' | 'Ç' | 'Ć' | 'Č' => "c",
        'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ę' | 'ě' | 'È' | 'É' | 'Ê' | 'Ë' | 'Ē' | 'Ę' | 'Ě' => "e",
        'ì' | 'í' | 'î' | 'ï' | 'ī' | 'Ì' | 'Í' | 'Î' | 'Ï' | 'Ī' => "i",
        'ñ' | 'ń' | 'ň' | 'Ñ' | 'Ń' | 'Ň' => "n",
        'ò' | 'ó' | 'ô' | 'õ' | 'ō' | 'Ò' | 'Ó' | 'Ô' | 'Õ' | 'Ō' => "o",
        'ś' | 'š' | 'Ś' | 'Š' => "s",
        'ù' | 'ú' | 'û' | 'ū' | 'ů' | 'Ù' | 'Ú' | 'Û' | 'Ū' | 'Ů' => "u",
        'ý' | 'ÿ' | 'Ý' => "y",
        'ź' | 'ż' | 'ž' | 'Ź' | 'Ż' | 'Ž' => "z",
        'ł' | 'Ł' => "l",
        'đ' | 'ð' | 'Đ' => "d",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_with_underscores() {
        let cases = [
            ("Ship Mode", "ship_mode"),
            ("shipMode", "ship_mode"),
            ("HTTPStatus", "http_status"),
            ("Größe (m²)", "groesse_m"),
            ("  Prix HT, € ", "prix_ht"),
            ("l_shipdate", "l_shipdate"),
            ("2024", "2024"),
            ("日本", ""),
        ];
        for (text, name) in cases {
            assert_eq!(snake_case(text), name, "{text}");
        }
    }

    #[test]
    fn columns_keep_their_names_only_if_all_of_them_can() {
        assert_eq!(column_names(["orderId", "Total"].into_iter()), ["orderId", "Total"]);
        assert_eq!(column_names(["Order ID", "Total"].into_iter()), ["order_id", "total"]);
        assert_eq!(
            column_names(["a b", "a-b", "A_B", "", "1st"].into_iter()),
            ["a_b", "a_b_2", "a_b_3", "column", "c_1st"]
        );
        assert_eq!(column_names(["_id", "x"].into_iter()), ["id", "x"]);
    }

    #[test]
    fn datasets_begin_with_a_letter() {
        assert_eq!(dataset_name("flights-3m"), "flights_3m");
        assert_eq!(dataset_name("2024 Orders"), "data_2024_orders");
        assert_eq!(dataset_name("日本"), "data");
        assert!(dataset_name(&"x".repeat(200)).len() == 63);
    }
}
