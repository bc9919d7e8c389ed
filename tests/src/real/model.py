"""What a file holds by readers that are not Weir's, and how that is compared with what Weir stored."""

import dataclasses
import decimal
import json
import math
import struct

# What a column of the type cannot hold.
REFUSED = "\0refused"
# A field that its record has not.
MISSING = "\0missing"
# A field of delimited text that is a null or a text: its quotes tell, which a reader did not keep.
EITHER = "\0either"


@dataclasses.dataclass
class Number:
    """A number of JSON, by its digits."""

    text: str


class File:
    """A file by another reader: columns as (field, type, format), values by column, settings of `[format]` as TOML."""

    def __init__(self, settings, columns=(), count=0):
        self.settings = settings
        self.columns = list(columns)
        self.count = count
        # What the contract's column holds: null, whole number, truth, text, bits of a double; REFUSED, EITHER.
        self.typed = [[] for _ in self.columns]
        # What stands in `_rescued`.
        self.shown = [[] for _ in self.columns]
        # Records that are none, by their number, and why.
        self.refused = {}
        # What a second reader reads otherwise, or why it was not asked.
        self.second = None


def bits(value):
    """A double to its last bit."""
    return f"bits {struct.unpack('<q', struct.pack('<d', value))[0]}"


def parsed(text):
    return json.loads(text, parse_float=Number, parse_int=Number)


def same_json(found, expected):
    """Whether JSON of Weir's, with `Number`s, is a value of a reader."""
    match expected:
        case None | bool():
            return found is expected
        case Number():
            return isinstance(found, Number) and decimal.Decimal(found.text) == decimal.Decimal(expected.text)
        case int():
            return isinstance(found, Number) and found.text == str(expected)
        case float():
            return isinstance(found, Number) and (float(found.text) == expected or near(float(found.text), expected))
        case str():
            return found == expected
        case list():
            return isinstance(found, list) and len(found) == len(expected) and all(map(same_json, found, expected))
        case dict():
            return (isinstance(found, dict) and list(found) == list(expected)
                    and all(same_json(found[name], expected[name]) for name in expected))
    raise TypeError(type(expected))


def near(left, right):
    """Of two shortest texts of a 32-bit float either may stand."""
    try:
        return left != int(left) and struct.pack("f", left) == struct.pack("f", right)
    except (OverflowError, ValueError):
        return False


def same_typed(found, expected):
    if expected == EITHER:
        return True
    if isinstance(expected, Number):
        return isinstance(found, str) and decimal.Decimal(found) == decimal.Decimal(expected.text)
    if isinstance(expected, (list, dict)):
        return isinstance(found, str) and same_json(parsed(found), expected)
    if isinstance(expected, float):
        other = float(found) if isinstance(found, str) else None
        return other is not None and (other == expected or near(other, expected) or math.isnan(other) and math.isnan(expected))
    return type(found) is type(expected) and found == expected
