"""The Huffman code of HPACK (RFC 7541, appendix B), for reading."""

from __future__ import annotations

# Bits of each symbol's code, the last being that of the end of the string. The code is canonical, so that the lengths
# say it all: codes are given out by length, and by symbol within a length.
_LENGTHS = bytes(
    int(bits)
    for bits in [
        "13",
        "23",
        "28",
        "28",
        "28",
        "28",
        "28",
        "28",
        "28",
        "24",
        "30",
        "28",
        "28",
        "30",
        "28",
        "28",
        "28",
        "28",
        "28",
        "28",
        "28",
        "28",
        "30",
        "28",
        "28",
        "28",
        "28",
        "28",
        "28",
        "28",
        "28",
        "28",
        "6",
        "10",
        "10",
        "12",
        "13",
        "6",
        "8",
        "11",
        "10",
        "10",
        "8",
        "11",
        "8",
        "6",
        "6",
        "6",
        "5",
        "5",
        "5",
        "6",
        "6",
        "6",
        "6",
        "6",
        "6",
        "6",
        "7",
        "8",
        "15",
        "6",
        "12",
        "10",
        "13",
        "6",
        "7",
        "7",
        "7",
        "7",
        "7",
        "7",
        "7",
        "7",
        "7",
        "7",
        "7",
        "7",
        "7",
        "7",
        "7",
        "7",
        "7",
        "7",
        "7",
        "7",
        "7",
        "7",
        "8",
        "7",
        "8",
        "13",
        "19",
        "13",
        "14",
        "6",
        "15",
        "5",
        "6",
        "5",
        "6",
        "5",
        "6",
        "6",
        "6",
        "5",
        "7",
        "7",
        "6",
        "6",
        "6",
        "5",
        "6",
        "7",
        "6",
        "5",
        "5",
        "6",
        "7",
        "7",
        "7",
        "7",
        "7",
        "15",
        "11",
        "14",
        "13",
        "28",
        "20",
        "22",
        "20",
        "20",
        "22",
        "22",
        "22",
        "23",
        "22",
        "23",
        "23",
        "23",
        "23",
        "23",
        "24",
        "23",
        "24",
        "24",
        "22",
        "23",
        "24",
        "23",
        "23",
        "23",
        "23",
        "21",
        "22",
        "23",
        "22",
        "23",
        "23",
        "24",
        "22",
        "21",
        "20",
        "22",
        "22",
        "23",
        "23",
        "21",
        "23",
        "22",
        "22",
        "24",
        "21",
        "22",
        "23",
        "23",
        "21",
        "21",
        "22",
        "21",
        "23",
        "22",
        "23",
        "23",
        "20",
        "22",
        "22",
        "22",
        "23",
        "22",
        "22",
        "23",
        "26",
        "26",
        "20",
        "19",
        "22",
        "23",
        "22",
        "25",
        "26",
        "26",
        "26",
        "27",
        "27",
        "26",
        "24",
        "25",
        "19",
        "21",
        "26",
        "27",
        "27",
        "26",
        "27",
        "24",
        "21",
        "21",
        "26",
        "26",
        "28",
        "27",
        "27",
        "27",
        "20",
        "24",
        "20",
        "21",
        "22",
        "21",
        "21",
        "23",
        "22",
        "22",
        "25",
        "25",
        "24",
        "24",
        "26",
        "23",
        "26",
        "27",
        "26",
        "26",
        "27",
        "27",
        "27",
        "27",
        "27",
        "28",
        "27",
        "27",
        "27",
        "27",
        "27",
        "26",
        "30",
    ]
)
_END = 256
_LONGEST_PADDING = 7

# A state is what was read of a code that is not whole yet, behind a 1. From a state, a byte leads to the symbols that
# it completes and to the next state; None stands for a byte that no code has. Filled as bytes are met: at most 256
# states of 256 bytes.
_Step = tuple[bytes, int] | None
_START = 1


class NotHuffman(ValueError):
    """A string that is not in the code."""


def _symbols() -> dict[int, int]:
    """Symbols by their codes, each behind a 1, so that its length shows."""
    found: dict[int, int] = {}
    code = length = 0
    for symbol in sorted(range(len(_LENGTHS)), key=lambda symbol: (_LENGTHS[symbol], symbol)):
        code <<= _LENGTHS[symbol] - length
        length = _LENGTHS[symbol]
        found[1 << length | code] = symbol
        code += 1
    return found


_SYMBOLS = _symbols()
_LONGEST = max(_LENGTHS)
_steps: dict[int, _Step] = {}


def _step(state: int, byte: int) -> _Step:
    symbols = bytearray()
    for shift in range(7, -1, -1):
        state = state << 1 | byte >> shift & 1
        symbol = _SYMBOLS.get(state)
        if symbol == _END or state >> _LONGEST > 1:
            return None
        if symbol is not None:
            symbols.append(symbol)
            state = _START
    return bytes(symbols), state


def decoded(code: bytes) -> bytes:
    """The string behind a code; raises `NotHuffman`."""
    state, found = _START, []
    for byte in code:
        key = state << 8 | byte
        try:
            step = _steps[key]
        except KeyError:
            step = _steps[key] = _step(state, byte)
        if step is None:
            raise NotHuffman("a code that stands for nothing")
        symbols, state = step
        found.append(symbols)
    # What is left over is padding: the beginning of the end's code, which is all ones.
    padding = state.bit_length() - 1
    if padding > _LONGEST_PADDING or state != (1 << padding + 1) - 1:
        raise NotHuffman("a string that ends within a code")
    return b"".join(found)
