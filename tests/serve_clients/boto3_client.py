"""The runtime client of AWS's own SDK against `ipsight serve`: it has to notice no difference.

    boto3_client.py URL SCORES.csv VECTOR_DIM

SCORES.csv is what `ipsight score` says of some events.
"""

import csv
import json
import sys

import boto3
from botocore.config import Config
from botocore.eventstream import ParserError
from botocore.exceptions import BotoCoreError, ClientError
from checks import Checks

LIMIT = 6_291_456  # bytes of a body
CHECKS = Checks()


class Client:
    """A client that counts what it sends: the SDK retries 429, 500 and 503 up to four times."""

    def __init__(self, url):
        config = Config(connect_timeout=5, read_timeout=30)
        keys = {"aws_access_key_id": "unused", "aws_secret_access_key": "unused", "region_name": "us-east-1"}
        self.runtime = boto3.client("sagemaker-runtime", endpoint_url=url, config=config, **keys)
        self.num_sent = 0
        self.runtime.meta.events.register("before-send.sagemaker-runtime.*", self._count)

    def _count(self, **_):
        self.num_sent += 1

    def invoke(self, body, **more):
        """(content type, body) of InvokeEndpoint."""
        answer = self.runtime.invoke_endpoint(EndpointName="ipsight", Body=body, **more)
        return answer.get("ContentType"), answer["Body"].read()

    def stream(self, body, **more):
        """(content type, body) of InvokeEndpointWithResponseStream, its parts put together."""
        answer = self.runtime.invoke_endpoint_with_response_stream(EndpointName="ipsight", Body=body, **more)
        parts = []
        for event in answer["Body"]:
            CHECKS.equal(list(event), ["PayloadPart"], "an event of the stream")
            parts.append(event.get("PayloadPart", {}).get("Bytes", b""))
        return answer.get("ContentType"), b"".join(parts)


def predictions_of(content_type, body):
    """The predictions of either response format."""
    if content_type.split(";")[0] == "application/jsonlines":
        return [json.loads(line) for line in body.splitlines() if line]
    return json.loads(body)["predictions"]


def bodies(rows):
    """Each request format's forms: name, content type, body."""
    instances = [{"features": row} if i % 2 else {"data": {"features": {"values": row}}} for i, row in enumerate(rows)]
    as_csv = "".join(f"{entity},{ip}\n" for entity, ip in rows).encode()
    as_json = json.dumps({"instances": instances}).encode()
    as_lines = "\n".join(map(json.dumps, instances)).encode()
    return [
        ("CSV", "text/csv", as_csv),
        ("CSV, CRLF and no last line end", "text/csv", as_csv.replace(b"\n", b"\r\n").rstrip()),
        ("CSV, a space after the comma", "text/csv; charset=utf-8", as_csv.replace(b",", b", ")),
        ("CSV, capitals", "Text/CSV;charset=UTF-8", as_csv),
        ("JSON", "application/json", as_json),
        ("JSON, charset", "application/json; charset=utf-8", as_json),
        ("JSON, capitals", "Application/JSON", as_json),
        ("JSON Lines", "application/jsonlines", as_lines),
        ("JSON Lines, last line end", "application/jsonlines", as_lines + b"\n"),
        # As the documentation's sample has it.
        ("JSON Lines, comma and bracket", "application/jsonlines", as_lines.replace(b"\n", b",\n") + b"]"),
        ("no content type, CSV", None, as_csv),
        ("no content type, JSON", None, as_json),
    ]


ACCEPTS = [
    (None, None, False),
    ("application/json", "application/json", False),
    ("application/jsonlines", "application/jsonlines", False),
    ("Application/JSON; charset=utf-8", "application/json", False),
    ("*/*", None, False),
    ("application/json;verbose=True", "application/json", True),
    ("application/json; verbose=true", "application/json", True),
    ("application/jsonlines;verbose=True", "application/jsonlines", True),
    ("application/jsonlines; verbose=true", "application/jsonlines", True),
]


def check_formats(client, rows, expected, vector_dim):
    """Every request format with every accept type on both operations."""
    for operation in (client.invoke, client.stream):
        for name, content_type, body in bodies(rows):
            for accept, wanted, verbose in ACCEPTS:
                what = f"{operation.__name__}, {name}, accept {accept}"
                options = {"ContentType": content_type, "Accept": accept}
                try:
                    found = operation(body, **{key: value for key, value in options.items() if value})
                except (ClientError, BotoCoreError, ParserError) as error:
                    CHECKS.that(False, f"{what}: {error}")
                    continue
                if not CHECKS.that(found[0], f"{what}: the answer has no content type"):
                    continue
                if wanted:
                    CHECKS.equal(found[0].split(";")[0], wanted, f"{what}: content type")
                check_predictions(what, found, expected, vector_dim if verbose else None)


def check_predictions(what, found, expected, vector_dim):
    try:
        predictions = predictions_of(*found)
        scores = [prediction["dot_product"] for prediction in predictions]
    except (ValueError, KeyError, TypeError) as error:
        CHECKS.that(False, f"{what}: {error!r} in {found[1][:200]!r}")
        return
    CHECKS.scores(scores, expected, what)
    keys = ["dot_product"] + (["ip_embedding", "entity_embedding"] if vector_dim else [])
    CHECKS.that(all(list(prediction) == keys for prediction in predictions), f"{what}: keys other than {keys}")
    if vector_dim:
        lengths = {len(prediction.get(key, [])) for prediction in predictions for key in keys[1:]}
        if CHECKS.equal(lengths, {vector_dim}, f"{what}: lengths of the embeddings"):
            products = [sum(a * b for a, b in zip(p["ip_embedding"], p["entity_embedding"])) for p in predictions]
            CHECKS.scores(products, scores, f"{what}: products of the embeddings", tolerance=1e-3)


def check_large(client, rows, expected):
    """An answer of many parts, and a body of nearly the limit."""
    copies = 20_000 // len(rows)
    body = "".join(f"{entity},{ip}\n" for entity, ip in rows).encode() * copies
    for operation in (client.invoke, client.stream):
        found = operation(body, ContentType="text/csv", Accept="application/json")
        scores = [prediction["dot_product"] for prediction in predictions_of(*found)]
        CHECKS.scores(scores, expected * copies, f"{operation.__name__}, {len(rows) * copies} records")
    entity = "e" * 1000
    body = f"{entity},1.2.3.4\n".encode()
    body *= LIMIT // len(body)
    _, answer = client.invoke(body, ContentType="text/csv", Accept="application/json")
    num_predictions = len(json.loads(answer)["predictions"])
    CHECKS.equal(num_predictions, body.count(b"\n"), f"predictions of a body of {len(body)} bytes")


def check_odd_entities(client):
    """An entity is the same in every format, whatever is in it."""
    for entity in ("a,b", 'say "no"', "naïve ☃", "tab\there", "e" * 5000):
        quoted = '"' + entity.replace('"', '""') + '"'
        as_csv = f"{quoted},1.2.3.4\n".encode()
        as_json = json.dumps({"instances": [{"features": [entity, "1.2.3.4"]}]}).encode()
        found = []
        for content_type, body in (("text/csv", as_csv), ("application/json", as_json)):
            try:
                answer = client.invoke(body, ContentType=content_type, Accept="application/json")
                found.append(predictions_of(*answer))
            except ClientError as error:
                CHECKS.that(False, f"entity {entity!r:.30} in {content_type}: {error}")
        if len(found) == 2:
            CHECKS.equal(found[0], found[1], f"entity {entity!r:.30} in CSV and in JSON")


def check_errors(client):
    """Bad input is a ValidationError that names the record, and is sent once."""
    good, bad = ("user_1", "1.2.3.4"), ("user_2", "1.2.3.999")
    for operation in (client.invoke, client.stream):
        for name, content_type, body in bodies([good, good, bad, good]):
            error = expect_error(client, operation, f"bad address, {name}", 400, body, content_type)
            if error:
                message = error.response["Error"].get("Message", "")
                named = "2" in message.replace("1.2.3.999", "").replace("user_2", "")
                CHECKS.that(named, f"{operation.__name__}, {name}: the message does not name record 2: {message!r}")
        for what, content_type, body in [
            ("no address", "text/csv", b"user_1\n"),
            ("a reserved IPv6 address", "text/csv", b"user_1,::1\n"),
            ("an empty address", "text/csv", b"user_1,\n"),
            ("not JSON", "application/json", b'{"instances": ['),
            ("not JSON, empty", "application/json", b""),
            ("no instances", "application/json", b"{}"),
            ("instances that are no list", "application/json", b'{"instances": 3}'),
            ("features of one", "application/json", b'{"instances": [{"features": ["user_1"]}]}'),
            ("features of a number", "application/json", b'{"instances": [{"features": [1, 2]}]}'),
            ("no features", "application/json", b'{"instances": [{"a": 1}]}'),
            ("deep JSON", "application/json", b'{"instances": ' + b"[" * 100_000),
            ("not UTF-8 in JSON", "application/json", b'{"instances": [{"features": ["\xff", "1.2.3.4"]}]}'),
            ("not JSON Lines", "application/jsonlines", b"user_1,1.2.3.4\n"),
        ]:
            expect_error(client, operation, what, 400, body, content_type)
        expect_error(client, operation, "an unknown content type", (400, 415), b"\x93NUMPY", "application/x-npy")
        # The server has to read on, or the client sees a broken pipe instead of the answer, and tries again.
        expect_error(client, operation, "a body over the limit", 413, b"user_1,1.2.3.4\n" * (LIMIT // 15 + 1), "text/csv")
        expect_error(client, operation, "a body far over it", 413, b"user_1,1.2.3.4\n" * (3 * LIMIT // 15), "text/csv")


def expect_error(client, operation, what, status, body, content_type):
    """The exception that the SDK raises, once it is what it should be; else none."""
    what = f"{operation.__name__}, {what}"
    client.num_sent = 0
    try:
        _, answer = operation(body, **({"ContentType": content_type} if content_type else {}))
    except ClientError as error:
        found = error.response["ResponseMetadata"]["HTTPStatusCode"]
        statuses = status if isinstance(status, tuple) else (status,)
        CHECKS.that(found in statuses, f"{what}: status {found}, not {status}")
        CHECKS.equal(client.num_sent, 1, f"{what}: times sent")
        CHECKS.that(isinstance(error, client.runtime.exceptions.ValidationError), f"{what}: {error!r}, no ValidationError")
        CHECKS.that(error.response["Error"].get("Message"), f"{what}: no message")
        return error
    except (BotoCoreError, ParserError) as error:
        CHECKS.that(False, f"{what}: {error!r} after {client.num_sent} attempts")
        return None
    CHECKS.that(False, f"{what}: no error but {answer[:100]!r}")
    return None


def main():
    url, scores, vector_dim = sys.argv[1:]
    with open(scores, encoding="utf-8") as file:
        scored = list(csv.DictReader(file))
    rows = [[row["entity"], row["ip"]] for row in scored]
    expected = [float(row["dot_product"]) for row in scored]
    client = Client(url)
    check_formats(client, rows, expected, int(vector_dim))
    check_large(client, rows, expected)
    check_odd_entities(client)
    check_errors(client)
    CHECKS.finish()


if __name__ == "__main__":
    main()
