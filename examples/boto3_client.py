#!/usr/bin/env python3
"""Scores logins with `ipsight serve` through AWS's SDK, as one would with an endpoint at SageMaker.

    pip install boto3
    ipsight serve --model MODEL &
    python3 examples/boto3_client.py [http://127.0.0.1:8080]
"""

import json
import sys

import boto3

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"

# The one line that differs: where the endpoint is. Without --auth-token-file the keys are not looked at.
runtime = boto3.client(
    "sagemaker-runtime",
    endpoint_url=url,
    region_name="us-east-1",
    aws_access_key_id="unused",
    aws_secret_access_key="unused",
)

logins = [("user_1", "203.0.113.7"), ("user_2", "198.51.100.20")]

# CSV, as the reference's documentation has it; application/json and application/jsonlines do, too.
answer = runtime.invoke_endpoint(
    EndpointName="ipsight",
    ContentType="text/csv",
    Accept="application/json",
    Body="".join(f"{entity},{ip}\n" for entity, ip in logins),
)
for (entity, ip), prediction in zip(logins, json.load(answer["Body"])["predictions"]):
    # High: an address that the account would use. The anomaly score is its negation.
    print(f"{entity} from {ip}: dot_product {prediction['dot_product']:.3f}")

# With the vectors behind the score.
answer = runtime.invoke_endpoint(
    EndpointName="ipsight",
    ContentType="application/json",
    Accept="application/json;verbose=True",
    Body=json.dumps({"instances": [{"features": ["user_1", "203.0.113.7"]}]}),
)
prediction = json.load(answer["Body"])["predictions"][0]
print(f"entity_embedding begins with {prediction['entity_embedding'][:3]}")

# Many records: the answer as a stream of parts.
answer = runtime.invoke_endpoint_with_response_stream(
    EndpointName="ipsight",
    ContentType="text/csv",
    Accept="application/jsonlines",
    Body="user_1,203.0.113.7\n" * 1000,
)
lines = b"".join(event["PayloadPart"]["Bytes"] for event in answer["Body"]).splitlines()
print(f"{len(lines)} predictions in a stream")

# A bad record is an exception that names it, and the SDK does not try again.
try:
    runtime.invoke_endpoint(EndpointName="ipsight", ContentType="text/csv", Body="user_1,203.0.113.7\nuser_2,nowhere\n")
except runtime.exceptions.ValidationError as error:
    print(f"refused: {error.response['Error']['Message']}")
else:
    sys.exit("a bad record was taken")
