#!/bin/sh
# What `ipsight serve --model MODEL --admin-listen 127.0.0.1:8081` answers, by curl.
#
#     examples/curl.sh [http://127.0.0.1:8080 [http://127.0.0.1:8081]]
set -eu
url=${1:-http://127.0.0.1:8080}
admin=${2:-http://127.0.0.1:8081}

# Prints the answer with a line end; an error's message, too.
ask() {
    curl --silent --show-error --fail-with-body "$@"
    echo
}

echo '# Is it there?'
ask "$url/ping"

echo '# As SageMaker: CSV, JSON and JSON Lines'
printf 'user_1,203.0.113.7\nuser_2,198.51.100.20\n' |
    ask -H 'Content-Type: text/csv' --data-binary @- "$url/invocations"
ask -H 'Content-Type: application/json' -d '{"instances":[{"features":["user_1","203.0.113.7"]}]}' "$url/invocations"
ask -H 'Content-Type: application/jsonlines' -H 'Accept: application/jsonlines' \
    -d '{"features":["user_1","203.0.113.7"]}' "$url/invocations"

echo '# With the embeddings'
ask -H 'Content-Type: text/csv' -H 'Accept: application/json;verbose=True' -d 'user_1,203.0.113.7' "$url/invocations"
ask "$url/execution-parameters"

echo '# Our own interface: with thresholds in the model folder it decides'
ask -H 'Content-Type: application/json' -d '{"events":[{"entity":"user_1","ip":"203.0.113.7"}]}' "$url/v1/score"
ask -H 'Content-Type: application/json' -d '{"entity":"user_1","ip":"203.0.113.7"}' "$url/v1/explain"
ask "$url/v1/model"

echo '# The admin listener: metrics, and taking the model folder anew'
ask "$admin/metrics" | sed '/^#/d' | sed -n '1,5p'
ask -X POST "$admin/reload"
