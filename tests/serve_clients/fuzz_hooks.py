"""What schemathesis lacks: it knows no JSON Lines."""

import json

import schemathesis


@schemathesis.serializer("application/jsonlines")
def lines_of(_context, value):
    """Text as it is, and what is no text, for the server to refuse, as JSON."""
    return (value if isinstance(value, str) else json.dumps(value)).encode()
