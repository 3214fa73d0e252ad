#!/bin/sh
# A night's retraining: goes on from the model that is served with the day's logins, and puts the new model in its place
# where it is good enough.
#
#   examples/nightly.sh HOME LOGINS [NIGHT]
#
# HOME/current is a link to the model folder that is served (`ipsight serve --model HOME/current`). LOGINS is CSV, a login
# a line, of what that model has not seen. What the night makes goes to HOME/nights/NIGHT (default: the date). Where the new
# model misses a gate, it exits with 1 and nothing is swapped; where it was cut off, the same command goes on.
#
# IPSIGHT says where the program is, GATES what the new model has to keep, and RELOAD (http://127.0.0.1:8081/reload) whom to
# tell: a server also sees by itself, within a second or so, that the link leads elsewhere.
set -eu

home=${1:?usage: nightly.sh HOME LOGINS [NIGHT]}
logins=${2:?usage: nightly.sh HOME LOGINS [NIGHT]}
night=nights/${3:-$(date +%Y-%m-%d)}
ipsight=${IPSIGHT:-ipsight}
gates=${GATES:---max-auc-drop 0.005 --min-rank-correlation 0.8 --max-psi 0.25}
old=$home/current
new=$home/$night/run/model
mkdir -p "$home/$night"

# Every tenth login is kept aside: neither model is trained on it.
awk 'NR % 10 == 0' "$logins" > "$home/$night/recent.csv"
awk 'NR % 10 != 0' "$logins" | "$ipsight" prepare - --output "$home/$night/train.arrow"

# The configuration beside the model has its shape. A few epochs are enough, from a rate that rises at first.
"$ipsight" train --config "$old/config.toml" --init-from "$old" --train "$home/$night/train.arrow" \
    --set 'data.validation=[]' --set hyperparameters.epochs=2 --set training.warmup_steps=50 \
    --output "$home/$night/run" > "$home/$night/train.log"

"$ipsight" compare "$old" "$new" --data "$home/$night/recent.csv" --json $gates > "$home/$night/comparison.json"

# Thresholds belong to the weights: new ones need their own.
"$ipsight" evaluate --model "$new" --data "$home/$night/recent.csv" --attacks default --target-fpr step_up=0.01 \
    > "$home/$night/evaluation.txt"

# A link is replaced in one step: whoever opens it sees the old model or the new one.
ln -sfn "$night/run/model" "$home/next"
mv -T "$home/next" "$old"
if [ -n "${RELOAD:-}" ]; then
    curl --fail --silent --show-error --request POST "$RELOAD" > "$home/$night/reload.json"
fi
