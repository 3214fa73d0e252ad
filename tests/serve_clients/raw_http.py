"""Plain sockets against `ipsight serve`: what no well-behaved client sends.

    raw_http.py URL HEADER_TIMEOUT

HEADER_TIMEOUT is the server's --header-timeout in seconds.

A message that servers and proxies could read differently is refused, or its connection ends after one answer: what is
smuggled in a body is never answered (RFC 9112, sections 6.3 and 11.2).
"""

import contextlib
import json
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from checks import Checks

LIMIT = 6_291_456  # bytes of a body
QUIET_SECONDS = 1.0  # an answer that does not come in this time does not come
CLOSED = 0  # as a status: the connection ended without an answer
REFUSED = {400, CLOSED}
CHECKS = Checks()
ADDRESS = ("", 0)

RECORD = b"user_1,1.2.3.4\n"
# Answered with 200 and counted, wherever a server takes it for a request.
SMUGGLED = b"GET /ping HTTP/1.1\r\nHost: smuggled\r\n\r\n"


@dataclass
class Case:
    """Bytes for one connection, and what may come of them."""

    name: str
    data: bytes
    statuses: set  # that the first answer may have
    num_answers: int = 1  # at most
    waits: bool = False  # the server may wait for more, without an answer


def post(*lines, body=b"", target="/invocations", method="POST"):
    head = [f"{method} {target} HTTP/1.1".encode(), b"Host: ipsight", *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def length(body):
    return b"Content-Length: %d" % len(body)


CSV = b"Content-Type: text/csv"
CHUNKED = b"Transfer-Encoding: chunked"
LAST = b"0\r\n\r\n"


def smuggling():
    """Two ideas of where the body ends. All statuses but 2xx would do; a 200 has to be the only answer."""
    once = {200, *REFUSED}
    # A server that believes the length takes all of this for the body, one that believes the chunks only the first five bytes.
    hidden = LAST + SMUGGLED
    # The other way round: the length says that the body ends before the smuggled request, which is chunk data.
    chunked = chunk(SMUGGLED) + LAST
    until_chunk = b"%x\r\n" % len(SMUGGLED)
    cases = [
        Case("length and chunked", post(CSV, length(hidden), CHUNKED, body=hidden), once),
        Case("chunked and length", post(CSV, CHUNKED, length(hidden), body=hidden), once),
        Case("short length and chunked", post(CSV, length(until_chunk), CHUNKED, body=chunked), once),
        Case("chunked and short length", post(CSV, CHUNKED, length(until_chunk), body=chunked), once),
        Case("two lengths", post(CSV, length(b""), length(SMUGGLED), body=SMUGGLED), REFUSED),
        Case("two lengths, the long one first", post(CSV, length(SMUGGLED), length(b""), body=SMUGGLED), REFUSED),
        Case("two lengths in one line", post(CSV, b"Content-Length: 0, %d" % len(SMUGGLED), body=SMUGGLED), REFUSED),
        Case("the same length twice", post(CSV, length(RECORD), length(RECORD), body=RECORD), once),
    ]
    # Transfer codings that one may take for chunked and another may not know.
    for line in [
        b"Transfer-Encoding : chunked",
        b" Transfer-Encoding: chunked",
        b"Transfer-Encoding\t: chunked",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked-",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: gzip, chunked",
        b'Transfer-Encoding: "chunked"',
        b"Transfer-Encoding:\x0bchunked",
        b"Transfer-Encoding: chunked\x00",
        b"Transfer-Encoding:\r\n chunked",
        b"Transfer-Encoding: \x00chunked",
        b"Transfer-Encoding:",
        b"X: y\nTransfer-Encoding: chunked",
        b"X: y\rTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\rX: y",
    ]:
        cases.append(Case(f"{line!r} and length", post(CSV, length(hidden), line, body=hidden), {501, *once}))
        alone = post(CSV, line, body=chunk(RECORD) + LAST)
        cases.append(Case(f"{line!r} alone", alone, {200, 400, 411, 415, 501, CLOSED}))
    return cases


def lengths():
    """Content-Length is digits only."""
    cases = []
    for value in [b"+%d", b"-%d", b"0x%x", b"%d.0", b"%d,", b"%de0", b"%d %d", b"'%d'", b"\x0b%d", b"%d\x00", b"1_%d"]:
        number = len(SMUGGLED)
        text = value % ((number,) * value.count(b"%"))
        data = post(CSV, b"Content-Length: " + text, body=SMUGGLED)
        cases.append(Case(f"Content-Length: {text!r}", data, REFUSED))
    for text in [b"18446744073709551616", b"18446744073709551615", b"99999999999999999999999999", b"9223372036854775808"]:
        cases.append(Case(f"Content-Length: {text!r}", post(CSV, b"Content-Length: " + text), {413, 431, *REFUSED}))
    empty = post(CSV, b"Content-Length:", body=SMUGGLED)
    cases.append(Case("Content-Length without a value", empty, REFUSED))
    old = b"POST /invocations HTTP/1.0\r\nHost: a\r\n" + CHUNKED + b"\r\n\r\n" + LAST + SMUGGLED
    cases.append(Case("chunked in HTTP/1.0", old, {200, 411, 415, *REFUSED}))
    return cases


def chunks():
    """Garbage where a chunk's size, end or trailer belongs."""
    cases = []
    for name, body in {
        "no size": b"\r\n" + SMUGGLED,
        "letters": b"xyz\r\n" + SMUGGLED,
        "sign": b"-1\r\n" + SMUGGLED,
        "plus": b"+f\r\n" + RECORD + b"\r\n" + LAST,
        "0x": b"0xf\r\n" + RECORD + b"\r\n" + LAST,
        "overflow": b"ffffffffffffffff1\r\n" + SMUGGLED,
        "greatest": b"ffffffffffffffff\r\n" + SMUGGLED,
        "wraps to nothing": b"10000000000000000\r\n\r\n" + SMUGGLED,
        "size beyond the limit": b"7fffffff\r\n" + SMUGGLED,
        "data longer than its size": b"3\r\n" + RECORD + b"\r\n" + LAST,
        "data without an end": b"f\r\n" + RECORD + LAST,
        "LF alone after the size": b"f\n" + RECORD + b"\r\n" + LAST,
        "LF alone after the data": b"f\r\n" + RECORD + b"\n" + LAST,
        "CR alone after the size": b"f\r" + RECORD + b"\r\n" + LAST,
        "LF in an extension": b"f;a\nb\r\n" + RECORD + b"\r\n" + LAST,
        "a NUL after the size": b"f\x00\r\n" + RECORD + b"\r\n" + LAST,
        "endless extension": b"f;" + b"a" * 1_000_000 + b"\r\n" + RECORD + b"\r\n" + LAST,
        "endless trailer": chunk(RECORD) + b"0\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
    }.items():
        # A body that is too large in words is as good as a bad one.
        allowed = {413, 431, *REFUSED}
        cases.append(Case(f"chunk: {name}", post(CSV, CHUNKED, body=body), allowed, waits=name in WAITING_CHUNKS))
    return cases


# Sizes that are valid and never come to an end.
WAITING_CHUNKS = {"greatest", "size beyond the limit"}


def heads():
    """Request lines and fields that are out of shape or too large."""
    either = {200, *REFUSED}
    large = {400, 404, 414, 431, CLOSED}
    return [
        Case("LF alone", b"GET /ping HTTP/1.1\nHost: a\n\n", either),
        Case("LF alone, with a body", b"POST /invocations HTTP/1.1\nHost: a\nContent-Type: text/csv\nContent-Length: %d\n\n%s"
             % (len(SMUGGLED), SMUGGLED), REFUSED),
        Case("CR alone", b"GET /ping HTTP/1.1\rHost: a\r\r", REFUSED, waits=True),
        Case("a folded field", b"GET /ping HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", either),
        Case("a NUL in a field", b"GET /ping HTTP/1.1\r\nHost: a\r\nX: b\x00c\r\n\r\n", REFUSED),
        Case("a field without a name", b"GET /ping HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", REFUSED),
        Case("a field without a colon", b"GET /ping HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", REFUSED),
        Case("a space in a name", b"GET /ping HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n", REFUSED),
        Case("HTTP/0.9", b"GET /ping\r\n\r\n", REFUSED),
        Case("HTTP/1.2", b"GET /ping HTTP/1.2\r\nHost: a\r\n\r\n", {505, *either}),
        Case("HTTP/3.0", b"GET /ping HTTP/3.0\r\nHost: a\r\n\r\n", {505, *REFUSED}),
        Case("preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {505, *REFUSED}),
        Case("a TLS hello", bytes.fromhex("16030100a5010000a10303") + b"\x00" * 160, REFUSED),
        Case("two spaces in the request line", b"GET  /ping HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
        Case("no method", b" /ping HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
        Case("a method that nobody knows", b"FROB /ping HTTP/1.1\r\nHost: a\r\n\r\n", {404, 405, 501, *REFUSED}),
        Case("a method of 100 kB", b"G" * 100_000 + b" /ping HTTP/1.1\r\nHost: a\r\n\r\n", large | {405, 501}),
        Case("a line end in the path", b"GET /pi\r\nng HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
        Case("a broken escape in a path", b"POST /endpoints/%zz%/invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
             {200, 404, *REFUSED}),
        Case("a path upwards", b"GET /models/..%2f..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: a\r\n\r\n", {400, 404}),
        Case("a URL of 9 kB", b"GET /ping?" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", large | {200}),
        Case("a URL of 100 kB", b"GET /ping?" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", large),
        Case("a URL of 5 MB", b"GET /ping?" + b"a" * 5_000_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", large),
        Case("an endless URL", b"GET /" + b"a" * 2_000_000, large),
        Case("10,000 fields", post(*[b"X-%d: y" % i for i in range(10_000)], target="/ping", method="GET"), large),
        Case("100,000 fields", post(*[b"X-%d: y" % i for i in range(100_000)], target="/ping", method="GET"), large),
        Case("a field of 1 MB", post(b"X: " + b"y" * 1_000_000, target="/ping", method="GET"), large),
        Case("an endless field", b"GET /ping HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 2_000_000, large),
        Case("an endless name", b"GET /ping HTTP/1.1\r\nHost: a\r\n" + b"y" * 2_000_000, large),
        Case("endless line ends", b"\r\n" * 500_000, {431, *REFUSED}, waits=True),
    ]  # fmt: skip


def bodies():
    """Bodies where none belong, and the cases that have to work, by which we know that answers are counted."""
    found = {200, 400, 404, 405, 413, CLOSED}
    cases = [
        Case("a GET with a body", post(length(SMUGGLED), body=SMUGGLED, target="/ping", method="GET"), found),
        Case("a GET with a chunked body", post(CHUNKED, body=chunk(SMUGGLED) + LAST, target="/ping", method="GET"), found),
        Case("a HEAD with a body", post(length(SMUGGLED), body=SMUGGLED, target="/ping", method="HEAD"), found),
        Case("a body for no path", post(length(SMUGGLED), body=SMUGGLED, target="/nowhere"), {404}),
        Case("a chunked body for no path", post(CHUNKED, body=chunk(SMUGGLED) + LAST, target="/nowhere"), {404}),
        Case("a body for the wrong method", post(length(SMUGGLED), body=SMUGGLED, method="PUT"), {405}),
        Case("a bad body that is a request", post(CSV, length(SMUGGLED), body=SMUGGLED), {400}),
        Case("Upgrade", post(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__",
                             target="/ping", method="GET"), {200, 400}),
        # There is no tunnel: what follows the refusal is the next request.
        Case("CONNECT", b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n" + SMUGGLED, {404, 405, 501, *REFUSED}, num_answers=2),
        Case("an expectation that nobody knows", post(CSV, b"Expect: 200-maybe", length(RECORD), body=RECORD), {200, 417, 400}),
    ]  # fmt: skip
    good = {
        "a request": post(CSV, length(RECORD), body=RECORD),
        "without Content-Type": post(length(RECORD), body=RECORD),
        "chunked": post(CSV, CHUNKED, body=chunk(RECORD[:4]) + chunk(RECORD[4:]) + LAST),
        "chunked, in capitals": post(CSV, b"TRANSFER-ENCODING: Chunked", body=chunk(RECORD) + LAST),
        "chunked, an extension": post(CSV, CHUNKED, body=b"0f;a=b\r\n" + RECORD + b"\r\n" + LAST),
        "chunked, a trailer": post(CSV, CHUNKED, body=chunk(RECORD) + b"0\r\nX: y\r\n\r\n"),
        "the absolute form": post(CSV, length(RECORD), body=RECORD, target="http://ipsight/invocations"),
        "40 fields": post(CSV, length(RECORD), *[b"X-%d: y" % i for i in range(40)], body=RECORD),
        "HTTP/1.0": b"POST /invocations HTTP/1.0\r\nContent-Type: text/csv\r\nContent-Length: 15\r\n\r\n" + RECORD,
    }
    cases += [Case(f"works: {name}", data, {200}) for name, data in good.items()]
    cases.append(Case("works: three in a row", good["a request"] * 2 + SMUGGLED, {200}, num_answers=3))
    return cases


@dataclass
class Answer:
    status: int
    fields: dict
    body: bytes


class Connection:
    """One connection that reads whatever comes."""

    def __init__(self):
        self.socket = socket.create_connection(ADDRESS, timeout=10)
        self.received = b""
        self.ended = False

    def send(self, data):
        """Sends as much as the server takes; says whether it took all."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def read(self, seconds=QUIET_SECONDS):
        """Reads until the end of the connection, or until nothing came for so long."""
        self.socket.settimeout(seconds)
        try:
            while data := self.socket.recv(1 << 16):
                self.received += data
            self.ended = True
        except TimeoutError:
            pass
        except OSError:
            self.ended = True
        return self

    def answers(self, head_only=False):
        """What came, as answers without those of status 100; the last one is as far as it came."""
        found, rest = [], self.received
        while rest:
            head, separator, rest = rest.partition(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            words = lines[0].split(b" ")
            if not separator or len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
                found.append(Answer(-1, {}, head[:200]))
                break
            status = int(words[1])
            fields = {}
            for line in lines[1:]:
                name, _, value = line.partition(b":")
                fields[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
            if status == 100:
                continue
            body = b""
            if head_only or status in (204, 304):
                pass
            elif "chunked" in fields.get("transfer-encoding", ""):
                while rest:
                    size, _, rest = rest.partition(b"\r\n")
                    number = int(size.split(b";")[0], 16)
                    body, rest = body + rest[:number], rest[number + 2 :]
                    if not number:
                        break
            elif "content-length" in fields:
                number = int(fields["content-length"])
                body, rest = rest[:number], rest[number:]
            else:
                body, rest = rest, b""
            found.append(Answer(status, fields, body))
        return found

    def close(self):
        self.socket.close()


def answer_to(data, seconds=QUIET_SECONDS):
    """(answers, whether the connection ended) of bytes on a connection of their own."""
    connection = Connection()
    try:
        connection.send(data)
        connection.read(seconds)
        return connection.answers(head_only=data.startswith(b"HEAD ")), connection.ended
    finally:
        connection.close()


def check(case):
    answers, ended = answer_to(case.data)
    statuses = [answer.status for answer in answers]
    first = statuses[0] if statuses else CLOSED
    if not statuses and not ended:
        CHECKS.that(case.waits, f"{case.name}: neither answered nor closed")
        return
    CHECKS.that(first in case.statuses, f"{case.name}: {first or 'closed'}, not one of {sorted(case.statuses)}")
    if case.name.startswith("works"):
        CHECKS.equal(len(statuses), case.num_answers, f"{case.name}: number of answers")
    else:
        CHECKS.that(len(statuses) <= case.num_answers, f"{case.name}: answers {statuses}: a smuggled request was answered")
    for answer in answers:
        check_error(case.name, answer)


def check_error(name, answer, always=False):
    """The body of an error is {"Message": …}; of what is no HTTP at all there is no body."""
    if answer.status < 400 or not (always or answer.body):
        return
    try:
        message = json.loads(answer.body)["Message"]
    except (ValueError, KeyError, TypeError):
        message = None
    CHECKS.that(isinstance(message, str) and message, f"{name}: status {answer.status} with the body {answer.body[:100]!r}")
    CHECKS.that("x-amzn-errortype" in answer.fields, f"{name}: status {answer.status} without x-amzn-ErrorType")


def check_too_large():
    """Over the limit is 413, at once where the head says it and as soon as it is so where chunks do."""
    record = RECORD * (LIMIT // len(RECORD))
    exact = record + b"\n" * (LIMIT - len(record))
    in_chunks = b"".join(chunk(exact[i : i + 65536]) for i in range(0, LIMIT, 65536))
    cases = {
        "one byte, only the head sent": post(CSV, b"Content-Length: %d" % (LIMIT + 1)),
        "terabytes, only the head sent": post(CSV, b"Content-Length: 9000000000000"),
        "one byte, expecting to be asked": post(CSV, b"Expect: 100-continue", b"Content-Length: %d" % (LIMIT + 1)),
        "one byte, all sent": post(CSV, b"Content-Length: %d" % (LIMIT + 1), body=exact + b"\n"),
        "its own size, all sent": post(CSV, b"Content-Length: %d" % (2 * LIMIT), body=exact * 2),
        "one byte, in chunks": post(CSV, CHUNKED, body=in_chunks + chunk(b"\n") + LAST),
        "its own size, in one chunk": post(CSV, CHUNKED, body=chunk(exact * 2) + LAST),
        "one byte, in chunks of a byte": post(CSV, CHUNKED, body=chunk(b"a") * (LIMIT + 1) + LAST),
        "one byte, for an SDK": post(CSV, b"Content-Length: %d" % (LIMIT + 1), body=exact + b"\n", target="/endpoints/a/invocations"),
        "one byte, for /v1/score": post(b"Content-Type: application/json", b"Content-Length: %d" % (LIMIT + 1), target="/v1/score"),
    }  # fmt: skip
    for name, data in cases.items():
        what = f"a body over the limit by {name}"
        answers, _ = answer_to(data, seconds=5)
        statuses = [answer.status for answer in answers]
        if CHECKS.equal(statuses, [413], f"{what}: statuses"):
            check_error(what, answers[0], always=True)
    answers, _ = answer_to(post(CSV, length(exact), body=exact), seconds=10)
    CHECKS.equal([answer.status for answer in answers], [200], "a body of just the limit: statuses")


def check_expect():
    """A client that expects 100-continue is asked for the body, and then answered."""
    connection = Connection()
    connection.send(post(CSV, b"Expect: 100-continue", length(RECORD)))
    connection.read()
    CHECKS.that(connection.received.startswith(b"HTTP/1.1 100"), f"Expect: 100-continue: {connection.received[:60]!r}")
    connection.send(RECORD)
    connection.read()
    CHECKS.equal([answer.status for answer in connection.answers()], [200], "after 100-continue: statuses")
    connection.close()


def check_errors():
    """Each error has the body and the header that SDKs read."""
    for name, data, status in [
        ("no path", post(target="/nowhere", method="GET"), 404),
        ("no method", post(target="/invocations", method="GET"), 405),
        ("an empty body", post(length(b"")), 400),
        ("a bad record", post(CSV, length(b"a,b\n"), body=b"a,b\n"), 400),
        ("a bad event", post(b"Content-Type: application/json", length(b"{}"), body=b"{}", target="/v1/score"), 400),
        ("no model", post(target="/models/nobody", method="GET"), 404),
    ]:
        answers, _ = answer_to(data)
        if CHECKS.equal([answer.status for answer in answers], [status], f"{name}: statuses"):
            check_error(name, answers[0], always=True)


def check_slow_head(seconds):
    """A request whose head never ends is cut off before so many seconds, however steadily it comes."""
    connection = Connection()
    connection.send(b"POST /invocations HTTP/1.1\r\nHost: ipsight\r\n")
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        if not connection.send(b"X: y\r\n"):
            break
        connection.read(0.5)
        if connection.ended:
            break
    else:
        CHECKS.that(False, f"a head that never ends is not cut off after {seconds} s")
    answers = connection.answers()
    CHECKS.that(all(answer.status in (400, 408) for answer in answers), f"a head that never ends: {answers}")
    connection.close()


def check_alive(when):
    """The server still answers."""
    with contextlib.suppress(OSError):
        answers, _ = answer_to(post(CSV, b"Connection: close", length(RECORD), body=RECORD), seconds=5)
        if CHECKS.equal([answer.status for answer in answers], [200], f"{when}: statuses"):
            CHECKS.equal(len(json.loads(answers[0].body)["predictions"]), 1, f"{when}: number of predictions")
        return
    CHECKS.that(False, f"{when}: the server is gone")


def main():
    global ADDRESS
    url = urlsplit(sys.argv[1])
    ADDRESS = (url.hostname, url.port)
    check_alive("before")
    cases = smuggling() + lengths() + chunks() + heads() + bodies()
    with ThreadPoolExecutor(16) as pool:
        works = [pool.submit(work) for work in (check_too_large, check_expect, check_errors)]
        # Of the machine's own delays there may be as much again, and more.
        works.append(pool.submit(check_slow_head, 4 * float(sys.argv[2])))
        works += [pool.submit(check, case) for case in cases]
        for work in works:
            try:
                work.result()
            except OSError as error:
                CHECKS.that(False, f"no connection: {error}")
    check_alive("after")
    CHECKS.finish()


if __name__ == "__main__":
    main()
