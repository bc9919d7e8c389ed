use super::{Digits, Epoch, Number, Piece, TimeFormat};
use crate::model::DataType::{self, Date, Timestamp};

fn check(format: &str, data_type: DataType) -> Result<TimeFormat, String> {
    TimeFormat::new(format, data_type).map_err(|problem| match problem.suggestion {
        Some(meant) => format!("{}; did you mean `{meant}`?", problem.message),
        None => problem.message,
    })
}

#[test]
fn accepts_what_says_a_whole_value() {
    let cases = [
        (Date, "%Y-%m-%d"),
        (Date, "%d.%m.%y"),
        (Date, "%-d/%-m/%Y"),
        (Date, "%e %B %Y"),
        (Date, "%F"),
        (Date, "%Y%j"),
        (Date, "%G-W%V-%u"),
        (Date, "100%% %D"),
        (Date, "%a, %d %b %Y"),
        (Date, "%Y-%m-%dT%H:%M:%S%.fZ"),
        (Date, "epoch_s"),
        (Timestamp, "%Y-%m-%dT%H:%M:%S%.fZ"),
        (Timestamp, "%Y-%m-%d %T%.3f %:z"),
        (Timestamp, "%Y%m%d%H%M%S%f"),
        (Timestamp, "%d/%b/%Y:%H:%M:%S %z"),
        (Timestamp, "%m/%d/%Y %I:%M %p"),
        (Timestamp, "%m/%d/%Y %r"),
        (Timestamp, "%s"),
        (Timestamp, "%+"),
        (Timestamp, "%c"),
        (Timestamp, "epoch_ms"),
    ];
    for (data_type, format) in cases {
        assert!(check(format, data_type).is_ok(), "{format}: {:?}", check(format, data_type));
    }
    assert_eq!(check("epoch_us", Timestamp), Ok(TimeFormat::Epoch(Epoch::Microseconds)));
}

#[test]
fn explains_what_is_wrong() {
    let cases = [
        (Date, "yyyy-MM-dd", "did you mean `%Y-%m-%d`?"),
        (Date, "dd.MM.yyyy", "did you mean `%d.%m.%Y`?"),
        (Date, "M/d/yy", "did you mean `%-m/%-d/%y`?"),
        (Timestamp, "yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "did you mean `%Y-%m-%dT%H:%M:%S.%3f%:z`?"),
        (Timestamp, "yyyy-MM-dd hh:mm:ss tt", "did you mean `%Y-%m-%d %I:%M:%S %p`?"),
        (Timestamp, "epoch", "did you mean `epoch_s`?"),
        (Timestamp, "unix_ms", "did you mean `epoch_ms`?"),
        (Timestamp, "epoch_mss", "did you mean `epoch_ms`?"),
        (Date, "%Y-%m", "does not say year, month and day"),
        (Timestamp, "%H:%M:%S", "does not say year, month and day"),
        (Date, "%Y-%m-%d %", "lone `%`"),
        (Date, "%Y-%m-%d %K", "unknown specifier `%K`"),
        (Timestamp, "%Y-%m-%d %H:%i", "unknown specifier `%i`; did you mean `%M`?"),
        (Timestamp, "%Y-%m-%d %H:%M:%s", "`%s`, which is a whole instant"),
        (Date, "%-F", "unknown specifier `%-F`"),
        (Date, "%-Y-%m-%d", "unknown specifier `%-Y`"),
        (Date, "%Y-%m-%é", "unknown specifier"),
        (Date, "%C%y-%m-%d", "unknown specifier `%C`"),
        (Timestamp, "%Y-%m-%d", "does not say hour and minute"),
        (Timestamp, "%Y-%m-%d %I:%M", "without `%p` (AM or PM); did you mean `%H`?"),
        (Timestamp, "%Y-%m-%d %H:%M %p", "belongs to an hour from 1 to 12; did you mean `%I`?"),
        (Timestamp, "%Y-%m-%d %H:%M.%f", "`%f`, a fraction of a second, but no second"),
        (Timestamp, "%Y-%m-%d %H:%M%.f", "`%.f`, a fraction of a second, but no second"),
        (Date, "%Y-%m-%d %m", "says the month twice, by `%m` and `%m`"),
        (Date, "%d %b %m %Y", "says the month twice, by `%b` and `%m`"),
        (Date, "%Y %y-%m-%d", "says the year twice, by `%Y` and `%y`"),
        (Date, "%Y-%j-%d", "says the day twice, by `%j` and `%d`"),
        (Timestamp, "%F %T.%f%.f", "says the fraction twice"),
        (Timestamp, "%F %T %z %:z", "says the offset twice"),
        (Timestamp, "%F %H %I:%M %p", "says the hour twice, by `%H` and `%I`"),
        (Date, "%G-%m-%d", "mixes `%m` with `%G`"),
        (Date, "%Y-W%V-%u", "mixes `%Y` with `%V`"),
        (Date, "%Y%-m%-d", "has a digit behind `%-m`, whose width is not fixed"),
        (Timestamp, "%H:%M:%S.%f%Y%m%d", "has a digit behind `%f`, whose width is not fixed"),
        (Date, "%e%m%Y", "has a digit behind `%e`"),
        (Date, " %F", "begins or ends with a blank"),
        (Timestamp, "%F %T %Z", "`%Z`"),
    ];
    for (data_type, format, expected) in cases {
        let message = check(format, data_type).expect_err(format);
        assert!(message.contains(expected), "{format}: {message}");
    }
    assert!(check(&"%F".repeat(40), Date).is_err());
}

/// `2024115` is one day or another, unless every number has all its digits.
#[test]
fn numbers_that_touch_have_all_their_digits() {
    let month = |format| match check(format, Date) {
        Ok(TimeFormat::Pattern(pieces)) => pieces.into_iter().find_map(|piece| match piece {
            Piece::Number(Number::Month, digits) => Some(digits),
            _ => None,
        }),
        other => panic!("{other:?}"),
    };
    assert_eq!(month("%Y%m%d"), Some(Digits::Exactly(2)));
    assert_eq!(month("%d.%m.2%y"), Some(Digits::Padded(2)));
    assert_eq!(month("%d%m1%Y"), Some(Digits::Exactly(2)));
    assert_eq!(month("%Y/%m/%d"), Some(Digits::Padded(2)));
    assert_eq!(month("%d.%Y%m"), Some(Digits::Exactly(2)));
}
