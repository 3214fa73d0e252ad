"""A server with TLS and a token: who has no token is told so, AWS's SDK can send one, and there is no way without TLS.

    tls_token.py URL CERTIFICATE TOKEN
"""

import http.client
import json
import socket
import ssl
import sys
from urllib.parse import urlsplit

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from checks import Checks

CHECKS = Checks()
BODY = b"user_1,1.2.3.4\n"


def check_tokens(address, context, token):
    """Nothing that has to do with a model is done without the token."""
    wrong = {
        "no token": {},
        "another token": {"Authorization": f"Bearer {token[:-1]}x"},
        "the token's begin": {"Authorization": f"Bearer {token[:-1]}"},
        "a longer token": {"Authorization": f"Bearer {token}x"},
        "no scheme": {"Authorization": token},
        "another scheme": {"Authorization": f"Basic {token}"},
        "an empty token": {"Authorization": "Bearer "},
        "a signature": {"Authorization": "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=0"},
    }
    right = {
        "the token": {"Authorization": f"Bearer {token}"},
        "the scheme in small letters": {"Authorization": f"bearer {token}"},
    }
    routes = [
        ("POST", "/invocations"),
        ("POST", "/endpoints/ipsight/invocations"),
        ("POST", "/endpoints/ipsight/invocations-response-stream"),
        ("POST", "/v1/score"),
        ("POST", "/v1/explain"),
        ("GET", "/v1/model"),
        ("GET", "/models"),
    ]
    for method, path in routes:
        for what, fields in wrong.items():
            status, headers, body = ask(address, context, method, path, fields)
            CHECKS.equal(status, 401, f"{method} {path}, {what}: status")
            CHECKS.that(headers.get("WWW-Authenticate", "").startswith("Bearer"), f"{path}, {what}: no WWW-Authenticate")
            CHECKS.that(b"dot_product" not in body and b"Message" in body, f"{path}, {what}: {body[:100]!r}")
    for what, fields in right.items():
        status, _, body = ask(address, context, "POST", "/invocations", fields)
        CHECKS.that(status == 200 and b"dot_product" in body, f"{what}: {status} {body[:100]!r}")


def ask(address, context, method, path, fields):
    connection = http.client.HTTPSConnection(*address, context=context, timeout=10)
    try:
        connection.request(method, path, BODY if method == "POST" else None, {"Content-Type": "text/csv", **fields})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def check_sdk(url, certificate, token):
    """The SDK signs nothing and sends the token instead."""
    runtime = boto3.client(
        "sagemaker-runtime", endpoint_url=url, region_name="us-east-1", verify=certificate,
        config=Config(signature_version=UNSIGNED),
    )  # fmt: skip

    def add_token(params, **_):
        params["headers"]["Authorization"] = f"Bearer {token}"

    runtime.meta.events.register("before-call.sagemaker-runtime", add_token)
    answer = runtime.invoke_endpoint(EndpointName="ipsight", ContentType="text/csv", Body=BODY)
    CHECKS.equal(len(json.load(answer["Body"])["predictions"]), 1, "predictions for the SDK")


def check_tls(address, certificate):
    """Plain HTTP gets no answer, nor does an old protocol; the certificate is the one that was given."""
    with socket.create_connection(address, timeout=10) as plain:
        plain.sendall(b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n")
        try:
            received = plain.recv(1000)
        except OSError:
            received = b""
        CHECKS.that(b"200" not in received, f"plain HTTP on the port of TLS: {received[:100]!r}")
    for version, wanted in [(ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True), (ssl.TLSVersion.TLSv1_1, False)]:
        context = ssl.create_default_context(cafile=certificate)
        context.minimum_version = context.maximum_version = version
        try:
            with socket.create_connection(address, timeout=10) as connection:
                with context.wrap_socket(connection, server_hostname=address[0]):
                    found = True
        except OSError:
            found = False
        CHECKS.equal(found, wanted, f"{version.name} is taken")


def main():
    url, certificate, token = sys.argv[1:]
    parts = urlsplit(url)
    CHECKS.equal(parts.scheme, "https", "scheme that the server says")
    address = (parts.hostname, parts.port)
    check_tls(address, certificate)
    check_tokens(address, ssl.create_default_context(cafile=certificate), token)
    check_sdk(f"https://{parts.netloc}", certificate, token)
    CHECKS.finish()


if __name__ == "__main__":
    import warnings

    # TLS 1.1 is what is tried.
    warnings.simplefilter("ignore", DeprecationWarning)
    main()
