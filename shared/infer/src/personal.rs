//! Fields that look as if they were about a person: a suggestion, never a decision.

use crate::names::snake_case;

/// Why a field looks personal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Personal {
    Email,
    Address,
    Name,
    Phone,
    Number,
    Birth,
}

impl Personal {
    pub(crate) fn looks_like(self) -> &'static str {
        match self {
            Self::Email => "an e-mail address",
            Self::Address => "an address of a person's machine or home",
            Self::Name => "a person's name",
            Self::Phone => "a phone number",
            Self::Number => "a number that stands for a person",
            Self::Birth => "a birthday",
        }
    }

    /// What a contract could say.
    pub(crate) fn treatment(self) -> &'static str {
        match self {
            Self::Email | Self::Number | Self::Phone => "pseudonym",
            Self::Name | Self::Address => "mask",
            Self::Birth => "drop",
        }
    }
}

/// What the values of a field say of it.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    looked_at: u32,
    emails: u32,
    addresses: u32,
    /// A number that a type would change: `007`.
    pub(crate) leading_zeros: bool,
}

/// Values that are looked at for what they say of persons.
const ENOUGH: u32 = 1_000;

impl Hints {
    pub(crate) fn see(&mut self, text: &str) {
        let digits = text.as_bytes();
        self.leading_zeros |= digits.len() > 1 && digits[0] == b'0' && digits.iter().all(u8::is_ascii_digit);
        if self.looked_at >= ENOUGH {
            return;
        }
        self.looked_at += 1;
        self.emails += u32::from(is_email(text));
        let is_address = text.parse::<std::net::IpAddr>().is_ok() && text.len() > 6;
        self.addresses += u32::from(is_address);
    }

    pub(crate) fn verdict(&self, name: &str) -> Option<Personal> {
        let most = |count: u32| count > 0 && count * 2 > self.looked_at;
        if most(self.emails) {
            return Some(Personal::Email);
        }
        if most(self.addresses) {
            return Some(Personal::Address);
        }
        by_name(name)
    }
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    !local.is_empty() && domain.contains('.') && !text.contains([' ', '/', ','])
}

/// By the words of a field's name alone.
pub(crate) fn by_name(name: &str) -> Option<Personal> {
    let name = snake_case(name);
    let words: Vec<&str> = name.split('_').collect();
    let has = |list: &[&str]| words.iter().any(|word| list.contains(word));
    let pairs = |list: &[&str]| list.iter().any(|pair| name.contains(pair));
    if has(&["email", "mail"]) || pairs(&["e_mail"]) {
        Some(Personal::Email)
    } else if has(&["phone", "telephone", "mobile", "telefon", "fax"]) {
        Some(Personal::Phone)
    } else if has(&["ssn", "iban", "passport", "nhs", "steuernummer"]) || pairs(&["tax_id", "social_security"]) {
        Some(Personal::Number)
    } else if has(&["birthday", "birthdate", "dob", "geburtsdatum"]) || pairs(&["date_of_birth", "birth_date"]) {
        Some(Personal::Birth)
    } else if has(&["surname", "lastname", "firstname", "vorname", "nachname"])
        || pairs(&["first_name", "last_name", "full_name", "customer_name", "user_name", "contact_name"])
    {
        Some(Personal::Name)
    } else if has(&["street"]) || pairs(&["ip_address", "client_ip", "remote_addr", "street_address", "home_address"]) {
        Some(Personal::Address)
    } else {
        None
    }
}
