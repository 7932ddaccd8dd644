"""
Splits units off values, and decides when two of them agree. 100 cm is not converted to 1 m.

A text that is no unit, such as `7\\text{ (wrong)}`, is not split off.
"""

import re


PERCENT = "%"
NO_UNIT = {"unit", "square unit", "sq unit", "cubic unit", "degree", "deg"}  # agree with any
_LONG = {
    "m": "meter metre", "cm": "centimeter centimetre", "mm": "millimeter millimetre", "km": "kilometer kilometre",
    "s": "sec second", "min": "minute", "h": "hr hour", "day": "", "week": "", "month": "", "yr": "year",
    "g": "gram gm", "kg": "kilogram", "mg": "milligram", "l": "liter litre L", "ml": "milliliter millilitre mL",
    "in": "inch inche", "ft": "foot feet", "yd": "yard", "mi": "mile", "mph": "", "kmh": "kmph kph",
    "lb": "pound lbs", "oz": "ounce", "gal": "gallon", "acre": "", "hectare": "ha", "rad": "radian", "deg": "degree",
    "dollar": "usd USD", "cent": "", "euro": "EUR", "rupee": "Rs", "percent": "", "point": "", "digit": "",
    "unit": "", "square": "sq", "cubic": "cu", "per": "", "time": "", "way": "",
    "people": "person", "men": "man", "women": "woman", "children": "child",
}  # fmt: skip
# Symbols of physics, in which M and m differ
_SYMBOLS = (
    "kohm Mohm uA uC uF uJ uK uN us uV uW ug ul umol "
    "A C F H J K N P Pa S T V W Hz eV keV MeV GeV erg dyn cal kcal mol amu au AU pc kpc Mpc ly nm pm um fs ps ns ms "
    "mA mV kV kW MW kJ MJ mJ kN kPa MPa atm bar Torr rpm dB G Gy Msun Lsun Rsun Ohm ohm k mH nF pF mF mN MHz GHz kHz "
    "THz cc hp Wb sr M mM"
).split()
_CANONICAL = {word: short for short, words in _LONG.items() for word in (short, *words.split())}
_CANONICAL |= {symbol: symbol for symbol in _SYMBOLS}
_COUNTED = {"different", "distinct", "possible", "total", "prime", "real", "whole"}  # before a plural noun
_NO_NOUN = {
    "is", "was", "as", "this", "its", "has", "does", "us", "yes", "less", "perhaps", "sometimes", "always", "guess",
    "plus", "minus", "times", "equals", "solutions or", "others", "digits or", "various",
}  # fmt: skip
_TAIL = re.compile(
    r"(?P<value>.*?[^\s/^])??(?P<tail>(?:\s*(?:/|\\cdot(?![a-zA-Z]))?\s*\\text\s*\{[^{}]*\}"
    r"(?:\s*\^\s*(?:\{[^{}]*\}|-?[0-9]))?)+)"
)
_BARE = re.compile(
    r"(?P<value>.*[0-9})!])(?P<space>\s*)(?P<tail>[A-Za-z][A-Za-z ./]*(?:\^\s*(?:\{-?[0-9]\}|-?[0-9]))?)"
)
_PERCENT = re.compile(r"(?P<value>.*?)\s*(?:\\?%|(?<![a-zA-Z\\])percent|\\text\s*\{\s*(?:percent|\\?%)\s*\})")
_COMMAND = re.compile(r"\\(?:times|cdot|frac|sqrt|pi)(?![a-zA-Z])")
_WORDS = re.compile(r"[A-Za-zµμΩ]+")


def _canonical(word: str) -> str | None:
    """One name for each unit, such as `m` for `meters` and `metre`; `None` if the word is no unit."""
    for form in (word, word.lower(), word.lower().removesuffix("s"), word.lower().removesuffix("es")):
        if form in _CANONICAL:
            return _CANONICAL[form]
    plural = len(word) > 3 and word.islower() and word.endswith("s") and word not in _NO_NOUN
    return word.removesuffix("s") if plural else word if word in _COUNTED else None


def unit_name(tail: str, trusted: bool) -> str | None:
    """The canonical spelling of a unit; `None` if it is none, unless it is trusted to be one."""
    flat = re.sub(r"\\text|\\cdot|[{}~.]", " ", tail)
    if not trusted and re.search(r"[^A-Za-zµμΩ0-9\s/^-]", flat):
        return None
    words = _WORDS.findall(flat)
    names = [name for word in words if (name := _canonical(word)) is not None]
    if len(names) < len(words):
        return " ".join(flat.split()) if trusted else None
    following = iter(names)
    name = "".join(_WORDS.sub(lambda _: next(following), flat).split())
    return name.replace("square", "2").replace("cubic", "3").replace("per", "/") if words else None


def split_unit(text: str, trusted: bool = False) -> tuple[str, str | None]:
    r"""
    Value and unit of a normalized answer, such as `5\text{ cm}^2`; the answer and `None` if there is no unit.

    With `trusted`, any text behind a number is its unit, as in an accepted answer.
    """
    if (found := _PERCENT.fullmatch(text)) and found["value"]:
        return found["value"], PERCENT
    found = _TAIL.fullmatch(text)
    if found and found["value"] and re.search(r"[0-9}]", found["value"]):
        name = unit_name(found["tail"], trusted)
        return (found["value"], name) if name is not None else (text, None)
    found = _BARE.fullmatch(text)
    if found:
        shortest = min(map(len, _WORDS.findall(found["tail"])))
        # 5m and 5 xy are products; 5 m is a length if there is no other letter
        plain = not re.search(r"[A-Za-z]", _COMMAND.sub("", found["value"]))
        name = unit_name(found["tail"], False) if shortest > 1 or (found["space"] and plain) else None
        if name is not None:
            return found["value"], name
    return text, None


def units_agree(gold: str | None, answer: str | None) -> bool:
    """Whether an answer may have this unit: it is the same, or one of the two has none."""
    if PERCENT in (gold, answer):
        return {gold, answer} <= {PERCENT, None}
    if gold is None or answer is None or not {gold, answer}.isdisjoint({*NO_UNIT, "2unit", "3unit"}):
        return True
    return _spell_power(gold) == _spell_power(answer)


def _spell_power(unit: str) -> str:
    """One spelling for square meters and m^2."""
    unit = re.sub(r"^([23])([A-Za-z]+)", r"\2^\1", unit)
    return unit.replace("^", "")
