//! Messages: what of them is stored, how they are put together again, requests and answers of the two service nodes.
//!
//! Sections that the service has no business with stay as they were encoded. A reader gets every property and every
//! annotation that the producer wrote, in the producer's own types.

use bytes::{Bytes, BytesMut};

use super::{Malformed, code, decode, encode};
use crate::limits::MAX_PARTITION_KEY;
use crate::log::{NewEvent, StoredEvent};

/// Of a message whose data sections are encoded messages.
pub(crate) const BATCH_FORMAT: u32 = 0x8001_3700;

const SEQUENCE_NUMBER: &str = "x-opt-sequence-number";
const OFFSET: &str = "x-opt-offset";
const ENQUEUED_TIME: &str = "x-opt-enqueued-time";
const PARTITION_KEY: &str = "x-opt-partition-key";
/// What producers may not write: the service does.
const OWN: [&str; 4] = [SEQUENCE_NUMBER, OFFSET, ENQUEUED_TIME, PARTITION_KEY];

#[derive(Debug)]
struct Section {
    code: u8,
    /// With its descriptor.
    whole: Bytes,
    value: Bytes,
}

/// The events of a transfer, and the key that they share.
pub(crate) fn events(message: &Bytes, format: u32) -> Result<(Option<String>, Vec<NewEvent>), Malformed> {
    let envelope = sections(message)?;
    if format != BATCH_FORMAT {
        let event = event(&envelope)?;
        return Ok((event.partition_key.clone(), vec![event]));
    }
    let mut events = Vec::new();
    for section in envelope.iter().filter(|section| section.code == code::DATA) {
        let inner = decode::binary(&section.value).ok_or(Malformed("a data section holds no binary"))?;
        events.push(event(&sections(&inner)?)?);
    }
    if events.is_empty() {
        return Err(Malformed("a batch holds no events"));
    }
    let key = match annotations(&envelope) {
        Some(map) => partition_key(&map)?,
        None => None,
    };
    let key = key.or_else(|| events.first().and_then(|event| event.partition_key.clone()));
    // A batch goes to one partition, so it has one key, whatever its events say.
    for event in &mut events {
        event.partition_key.clone_from(&key);
    }
    Ok((key, events))
}

/// The message that a reader gets.
pub(crate) fn delivery(event: &StoredEvent) -> Bytes {
    let stored = sections(&event.sections).unwrap_or_default();
    let mut map = encode::Map::with_symbol_keys();
    map.entry_long(SEQUENCE_NUMBER, event.sequence as i64).entry_string(OFFSET, &event.offset.to_string());
    map.entry_timestamp(ENQUEUED_TIME, event.enqueued_ms);
    if let Some(key) = &event.partition_key {
        map.entry_string(PARTITION_KEY, key);
    }
    if let Some(own) = annotations(&stored) {
        for (key, value) in decode::entries(&own).unwrap_or_default() {
            map.raw(&key, &value);
        }
    }
    let mut message = BytesMut::with_capacity(event.body.len() + event.sections.len() + 160);
    encode::described(&mut message, code::MESSAGE_ANNOTATIONS, &map.finish());
    let has_body = stored.iter().any(|section| is_body(section.code));
    let body = |message: &mut BytesMut| {
        let mut data = BytesMut::with_capacity(event.body.len() + 5);
        encode::binary(&mut data, &event.body);
        encode::described(message, code::DATA, &data);
    };
    let mut written = has_body;
    for section in stored.iter().filter(|section| section.code != code::MESSAGE_ANNOTATIONS) {
        if section.code == code::FOOTER && !written {
            body(&mut message);
            written = true;
        }
        message.extend_from_slice(&section.whole);
    }
    if !written {
        body(&mut message);
    }
    message.freeze()
}

/// A request to `$cbs` or `$management`.
#[derive(Debug)]
pub(crate) struct Request {
    /// As encoded: an answer names it in the type that it came in.
    message_id: Option<Bytes>,
    pub(crate) reply_to: Option<String>,
    properties: Bytes,
    body: Option<Bytes>,
}

impl Request {
    pub(crate) fn decode(message: &Bytes) -> Result<Self, Malformed> {
        let sections = sections(message)?;
        let value = |code| sections.iter().find(|section| section.code == code).map(|section| section.value.clone());
        let properties = value(code::PROPERTIES).map(|list| decode::elements(&list)).transpose()?.unwrap_or_default();
        let field = |index: usize| properties.get(index).filter(|field| !decode::is_null(field)).cloned();
        Ok(Self {
            message_id: field(0),
            reply_to: field(4).and_then(|field| decode::text(&field).map(str::to_owned)),
            properties: value(code::APPLICATION_PROPERTIES).unwrap_or_else(|| Bytes::from_static(&[0x40])),
            body: value(code::VALUE),
        })
    }

    /// An application property that is text.
    pub(crate) fn text(&self, name: &str) -> String {
        let value = decode::entry(&self.properties, name);
        value.and_then(|value| decode::text(&value).map(str::to_owned)).unwrap_or_default()
    }

    /// The body, if it is one string.
    pub(crate) fn body_text(&self) -> Option<&str> {
        decode::text(self.body.as_deref()?)
    }

    pub(crate) fn answer(&self, status: i32, description: &str, body: Option<&encode::Map>) -> Bytes {
        let mut properties = encode::List::default();
        properties.nulls(2);
        match &self.reply_to {
            Some(address) => properties.string(address),
            None => properties.null(),
        };
        properties.nulls(2);
        match &self.message_id {
            Some(id) => properties.raw(id),
            None => properties.null(),
        };
        let mut outcome = encode::Map::default();
        outcome.entry_int("status-code", status).entry_string("status-description", description);
        let mut message = BytesMut::new();
        encode::described(&mut message, code::PROPERTIES, &properties.finish());
        encode::described(&mut message, code::APPLICATION_PROPERTIES, &outcome.finish());
        let body = body.map_or_else(|| Bytes::from_static(&[0x40]), encode::Map::finish);
        encode::described(&mut message, code::VALUE, &body);
        message.freeze()
    }
}

fn is_body(code: u8) -> bool {
    (code::DATA..=code::VALUE).contains(&code)
}

/// Cuts a message into its sections, which come in the order of their codes.
fn sections(message: &Bytes) -> Result<Vec<Section>, Malformed> {
    let (mut rest, mut sections) = (message.clone(), Vec::<Section>::new());
    while !rest.is_empty() {
        let whole = decode::take(&mut rest)?;
        let (descriptor, value) = decode::described(&whole).ok_or(Malformed("a message has what is no section"))?;
        let code = decode::unsigned(&descriptor).and_then(|code| u8::try_from(code).ok());
        let code = code.filter(|code| (0x70..=code::FOOTER).contains(code)).ok_or(Malformed("an unknown section"))?;
        let repeats = matches!(code, code::DATA | 0x76);
        if sections.last().is_some_and(|last| last.code > code || (last.code == code && !repeats)) {
            return Err(Malformed("the sections of a message are out of order"));
        }
        sections.push(Section { code, whole, value });
    }
    Ok(sections)
}

/// The value of one section of a message.
pub(crate) fn section(message: &Bytes, code: u8) -> Option<Bytes> {
    sections(message).ok()?.into_iter().find(|section| section.code == code).map(|section| section.value)
}

fn annotations(sections: &[Section]) -> Option<Bytes> {
    sections.iter().find(|section| section.code == code::MESSAGE_ANNOTATIONS).map(|section| section.value.clone())
}

fn event(sections: &[Section]) -> Result<NewEvent, Malformed> {
    let mut event = NewEvent::default();
    let mut kept = BytesMut::new();
    if let Some(map) = annotations(sections) {
        event.partition_key = partition_key(&map)?;
        let mut others = encode::Map::with_symbol_keys();
        for (key, value) in decode::entries(&map)? {
            if !decode::text(&key).is_some_and(|key| OWN.contains(&key)) {
                others.raw(&key, &value);
            }
        }
        if !others.is_empty() {
            encode::described(&mut kept, code::MESSAGE_ANNOTATIONS, &others.finish());
        }
    }
    let bodies: Vec<&Section> = sections.iter().filter(|section| is_body(section.code)).collect();
    let plain = matches!(bodies[..], [body] if body.code == code::DATA);
    for section in sections.iter().filter(|section| section.code >= code::PROPERTIES) {
        if !(plain && is_body(section.code)) {
            kept.extend_from_slice(&section.whole);
        }
    }
    event.body = text_of(&bodies)?;
    event.sections = kept.freeze();
    Ok(event)
}

/// What a function sees of a body.
fn text_of(bodies: &[&Section]) -> Result<Bytes, Malformed> {
    match bodies {
        [] => Err(Malformed("a message has no body")),
        [body] if body.code == code::DATA => {
            decode::binary(&body.value).ok_or(Malformed("a data section holds no binary"))
        }
        [body] if body.code == code::VALUE => {
            let text = decode::text(&body.value).map(|text| Bytes::copy_from_slice(text.as_bytes()));
            Ok(text.or_else(|| decode::binary(&body.value)).unwrap_or_default())
        }
        // Several data sections are one after the other; of a sequence there is no text.
        several => {
            let mut joined = BytesMut::new();
            for section in several.iter().filter(|section| section.code == code::DATA) {
                let data = decode::binary(&section.value).ok_or(Malformed("a data section holds no binary"))?;
                joined.extend_from_slice(&data);
            }
            Ok(joined.freeze())
        }
    }
}

fn partition_key(annotations: &Bytes) -> Result<Option<String>, Malformed> {
    // Only the key is looked for in a map that somebody else may have written in any shape.
    decode::entries(annotations)?;
    let Some(value) = decode::entry(annotations, PARTITION_KEY).filter(|value| !decode::is_null(value)) else {
        return Ok(None);
    };
    let key = decode::text(&value).ok_or(Malformed("a partition key is no text"))?;
    if key.len() > MAX_PARTITION_KEY {
        return Err(Malformed("a partition key has more than 128 bytes"));
    }
    Ok(Some(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn data(bytes: &[u8]) -> Bytes {
        let (mut value, mut section) = (BytesMut::new(), BytesMut::new());
        encode::binary(&mut value, bytes);
        encode::described(&mut section, code::DATA, &value);
        section.freeze()
    }

    fn annotated(key: Option<&str>, extra: bool) -> BytesMut {
        let mut map = encode::Map::with_symbol_keys();
        map.entry_long(SEQUENCE_NUMBER, 999);
        if let Some(key) = key {
            map.entry_string(PARTITION_KEY, key);
        }
        if extra {
            map.entry_string("x-mine", "kept");
        }
        let mut message = BytesMut::new();
        encode::described(&mut message, code::MESSAGE_ANNOTATIONS, &map.finish());
        message
    }

    fn stored(event: NewEvent) -> StoredEvent {
        let NewEvent { partition_key, body, sections } = event;
        StoredEvent { sequence: 5, offset: 320, enqueued_ms: 1000, partition_key, body, sections }
    }

    fn annotation(message: &Bytes, name: &str) -> Option<Bytes> {
        decode::entry(&annotations(&sections(message).unwrap()).unwrap(), name)
    }

    #[test]
    fn a_message_comes_back_with_all_that_its_producer_wrote() {
        let mut message = annotated(Some("k"), true);
        let mut properties = encode::List::default();
        properties.string("id-1");
        encode::described(&mut message, code::PROPERTIES, &properties.finish());
        let mut application = encode::Map::default();
        application.entry_string("unit", "kW");
        encode::described(&mut message, code::APPLICATION_PROPERTIES, &application.finish());
        message.extend_from_slice(&data(b"body"));
        let (key, events) = events(&message.freeze(), 0).unwrap();
        assert_eq!((key.as_deref(), &events[0].body[..]), (Some("k"), &b"body"[..]));
        let delivered = delivery(&stored(events[0].clone()));
        let codes: Vec<u8> = sections(&delivered).unwrap().iter().map(|section| section.code).collect();
        assert_eq!(codes, [0x72, 0x73, 0x74, 0x75]);
        assert_eq!(decode::signed(&annotation(&delivered, SEQUENCE_NUMBER).unwrap()), Some(5), "not the producer's");
        assert_eq!(decode::text(&annotation(&delivered, OFFSET).unwrap()), Some("320"));
        assert_eq!(decode::text(&annotation(&delivered, "x-mine").unwrap()), Some("kept"));
        assert_eq!(decode::text(&annotation(&delivered, PARTITION_KEY).unwrap()), Some("k"));
        let again = super::events(&delivered, 0).unwrap().1;
        assert_eq!(again, events, "what is delivered is what was sent");
    }

    #[test]
    fn bodies_of_every_shape() {
        let mut value = BytesMut::new();
        encode::described(&mut value, code::VALUE, &[0xa1, 2, b'h', b'i']);
        let event =
            |message: &[u8]| events(&Bytes::copy_from_slice(message), 0).map(|(_, mut events)| events.remove(0));
        let text = event(&value).unwrap();
        assert_eq!((&text.body[..], &text.sections[..]), (&b"hi"[..], &value[..]));
        let delivered = delivery(&stored(text));
        assert!(delivered.ends_with(&value), "a value is delivered as a value");
        let several = event(&[data(b"a"), data(b"b")].concat()).unwrap();
        assert_eq!(&several.body[..], b"ab");
        assert_eq!(sections(&delivery(&stored(several))).unwrap().len(), 3);
        let mut footed = BytesMut::from(&data(b"a")[..]);
        encode::described(&mut footed, code::FOOTER, &encode::Map::default().finish());
        let codes: Vec<u8> =
            sections(&delivery(&stored(event(&footed).unwrap()))).unwrap().iter().map(|section| section.code).collect();
        assert_eq!(codes, [0x72, 0x75, 0x78]);
        assert!(event(b"").is_err() && event(&[data(b"a"), annotated(None, false).freeze()].concat()).is_err());
    }

    #[test]
    fn a_batch_goes_to_one_partition_by_one_key() {
        let inner = |key: Option<&str>, body: &[u8]| {
            let mut message = annotated(key, false);
            message.extend_from_slice(&data(body));
            data(&message)
        };
        let mut batch = annotated(Some("k"), false);
        batch.extend_from_slice(&inner(Some("k"), b"1"));
        batch.extend_from_slice(&inner(None, b"2"));
        let (key, found) = events(&batch.freeze(), BATCH_FORMAT).unwrap();
        assert_eq!((key.as_deref(), found.len(), &found[1].body[..]), (Some("k"), 2, &b"2"[..]));
        assert!(found.iter().all(|event| event.partition_key.as_deref() == Some("k") && event.sections.is_empty()));
        let without = [inner(Some("i"), b"1"), inner(None, b"2")].concat();
        assert_eq!(events(&Bytes::from(without), BATCH_FORMAT).unwrap().0.as_deref(), Some("i"));
        assert!(events(&annotated(None, false).freeze(), BATCH_FORMAT).is_err(), "an empty batch");
        let mut long = annotated(Some(&"k".repeat(129)), false);
        long.extend_from_slice(&data(b"1"));
        assert!(events(&long.freeze(), 0).is_err());
    }

    #[test]
    fn an_answer_names_the_request_in_its_own_type() {
        for id in [&[0x80, 0, 0, 0, 0, 0, 0, 0, 9][..], &[0x98; 17][..]] {
            let mut properties = encode::List::default();
            properties.raw(id).nulls(3).string("here");
            let mut message = BytesMut::new();
            encode::described(&mut message, code::PROPERTIES, &properties.finish());
            let request = Request::decode(&message.freeze()).unwrap();
            assert_eq!((request.reply_to.as_deref(), request.text("operation").as_str()), (Some("here"), ""));
            let answer = Request::decode(&request.answer(202, "Accepted", None)).unwrap();
            assert_eq!(decode::signed(&decode::entry(&answer.properties, "status-code").unwrap()), Some(202));
            let sections = sections(&request.answer(202, "Accepted", None)).unwrap();
            assert_eq!(decode::elements(&sections[0].value).unwrap()[5], id);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            let _ = (events(&bytes, 0).is_ok(), events(&bytes, BATCH_FORMAT).is_ok(), Request::decode(&bytes).is_ok());
            let _ = delivery(&StoredEvent { sections: bytes, ..stored(NewEvent::new("x")) });
        }

        /// Any body, any properties, in a batch or alone: the reader gets what the producer gave.
        #[test]
        fn nothing_is_lost_on_the_way(bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 1..8), name in ".{0,40}") {
            let mut batch = BytesMut::new();
            for body in &bodies {
                let mut inner = BytesMut::new();
                let mut application = encode::Map::default();
                application.entry_string("name", &name);
                encode::described(&mut inner, code::APPLICATION_PROPERTIES, &application.finish());
                inner.extend_from_slice(&data(body));
                batch.extend_from_slice(&data(&inner));
            }
            let (_, found) = events(&batch.freeze(), BATCH_FORMAT).unwrap();
            prop_assert_eq!(found.len(), bodies.len());
            for (event, body) in found.into_iter().zip(&bodies) {
                prop_assert_eq!(&event.body[..], &body[..]);
                let delivered = delivery(&stored(event));
                let request = Request::decode(&delivered).unwrap();
                prop_assert_eq!(request.text("name"), name.clone());
            }
        }
    }
}
