"""What nobody sends by accident: hostile texts, and real samples that were damaged on purpose, drawn by Hypothesis."""

import copy
import json
from collections.abc import Sequence

from hypothesis import strategies as st

#: Texts that mean something to somebody: to a shell, SQL, HTML, YAML, a log, a spreadsheet, a parser of numbers.
TEXTS = (
    "", " ", "\0", "\n", "a\nb", "a\rloopline: all is well", "\x1b[2J\x1b[31mred", "\u202egnp.exe", "\ufeff",
    "\ud800", "\U0001f4a9",
    "a" * 5_000, "../../etc/passwd", "/etc/passwd", "/dev/zero", "/proc/self/environ", "..", ".", "~root",
    "a/../../b", "C:\\x",
    "-", "--help", "-rf", "--upload-pack=touch x", "$(touch x)", "`touch x`", "; touch x", "| touch x", "%s%n",
    "{0.__class__}",
    "' OR 1=1 --", "\"; DROP TABLE runs; --", "`name`", "name LIKE '%'", "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "javascript:alert(1)", "]]>", "&lt;", "=1+1", "+1", "@SUM(A1)", "\t=1", "!!python/object/apply:os.system [id]",
    "*a", "&a [*a]", "{{.}}",
    "{{$.inputs}}", "${HOME}", "null", "true", "NaN", "nan", "Infinity", "-inf", "1e999", "-0", "0", "-1", "1", "0.5",
    "9" * 400, "1_0", "\u0661",
    "1e-400", "2**63", "9223372036854775808", "[]", "{}", "[[]]", "[null]", "[1]", '{"a": 1}', '{"": null}',
    '{"a": {"a": {"a": []}}}', "[" * 3_000,
    '{"a":' * 3_000, '"', "'", ",", ",,", "a,a", '"a', "a=b", "=", "a=", "=b", "a:b:c", "http://", "http://[",
    "http://[::1", "https://a:b@c",
    "http://169.254.169.254/latest", "https://127.0.0.1:1/x", "http://127.0.0.1:99999/", "https://exa mple/x",
    "ftp://127.0.0.1/x", "file:///etc/passwd",
    "file://", "s3://", "s3:///", "s3://a", "s3://A_b/../c", "s3://bucket/*", "ext::sh -c touch% x", "git@-x:y",
    "ssh://-oProxyCommand=x/y",
    "oci:/", "oci://", "oci:/nowhere@sha256:" + "0" * 64, "docker://127.0.0.1:1/a@sha256:" + "0" * 64, "docker://a",
    "oci:/x:y:z",
    "2026-01-01", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+00:00", "0 0 2 * * *",
    "* * * * *", "0 0 31 2 *",
    "*/0 * * * * *", "@daily", "UTC", "../UTC", "sha256:" + "0" * 64, "**", "[", "[!", "***/**/***", "(?:a+)+$", "\\",
    "\\x", "%00", "%",
)  # fmt: skip
#: What may be damaged into the bytes of a file.
PIECES = (
    b"\0", b"\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0", b"\x7f\xff\xff\xff", b"\n", b"\r\n", b",", b'"',
    b"'", b";", b"{", b"}", b"[", b"]",
    b":", b"-", b"NaN", b"1e999", b"null", b"true", b"..", b"/", b"\xef\xbb\xbf", b"\xfe\xff", b"PAR1", b"PK\x03\x04",
    b"\x1f\x8b", b"\x28\xb5\x2f\xfd",
    b"a" * 300, b"\xed\xa0\x80",
)  # fmt: skip
#: What JSON may hold where something else should stand.
VALUES = (
    None, True, False, 0, -1, 1, 2**63, -(2**70), 10**400, 0.5, 1e308, float("nan"), float("inf"), "", "a",
    "../../etc/passwd", "/etc/passwd", "\0",
    "<b>", "\n", "a" * 2_000, [], {}, [[]], [None], [0], ["a"], {"": None}, {"a": "b"}, [{}], [[["a"]]],
    {"__class__": "x"}, "NaN", "1", "sha256:" + "0" * 64,
)  # fmt: skip
#: Documents that are no object, or that are nested until whoever reads them gives up.
NESTED = (
    b"",
    b"null",
    b"0",
    b'"a"',
    b"[]",
    b"[" * 5_000,
    b'{"a":' * 5_000,
    b"[" * 400 + b"]" * 400,
    b"\xff\xfe",
    b"NaN",
)
#: Letters for made-up texts; an alphabet of all of Unicode would take Hypothesis a second to list.
_LETTERS = "aZ09 _-.,;:/\\'\"`$(){}[]<>|&*?!%#@=+~^\n\r\t\0\x1b\x7f\x85\u00e4\u00df\u4e2d\u202e\ufeff\U0001f4a9"


def texts() -> st.SearchStrategy[str]:
    """Hostile texts, half of them made up."""
    made = st.text(_LETTERS, max_size=30)
    joined = st.tuples(st.sampled_from(TEXTS), made).map("".join)
    return st.one_of(st.sampled_from(TEXTS), made, joined)


def words() -> st.SearchStrategy[str]:
    """Hostile texts that the operating system takes as a word of a command: without NUL, encodable."""
    return texts().map(lambda text: text.replace("\0", "").encode("utf-8", "replace").decode())


def documents(samples: Sequence[object]) -> st.SearchStrategy[bytes]:
    """JSON documents with one to three values of a sample replaced, left out or put somewhere else; or damaged text."""
    whole = [json.dumps(sample).encode() for sample in samples]
    return st.one_of(_garbled(samples), _garbled(samples), _garbled(samples), damaged(whole), st.sampled_from(NESTED))


def values(samples: Sequence[object]) -> st.SearchStrategy[object]:
    """The same as values of Python."""
    return _changed(samples)


def damaged(samples: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Samples with up to four places damaged: bytes replaced, left out, put in, doubled, or the end cut off."""
    change = st.tuples(
        st.sampled_from(("put", "over", "cut", "drop", "twice", "flip")),
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(PIECES),
        st.integers(0, 255),
    )
    return st.tuples(st.sampled_from(samples), st.lists(change, min_size=1, max_size=4)).map(
        lambda drawn: _damage(*drawn)
    )


def _damage(data: bytes, changes: list[tuple]) -> bytes:
    for kind, place, piece, number in changes:
        at = int(place * len(data))
        if kind == "put":
            data = data[:at] + piece + data[at:]
        elif kind == "over":
            data = data[:at] + piece + data[at + len(piece) :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "drop":
            data = data[:at] + data[at + number :]
        elif kind == "twice":
            data = data[:at] + data[at : at + number] + data[at:]
        elif data:
            data = data[:at] + bytes([number]) + data[at + 1 :]
    return data


def _garbled(samples: Sequence[object]) -> st.SearchStrategy[bytes]:
    # A lone surrogate cannot be encoded; as an escape, JSON may hold it.
    return _changed(samples).map(lambda value: json.dumps(value).encode())


def _changed(samples: Sequence[object]) -> st.SearchStrategy[object]:
    places = [_places(sample) for sample in samples]
    change = st.tuples(
        st.sampled_from(("value", "value", "text", "drop", "swap", "more")),
        st.integers(0, 2**30),
        st.integers(0, 2**30),
        st.sampled_from(VALUES),
        st.sampled_from(TEXTS),
    )
    drawn = st.tuples(st.integers(0, len(samples) - 1), st.lists(change, min_size=1, max_size=3))
    return drawn.map(lambda pair: _change(samples[pair[0]], places[pair[0]], pair[1]))


def _change(sample: object, places: list[tuple], changes: list[tuple]) -> object:
    result = [copy.deepcopy(sample)]  # in a list, so that the document itself has a place
    for kind, where, elsewhere, value, text in changes:
        # Documents differ most near the top: every other change is made among the first places.
        path = places[where % (len(places) if where % 2 else min(len(places), 24))]
        try:
            holder = _holder(result, path)
            if kind == "drop" and path:
                del holder[path[-1]]
            elif kind == "swap":
                other = places[elsewhere % len(places)]
                holder[path[-1] if path else 0] = copy.deepcopy(_holder(result, other)[other[-1] if other else 0])
            elif kind == "more" and path and isinstance(holder, dict):
                holder[text] = value
            else:
                holder[path[-1] if path else 0] = text if kind == "text" else copy.deepcopy(value)
        except (LookupError, TypeError):
            pass  # a change before it took the place away
    return result[0]


def _places(value: object, path: tuple = ()) -> list[tuple]:
    """The places of all values, nearest to the top first."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [path, *(place for key, inner in entries for place in _places(inner, (*path, key)))]
    return found if path else sorted(found, key=len)


def _holder(result: list, path: tuple) -> object:
    found = result if not path else result[0]
    for key in path[:-1]:
        found = found[key]
    return found
