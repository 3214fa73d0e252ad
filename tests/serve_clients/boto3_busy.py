"""AWS's SDK against a server that has no room: it says ServiceUnavailable, and trying again helps.

    boto3_busy.py URL ROOM

ROOM is the server's --max-queue-bytes, and --max-body-bytes.
"""

import json
import socket
import sys
import threading
import time
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from checks import Checks

CHECKS = Checks()


def client(url, attempts):
    config = Config(retries={"total_max_attempts": attempts, "mode": "standard"}, read_timeout=30)
    keys = {"aws_access_key_id": "unused", "aws_secret_access_key": "unused", "region_name": "us-east-1"}
    return boto3.client("sagemaker-runtime", endpoint_url=url, config=config, **keys)


def invoke(runtime):
    return runtime.invoke_endpoint(EndpointName="ipsight", ContentType="text/csv", Body=b"user_1,1.2.3.4\n")


def take_all_room(url, room):
    """A connection whose body, as long as the room, lacks its last byte."""
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port), timeout=10)
    head = f"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: text/csv\r\nContent-Length: {room}\r\n\r\n"
    connection.sendall(head.encode() + b"\n" * (room - 1))
    return connection


def main():
    url, room = sys.argv[1], int(sys.argv[2])
    once = client(url, attempts=1)
    CHECKS.equal(len(json.load(invoke(once)["Body"])["predictions"]), 1, "predictions before")
    holder = take_all_room(url, room)
    error = None
    for _ in range(200):  # until the server has read the body
        try:
            invoke(once)
            time.sleep(0.02)
        except once.exceptions.ServiceUnavailable as found:
            error = found
            break
    if CHECKS.that(error, "no ServiceUnavailable though there is no room"):
        metadata = error.response["ResponseMetadata"]
        CHECKS.equal(metadata["HTTPStatusCode"], 503, "status")
        CHECKS.that(metadata["HTTPHeaders"].get("retry-after", "").isdigit(), f"no Retry-After: {metadata['HTTPHeaders']}")
        CHECKS.that(error.response["Error"]["Message"], "no message")
    # A client that tries again is answered once there is room.
    threading.Timer(0.3, holder.close).start()
    answer = invoke(client(url, attempts=10))
    CHECKS.equal(len(json.load(answer["Body"])["predictions"]), 1, "predictions after")
    CHECKS.that(answer["ResponseMetadata"]["RetryAttempts"] > 0, "the client had not to try again")
    CHECKS.finish()


if __name__ == "__main__":
    main()
